//! Other users: whoever the pool file's group lets in may control the daemon, and nobody else.

use crate::guest::Guest;
use crate::harness::process::{NOBODY, as_member};
use crate::harness::run::{Ran, run, start};
use crate::harness::{feature, require, set_mode};
use crate::house::{House, IDLE};
use nix::unistd::Group;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use sys::process::{Limit, resource, set_limit_of};

/// Users whom nobody knows.
const MEMBER: u32 = 54_321;
const STRANGER: u32 = 54_322;

/// A group that every system has, and this user need not be in.
const GROUP: &str = "users";

fn group() -> Result<u32, String> {
    match Group::from_name(GROUP) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(format!("there is no group `{GROUP}`")),
    }
}

/// A daemon of an ordinary user, which that group may control.
fn shared(group: u32) -> House {
    let mut house = House::empty(IDLE);
    let run = house.workspace.join("run");
    let pool = house.workspace.join("workers.toml");
    let text = std::fs::read_to_string(&pool).expect("a pool file");
    let runtime = run.join("supervise");
    let daemon = format!(
        "[daemon]\nruntime = \"{}\"\ncontrol_group = \"{GROUP}\"\n",
        runtime.display()
    );
    let text = text.replace("version = 1\n", &format!("version = 1\n{daemon}"));
    std::fs::write(&pool, text).expect("a pool file");
    // Whose daemon it is has to be in the group, to give it something.
    house.give_to(NOBODY, &[group]);
    for way in [&house.workspace.path(), &run] {
        set_mode(way, 0o755);
    }
    house.open();
    house
}

/// What the daemon answers somebody with these groups.
fn asks(house: &House, (user, groups): (u32, &[u32]), words: &[&str]) -> Ran {
    let mut command = Command::new(house.workspace.join("supervise"));
    command.args(words).arg("--socket").arg(house.socket());
    command.current_dir("/").env("HOME", "/");
    run(as_member(&mut command, user, groups))
}

#[test]
fn a_member_of_the_group_controls_the_daemon_and_another_user_does_not() {
    require!(feature::root());
    require!(feature::landlock(1));
    require!(feature::program("setpriv"));
    require!(group());
    let group = group().expect("it was there");
    let house = shared(group);
    let socket = house.socket();
    let member: (u32, &[u32]) = (MEMBER, &[group]);
    let status = asks(&house, member, &["status", "--json"]).expect_code(0);
    assert!(status.stdout.contains("idle-1"), "{status}");
    asks(&house, member, &["stop", "idle"]).expect_code(0);
    asks(&house, member, &["start", "idle"]).expect_code(0);
    // It is a right to control, and to nothing else that is there.
    let directory = socket.parent().expect("a directory").to_owned();
    for (what, mode) in [
        (directory.clone(), 0o710),
        (socket.clone(), 0o660),
        (directory.join("daemon"), 0o700),
    ] {
        let status = std::fs::metadata(&what).expect("it is there");
        assert_eq!(
            status.permissions().mode() & 0o777,
            mode,
            "{}",
            what.display()
        );
    }
    for stranger in [(STRANGER, [].as_slice()), (STRANGER, &[STRANGER])] {
        let refused = asks(&house, stranger, &["stop"]).expect_code(125);
        assert!(refused.stderr.contains("Permission denied"), "{refused}");
    }
    // Not the modes alone keep the others out: who is there decides.
    for open in [directory.as_path(), &socket] {
        set_mode(open, 0o777);
    }
    for stranger in [(STRANGER, [].as_slice()), (STRANGER, &[STRANGER])] {
        let refused = asks(&house, stranger, &["stop"]).expect_code(125);
        assert!(refused.stderr.contains("did not answer"), "{refused}");
    }
    asks(&house, member, &["status"]).expect_code(0);
    // Nor anybody from a sandbox, whoever that is.
    for (user, groups) in [(NOBODY, [].as_slice()), (MEMBER, &[group]), (0, &[])] {
        let refused = tagged(&house, user, groups).expect_code(125);
        assert!(
            refused.stderr.contains("nobody from a sandbox"),
            "{refused}"
        );
    }
    let idle = asks(&house, member, &["status", "--json"]).expect_code(0);
    assert!(idle.stdout.contains("\"running\""), "{idle}");
}

/// What somebody is answered who carries a session's tag.
fn tagged(house: &House, user: u32, groups: &[u32]) -> Ran {
    let groups = match groups {
        [] => "--clear-groups".to_owned(),
        [first, ..] => format!("--groups={first}"),
    };
    let mut shell = Command::new("sh");
    // It is ours, and can be given its tag, until it becomes somebody else's.
    shell
        .args(["-c", "read go; exec setpriv \"$@\"", "sh"])
        .args([format!("--reuid={user}"), format!("--regid={user}"), groups])
        .arg(house.workspace.join("supervise"))
        .args(["stop", "--socket"])
        .arg(house.socket())
        .current_dir("/")
        .env("HOME", "/")
        .env_remove("SUPERVISE")
        .stdin(Stdio::piped());
    let mut shell = start(&mut shell);
    let tag = 1 << 61;
    let (soft, hard) = (tag, tag);
    set_limit_of(shell.pid(), resource::RTTIME, Limit { soft, hard }).expect("our own");
    let mut go = shell.child.stdin.take().expect("a pipe was asked for");
    go.write_all(b"go\n").expect("it reads");
    drop(go);
    shell.wait()
}

#[test]
fn a_daemon_without_a_group_is_its_own_users() {
    require!(feature::root());
    require!(feature::landlock(1));
    let mut house = House::empty(IDLE);
    house.give_to(NOBODY, &[]);
    set_mode(&house.workspace.path(), 0o755);
    house.open();
    let socket = house.socket();
    let (run, place) = (
        house.workspace.join("run"),
        house.workspace.join("run/supervise"),
    );
    for (what, mode) in [(&place, 0o700), (&socket, 0o600)] {
        let status = std::fs::metadata(what).expect("it is there");
        assert_eq!(status.permissions().mode() & 0o777, mode, "{what:?}");
    }
    for open in [&run, &place, &socket] {
        set_mode(open, 0o777);
    }
    for groups in [[].as_slice(), &[NOBODY]] {
        let refused = asks(&house, (STRANGER, groups), &["stop"]).expect_code(125);
        assert!(refused.stderr.contains("did not answer"), "{refused}");
    }
    // Root may do as it likes with everybody's processes anyway.
    assert_eq!(Guest::new(&house).asks(json!({"status": {}}))["ok"], true);
    assert_eq!(house.worker("idle-1")["state"], "running");
    set_mode(&place, 0o700);
    set_mode(&run, 0o700);
}
