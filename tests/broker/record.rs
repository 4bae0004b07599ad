//! What cannot be recorded is not granted, and what was recorded outlives whoever wrote it.

use crate::harness::require;
use crate::harness::run::{eventually, run, start};
use crate::rig::*;
use nix::errno::Errno;
use protocol::{Code, Create, OpenFlags, OpenRequest};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use supervisor::audit::{Ending, Log, Status, verify};
use supervisor::broker::Outcome;
use supervisor::policy::Approver;

/// Where [`crowded`] has its small disk.
const DISK: &str = "SUPERVISE_TEST_DISK";

/// This test again, with a disk of its own that has room for `kib`.
fn with_disk(test: &str, kib: u32) {
    let place = crate::harness::Workspace::new();
    let inner = inner(test);
    let script = format!(
        "mount -t tmpfs -o size={kib}k none {0} && exec \"$@\"",
        place.path().display()
    );
    let namespaces: &[&str] = match nix::unistd::geteuid().is_root() {
        true => &["--mount"],
        false => &["--user", "--map-root-user", "--mount"],
    };
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(namespaces).args(command);
        unshare
    };
    let can = run(&mut unshare(&["sh", "-c", &script, "sh", "true"]));
    require!(match can.status.success() {
        true => Ok(()),
        false => Err(format!("no disk can be mounted here: {}", can.stderr)),
    });
    let mut command = unshare(&["sh", "-c", &script, "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    passes(command.env(DISK, place.path()));
}

/// Takes what is left of the disk.
fn fill(disk: &std::path::Path) -> fs::File {
    let mut file = fs::File::create(disk.join("filler")).unwrap();
    for size in [4096, 1] {
        let bytes = vec![0; size];
        while file.write_all(&bytes).is_ok() {}
    }
    file
}

#[test]
fn a_child_that_fills_the_disk_silences_nobody_and_gains_nothing() {
    const NAME: &str = "record::a_child_that_fills_the_disk_silences_nobody_and_gains_nothing";
    if !is_inner() {
        return with_disk(NAME, 1024);
    }
    let disk = PathBuf::from(std::env::var_os(DISK).unwrap());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "kept");
    });
    let path = disk.join("audit.jsonl");
    rig.log = Log::create(&path).unwrap();
    let file = rig.place.join("open/a");
    rig.granted(read(&file));
    let filler = fill(&disk);
    // There is room that was taken before.
    for _ in 0..20 {
        rig.granted(read(&file));
    }
    // But not for ever.
    let mut granted = 0;
    let refusal = loop {
        match rig.ask(read(&file)) {
            Outcome::Granted(_) => granted += 1,
            Outcome::Refused(refusal) => break refusal,
        }
        assert!(granted < 10_000);
    };
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::Unavailable, Errno::EAGAIN)
    );
    // What cannot be recorded is not done either.
    let truncate = OpenRequest {
        flags: OpenFlags::TRUNCATE,
        ..write(&file)
    };
    assert_eq!(rig.refused(truncate).code, Code::Unavailable);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    let made = rig.place.join("open/made");
    assert_eq!(
        rig.refused(create(&made, Create::Yes)).code,
        Code::Unavailable
    );
    assert!(!made.exists());
    // The record is whole, and its end still finds room.
    let report = verify(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((report.fault, report.ending), (None, Ending::Open));
    drop(filler);
    fs::remove_file(disk.join("filler")).unwrap();
    rig.granted(read(&file));
    let filler = fill(&disk);
    rig.log.finish(Status::Exited(0)).unwrap();
    let report = verify(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((report.fault, report.ending), (None, Ending::Complete));
    drop(filler);
    // So that the rig can be taken apart.
    rig.log = Log::create(&rig.state.join("other.jsonl")).unwrap();
}

#[test]
fn a_disk_without_any_room_is_a_refusal() {
    const NAME: &str = "record::a_disk_without_any_room_is_a_refusal";
    if !is_inner() {
        return with_disk(NAME, 256);
    }
    let disk = PathBuf::from(std::env::var_os(DISK).unwrap());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "");
    });
    rig.log = Log::create(&disk.join("audit.jsonl")).unwrap();
    let _filler = fill(&disk);
    let refusal = rig.refused(read(rig.place.join("open/a")));
    assert_eq!(refusal.code, Code::Unavailable);
}

#[test]
fn a_record_that_is_written_in_part_is_taken_back() {
    const NAME: &str = "record::a_record_that_is_written_in_part_is_taken_back";
    if !is_inner() {
        return passes(&mut inner(NAME));
    }
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "");
    });
    sys::signals::block(&[libc::SIGXFSZ]).unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let file = rig.place.join("open/a");
    for limit in [1000, 1001, 2500, 4097] {
        setrlimit(Resource::RLIMIT_FSIZE, limit, most).unwrap();
        let refusal = loop {
            match rig.ask(read(&file)) {
                Outcome::Granted(_) => {}
                Outcome::Refused(refusal) => break refusal,
            }
        };
        assert_eq!(refusal.code, Code::Unavailable);
        let report = verify(fs::File::open(rig.log.path()).unwrap()).unwrap();
        assert_eq!((report.fault, report.ending), (None, Ending::Open));
        setrlimit(Resource::RLIMIT_FSIZE, most, most).unwrap();
        rig.granted(read(&file));
    }
    assert!(rig.records().len() > 4);
}

#[test]
fn what_a_killed_supervisor_wrote_verifies_and_is_continued() {
    const NAME: &str = "record::what_a_killed_supervisor_wrote_verifies_and_is_continued";
    const LOG: &str = "SUPERVISE_TEST_LOG";
    if is_inner() {
        let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
            place.write("open/a", "");
        });
        rig.log = Log::create(std::path::Path::new(&std::env::var_os(LOG).unwrap())).unwrap();
        let path = rig.place.join("open/a");
        loop {
            rig.granted(read(&path));
        }
    }
    let place = crate::harness::Workspace::new();
    let path = place.join("audit.jsonl");
    let mut records = 0;
    for round in 0..8 {
        let process = start(inner(NAME).env(LOG, &path));
        let before = fs::metadata(&path).map_or(0, |status| status.len());
        eventually("something was written", || {
            fs::metadata(&path).is_ok_and(|status| status.len() > before + 1000)
        });
        process.signal(nix::sys::signal::Signal::SIGKILL);
        drop(process.wait());
        let report = verify(fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(report.fault, None);
        assert_eq!(report.breaks.len(), round);
        assert!(report.records > records);
        records = report.records;
        // What is left of its rig is not the test's: its directory is.
    }
    Log::create(&path)
        .unwrap()
        .finish(Status::Exited(0))
        .unwrap();
    let report = verify(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!((report.fault, report.ending), (None, Ending::Complete));
    assert_eq!(report.breaks.len(), 8);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn each_decision_has_one_record_and_it_comes_before_the_answer() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "");
        place.write("closed", "");
    });
    let claims = ["open/a", "closed", "open/none", "open/../closed"];
    for (at, name) in claims.iter().enumerate() {
        let request = OpenRequest {
            id: at as u64 + 10,
            why: Some("because".to_owned()),
            ..read(rig.place.join(name))
        };
        // Let go of only after the log was looked at.
        let outcome = rig.ask(request);
        let records = rig.records();
        assert_eq!(records.len(), at + 1);
        let record = &records[at];
        assert_eq!(record["id"], at as u64 + 10);
        assert_eq!(record["pid"], std::process::id());
        assert_eq!(record["why"], "because");
        assert_eq!(record["door"], "socket");
        let answer = if matches!(outcome, Outcome::Granted(_)) {
            "granted"
        } else {
            "refused"
        };
        assert_eq!(record["answer"], answer, "{name}");
    }
    let last = &rig.records()[3];
    assert_eq!(last["path"], rig.place.join("closed").to_str().unwrap());
    assert!(last["asked"].as_str().unwrap().ends_with("open/../closed"));
}

/// What the command says about a log, and its exit status.
fn command(arguments: &[&str], log: &std::path::Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(crate::harness::built::supervise());
    let ran = run(command.arg("audit").args(arguments).arg(log));
    (ran.status.code(), ran.stdout, ran.stderr)
}

#[test]
fn the_command_says_whether_a_log_is_whole_and_which_line_is_not() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a\u{1b}[2J", "");
    });
    let path = rig.log.path().to_owned();
    rig.granted(read(rig.place.join("open/a\u{1b}[2J")));
    drop(rig.refused(read(rig.place.join("open/none"))));
    let (status, said, _) = command(&["verify"], &path);
    assert_eq!(status, Some(2));
    assert!(said.contains("ends without an end record"), "{said}");

    let other = Log::create(&rig.state.join("other.jsonl")).unwrap();
    std::mem::replace(&mut rig.log, other)
        .finish(Status::Exited(3))
        .unwrap();
    let (status, said, _) = command(&["verify"], &path);
    assert_eq!(status, Some(0));
    assert!(said.starts_with("whole; 3 records"), "{said}");
    let (status, said, _) = command(&["verify", "--json"], &path);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &said["ending"]), (Some(0), &"complete".into()));

    let (status, said, _) = command(&["show"], &path);
    assert_eq!(status, Some(0));
    assert!(said.contains("granted  open read"), "{said}");
    assert!(said.contains("ENOENT"), "{said}");
    assert!(said.contains("exited 3; 1 granted, 1 refused"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");
    let (_, said, _) = command(&["show", "--json"], &path);
    let records = said.lines().map(serde_json::from_str::<serde_json::Value>);
    assert_eq!(records.map(Result::unwrap).count(), 3);

    let mut changed = fs::read(&path).unwrap();
    let second = changed.iter().position(|byte| *byte == b'\n').unwrap() + 60;
    changed[second] ^= 1;
    let copy = rig.state.join("changed.jsonl");
    fs::write(&copy, &changed).unwrap();
    let (status, said, _) = command(&["verify"], &copy);
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with("line 2 is not as it was written"),
        "{said}"
    );
    let (status, said, warned) = command(&["show"], &copy);
    assert_eq!((status, said.lines().count()), (Some(1), 1));
    assert!(
        warned.contains("line 2 is not as it was written"),
        "{warned}"
    );
}

#[test]
fn what_is_no_file_is_no_log() {
    let place = crate::harness::Workspace::new();
    let fifo = place.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&fifo, &place.join("missing"), &place.path()] {
        let (status, said, warned) = command(&["verify"], path);
        assert_eq!(
            (status, said.as_str()),
            (Some(125), ""),
            "{}",
            path.display()
        );
        assert!(warned.contains("cannot read the audit log"), "{warned}");
    }
}
