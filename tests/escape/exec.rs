//! Executing what was not granted, gaining privileges by what was, and touching the supervisor's own program.

use crate::harness::built::{installed, probe, supervise};
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::run::run;
use crate::harness::{feature, require, set_mode};
use crate::scene::{Scene, answered_otherwise_inside, refused_in};
use std::os::fd::AsFd;

#[test]
fn what_can_be_written_is_not_executed() {
    let prepare = |scene: &Scene| {
        let copy = scene.work().join("sub/copy");
        crate::harness::built::copy_program(&probe(), &copy);
        set_mode(&copy, 0o755);
        let script = scene.work().join("sub/script");
        std::fs::write(&script, "#!/bin/sh\necho ok\n").expect("a file");
        set_mode(&script, 0o755);
        std::os::unix::fs::symlink(copy, scene.work().join("sub/link")).expect("a link");
    };
    let scene = Scene::new();
    prepare(&scene);
    for (errno, acts) in [
        (
            "EACCES",
            &[
                "exec {W}/sub/copy pid",
                "exec sub/copy pid",
                "exec {W}/sub/link pid",
                "exec {W}/sub/script",
                "exec-fd {W}/sub/copy pid",
                "exec-magic {W}/sub/copy pid",
                "exec /proc/self/cwd/sub/copy pid",
            ][..],
        ),
        (
            "EACCES",
            &["exec-memfd {P} pid", "exec-memfd {W}/sub/copy pid"],
        ),
    ] {
        refused_in(&scene, &prepare, errno, acts);
    }
}

#[test]
fn what_is_executed_from_a_granted_place_is_confined_too() {
    let scene = Scene::new();
    for way in ["exec", "exec-fd", "exec-magic"] {
        let performed = scene.perform(&format!("{way} {{P}} read {{W}}/secret/key"));
        assert_eq!(performed.answers(), ["errno EACCES"], "{way}");
    }
}

#[test]
fn memory_is_executed_only_where_files_may_be() {
    answered_otherwise_inside("EACCES", &["memfd none", "memfd exec", "memfd sealing"]);
    let performed = Scene::new().perform("memfd noexec");
    assert_eq!(performed.answers(), ["ok"]);
}

#[test]
fn address_space_layouts_are_not_weakened() {
    // ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, and both with garbage above.
    answered_otherwise_inside(
        "EPERM",
        &[
            "personality 0x40000",
            "personality 0x400000",
            "personality 0x440000",
            "personality 0x100040000",
        ],
    );
}

#[test]
fn a_set_user_id_program_gives_nothing() {
    require!(feature::root());
    let installed = installed();
    let program = installed.directory.join("set-user-id");
    crate::harness::built::copy_program(&probe(), &program);
    std::os::unix::fs::chown(&program, Some(NOBODY), Some(NOBODY)).expect("root may");
    set_mode(&program, 0o6755);
    let scene = Scene::new();
    scene.policy(&crate::scene::POLICY.replace(
        "\"{P}\"",
        &format!("\"{}\"", installed.directory.path().display()),
    ));
    let program = program.to_str().expect("UTF-8");
    let outside = run(std::process::Command::new(program).arg("ids"));
    require!(if outside.stdout.contains("uid=0,65534,") {
        Ok(())
    } else {
        Err(format!("set-user-ID does nothing here: {outside}"))
    });
    let inside = run(&mut scene.supervise(&[program, "ids", "--", "caps"]));
    assert_eq!(inside.lines()[0], "ok uid=0,0,0 gid=0,0,0");
    assert!(
        inside.lines()[1].starts_with("ok effective=0 permitted=0 "),
        "{inside}"
    );
    assert!(inside.lines()[1].ends_with("no_new_privs=1"), "{inside}");
}

#[test]
fn capabilities_of_a_file_give_nothing() {
    require!(feature::root());
    let installed = installed();
    let program = installed.directory.join("capable");
    crate::harness::built::copy_program(&probe(), &program);
    set_mode(&program, 0o755);
    // `struct vfs_cap_data` of revision 2: effective, NET_BIND_SERVICE permitted.
    let mut value = 0x0200_0001u32.to_le_bytes().to_vec();
    value.extend((1u32 << 10).to_le_bytes());
    value.extend([0; 12]);
    let set = sys::metadata::set_xattr(
        std::fs::File::open(&program).expect("a copy").as_fd(),
        c"security.capability",
        &value,
        0,
    );
    require!(set.map_err(|errno| format!("no such attribute here: {errno}")));
    let held = |ran: &crate::harness::run::Ran| ran.stdout.contains("effective=400 ");
    let outside = run(as_uid(
        std::process::Command::new(&program).arg("caps"),
        NOBODY,
    ));
    require!(if held(&outside) {
        Ok(())
    } else {
        Err(format!("capabilities of files do nothing here: {outside}"))
    });
    let home = crate::harness::Workspace::open_to_all();
    std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    let mut inside = std::process::Command::new(&installed.supervise);
    inside
        .args(["-q", "-p", "read-only", "--exec"])
        .arg(installed.directory.path())
        .arg("--")
        .arg(&program)
        .arg("caps")
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .env("XDG_STATE_HOME", home.path())
        .env("TMPDIR", home.path());
    let inside = run(as_uid(&mut inside, NOBODY));
    assert!(
        inside.lines()[0].starts_with("ok effective=0 permitted=0 "),
        "{inside}"
    );
}

#[test]
fn the_supervisors_running_program_is_not_overwritten() {
    // Even where the policy lets everything beside it be written.
    let scene = Scene::new();
    let copy = scene.work().join("sub/supervise");
    crate::harness::built::copy_program(&supervise(), &copy);
    set_mode(&copy, 0o755);
    let acts = "overwrite {W}/sub/supervise x -- open {W}/sub/supervise rw -- truncate {W}/sub/supervise 0";
    let words: Vec<String> = std::iter::once(probe().display().to_string())
        .chain(scene.words(acts))
        .collect();
    let before = std::fs::read(&copy).expect("it can be read");
    let flags = ["--policy".into(), scene.policy_file()];
    let ran = run(&mut scene.supervise_by(&copy, &flags, &words));
    assert_eq!(ran.lines(), ["errno ETXTBSY"; 3]);
    assert_eq!(std::fs::read(&copy).expect("it is there"), before);
}

#[test]
fn words_of_the_command_are_no_shells() {
    let scene = Scene::new();
    let words = [
        probe().display().to_string(),
        "args".into(),
        "; touch {W}/sub/x".into(),
        "$(id)".into(),
        "`id`".into(),
        "a b".into(),
        "*".into(),
    ];
    let ran = run(&mut scene.supervise(&words));
    assert_eq!(ran.lines(), ["ok ; touch {W}/sub/x $(id) `id` a b *"]);
}
