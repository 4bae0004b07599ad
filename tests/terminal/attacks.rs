//! What a hostile command does to its terminal, and what of it reaches the caller's: nothing.

use super::desk::INTERRUPT;
use super::harness::built::probe;
use super::harness::run::eventually;
use super::harness::{feature, require};
use super::multiplexer::Tmux;
use super::{Desk, Scene, is_raw, modes};
use std::io::Write;
use std::time::Instant;

/// Runs a script below a shell that then reads a line.
fn attacked(scene: &Scene, flag: &str, script: &str) -> Desk {
    scene.workspace.write("attack.sh", script);
    scene.script(&format!(
        "\"$S\" {flag} -- sh ./attack.sh; echo stat''us=$?.; read -r line; echo re''ad=$line."
    ))
}

const CLIPBOARD: &str = "printf 'one\\033]52;c;aGFybQ==\\007two\\n'\n";

#[test]
fn the_clipboard_the_title_and_questions_do_not_come_out() {
    let scene = Scene::new();
    let mut desk = attacked(
        &scene,
        "--pty",
        &[
            CLIPBOARD,
            "printf '\\033]0;title\\007\\033]2;title\\033\\\\\\033ktitle\\033\\\\three\\n'\n",
            "printf '\\033[6n\\033[c\\033[>c\\033[21t\\033]11;?\\007\\033P$qm\\033\\\\\\005four\\n'\n",
            // In pieces, each a write of its own.
            "printf '\\033'; printf ']'; printf '5'; printf '2;c;aGFy'; printf 'bQ==\\033'; printf '\\\\five\\n'\n",
            "printf '\\302'; printf '\\2336nsix\\n'\n",
            // By another way to the same terminal.
            "printf '\\033]52;c;aGFybQ==\\007seven\\n' >/dev/tty\n",
            "printf '\\033[31mred\\033[m\\n'\n",
        ]
        .concat(),
    );
    desk.sees("status=");
    let expected = "onetwo\r\nthree\r\nfour\r\nfive\r\nsix\r\nseven\r\n\x1b[31mred\x1b[m\r\n";
    assert!(desk.screen.starts_with(expected), "{:?}", desk.screen);
}

#[test]
fn all_of_it_comes_out_for_who_asks_for_that() {
    let scene = Scene::new();
    let mut desk = attacked(&scene, "--pty=passthrough", CLIPBOARD);
    desk.sees("status=");
    assert!(
        desk.screen.starts_with("one\x1b]52;c;aGFybQ==\x07two\r\n"),
        "{:?}",
        desk.screen
    );
}

#[test]
fn a_string_without_an_end_takes_no_memory() {
    let scene = Scene::new();
    let mut desk = attacked(
        &scene,
        "--pty",
        "printf 'pid=%s\\n\\033P' $$; head -c 5000000 /dev/zero | tr '\\000' x; printf '\\033\\\\over=.\\n'; read -r wait\n",
    );
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    let supervisor = super::supervisor_of(command);
    let before = resident(supervisor);
    assert_eq!(desk.sees("over="), ".");
    let after = resident(supervisor);
    assert!(after < before + 3000, "{before} KiB, then {after} KiB");
    assert!(!desk.screen.contains("xx"), "{} bytes", desk.screen.len());
}

/// How much of it is in memory, in KiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
    size.and_then(|size| size.trim().parse().ok())
        .expect("a size")
}

#[test]
fn nothing_is_typed_for_the_person() {
    let scene = Scene::new();
    let mut desk = scene.script(&format!(
        "\"$S\" --exec {probe} --pty -- {probe} ioctl 0 TIOCSTI -- ioctl 0 TIOCLINUX; echo stat''us=$?.; read -r line; echo re''ad=$line.",
        probe = probe().display()
    ));
    desk.sees("errno EPERM");
    desk.sees("errno EPERM");
    desk.sees("status=");
    desk.types("mine\n");
    assert!(desk.sees("read=").starts_with("mine."), "{}", desk.screen);
}

#[test]
fn what_a_terminal_answers_is_never_typed_to_the_shell_afterwards() {
    let scene = Scene::new();
    // The command asks, reads no answer, and leaves more of them than fit on the way to it.
    let mut desk = attacked(
        &scene,
        "--pty=passthrough",
        "stty raw -echo; printf 'pid=%s\\r\\n\\033[6n' $$; exec sleep 1000\n",
    );
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    eventually("the question is there", || {
        desk.look();
        desk.screen.contains("\x1b[6n")
    });
    eventually("no more answers are taken", || {
        let answer = b"\x1b[1;1R".repeat(100);
        // Whole or in part: the terminal takes what it has room for.
        desk.keyboard.write(&answer).is_err()
    });
    let command = nix::unistd::Pid::from_raw(command);
    nix::sys::signal::kill(command, nix::sys::signal::Signal::SIGKILL).expect("it lives");
    assert!(desk.sees("status=").starts_with("137."), "{}", desk.screen);
    let from = desk.screen.len();
    desk.types("mine\n");
    assert!(desk.sees("read=").starts_with("mine."), "{}", desk.screen);
    assert!(!desk.screen[from..].contains("1;1R"), "{}", desk.screen);
}

#[test]
fn a_flood_that_nobody_reads_holds_up_no_decision_and_no_end() {
    let scene = Scene::new();
    scene.workspace.write("file", "");
    // The mode of a file is the supervisor's to change.
    let desk = attacked(
        &scene,
        "--timeout 10m --pty",
        "yes & exec >said 2>&1; for i in 1 2 3 4 5 6 7 8 9 10; do chmod 60$((i % 8)) file || exit 1; done; echo decided; kill -9 $!\n",
    );
    let start = Instant::now();
    // Nobody looks at the screen.
    eventually("it was decided", || {
        std::fs::read_to_string(scene.workspace.join("said")).is_ok_and(|said| said == "decided\n")
    });
    assert!(start.elapsed().as_secs() < 50);
    // Now somebody does, and the shell has its turn.
    let mut desk = desk;
    assert!(desk.sees("status=").starts_with("0."));
}

#[test]
fn a_question_has_the_terminal_for_itself() {
    let scene = Scene::new();
    let file = scene.kept.join("asked");
    std::fs::write(&file, "the content\n").expect("written");
    let inside = format!(
        "while :; do echo flood; sleep 0.01; done & \"$SUPERVISE_EXE\" request --read {file} >got; kill -9 $!; cat got",
        file = file.display()
    );
    scene.workspace.write("ask.sh", &inside);
    let mut desk = scene.script(&format!(
        "\"$S\" --ask {} --approver terminal --pty -- sh ./ask.sh; echo stat''us=$?.",
        file.display()
    ));
    let before = super::usual();
    desk.sees("asks to");
    desk.sees("rule: ");
    // From here on there is the question, and no flood.
    eventually("the terminal is as before", || modes(&desk) == before);
    desk.seems("; d: never in this run; anything else refuses");
    let (_, asked) = desk.screen.rsplit_once("rule: ").expect("it stands there");
    assert!(!asked.contains("flood"), "{asked:?}");
    desk.types("y\n");
    desk.sees("the content");
    assert!(desk.sees("status=").starts_with("0."));
    assert_eq!(modes(&desk), before);
    assert!(!is_raw(&desk));
}

#[test]
fn what_the_command_did_to_the_screen_hides_no_question() {
    require!(feature::program("tmux"));
    let scene = Scene::new();
    let file = scene.kept.join("asked");
    std::fs::write(&file, "the content\n").expect("written");
    // Invisible, in one line, whose letters are lines, with a sequence that is not over; all of it is harmless otherwise.
    let hide = "\\033[2Jready\\033[3;3r\\033[3;1H\\033[?7l\\033[4h\\033(0\\033[8m\\033]8;;http://";
    scene.workspace.write(
        "hide.sh",
        format!(
            "printf '{hide}'; read -r go\n\"$SUPERVISE_EXE\" request --read {}\n",
            file.display()
        ),
    );
    let run = format!(
        "'{}' --ask {} --approver terminal --pty=passthrough -- sh ./hide.sh",
        super::harness::built::supervise().display(),
        file.display()
    );
    let tmux = Tmux::start(&scene, 250, 30);
    tmux.types(&run);
    tmux.shows("ready");
    tmux.types("");
    tmux.shows("Allow it?");
    let screen = tmux.says(&["capture-pane", "-e", "-p", "-t", "run"]);
    let lines: Vec<&str> = screen.lines().collect();
    for word in ["asks to read", "asked", "rule: "] {
        let line = lines.iter().find(|line| line.contains(word));
        let line = line.unwrap_or_else(|| panic!("{word:?}: {screen}"));
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn who_has_the_screen_draws_it_again_after_a_question() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let file = scene.kept.join("asked");
    std::fs::write(&file, "the content\n").expect("written");
    let job = format!(
        "trap 'echo dr\"\"awn=.; exit' WINCH; \"$SUPERVISE_EXE\" request --read {} >got; while :; do sleep 0.05; done",
        file.display()
    );
    scene.workspace.write("job.sh", &job);
    // The job is in a group of its own, not in that of the command.
    let mut desk = scene.script(&format!(
        "\"$S\" --ask {} --approver terminal --pty -- bash -c 'set -m; sh ./job.sh; exit 0'; echo stat''us=$?.",
        file.display()
    ));
    desk.sees("rule: ");
    desk.seems("; d: never in this run; anything else refuses");
    desk.types("y\n");
    desk.sees("drawn=");
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
}

#[test]
fn that_a_question_waits_elsewhere_is_a_line_that_ends_while_the_terminal_is_raw() {
    let scene = Scene::new();
    let file = scene.kept.join("asked");
    std::fs::write(&file, "the content\n").expect("written");
    let mut desk = scene.script(&format!(
        "\"$S\" --ask {file} --approver control --pty -- sh -c '\"$SUPERVISE_EXE\" request --read {file}'; echo stat''us=$?.",
        file = file.display()
    ));
    desk.sees("a question waits");
    let said = "at another terminal\r\n";
    assert!(desk.screen.contains(said), "{:?}", desk.screen);
    desk.types(INTERRUPT);
    assert!(desk.sees("status=").starts_with("130."), "{}", desk.screen);
}
