//! Programs that fill the screen, and a terminal multiplexer around it all.

use super::harness::run::eventually;
use super::harness::{feature, require};
use super::multiplexer::Tmux;
use super::{Scene, is_raw, modes, usual};

#[test]
fn an_editor_edits() {
    require!(feature::program("vim"));
    let scene = Scene::new();
    let mut desk = scene.script(
        "export TERM=xterm-256color; \"$S\" --pty -- vim -u NONE -n text; echo stat''us=$?.; read -r line; echo re''ad=$line.",
    );
    let before = usual();
    // The other screen, then the name of the file at its bottom.
    eventually("it fills the screen", || {
        desk.look();
        desk.screen.contains("\x1b[?1049h") && desk.screen.contains("text\"")
    });
    assert!(is_raw(&desk));
    desk.types("iwritten inside\x1b");
    desk.types(":wq\r");
    assert!(desk.sees("status=").starts_with("0."), "{:?}", desk.screen);
    let written = std::fs::read_to_string(scene.workspace.join("text")).expect("it was saved");
    assert_eq!(written, "written inside\n");
    assert!(desk.screen.contains("\x1b[?1049l"), "{:?}", desk.screen);
    assert_eq!(modes(&desk), before);
    desk.types("shell\n");
    assert!(
        desk.sees("read=").starts_with("shell."),
        "{:?}",
        desk.screen
    );
}

#[test]
fn a_pager_pages() {
    require!(feature::program("less"));
    let scene = Scene::new();
    let lines: String = (1..200).map(|line| format!("line {line}.\n")).collect();
    scene.workspace.write("long", &lines);
    // Its text comes from a pipe, its keys from the terminal.
    let mut desk = scene.script(
        "export TERM=xterm-256color LESSHISTFILE=-; stty rows 20 cols 70; cat long | \"$S\" --pty -- less; echo stat''us=$?.",
    );
    let before = usual();
    eventually("a page is there", || {
        desk.look();
        desk.screen.contains("line 19.")
    });
    assert!(!desk.screen.contains("line 20."), "{:?}", desk.screen);
    desk.types("G");
    eventually("the end is there", || {
        desk.look();
        desk.screen.contains("line 199.")
    });
    desk.types("q");
    assert!(desk.sees("status=").starts_with("0."), "{:?}", desk.screen);
    assert_eq!(modes(&desk), before);
}

#[test]
fn it_works_under_a_multiplexer_which_is_told_nothing() {
    require!(feature::program("tmux"));
    let scene = Scene::new();
    let tmux = Tmux::start(&scene, 90, 30);
    scene.workspace.write(
        "inside.sh",
        "printf '\\033]52;c;aGFybQ==\\007\\033]2;stolen\\033\\\\'\nstty size\necho ready=$$\nread -r word\necho got=$word\nread -r word\n",
    );
    let run = format!(
        "'{}' --pty -- sh ./inside.sh",
        super::harness::built::supervise().display()
    );
    tmux.says(&["set-option", "-g", "set-clipboard", "on"]);
    let title = tmux.says(&["display-message", "-p", "-t", "run", "#{pane_title}"]);
    tmux.types(&run);
    tmux.shows("ready=");
    // A line of it may be the status line.
    let screen = tmux.says(&["capture-pane", "-p", "-t", "run"]);
    assert!(
        screen.contains("30 90") || screen.contains("29 90"),
        "{screen}"
    );
    tmux.types("word");
    tmux.shows("got=word");
    let now = tmux.says(&["display-message", "-p", "-t", "run", "#{pane_title}"]);
    assert_eq!(now, title);
    assert!(!now.contains("stolen"));
    assert_eq!(tmux.says(&["list-buffers"]), "");
}
