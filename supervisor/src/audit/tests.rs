//! The log and its verification, together.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use proptest::prelude::*;

use super::*;
use crate::policy::{Access, Origin};

struct Place {
    directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    Place { directory, path }
}

fn who() -> Who<'static> {
    Who {
        pid: 42,
        uid: 1000,
        exe: Some(Bytes(b"/usr/bin/python3")),
    }
}

fn granted() -> Event<'static> {
    Event::Decision(Decision {
        id: Some(7),
        path: Some(Bytes(b"/data/a")),
        access: Some(Access::READ),
        expires_ms: Some(1000),
        ..Decision::new(Door::Socket, "open", who(), Answer::Granted)
    })
}

fn refused<'a>(path: &'a [u8], rule: &'a Origin) -> Event<'a> {
    Event::Decision(Decision {
        asked: Some(Bytes(path)),
        code: Some("denied"),
        errno: Some(Errno::EACCES),
        rule: Some(rule),
        ..Decision::new(Door::Socket, "open", who(), Answer::Refused)
    })
}

/// A log of two runs, the second of which was cut off and continued: every kind of line is in it.
fn sample(path: &Path) -> Vec<u8> {
    let rule = Origin::flag("--deny");
    let mut log = Log::create(path).unwrap();
    log.record(&granted()).unwrap();
    log.record(&refused(b"/a\xff\x1b[2K", &rule)).unwrap();
    log.finish(Status::Exited(0)).unwrap();
    let mut log = Log::create(path).unwrap();
    log.record(&granted()).unwrap();
    drop(log);
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"{\"seq\":4,\"prev\":\"01").unwrap();
    let mut log = Log::create(path).unwrap();
    log.record(&refused(b"/data/b", &rule)).unwrap();
    log.finish(Status::Killed(9)).unwrap();
    fs::read(path).unwrap()
}

fn lines(log: &[u8]) -> Vec<&[u8]> {
    log.split_inclusive(|byte| *byte == b'\n').collect()
}

#[test]
fn what_was_written_verifies() {
    let place = place();
    let log = sample(&place.path);
    let report = verify(&log[..]).unwrap();
    assert_eq!(report.fault, None);
    assert_eq!(report.ending, Ending::Complete);
    // Four of ours, the break, two ends; and one line that was torn.
    assert_eq!(report.records, 7);
    assert_eq!(lines(&log).len(), 8);
    let torn_bytes = "{\"seq\":4,\"prev\":\"01\n".len() as u64;
    assert_eq!(
        report.breaks,
        [Break {
            line: 6,
            torn_bytes
        }]
    );
    assert_eq!(verify(&b""[..]).unwrap().ending, Ending::Empty);
}

#[test]
fn records_are_json_that_says_what_was_decided() {
    let place = place();
    let log = sample(&place.path);
    let first: serde_json::Value = serde_json::from_slice(lines(&log)[0]).unwrap();
    assert_eq!(first["event"], "decision");
    assert_eq!(first["answer"], "granted");
    assert_eq!(first["pid"], 42);
    assert_eq!(first["path"], "/data/a");
    assert_eq!(first["access"][0], "read");
    let second: serde_json::Value = serde_json::from_slice(lines(&log)[1]).unwrap();
    assert_eq!(second["prev"], first["hash"]);
    assert_eq!(second["errno"], "EACCES");
    assert_eq!(second["rule"], "--deny flag");
    assert_eq!(second["asked"]["b64"], "L2H/G1sySw==");
    let end: serde_json::Value = serde_json::from_slice(lines(&log)[2]).unwrap();
    assert_eq!(end["status"]["exited"], 0);
    assert_eq!((&end["granted"], &end["refused"]), (&1.into(), &1.into()));
}

#[test]
fn every_flipped_bit_is_found_and_its_line_named() {
    let place = place();
    let log = sample(&place.path);
    let mut line = 1;
    for bit in 0..log.len() * 8 {
        let mut changed = log.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let report = verify(&changed[..]).unwrap();
        match report.fault {
            Some(Fault::Changed { line: found } | Fault::Misplaced { line: found }) => {
                // A torn line is vouched for by the break after it: without that, it is the first that is wrong.
                assert_eq!(found, if line == 6 { 5 } else { line }, "bit {bit}");
            }
            // The newline at the very end.
            None => assert_eq!(
                (report.ending, bit / 8),
                (Ending::Torn { line }, log.len() - 1)
            ),
        }
        if log[bit / 8] == b'\n' && bit % 8 == 7 {
            line += 1;
        }
    }
}

#[test]
fn every_line_that_is_gone_doubled_or_elsewhere_is_found() {
    let place = place();
    let log = sample(&place.path);
    let lines = lines(&log);
    let last = lines.len() - 1;
    let is_found = |lines: &[&[u8]]| verify(&lines.concat()[..]).unwrap().fault.is_some();
    for at in 0..lines.len() {
        let mut gone = lines.clone();
        gone.remove(at);
        assert_eq!(is_found(&gone), at != last, "line {at} gone");
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        assert!(is_found(&doubled), "line {at} doubled");
        for other in 0..at {
            let mut exchanged = lines.clone();
            exchanged.swap(at, other);
            assert!(is_found(&exchanged), "lines {at} and {other} exchanged");
        }
    }
}

#[test]
fn a_cut_tail_is_told_from_a_whole_log() {
    let place = place();
    let log = sample(&place.path);
    let ends: Vec<usize> = lines(&log)
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    for length in 1..log.len() {
        let report = verify(&log[..length]).unwrap();
        // Behind the first run's end and behind the break no run is open; both are where a log may end.
        let may_end = length == ends[2] || length == ends[5];
        let is_whole = report.fault.is_none() && report.ending == Ending::Complete;
        assert_eq!(is_whole, may_end, "{length} bytes: {report:?}");
        // The first four lines hold no torn one: there a cut is never called a change.
        if length <= ends[3] {
            assert_eq!(report.fault, None, "{length} bytes");
            let expected = match ends.contains(&length) {
                true if may_end => Ending::Complete,
                true => Ending::Open,
                false => Ending::Torn {
                    line: ends.iter().filter(|end| **end < length).count() as u64 + 1,
                },
            };
            assert_eq!(report.ending, expected, "{length} bytes");
        }
    }
}

#[test]
fn a_torn_end_of_any_length_is_marked_and_the_chain_goes_on() {
    let place = place();
    let mut log = Log::create(&place.path).unwrap();
    log.record(&granted()).unwrap();
    log.record(&granted()).unwrap();
    drop(log);
    let whole = fs::read(&place.path).unwrap();
    for length in 20..whole.len() {
        fs::write(&place.path, &whole[..length]).unwrap();
        let log = Log::create(&place.path).unwrap();
        log.finish(Status::Exited(0)).unwrap();
        let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
        assert_eq!(report.fault, None, "{length} bytes");
        assert_eq!(report.ending, Ending::Complete, "{length} bytes");
        assert_eq!(report.breaks.len(), 1, "{length} bytes");
    }
}

#[test]
fn a_break_that_was_itself_torn_is_marked() {
    let place = place();
    let mut log = Log::create(&place.path).unwrap();
    log.record(&granted()).unwrap();
    drop(log);
    for rest in ["{\"seq\"", "\n{\"seq\":1,", "\n\n{\"a"] {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&place.path)
            .unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        drop(Log::create(&place.path).unwrap());
    }
    let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
    assert_eq!((report.fault, report.breaks.len()), (None, 3));
}

#[test]
fn a_run_without_an_end_is_marked_by_the_next() {
    let place = place();
    let mut log = Log::create(&place.path).unwrap();
    log.record(&granted()).unwrap();
    drop(log);
    let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
    assert_eq!((report.fault, report.ending), (None, Ending::Open));
    let log = Log::create(&place.path).unwrap();
    log.finish(Status::TimedOut).unwrap();
    let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
    let expected = [Break {
        line: 2,
        torn_bytes: 0,
    }];
    assert_eq!(report.breaks, expected);
}

#[test]
fn the_file_is_private_and_what_is_not_is_refused() {
    let place = place();
    let log = Log::create(&place.path).unwrap();
    assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o7777, 0o600);
    assert!(matches!(Log::create(&place.path), Err(Error::Busy { .. })));
    drop(log);

    let refused = |path: &Path| match Log::create(path) {
        Err(Error::Open { .. }) => "open",
        Err(Error::Unfit { .. }) => "unfit",
        other => panic!("{other:?}"),
    };
    let link = place.directory.path().join("link");
    symlink(&place.path, &link).unwrap();
    assert_eq!(refused(&link), "open");
    let fifo = place.directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(refused(&fifo), "unfit");
    let alias = place.directory.path().join("alias");
    fs::hard_link(&place.path, &alias).unwrap();
    assert_eq!(refused(&place.path), "unfit");
    fs::remove_file(&alias).unwrap();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(refused(&place.path), "unfit");
}

#[test]
fn a_file_that_is_no_log_is_not_written_to() {
    let place = place();
    for text in ["Dear diary,\ntoday", "{\"seq\":1}\n", "\n"] {
        fs::write(&place.path, text).unwrap();
        fs::set_permissions(&place.path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Log::create(&place.path), Err(Error::Unfit { .. })));
        assert_eq!(fs::read_to_string(&place.path).unwrap(), text);
    }
}

#[test]
fn runs_at_the_same_time_have_logs_of_their_own_and_later_ones_use_them_again() {
    let place = place();
    let directory = place.directory.path().join("state/audit");
    let first = Log::in_directory(&directory).unwrap();
    let second = Log::in_directory(&directory).unwrap();
    assert_eq!(first.path(), directory.join("audit.jsonl"));
    assert_eq!(second.path(), directory.join("audit.1.jsonl"));
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
    drop(first);
    let third = Log::in_directory(&directory).unwrap();
    assert_eq!(third.path(), directory.join("audit.jsonl"));

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(
        Log::in_directory(&directory),
        Err(Error::Unfit { .. })
    ));
}

#[test]
fn space_is_allocated_ahead_and_not_twice() {
    let place = place();
    let mut log = Log::create(&place.path).unwrap();
    log.record(&granted()).unwrap();
    let first = fs::metadata(&place.path).unwrap();
    assert!(first.len() < 1024, "nothing of it can be seen in the file");
    log.finish(Status::Exited(0)).unwrap();
    for _ in 0..20 {
        let mut log = Log::create(&place.path).unwrap();
        log.ready().unwrap();
        log.finish(Status::Exited(0)).unwrap();
    }
    let last = fs::metadata(&place.path).unwrap();
    // A file system that allocates nothing ahead is no failure, but one that is asked again and again for the same is.
    assert!(last.blocks() * 512 <= first.blocks() * 512 + 256 * 1024);
}

#[test]
fn a_child_that_asks_for_ever_fills_no_disk() {
    let place = place();
    let mut log = Log::create(&place.path).unwrap();
    log.limit(200_000);
    let rule = Origin::flag("--deny");
    let mut recorded = 0;
    while log.record(&refused(b"/a", &rule)).is_ok() {
        recorded += 1;
        assert!(recorded < 10_000);
    }
    assert!(recorded > 100, "{recorded}");
    assert!(log.ready().is_err());
    assert!(log.record(&granted()).is_err());
    assert!(fs::metadata(&place.path).unwrap().len() <= 200_000);
    log.finish(Status::Exited(0)).unwrap();
    let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
    assert_eq!((report.fault, report.ending), (None, Ending::Complete));
    assert_eq!(report.records, recorded + 1);
}

#[test]
fn a_lock_that_is_held_by_a_reader_is_respected() {
    let place = place();
    drop(Log::create(&place.path).unwrap());
    let reader = fs::File::open(&place.path).unwrap();
    let lock = Flock::lock(reader, FlockArg::LockSharedNonblock).unwrap();
    assert!(matches!(Log::create(&place.path), Err(Error::Busy { .. })));
    drop(lock);
    Log::create(&place.path).unwrap();
}

#[test]
fn a_command_line_of_any_length_fits() {
    let argv: Vec<OsString> = vec!["x".repeat(5000).into(); 10];
    let (kept, more) = Start::fit(&argv);
    assert_eq!((kept.len(), more), (3, 7));
    let argv: Vec<OsString> = vec!["\u{1}".repeat(15_000).into()];
    let (argv, argv_more) = Start::fit(&argv);
    let place = place();
    let start = Event::Start(Start {
        session: "s",
        version: "0",
        pid: 1,
        uid: 0,
        argv,
        argv_more,
        directory: Bytes(b"/"),
        policies: vec![Named {
            name: Bytes(b"p.toml"),
            sha256: Digest::of(b""),
        }],
        kernel: Bytes(b"6.18"),
        landlock_abi: 7,
        landlock_errata: 3,
        layers: vec![Layer {
            name: "net",
            state: State::Enforced,
            detail: None,
        }],
        budgets: vec!["p.toml:1: path = \"/x\", 3 times".to_owned()],
    });
    Log::create(&place.path).unwrap().record(&start).unwrap();
    let report = verify(fs::File::open(&place.path).unwrap()).unwrap();
    assert_eq!((report.fault, report.runs), (None, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn records_of_any_bytes_verify(paths in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let place = place();
        let mut log = Log::create(&place.path).unwrap();
        let rule = Origin::flag("--deny");
        for path in &paths {
            log.record(&refused(path, &rule)).unwrap();
        }
        let last = log.last();
        let written = fs::read(&place.path).unwrap();
        prop_assert_eq!(lines(&written).len(), paths.len());
        let report = verify(&written[..]).unwrap();
        prop_assert_eq!(report.last, last);
        prop_assert_eq!(report.fault, None);
    }

    #[test]
    fn no_edit_passes_for_the_whole(
        at in any::<prop::sample::Index>(),
        length in 0usize..2000,
        put in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let place = place();
        let log = sample(&place.path);
        let at = at.index(log.len());
        let end = (at + length).min(log.len());
        let edited = [&log[..at], &put, &log[end..]].concat();
        let report = verify(&edited[..]).unwrap();
        let is_whole = report.fault.is_none() && report.ending == Ending::Complete;
        // What is left of a log that was cut where a run ended is a log.
        let is_cut = log.starts_with(&edited);
        prop_assert!(!is_whole || is_cut, "{report:?}");
    }

    #[test]
    fn anything_can_be_verified(bytes: Vec<u8>, lines in proptest::collection::vec("[ -~]{0,80}\n", 0..8)) {
        let nothing = |log: &[u8]| verify(log).unwrap().records == 0;
        prop_assert!(nothing(&bytes));
        prop_assert!(nothing(lines.concat().as_bytes()));
    }
}
