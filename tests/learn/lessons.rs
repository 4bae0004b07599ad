//! What is granted and what is not.

use super::harness::run::run;
use super::harness::{feature, require};
use super::house::House;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

fn nothing(_work: &std::path::Path) {}

#[test]
fn reading_executing_and_writing_are_granted_apart() {
    require!(feature::listener());
    let house = House::new(|work| {
        fs::create_dir(work.join("tools")).expect("a directory");
        for name in ["tools/run.sh", "tools/read.sh"] {
            fs::write(work.join(name), "#!/bin/sh\necho ran\n").expect("a script");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(work.join(name), mode).expect("it is ours");
        }
        fs::write(work.join("data"), "old\n").expect("a file");
    });
    let script = "tools/run.sh; cat tools/read.sh; echo more >>data";
    house.learns(&[], &["/bin/sh", "-c", script]);
    let refused = |script: &str| {
        let ran = house.under(&["/bin/sh", "-c", script]);
        assert_ne!(ran.code(), 0, "{script}: {ran}");
    };
    refused("tools/read.sh");
    refused("echo x >>tools/run.sh");
    refused("rm data");
}

#[test]
fn what_is_sensitive_is_left_out_unless_it_is_named_and_the_policy_says_so() {
    require!(feature::listener());
    let furnish = |work: &std::path::Path| fs::write(work.join("id_rsa"), "key\n").expect("a file");
    let house = House::new(furnish);
    let command = ["/bin/sh", "-c", "cat id_rsa"];
    let text = house.learn(&[], &command);
    let key = house.work().join("id_rsa").display().to_string();
    assert!(text.contains(&format!("# - {key}: reads keys")), "{text}");
    assert_ne!(house.under(&command).code(), 0, "{text}");
    drop(house);
    let house = House::new(furnish);
    let key = house.work().join("id_rsa");
    house.learns(&["--include", key.to_str().expect("text")], &command);
}

#[test]
fn a_secret_in_a_tree_that_is_listed_is_denied() {
    require!(feature::listener());
    let house = House::new(|work| {
        fs::create_dir(work.join("project")).expect("a directory");
        for name in ["a", "b", ".env"] {
            fs::write(work.join("project").join(name), "x\n").expect("a file");
        }
    });
    let text = house.learns(
        &[],
        &["/bin/sh", "-c", "ls project; cat project/a project/b"],
    );
    assert!(text.contains("\"$PWD/project/.env\""), "{text}");
    fs::write(house.work().join("project/new"), "x\n").expect("a file");
    house.under(&["/bin/cat", "project/new"]).expect_code(0);
    assert_ne!(
        house.under(&["/bin/cat", "project/.env"]).code(),
        0,
        "{text}"
    );
}

#[test]
fn in_guard_mode_what_is_sensitive_is_refused_meanwhile() {
    require!(feature::listener());
    require!(feature::root());
    let house = House::new(nothing);
    let text = house.learn(
        &["--mode", "guard"],
        &["/bin/sh", "-c", "cat /etc/shadow; exit 0"],
    );
    assert!(
        text.contains("# Refused while it was learned from:"),
        "{text}"
    );
    assert!(text.contains("# - /etc/shadow"), "{text}");
}

#[test]
fn a_service_is_granted_by_its_socket() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::program("python3"));
    let house = House::new(nothing);
    let path = house.beside.join("service");
    let _service = UnixListener::bind(&path).expect("a socket");
    let script = format!(
        "import socket; socket.socket(socket.AF_UNIX).connect('{}')",
        path.display()
    );
    let text = house.learns(&[], &["python3", "-c", &script]);
    assert!(text.contains("unix = ["), "{text}");
}

#[test]
fn what_a_preset_gives_is_not_said_again() {
    require!(feature::listener());
    let house = House::new(nothing);
    let text = house.learn(
        &["--base", "build"],
        &["/bin/sh", "-c", "echo x >made; cat made"],
    );
    assert!(text.contains("extends = [\"build\"]"), "{text}");
    assert!(
        !text.contains("[fs]") && !text.contains("[[request]]"),
        "{text}"
    );
    house.anew();
    house
        .under(&["/bin/sh", "-c", "echo x >made"])
        .expect_code(0);
}

#[test]
fn the_commands_own_status_is_returned_and_nothing_is_overwritten() {
    require!(feature::listener());
    let house = House::new(nothing);
    let ran = run(&mut house.supervise(&["learn", "--", "/bin/sh", "-c", "exit 3"]));
    assert_eq!(ran.code(), 3, "{ran}");
    assert!(ran.stdout.contains("version = 1"), "{ran}");
    fs::write(house.policy(), "mine").expect("a file");
    let policy = house.policy();
    let arguments = ["learn", "-o", policy.to_str().expect("text"), "--", "true"];
    let ran = run(&mut house.supervise(&arguments)).expect_code(125);
    assert!(ran.stderr.contains("--merge"), "{ran}");
    assert_eq!(fs::read_to_string(policy).expect("there"), "mine");
}

/// Nothing was ever run, and so nothing is there of what is kept.
#[test]
fn the_first_run_of_all_can_be_learned_from() {
    require!(feature::listener());
    let house = House::new(nothing);
    let state = house.policy().with_file_name("state");
    let mut learn = house.supervise(&["learn", "--", "/bin/sh", "-c", ":"]);
    let ran = run(learn.env("XDG_STATE_HOME", &state)).expect_code(0);
    assert!(ran.stdout.contains("version = 1"), "{ran}");
    let mode = fs::metadata(&state).expect("it was made").permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);
}
