//! A second thread against the door: what was looked at is changed before it is used. What must not change never does.

use crate::harness::{Workspace, feature, require, set_mode};
use crate::supervised::{Lists, Supervised};
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

/// Two files of mode 600, and the tree that may be written.
fn two_files(workspace: &Workspace) -> [std::path::PathBuf; 2] {
    ["allowed/file", "outside/file"].map(|name| {
        let path = workspace.write(name, "x");
        set_mode(&path, 0o600);
        path
    })
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("the file is there");
    metadata.permissions().mode() & 0o7777
}

/// The time of the last change of any kind.
fn changed(path: &Path) -> (i64, i64) {
    let metadata = std::fs::metadata(path).expect("the file is there");
    (metadata.ctime(), metadata.ctime_nsec())
}

#[test]
fn a_name_that_is_rewritten_never_reaches_outside() {
    require!(feature::listener());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    let [inside, outside] = two_files(&workspace);
    let before = changed(&outside);
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    let paths = [&inside, &outside].map(|path| path.to_str().expect("UTF-8").to_owned());
    let said = supervised.probe(
        &workspace.path(),
        &["race-chmod", &paths[0], &paths[1], "666", TRIES],
    );
    both_sides_were_met(&supervised, &said);
    assert_eq!((mode(&inside), mode(&outside)), (0o666, 0o600));
    assert_eq!(changed(&outside), before);
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
    require!(feature::listener());
    require!(feature::processors(2));
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
    require!(feature::listener());
    require!(feature::processors(2));
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
    require!(feature::listener());
    require!(feature::processors(2));
    for last in [false, true] {
        let workspace = Workspace::new();
        let [inside, outside] = two_files(&workspace);
        let before = changed(&outside);
        let tree = workspace.join("allowed");
        // In the middle of the path, or at its end.
        let (good, bad, path) = if last {
            (inside.clone(), outside.clone(), tree.join("way"))
        } else {
            (
                tree.clone(),
                workspace.join("outside"),
                tree.join("way/file"),
            )
        };
        symlink(good, tree.join("way")).unwrap();
        symlink(bad, tree.join("other")).unwrap();
        let supervised = Supervised::new(Lists::writing(&tree));
        let path = path.to_str().expect("UTF-8");
        let said = supervised.probe(
            &tree,
            &["race-chmod-swap", "way", "other", path, "666", TRIES],
        );
        both_sides_were_met(&supervised, &said);
        assert_eq!((mode(&inside), mode(&outside)), (0o666, 0o600));
        assert_eq!(changed(&outside), before);
    }
}

#[test]
fn a_descriptor_that_is_replaced_never_means_another_file() {
    require!(feature::listener());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    let [inside, outside] = two_files(&workspace);
    let before = changed(&outside);
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    let paths = [&inside, &outside].map(|path| path.to_str().expect("UTF-8").to_owned());
    let said = supervised.probe(
        &workspace.path(),
        &["race-fchmod", &paths[0], &paths[1], "666", TRIES],
    );
    both_sides_were_met(&supervised, &said);
    assert_eq!((mode(&inside), mode(&outside)), (0o666, 0o600));
    assert_eq!(changed(&outside), before);
}

#[test]
fn an_address_that_is_rewritten_never_reaches_another_socket() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    workspace.make_dir("allowed");
    workspace.make_dir("outside");
    let [good, bad] = ["allowed/socket", "outside/socket"].map(|name| workspace.join(name));
    let inside = UnixListener::bind(&good).unwrap();
    let outside = UnixListener::bind(&bad).unwrap();
    outside.set_nonblocking(true).unwrap();
    let accepting = std::thread::spawn(move || inside.incoming().take_while(Result::is_ok).count());
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    let paths = [&good, &bad].map(|path| path.to_str().expect("UTF-8").to_owned());
    // Each of these starts a process; fewer do.
    let said = supervised.probe(
        &workspace.path(),
        &["race-connect-unix", &paths[0], &paths[1], "2000"],
    );
    both_sides_were_met(&supervised, &said);
    let nobody = outside.accept().expect_err("nobody came here");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    assert!(!accepting.is_finished());
}

#[test]
fn a_name_that_is_rewritten_while_it_is_bound_is_made_nowhere_else() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    workspace.make_dir("allowed");
    workspace.make_dir("outside");
    let supervised = Supervised::new(Lists::writing(&workspace.join("allowed")));
    let paths = ["allowed/socket", "outside/socket"].map(|name| {
        let path = workspace.join(name);
        path.to_str().expect("UTF-8").to_owned()
    });
    let said = supervised.probe(
        &workspace.path(),
        &["race-bind", &paths[0], &paths[1], "2000"],
    );
    both_sides_were_met(&supervised, &said);
    assert!(!workspace.join("outside/socket").exists());
}

#[test]
fn links_that_are_swapped_lead_no_socket_outside() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
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
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
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
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
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
    let nobody = outside.accept().expect_err("nobody came here");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
    assert!(!accepting.is_finished());
}
