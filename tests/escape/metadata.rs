//! Modes, owners, times and attributes, which Landlock is not asked about: every call that changes them.

use crate::harness::process::NOBODY;
use crate::harness::run::run;
use crate::harness::{feature, require, set_mode, skip};
use crate::scene::{POLICY, Scene, refused, refused_in};

fn changes(file: &str) -> Vec<String> {
    let mut changes: Vec<String> = [
        "fchmodat F 777",
        "fchmodat2 F 777",
        "fchmodat2 F 777 nofollow",
        "chmod-magic F 777",
        "fchownat F 0 0",
        "fchownat F 0 0 nofollow",
        "utimensat F",
        "utimensat F nofollow",
        "setxattr F user.a b",
        "lsetxattr F user.a b",
        "setxattrat F user.a b",
        "removexattr F user.there",
        "lremovexattr F user.there",
        "removexattrat F user.there",
        "file-setattr F",
    ]
    .iter()
    .map(|act| act.replace('F', file))
    .collect();
    if cfg!(target_arch = "x86_64") {
        let old = [
            "chmod F 777",
            "chown F 0 0",
            "lchown F 0 0",
            "utime F",
            "utimes F",
            "futimesat F",
        ];
        changes.extend(old.iter().map(|act| act.replace('F', file)));
    }
    changes
}

/// Through a descriptor that can only read.
fn changes_by_descriptor(file: &str) -> Vec<String> {
    [
        "fchmod F 777",
        "fchown F 0 0",
        "futimens F",
        "fsetxattr F user.a b",
        "fremovexattr F user.there",
    ]
    .iter()
    .map(|act| act.replace('F', file))
    .collect()
}

fn with_attribute(scene: &Scene) {
    for file in ["secret/key", ".git/hooks/pre-commit"] {
        crate::harness::run::run(
            &mut scene.unconfined(&format!("setxattr {{W}}/{file} user.there x")),
        );
    }
    crate::harness::run::run(&mut scene.unconfined("setxattr {O}/file user.there x"));
}

#[track_caller]
fn refused_and_recorded(acts: &[String]) {
    let scene = Scene::new();
    with_attribute(&scene);
    // Newer than some kernels and than the filters of some containers, whose answer would come first.
    let newest = run(&mut Scene::new().unconfined("file-setattr {W}/sub/mine")).stdout;
    let is_there = newest.starts_with("ok");
    if !is_there {
        skip(
            "escape: `file-setattr`",
            &format!("it gives {} here anyway", newest.trim_end()),
        );
    }
    let acts: Vec<&str> = acts
        .iter()
        .map(String::as_str)
        .filter(|act| is_there || !act.starts_with("file-setattr"))
        .collect();
    let performed = refused_in(&scene, &with_attribute, "EACCES", &acts);
    let refused: Vec<_> = performed
        .records
        .iter()
        .filter(|record| record["answer"] == "refused")
        .collect();
    assert_eq!(refused.len(), acts.len(), "one record each: {refused:#?}");
    for (record, act) in refused.iter().zip(&acts) {
        assert_eq!(record["errno"], "EACCES", "{act}: {record}");
        assert_eq!(record["door"], "call", "{act}: {record}");
        assert_eq!(
            record["uid"],
            nix::unistd::geteuid().as_raw(),
            "{act}: {record}"
        );
        assert!(record["path"].is_string(), "{act}: {record}");
    }
}

#[test]
fn what_is_denied_keeps_its_metadata() {
    refused_and_recorded(&changes("{W}/secret/key"));
}

#[test]
fn what_must_not_be_written_keeps_its_metadata() {
    let file = "{W}/.git/hooks/pre-commit";
    refused_and_recorded(&[changes(file), changes_by_descriptor(file)].concat());
}

#[test]
fn what_nothing_grants_keeps_its_metadata() {
    refused_and_recorded(&changes("{O}/file"));
    refused_and_recorded(
        &[
            "fchmodat ../outside/file 777",
            "fchmodat /proc/self/cwd/../outside/file 777",
            "fchmodat /proc/self/root/{O}/file 777",
        ]
        .map(str::to_owned),
    );
}

#[test]
fn what_can_only_be_read_keeps_its_metadata() {
    let acts: Vec<String> = ["fchmod", "fchmodat"]
        .iter()
        .map(|act| format!("{act} /etc/passwd 644"))
        .chain(
            ["futimens", "utimensat"]
                .iter()
                .map(|act| format!("{act} /etc/passwd")),
        )
        .collect();
    let scene = Scene::new();
    let status = std::fs::metadata("/etc/passwd").expect("there is one");
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert_eq!(answer, "errno EACCES", "{act}");
    }
    let after = std::fs::metadata("/etc/passwd").expect("there is one");
    assert_eq!(format!("{status:?}"), format!("{after:?}"));
    require!(feature::root());
}

#[test]
fn inode_flags_are_out_of_reach_of_descriptors() {
    let file = "{W}/.git/hooks/pre-commit";
    let acts: Vec<String> = [
        "ioctl-setflags",
        "ioctl-setxattr",
        "ioctl-verity",
        "ioctl-zero",
    ]
    .iter()
    .map(|act| format!("{act} {file}"))
    .collect();
    crate::scene::answered_otherwise_inside(
        "EPERM",
        &acts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn own_files_never_take_on_other_identities() {
    for act in [
        "fchmodat {W}/sub/mine 4755",
        "fchmodat {W}/sub/mine 2755",
        "fchmod {W}/sub/mine 6755",
    ] {
        let performed = refused("EPERM", &[act]);
        assert_eq!(performed.records.len(), 1, "{act}");
        assert_eq!(performed.records[0]["errno"], "EPERM", "{act}");
    }
}

#[test]
fn nothing_is_changed_while_names_change_places() {
    let prepare = |scene: &Scene| {
        let sub = scene.work().join("sub");
        std::fs::create_dir(sub.join("a")).expect("a directory");
        std::fs::write(sub.join("a/key"), "fine").expect("a file");
        std::os::unix::fs::symlink(scene.work().join("secret"), sub.join("b")).expect("a link");
    };
    let mode = |scene: &Scene| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(scene.work().join("secret/key"))
            .expect("it is there")
            .mode()
            & 0o7777
    };
    let (free, scene) = (Scene::new(), Scene::new());
    prepare(&free);
    prepare(&scene);
    let act = "race-chmod-swap {W}/sub/a {W}/sub/b {W}/sub/a/key 604";
    crate::harness::run::eventually("the race is won where nothing confines it", || {
        crate::harness::run::run(&mut free.unconfined(&format!("{act} 500")));
        mode(&free) == 0o604
    });
    let performed = scene.perform(&format!("{act} 5000"));
    assert!(
        performed.answers()[0].starts_with("ok succeeded="),
        "{}",
        performed.ran
    );
    assert!(!performed.records.is_empty(), "the race was run");
    assert_eq!(mode(&scene), 0o644);
}

/// Root may let its programs become others. What such a program then does is not done as root.
#[test]
fn nothing_is_done_as_root_for_who_became_another_user() {
    require!(feature::listener());
    require!(feature::root());
    let policy = format!("{POLICY}[process]\nkeep_caps = [\"SETUID\"]\n");
    let scene = Scene::under(&policy);
    // Files beside a denial are the supervisor's to make, and it cannot look at another user's program to see what it wants.
    let performed = scene.perform(
        "write {W}/before x -- fchmodat {W}/before 600 -- setuid 65534 -- write {W}/after x -- mkdir {W}/directory -- fchmodat {W}/before 666",
    );
    let answers = performed.answers();
    assert_eq!(answers[..3], ["ok", "ok", "ok"], "{}", performed.ran);
    assert_eq!(answers[3..], ["errno EACCES"; 3], "{}", performed.ran);
    assert!(!scene.work().join("after").exists() && !scene.work().join("directory").exists());
}

/// Nor as that user: what the supervisor does is done as the user who started it, with that one's groups.
#[test]
fn what_is_done_for_who_took_other_ids_is_done_as_the_sessions_user() {
    require!(feature::listener());
    require!(feature::root());
    const GROUP: u32 = 4242;
    // A pattern leaves the whole tree to the supervisor.
    let pattern = POLICY.replace("deny = [", "deny = [\"{W}/**/.env\", ");
    let policy = format!("{pattern}[process]\nkeep_caps = [\"SETUID\", \"SETGID\"]\n");
    let scene = Scene::under(&policy);
    let shared = scene.work().join("shared");
    std::fs::write(&shared, "x").expect("a file");
    set_mode(&shared, 0o640);
    std::os::unix::fs::chown(&shared, Some(NOBODY), Some(GROUP)).expect("it is root's to give");
    // The kernel would let that group read it.
    let acts = format!("read {{W}}/shared -- setgroups {GROUP} -- read {{W}}/shared");
    let performed = scene.perform(&acts);
    let answers = performed.answers();
    assert_eq!(answers, ["errno EACCES", "ok", "errno EACCES"]);
    // Whoever acts as another user cannot be looked at, and for that one nothing is done.
    let acts = "setfsuid 65534 -- read {W}/shared -- write {W}/new x";
    let performed = scene.perform(acts);
    let answers = performed.answers();
    assert_eq!(answers, ["ok", "errno EACCES", "errno EACCES"]);
    assert!(!scene.work().join("new").exists());
}
