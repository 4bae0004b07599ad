//! Names and links: every spelling of a path, and every call that reaches the same object.

use crate::harness::require;
use crate::harness::run::run;
use crate::harness::{feature, skip};
use crate::scene::{POLICY, Scene, assert_unchanged, refused, refused_in};

#[test]
fn what_is_denied_cannot_be_read_by_any_call_or_spelling() {
    refused(
        "EACCES",
        &[
            "read {W}/secret/key",
            "read secret/key",
            "read ./secret//key",
            "read {W}/sub/../secret/key",
            "read //{W}/secret/./key",
            "read {W}/secret/deep/../key",
            "open {W}/secret/key r",
            "open {W}/secret/key rw",
            "open-legacy {W}/secret/key r",
            "openat {W}/secret key r",
            "openat {W}/sub ../secret/key r",
            "openat2 {W}/secret/key r",
            "openat2 {W}/secret/key r none 24",
            "openat2 {W}/secret/key r none 64",
            "openat2 {W}/secret/key r no_symlinks",
            "reopen {W}/secret/key path r",
            "chdir {W}/secret -- read key",
            "fchdir {W}/secret -- read key",
            "chdir {W}/sub -- read ../secret/key",
            "list {W}/secret",
            "open {W}/secret directory",
            "read /proc/self/root/{W}/secret/key",
            "read /proc/self/cwd/secret/key",
            "read /proc/thread-self/root/{W}/secret/key",
            "map {W}/secret/key read",
        ],
    );
}

#[test]
fn what_nothing_grants_cannot_be_read() {
    refused(
        "EACCES",
        &[
            "read {O}/file",
            "read ../outside/file",
            "openat2 {O}/file r",
            "openat {O} file r",
            "chdir {O} -- read file",
            "fchdir {O} -- read file",
            "fchdir {O}/dir -- read ../file",
            "read /proc/self/cwd/../outside/file",
            "read /proc/self/root/{O}/file",
            "reopen {O}/file path r",
            "list {O}",
            "list /",
            "list /proc",
            "read /etc/shadow",
            "read /proc/self/root/etc/shadow",
            "read /etc/../etc/shadow",
            "reopen /etc/shadow path r",
        ],
    );
}

#[test]
fn links_lead_no_further_than_their_target_may_be_used() {
    let prepare = |scene: &Scene| {
        for (target, name) in [
            ("{W}/secret/key", "link"),
            ("../secret/key", "relative"),
            ("/etc/shadow", "shadow"),
            ("{O}/file", "outside"),
            ("{O}", "outdir"),
            ("link", "chain"),
            ("/proc/self/root/etc/shadow", "magic"),
        ] {
            let path = scene.work().join("sub").join(name);
            std::os::unix::fs::symlink(scene.text(target), path).expect("a link can be made");
        }
    };
    let scene = Scene::new();
    prepare(&scene);
    refused_in(
        &scene,
        &prepare,
        "EACCES",
        &[
            "read {W}/sub/link",
            "read {W}/sub/relative",
            "read {W}/sub/shadow",
            "read {W}/sub/outside",
            "read {W}/sub/outdir/file",
            "read {W}/sub/outdir/dir/../file",
            "read {W}/sub/chain",
            "read {W}/sub/magic",
            "overwrite {W}/sub/link x",
            "overwrite {W}/sub/outside x",
            "write {W}/sub/outdir/new x",
            "mkdir {W}/sub/outdir/new",
            "chdir {W}/sub/outdir -- write new x",
            "truncate {W}/sub/link 0",
        ],
    );
}

#[test]
fn what_is_denied_cannot_be_changed_made_moved_or_removed() {
    let mut acts = vec![
        "overwrite {W}/secret/key x",
        "append {W}/secret/key x",
        "write {W}/secret/new x",
        "open {W}/secret/key w,trunc",
        "open {W}/secret/key r,trunc",
        "open {W}/secret/new w,creat,excl",
        "open {W}/secret rw,tmpfile",
        "truncate {W}/secret/key 0",
        "ftruncate {W}/secret/key 0",
        "fallocate {W}/secret/key 100",
        "unlink {W}/secret/key",
        "rmdir {W}/secret/deep",
        "mkdir {W}/secret/new",
        "mknod {W}/secret/new fifo",
        "mknod {W}/secret/new socket",
        "symlink /etc/passwd {W}/secret/new",
        "overwrite {W}/.git/hooks/pre-commit x",
        "write {W}/.git/hooks/post-commit x",
        "mkdir {W}/.git/hooks/new",
        "unlink {W}/.git/hooks/pre-commit",
        "symlink {W}/sub/mine {W}/.git/hooks/post-commit",
        "copy {W}/sub/mine {W}/.git/hooks/pre-commit",
        "sendfile {W}/sub/mine {W}/.git/hooks/pre-commit",
        "ioctl-zero {W}/secret/key",
        "write {O}/new x",
        "overwrite {O}/file x",
        "mkdir {O}/new",
        "unlink {O}/file",
        "symlink {O}/file {O}/new",
        "truncate {O}/file 0",
    ];
    if cfg!(target_arch = "x86_64") {
        acts.extend([
            "creat {W}/secret/key",
            "creat {W}/.git/hooks/pre-commit",
            "unlink-legacy {W}/secret/key",
            "mkdir-legacy {W}/secret/new",
            "mknod-legacy {W}/secret/new fifo",
            "symlink-legacy {W}/sub/mine {W}/secret/new",
        ]);
    }
    // What needs an empty directory fails otherwise for another reason.
    let prepare = |scene: &Scene| {
        std::fs::remove_file(scene.work().join("secret/deep/er")).expect("it is there");
    };
    let scene = Scene::new();
    prepare(&scene);
    refused_in(&scene, &prepare, "EACCES", &acts);
}

#[test]
fn nothing_is_moved_into_out_of_or_onto_what_is_denied() {
    let scene = Scene::new();
    let mut acts = vec![
        "rename {W}/secret {W}/public",
        "rename {W}/secret/key {W}/sub/key",
        "rename {W}/secret {W}/sub/secret",
        "rename {W}/.git {W}/git",
        "rename {W}/.git/hooks {W}/sub/hooks",
        "rename {W} {O}/w",
        "rename {W}/sub/mine {W}/.git/hooks/pre-commit",
        "rename {W}/sub/mine {W}/.git/hooks/post-commit",
        "rename {W}/sub/mine {W}/secret/key",
        "rename {W}/sub/mine {W}/.git/hooks/pre-commit exchange",
        "rename {W}/.git/hooks/pre-commit {W}/sub/mine exchange",
        "rename {W}/sub/deep {W}/.git/hooks exchange",
        "rename {W}/secret {W}/sub exchange",
        "rename {W}/secret/key {W}/sub/mine exchange",
        "rename {O}/file {W}/sub/taken",
        "rename {W}/sub/mine {O}/given",
        "rename {W}/sub/mine {O}/file exchange",
    ];
    if cfg!(target_arch = "x86_64") {
        acts.extend([
            "rename-legacy {W}/secret {W}/public",
            "rename-legacy {W}/sub/mine {W}/.git/hooks/pre-commit",
        ]);
    }
    // A directory cannot be put where files are with either answer of the kernel.
    let performed = {
        let before = scene.snapshot();
        let performed = scene.perform(&acts.join(" -- "));
        assert_unchanged(&before, &scene.snapshot());
        performed
    };
    for (act, answer) in acts.iter().zip(performed.answers()) {
        // Landlock answers EXDEV where the right to move between directories alone is missing.
        assert!(
            ["errno EACCES", "errno EXDEV"].contains(&answer),
            "{act}: {answer}"
        );
        let free = Scene::new();
        let outside = run(&mut free.unconfined(act)).stdout;
        if outside.trim_end() != "ok" {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {outside} anyway"),
            );
        }
    }
    assert_eq!(performed.answers().len(), acts.len());
}

#[test]
fn whiteouts_are_not_made() {
    // They are devices, and need no privilege.
    refused(
        "EPERM",
        &[
            "rename {W}/sub/mine {W}/sub/moved whiteout",
            "rename {W}/sub/mine {W}/sub/moved whiteout,noreplace",
        ],
    );
}

#[test]
fn no_other_name_is_made_for_what_is_denied() {
    let scene = Scene::new();
    let acts = [
        "link {W}/secret/key {W}/sub/alias",
        "link-fd {W}/secret/key {W}/sub/alias",
        "link-magic {W}/secret/key {W}/sub/alias",
        "link {O}/file {W}/sub/alias",
        "link-fd {O}/file {W}/sub/alias",
        "link-magic {O}/file {W}/sub/alias",
        "link {W}/sub/mine {W}/.git/hooks/post-commit",
        "link {W}/.git/hooks/pre-commit {W}/sub/alias",
        "link {W}/sub/mine {O}/alias",
    ];
    let before = scene.snapshot();
    let performed = scene.perform(&acts.join(" -- "));
    assert_unchanged(&before, &scene.snapshot());
    for (act, answer) in acts.iter().zip(performed.answers()) {
        // Landlock answers EXDEV where the right to move between directories alone is missing; ENOENT is the kernel's for
        // whoever may not link a bare descriptor.
        assert!(
            ["errno EACCES", "errno EXDEV", "errno ENOENT"].contains(&answer),
            "{act}: {answer}"
        );
        let outside = run(&mut Scene::new().unconfined(act)).stdout;
        if outside.trim_end() != "ok" {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {outside} anyway"),
            );
        }
    }
    assert_eq!(performed.answers().len(), acts.len());
}

#[test]
fn what_is_denied_is_denied_under_its_other_names() {
    // Of a file that is denied, of one in a directory that is, and of one that may not be written.
    let policy = POLICY.replace("\"{W}/secret\"", "\"{W}/secret\", \"{W}/sub/hidden\"");
    let prepare = |scene: &Scene| {
        let work = scene.work();
        std::fs::write(work.join("sub/hidden"), "HIT").expect("a file");
        for (file, alias) in [
            ("sub/hidden", "sub/beside"),
            ("sub/hidden", "sub/deep/below"),
            ("secret/key", "sub/deep/key"),
            ("secret/deep/er", "sub/deep/deeper"),
            (".git/hooks/pre-commit", "sub/deep/hook"),
        ] {
            std::fs::hard_link(work.join(file), work.join(alias)).expect("a hard link");
        }
    };
    let scene = Scene::under(&policy);
    prepare(&scene);
    refused_in(
        &scene,
        &prepare,
        "EACCES",
        &[
            "read {W}/sub/beside",
            "read {W}/sub/deep/below",
            "openat2 {W}/sub/deep/below r",
            "overwrite {W}/sub/deep/below x",
            "read {W}/sub/deep/key",
            "overwrite {W}/sub/deep/key x",
            "reopen {W}/sub/deep/key path r",
            "read {W}/sub/deep/deeper",
            "overwrite {W}/sub/deep/hook x",
            "truncate {W}/sub/deep/hook 0",
            "fchmodat {W}/sub/deep/key 777",
            "fchmodat {W}/sub/deep/hook 777",
        ],
    );
    let performed = scene.perform("ask 1 {W}/sub/deep/key read -- read {W}/sub/mine");
    assert_eq!(performed.answers(), ["ok refused:denied", "ok mine"]);
}

#[test]
fn a_file_that_a_rule_names_is_written_and_keeps_its_name() {
    // Names are asked about because of what is denied in the other directory.
    let policy = POLICY.replace("\nwrite = [", "\nwrite = [\"{O}/file\", ");
    let scene = Scene::under(&policy);
    let mut acts = vec![
        "unlink {O}/file",
        "rename {O}/file {O}/new",
        "rename {O}/file {W}/sub/taken",
        "rename {W}/sub/mine {O}/file",
        "rename {W}/sub/mine {O}/file exchange",
    ];
    if cfg!(target_arch = "x86_64") {
        acts.extend(["unlink-legacy {O}/file", "rename-legacy {O}/file {O}/new"]);
    }
    refused_in(&scene, &|_| {}, "EACCES EXDEV", &acts);
    let performed = scene.perform("overwrite {O}/file fine -- read {O}/file");
    assert_eq!(
        performed.answers()[1],
        "ok fineoutside",
        "{}",
        performed.ran
    );
}

#[test]
fn what_a_pattern_denies_is_not_made_read_or_left_behind() {
    let policy = POLICY.replace("\"{W}/secret\"", "\"{W}/secret\", \"{W}/**/.env\"");
    let prepare = |scene: &Scene| {
        std::fs::write(scene.work().join("sub/.env"), "HIT").expect("a file");
    };
    let scene = Scene::under(&policy);
    prepare(&scene);
    refused_in(
        &scene,
        &prepare,
        "EACCES EXDEV",
        &[
            "read {W}/sub/.env",
            "overwrite {W}/sub/.env x",
            "write {W}/sub/deep/.env x",
            "write {W}/.env x",
            "unlink {W}/sub/.env",
            "rename {W}/sub/mine {W}/sub/.env",
            "rename {W}/sub/.env {W}/sub/env",
            "link {W}/sub/.env {W}/sub/env",
            "symlink /etc/passwd {W}/.env",
            "mkdir {W}/sub/deep/.env",
        ],
    );
}

#[test]
fn what_is_denied_and_not_there_yet_is_not_made() {
    let policy = POLICY.replace(
        "\"{W}/.git/hooks\"",
        "\"{W}/.git/hooks\", \"{W}/.vscode\", \"{W}/sub/later/tasks\"",
    );
    let scene = Scene::under(&policy);
    refused_in(
        &scene,
        &|_| {},
        "EACCES",
        &[
            "mkdir {W}/.vscode",
            "write {W}/.vscode x",
            "symlink {W}/sub {W}/.vscode",
            "rename {W}/sub/deep {W}/.vscode",
            "rename {W}/sub/deep {W}/sub/later",
            "symlink {W}/sub/deep {W}/sub/later",
        ],
    );
    // A directory on the way to it may be made, or may not be: what is denied in it is not made then either.
    let performed = scene.perform(
        "mkdir {W}/sub/later -- mkdir {W}/sub/later/tasks -- write {W}/sub/later/tasks x -- rename {W}/sub/mine {W}/sub/later/tasks -- symlink {W}/sub/deep {W}/sub/later/tasks -- rename {W}/sub/later {W}/sub/deep/later",
    );
    for answer in &performed.answers()[1..] {
        assert!(
            ["errno EACCES", "errno ENOENT", "errno EXDEV"].contains(answer),
            "{}",
            performed.ran
        );
    }
    let later = scene.work().join("sub/later");
    assert!(!later.join("tasks").exists() && !scene.work().join("sub/deep/later").exists());
}

#[test]
fn a_grant_covers_a_name_and_not_those_that_begin_like_it() {
    let policy = "version = 1\n[fs]\nexec = [\"{P}\"]\nread = [\"{W}\", \"{O}/file\"]\nwrite = [\"{W}/sub/deep\"]\n";
    let prepare = |scene: &Scene| {
        for name in ["outside/filex", "w/sub/deeper", "w/sub/deepx/y"] {
            let path = scene.work().parent().expect("the base").join(name);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            std::fs::write(path, "HIT").expect("a file");
        }
    };
    let scene = Scene::under(policy);
    prepare(&scene);
    refused_in(
        &scene,
        &prepare,
        "EACCES",
        &[
            "read {O}/filex",
            "overwrite {O}/file x",
            "overwrite {W}/sub/deeper x",
            "overwrite {W}/sub/deepx/y x",
            "overwrite {W}/sub/mine x",
            "rename {W}/sub/deep {W}/sub/other",
        ],
    );
    let performed = scene.perform("read {O}/file -- overwrite {W}/sub/deep/mine new");
    assert_eq!(performed.answers(), ["ok HIT outside", "ok"]);
}

#[test]
fn a_descriptor_is_reopened_with_no_more_rights_than_its_file_has() {
    refused(
        "EACCES",
        &[
            "reopen {W}/.git/hooks/pre-commit r rw",
            "reopen {W}/.git/hooks/pre-commit r w",
            "reopen {W}/.git/hooks/pre-commit path w",
            "reopen {W}/.git/hooks/pre-commit r w,trunc",
            "reopen /etc/passwd r rw",
            "openat {W}/sub ../secret/key r",
            "openat {O} file r",
        ],
    );
}

#[test]
fn the_descriptors_directory_is_no_way_up() {
    // Twenty spellings: what /dev/fd and /proc/self/fd lead to, with something behind it.
    let mut acts = Vec::new();
    for link in [
        "/dev/fd/40",
        "/proc/self/fd/40",
        "/proc/thread-self/fd/40",
        "/proc/self/task/../fd/40",
    ] {
        for rest in [
            "../secret/key",
            "./../secret/key",
            "deep/../../secret/key",
            "../../outside/file",
            "../.git/../secret/./key",
        ] {
            acts.push(format!("hold-as 40 {{W}}/sub path -- read {link}/{rest}"));
        }
    }
    let acts: Vec<&str> = acts.iter().map(String::as_str).collect();
    for act in acts {
        let scene = Scene::new();
        let outside = run(&mut scene.unconfined(act)).stdout;
        let performed = scene.perform(act);
        assert_eq!(performed.answers(), ["ok", "errno EACCES"], "{act}");
        if !outside.contains("ok HIT") {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {outside} anyway"),
            );
        }
    }
}

#[test]
fn a_path_longer_than_any_buffer_ends_where_it_began() {
    let scene = Scene::new();
    let deep: String = "chdir dddddddddddddddddddddddddddddd -- ".repeat(300);
    let up = "../".repeat(301);
    let make: String =
        "mkdir dddddddddddddddddddddddddddddd -- chdir dddddddddddddddddddddddddddddd -- "
            .repeat(300);
    let acts =
        format!("chdir {{W}}/sub -- {make} read {up}secret/key -- chdir {{W}}/sub -- {deep} cwd");
    let performed = scene.perform(&acts);
    // Where directories of which nobody can say the name are not made, it led elsewhere.
    let answer = performed.answers()[601];
    assert!(
        ["errno EACCES", "errno ENOENT"].contains(&answer),
        "{answer}"
    );
    let free = Scene::new();
    assert!(
        run(&mut free.unconfined(&acts))
            .stdout
            .contains("ok HIT the key")
    );
}

#[test]
fn devices_are_neither_made_nor_opened() {
    require!(feature::root());
    let prepare = |_: &Scene| {};
    let scene = Scene::new();
    let acts = [
        "mknod {W}/sub/device character 0x103",
        "mknod {W}/sub/device character 0",
        "mknod {W}/sub/device block 0x800",
    ];
    let before = scene.snapshot();
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert!(
            ["errno EACCES", "errno EPERM"].contains(&answer),
            "{act}: {answer}"
        );
    }
    assert_unchanged(&before, &scene.snapshot());
    let there: Vec<&str> = [
        "open /dev/mem r",
        "open /dev/kmsg r",
        "open /dev/sda r",
        "open /dev/vda r",
        "open /dev/uinput r",
        "open /dev/fuse rw",
        "open /dev/kvm rw",
        "open /dev/vhost-vsock rw",
        "open /dev/net/tun rw",
        "open /dev/loop-control rw",
        "open /dev/mapper/control rw",
    ]
    .into_iter()
    .filter(|act| std::path::Path::new(act.split(' ').nth(1).expect("a path")).exists())
    .collect();
    require!(if there.is_empty() {
        Err("there are no such devices here".to_owned())
    } else {
        Ok(())
    });
    refused_in(&scene, &prepare, "EACCES", &there);
}

#[test]
fn a_directory_that_is_moved_by_others_takes_no_rights_along() {
    // What the outside moves under a granted directory is granted there; what it moves out of one is not.
    let scene = Scene::new();
    let go = scene.work().join("sub/go");
    let ready = scene.work().join("sub/ready");
    let running = scene.start(
        "chdir {W}/sub/deep -- touch-and-wait {W}/sub/ready {W}/sub/go -- read mine -- write new x",
    );
    crate::harness::run::eventually_reads(&ready);
    std::fs::rename(scene.work().join("sub/deep"), scene.outside().join("moved")).expect("a move");
    std::fs::write(go, "").expect("a file");
    let ran = running.wait();
    assert_eq!(ran.lines()[2..], ["errno EACCES", "errno EACCES"], "{ran}");
    assert!(!scene.outside().join("moved/new").exists());
}

#[test]
fn a_file_that_is_gone_is_opened_with_no_more_rights_than_it_had() {
    let scene = Scene::new();
    let act = "hold-as 40 {W}/.git/hooks/pre-commit r -- touch-and-wait {W}/sub/ready {W}/sub/go -- open /proc/self/fd/40 rw -- open /dev/fd/40 w,trunc";
    let remove = |scene: &Scene| {
        crate::harness::run::eventually_reads(&scene.work().join("sub/ready"));
        std::fs::remove_file(scene.work().join(".git/hooks/pre-commit")).expect("it is there");
        std::fs::write(scene.work().join("sub/go"), "").expect("a file");
    };
    let running = scene.start(act);
    remove(&scene);
    assert_eq!(
        running.wait().lines()[2..],
        ["errno EACCES", "errno EACCES"]
    );
    let free = Scene::new();
    let running = crate::harness::run::start(&mut free.unconfined(act));
    remove(&free);
    assert_eq!(running.wait().lines()[2..], ["ok", "ok"]);
}
