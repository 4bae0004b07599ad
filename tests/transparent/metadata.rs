//! Mode, owner, times, attributes: inside a tree that may be written as without us, outside it not at all.

use crate::harness::{Workspace, feature, require};
use crate::supervised::{Lists, Supervised, probe_outside};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// Every call, applied to a file that is there. `FILE`, `UID` and `GID` are filled in.
const CALLS: [&str; 26] = [
    "chmod FILE 640",
    "fchmodat FILE 640",
    "fchmodat2 FILE 640",
    "fchmodat2 FILE 640 nofollow",
    "fchmod FILE 640",
    "chmod-magic FILE 640",
    "chown FILE UID GID",
    "lchown FILE UID GID",
    "fchownat FILE UID GID",
    "fchownat FILE UID GID nofollow",
    "fchown FILE UID GID",
    "utime FILE",
    "utimes FILE",
    "futimesat FILE",
    "utimensat FILE",
    "utimensat FILE nofollow",
    "futimens FILE",
    "setxattr FILE user.a one",
    "lsetxattr FILE user.a one",
    "fsetxattr FILE user.a one",
    "setxattrat FILE user.a one",
    "removexattr FILE user.there",
    "lremovexattr FILE user.there",
    "fremovexattr FILE user.there",
    "removexattrat FILE user.there",
    "file-setattr FILE",
];

/// The calls that this machine's architecture has.
fn calls() -> impl Iterator<Item = &'static str> {
    let legacy = [
        "chmod ",
        "chown ",
        "lchown ",
        "utime ",
        "utimes ",
        "futimesat ",
    ];
    CALLS.into_iter().filter(move |call| {
        cfg!(target_arch = "x86_64") || !legacy.iter().any(|name| call.starts_with(name))
    })
}

fn words(call: &str, file: &Path) -> Vec<String> {
    let file = file.to_str().expect("paths of tests are UTF-8");
    call.split(' ')
        .map(|word| match word {
            "FILE" => file.to_owned(),
            "UID" => nix::unistd::geteuid().to_string(),
            "GID" => nix::unistd::getegid().to_string(),
            other => other.to_owned(),
        })
        .collect()
}

/// A fresh file with an attribute, in a directory of its own.
fn file_in(workspace: &Workspace, directory: &str) -> std::path::PathBuf {
    let path = workspace.write(format!("{directory}/file"), "content");
    crate::harness::set_mode(&path, 0o600);
    let there = ["setxattr", path.to_str().expect("UTF-8"), "user.there", "x"];
    // Where the file system has no attributes, both sides say so.
    let _has_attributes = probe_outside(&workspace.path(), &there);
    path
}

fn metadata(path: &Path) -> Metadata {
    std::fs::symlink_metadata(path).expect("the file is there")
}

fn attributes(workspace: &Workspace, path: &Path) -> Vec<String> {
    let path = path.to_str().expect("UTF-8");
    let words = [
        "getxattr",
        path,
        "user.a",
        "--",
        "getxattr",
        path,
        "user.there",
    ];
    probe_outside(&workspace.path(), &words)
}

#[test]
fn every_call_does_inside_what_it_does_without_us() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let then = 1_000_000_000;
    for (number, call) in calls().enumerate() {
        let inside = file_in(&workspace, &format!("inside/{number}"));
        let twin = file_in(&workspace, &format!("twin/{number}"));
        let ours = supervised.probe(&workspace.path(), &words(call, &inside));
        let kernels = probe_outside(&workspace.path(), &words(call, &twin));
        assert_eq!(ours, kernels, "{call}");
        let (ours, kernels) = (metadata(&inside), metadata(&twin));
        assert_eq!(ours.mode(), kernels.mode(), "{call}");
        assert_eq!(
            (ours.uid(), ours.gid()),
            (kernels.uid(), kernels.gid()),
            "{call}"
        );
        assert_eq!(ours.mtime() == then, kernels.mtime() == then, "{call}");
        assert_eq!(ours.atime() == then, kernels.atime() == then, "{call}");
        assert_eq!(
            attributes(&workspace, &inside),
            attributes(&workspace, &twin),
            "{call}"
        );
    }
    assert_eq!(
        supervised.lines.all(),
        [""; 0],
        "what a write tree allows is not recorded"
    );
}

#[test]
fn every_call_is_refused_outside_and_recorded() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.make_dir("inside")));
    for (number, call) in calls().enumerate() {
        let file = file_in(&workspace, &format!("outside/{number}"));
        let twin = file_in(&workspace, &format!("twin/{number}"));
        let kernels = probe_outside(&workspace.path(), &words(call, &twin));
        if kernels != ["ok"] {
            // Something above us, or the file system, refuses it anyway; what is refused first is refused.
            assert!(kernels[0].starts_with("errno "), "{call}");
            continue;
        }
        let before = metadata(&file);
        let said = supervised.probe(&workspace.path(), &words(call, &file));
        assert_eq!(said, ["errno EACCES"], "{call}");
        let after = metadata(&file);
        // Whatever is changed changes this time too.
        assert_eq!(
            (before.ctime(), before.ctime_nsec()),
            (after.ctime(), after.ctime_nsec()),
            "{call}"
        );
        let last = supervised.lines.all().pop().unwrap_or_default();
        let expected = format!("{} EACCES", file.display());
        assert!(
            last.starts_with("Refused ") && last.ends_with(&expected),
            "{call}: {last}"
        );
    }
    let refused = supervised.lines.all().len();
    assert!(refused > 10, "most calls work here without us: {refused}");
}

#[test]
fn faults_and_corners_are_answered_as_the_kernel_does() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let mut said = ["inside", "twin"].map(|name| {
        workspace.write(format!("{name}/place/file"), "content");
        workspace.make_dir(format!("{name}/other"));
        name.to_owned()
    });
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let words = |name: &str| {
        let other = workspace.join(name).join("other").display().to_string();
        ["oddities".to_owned(), "file".to_owned(), other]
    };
    for place in ["inside", "twin"] {
        // Both by their own relative names: a file that is up from the directory is not the one of this name, but it is there.
        workspace.write(format!("{place}/file"), "content");
    }
    said[0] = supervised
        .probe(&workspace.join("inside/place"), &words("inside"))
        .join("\n");
    said[1] = probe_outside(&workspace.join("twin/place"), &words("twin")).join("\n");
    let [ours, kernels] = said;
    for (ours, kernels) in ours.split(' ').zip(kernels.split(' ')) {
        assert_eq!(ours, kernels);
    }
    assert_eq!(ours, kernels);
    let [ours, kernels] =
        ["inside", "twin"].map(|name| metadata(&workspace.join(name).join("place/file")));
    assert_eq!(ours.mode(), kernels.mode());
    assert_eq!(ours.mtime(), kernels.mtime());
}

#[test]
fn links_are_followed_to_what_they_mean() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let (inside, outside) = (
        workspace.make_dir("inside"),
        workspace.write("outside", "x"),
    );
    crate::harness::set_mode(&outside, 0o600);
    workspace.write("inside/file", "x");
    symlink(&outside, inside.join("out")).unwrap();
    symlink("file", inside.join("in")).unwrap();
    symlink(workspace.path(), inside.join("up")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let probe = |words: &[&str]| supervised.probe(&inside, words).join("\n");
    let me = nix::unistd::geteuid().to_string();
    assert_eq!(probe(&["fchmodat", "out", "666"]), "errno EACCES");
    assert_eq!(probe(&["fchmodat", "up/outside", "666"]), "errno EACCES");
    assert_eq!(probe(&["fchmodat", "up/inside/file", "640"]), "ok");
    assert_eq!(probe(&["fchmodat", "../inside/./in", "644"]), "ok");
    assert_eq!(probe(&["fchmodat", "../outside", "666"]), "errno EACCES");
    // The link itself lies inside, whatever it leads to.
    assert_eq!(probe(&["fchownat", "out", &me, "-1", "nofollow"]), "ok");
    assert_eq!(probe(&["fchownat", "out", &me, "-1"]), "errno EACCES");
    assert_eq!(probe(&["utimensat", "out", "nofollow"]), "ok");
    assert_eq!(metadata(&outside).permissions().mode() & 0o777, 0o600);
    assert_eq!(
        metadata(&inside.join("file")).permissions().mode() & 0o777,
        0o644
    );
}

#[test]
fn a_denial_inside_a_write_tree_holds() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("inside/secret/key", "x");
    let supervised = Supervised::new(Lists {
        deny: vec![inside.join("secret")],
        ..Lists::writing(&inside)
    });
    for path in [
        "secret/key",
        "secret",
        "./secret/../secret/key",
        "/proc/self/cwd/secret/key",
    ] {
        assert_eq!(
            supervised.probe(&inside, &["fchmodat", path, "666"]),
            ["errno EACCES"]
        );
    }
}

#[test]
fn files_are_never_made_set_user_id() {
    require!(feature::listener());
    // The door and what it is held against are threads of one process here, and make files at the same time.
    require!(feature::own_directories());
    let workspace = Workspace::new();
    let file = workspace.write("inside/file", "x");
    workspace.make_dir("inside/directory");
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let probe = |words: &[&str]| {
        supervised
            .probe(&workspace.join("inside"), words)
            .join("\n")
    };
    for mode in ["4755", "2755", "6700", "7777"] {
        assert_eq!(probe(&["fchmodat", "file", mode]), "errno EPERM");
        assert_eq!(probe(&["fchmod", "file", mode]), "errno EPERM");
    }
    assert_eq!(metadata(&file).mode() & 0o6000, 0);
    assert_eq!(probe(&["fchmodat", "file", "1644"]), "ok");
    assert_eq!(probe(&["fchmodat", "directory", "2755"]), "ok");
}

#[test]
fn what_has_no_name_is_changed_only_by_who_can_write_it() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.join("nowhere")));
    let probe = |kind: &str| {
        let file = workspace.write(format!("{kind}/file"), "x");
        let place = if kind == "tmpfile" {
            file.parent().unwrap()
        } else {
            &file
        };
        let place = place.to_str().expect("UTF-8");
        supervised
            .probe(&workspace.path(), &["nameless", kind, place])
            .join("\n")
    };
    for kind in ["unlinked-written", "memfd", "pipe-write", "tmpfile"] {
        assert_eq!(probe(kind), "ok", "{kind}");
    }
    for kind in ["unlinked-read", "pipe-read"] {
        assert_eq!(probe(kind), "errno EACCES", "{kind}");
    }
}

#[test]
fn a_thread_is_answered_by_what_it_sees_itself() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    for name in ["inside/file", "inside/own/file", "inside/own/other"] {
        crate::harness::set_mode(&workspace.write(name, "x"), 0o600);
    }
    let supervised = Supervised::new(Lists::writing(&inside));
    let act = ["thread-view", "own", "file"];
    let kernels = probe_outside(&inside, &act).join("");
    if kernels != "ok" {
        require!(Err::<(), _>(format!(
            "threads share everything here: {kernels}"
        )));
    }
    for name in ["file", "own/file", "own/other"] {
        crate::harness::set_mode(&inside.join(name), 0o600);
    }
    assert_eq!(supervised.probe(&inside, &act), ["ok"]);
    let modes =
        ["file", "own/file", "own/other"].map(|name| metadata(&inside.join(name)).mode() & 0o777);
    assert_eq!(modes, [0o600, 0o642, 0o643]);
}

#[test]
fn signals_interrupt_nothing_that_the_kernel_would_not_interrupt() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("inside/file", "x");
    let supervised = Supervised::new(Lists::writing(&inside));
    assert_eq!(
        supervised.probe(&inside, &["storm", "file", "10000"]),
        ["ok"]
    );
}

#[test]
fn a_file_that_is_called_deleted_is_just_a_file() {
    require!(feature::listener());
    let workspace = Workspace::new();
    workspace.write("inside/file (deleted)", "x");
    let outside = workspace.write("outside (deleted)", "x");
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let probe = |path: &str| {
        supervised.probe(
            &workspace.join("inside"),
            &["fchmodat", path, "640", "--", "fchmod", path, "640"],
        )
    };
    assert_eq!(probe("file (deleted)"), ["ok", "ok"]);
    assert_eq!(
        probe("../outside (deleted)"),
        ["errno EACCES", "errno EACCES"]
    );
    assert_eq!(metadata(&outside).mode() & 0o777, 0o644 & !umask());
}

fn umask() -> u32 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(line.expect("it has a umask").trim(), 8).expect("octal")
}
