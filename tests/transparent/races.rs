//! A second thread against the door: what was looked at is changed before it is used. What must not change never does.

use crate::harness::{Workspace, feature, require, set_mode};
use crate::supervised::{Lists, Supervised, probe_outside};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// How many tries: enough that without the door's care each of these races is lost many times.
const TRIES: &str = "10000";

/// How often a race's attempt succeeded.
fn succeeded(said: &[String]) -> u32 {
    let [line] = said else {
        panic!("one act, one answer: {said:?}");
    };
    let count = line
        .strip_prefix("ok succeeded=")
        .unwrap_or_else(|| panic!("{line}"));
    count.parse().expect("a number")
}

/// A race was run only if both sides were met.
#[track_caller]
fn both_sides_were_met(supervised: &Supervised, said: &[String]) {
    assert!(succeeded(said) > 0, "the race never met its allowed side");
    let refused = supervised.lines.all();
    assert!(
        refused.iter().any(|line| line.starts_with("Refused")),
        "the race never met its forbidden side"
    );
}

fn raced() -> Result<(), String> {
    feature::listener().and(feature::processors(2))
}

fn raced_sockets() -> Result<(), String> {
    feature::sockets().and(feature::processors(2))
}

/// Has changes of the mode raced that may be made in `allowed` and nowhere else. `prepare` says the act, given that tree and two
/// files of mode 600: the one in there, and one outside.
#[track_caller]
fn only_the_inner_is_changed(prepare: impl FnOnce(&Path, [&Path; 2]) -> Vec<String>) {
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("the file is there");
        metadata.permissions().mode() & 0o7777
    };
    // Of any kind.
    let last_change = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("the file is there");
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let workspace = Workspace::new();
    let [inside, outside] = ["allowed/file", "outside/file"].map(|name| {
        let path = workspace.write(name, "x");
        set_mode(&path, 0o600);
        path
    });
    let tree = workspace.join("allowed");
    let mut words = prepare(&tree, [&inside, &outside]);
    words.extend(["666", TRIES].map(str::to_owned));
    let before = last_change(&outside);
    let supervised = Supervised::new(Lists::writing(&tree));
    let said = supervised.probe(&tree, &words);
    both_sides_were_met(&supervised, &said);
    assert_eq!((mode(&inside), mode(&outside)), (0o666, 0o600));
    assert_eq!(last_change(&outside), before);
}

fn words<const N: usize>(words: [&Path; N]) -> Vec<String> {
    words
        .map(|word| word.to_str().expect("UTF-8").to_owned())
        .into()
}

#[test]
fn a_name_that_is_rewritten_never_reaches_outside() {
    require!(raced());
    only_the_inner_is_changed(|_, [inside, outside]| {
        words(["race-chmod".as_ref(), inside, outside])
    });
}

/// What came of a race of opens, of which the forbidden file says `HIT`.
#[track_caller]
fn nothing_was_hit(said: &[String]) {
    let [line] = said else {
        panic!("one act, one answer: {said:?}");
    };
    assert!(line.starts_with("ok hit=0 allowed="), "{line}");
    assert!(
        !line.contains(" allowed=0 "),
        "never met its allowed side: {line}"
    );
    assert!(
        !line.ends_with(" refused=0"),
        "never met its forbidden side: {line}"
    );
}

/// A session in which no open is the kernel's, and `outside` is denied.
fn closed(workspace: &Workspace) -> Lists {
    workspace.write("allowed/file", "mine");
    workspace.write("outside/file", "HIT");
    Lists {
        closed: true,
        deny: vec![workspace.join("outside")],
        ..Lists::writing(&workspace.path())
    }
}

#[test]
fn a_name_that_is_rewritten_never_opens_what_is_denied() {
    require!(raced());
    let workspace = Workspace::new();
    let supervised = Supervised::new(closed(&workspace));
    for act in ["race-name", "race-name-shared"] {
        let paths = ["allowed/file", "outside/file"];
        let words = [act, paths[0], paths[1], TRIES];
        nothing_was_hit(&supervised.probe(&workspace.path(), &words));
    }
}

#[test]
fn names_that_are_swapped_never_open_what_is_denied() {
    require!(raced());
    for (good, bad, path) in [
        // A link at the end, a link in the middle.
        ("../allowed/file", "../outside/file", "ways/one"),
        ("../allowed", "../outside", "ways/one/file"),
    ] {
        let workspace = Workspace::new();
        let supervised = Supervised::new(closed(&workspace));
        workspace.make_dir("ways");
        symlink(good, workspace.join("ways/one")).expect("a link");
        symlink(bad, workspace.join("ways/other")).expect("a link");
        let words = ["race-swap", "ways/one", "ways/other", path, TRIES];
        nothing_was_hit(&supervised.probe(&workspace.path(), &words));
    }
}

#[test]
fn links_that_are_swapped_never_lead_outside() {
    require!(raced());
    // In the middle of the path, or at its end.
    for last in [false, true] {
        only_the_inner_is_changed(|tree, [inside, outside]| {
            let (good, bad, path) = match last {
                true => (inside, outside, tree.join("way")),
                false => (
                    tree,
                    outside.parent().expect("a directory"),
                    tree.join("way/file"),
                ),
            };
            symlink(good, tree.join("way")).expect("a link");
            symlink(bad, tree.join("other")).expect("a link");
            let [way, other] = ["way".as_ref(), "other".as_ref()];
            words(["race-chmod-swap".as_ref(), way, other, &path])
        });
    }
}

#[test]
fn a_descriptor_that_is_replaced_never_means_another_file() {
    require!(raced());
    only_the_inner_is_changed(|_, [inside, outside]| {
        words(["race-fchmod".as_ref(), inside, outside])
    });
}

/// Nobody came to a listener that need not wait.
#[track_caller]
fn nobody_came<T: std::fmt::Debug>(accepted: std::io::Result<T>) {
    let nobody = accepted.expect_err("nobody came here");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
}

#[test]
fn an_address_that_is_rewritten_never_reaches_another_socket() {
    require!(raced_sockets());
    let workspace = Workspace::new();
    workspace.make_dir("allowed");
    workspace.make_dir("outside");
    let [good, bad] = &["allowed/socket", "outside/socket"].map(|name| workspace.join(name));
    let inside = UnixListener::bind(good).unwrap();
    let outside = UnixListener::bind(bad).unwrap();
    outside.set_nonblocking(true).unwrap();
    let accepting = std::thread::spawn(move || inside.incoming().take_while(Result::is_ok).count());
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    // Each of these starts a process; fewer do.
    let act = words(["race-connect-unix".as_ref(), good, bad, "2000".as_ref()]);
    let said = supervised.probe(&workspace.path(), &act);
    both_sides_were_met(&supervised, &said);
    nobody_came(outside.accept());
    assert!(!accepting.is_finished());
}

#[test]
fn a_name_that_is_rewritten_while_it_is_bound_is_made_nowhere_else() {
    require!(raced_sockets());
    let workspace = Workspace::new();
    workspace.make_dir("allowed");
    workspace.make_dir("outside");
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    let [good, bad] = ["allowed/socket", "outside/socket"].map(|name| workspace.join(name));
    let act = words(["race-bind".as_ref(), &good, &bad, "2000".as_ref()]);
    let said = supervised.probe(&workspace.path(), &act);
    both_sides_were_met(&supervised, &said);
    assert!(!workspace.join("outside/socket").exists());
}

#[test]
fn an_address_that_is_rewritten_while_it_is_bound_is_never_another() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists {
        bind: vec!["127.0.0.1:0".parse().expect("an address")],
        ..Lists::default()
    });
    let act = ["race-bind-tcp", "127.0.0.1:0", "127.0.0.2:0", "2000"];
    let said = supervised.probe(&workspace.path(), &act).join("\n");
    let said = said.strip_suffix(" others=0");
    let said = said.expect("none was bound to the other").to_owned();
    both_sides_were_met(&supervised, &[said]);
    // Both are there to be bound.
    let said = probe_outside(&workspace.path(), &act).join("\n");
    assert!(!said.ends_with(" others=0"), "{said}");
}

#[test]
fn links_that_are_swapped_lead_no_socket_outside() {
    require!(raced_sockets());
    let workspace = Workspace::new();
    let tree = workspace.make_dir("allowed");
    let outside = workspace.make_dir("outside");
    symlink(&tree, tree.join("way")).unwrap();
    symlink(&outside, tree.join("other")).unwrap();
    // No Landlock here decides once more: it is made in the directory that was located, or not at all.
    let supervised = Supervised::new(Lists {
        is_brokered: true,
        ..Lists::writing(&tree)
    });
    let act = [
        "race-bind-swap",
        "way",
        "other",
        "way/socket",
        "socket",
        "2000",
    ];
    let said = supervised.probe(&tree, &act);
    both_sides_were_met(&supervised, &said);
    assert!(!outside.join("socket").exists());
}

#[test]
fn a_name_that_stops_being_a_files_while_it_is_bound_is_taken_by_nobody() {
    require!(raced_sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("allowed");
    let supervised = Supervised::new(Lists::writing(&inside));
    let act = ["race-bind-abstract", "socket", "2000"];
    let said = supervised.probe(&inside, &act).join("\n");
    assert!(said.ends_with(" abstract=0"), "{said}");
    let refused = supervised.lines.all();
    assert!(
        refused.iter().any(|line| line.starts_with("Refused")),
        "{said}"
    );
    assert!(!said.contains("succeeded=0 "), "{said}");
}

#[test]
fn a_port_that_is_rewritten_never_reaches_another_server() {
    require!(raced_sockets());
    let workspace = Workspace::new();
    let servers = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let [inside, outside] = servers;
    let addresses = [&inside, &outside].map(|server| server.local_addr().expect("it is bound"));
    outside.set_nonblocking(true).unwrap();
    let accepting = std::thread::spawn(move || inside.incoming().take_while(Result::is_ok).count());
    let supervised = Supervised::new(Lists {
        connect: vec![addresses[0]],
        ..Lists::default()
    });
    let ports = addresses.map(|address| address.port().to_string());
    let said = supervised.probe(
        &workspace.path(),
        &["race-connect-tcp", &ports[0], &ports[1], "2000"],
    );
    both_sides_were_met(&supervised, &said);
    nobody_came(outside.accept());
    assert!(!accepting.is_finished());
}
