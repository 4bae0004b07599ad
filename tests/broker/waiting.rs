//! What makes one claim wait makes no other wait.

use crate::harness::{feature, require};
use crate::lease::lease;
use crate::rig::*;
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use protocol::{Code, OpenFlags, OpenRequest};
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::time::Instant;
use supervisor::broker::{Outcome, Progress};
use supervisor::policy::Approver;

/// Takes a lease, which everybody waits for who opens the file.
fn leased(holder: &File) -> Result<(), String> {
    lease(holder).map_err(|error| format!("no lease can be had here: {error}"))
}

/// A hundred claims for a file that everybody has open, answered while others wait.
fn others_go_on(rig: &mut Rig) {
    let path = rig.place.join("open/fast");
    // Looked up once, it is in memory.
    rig.granted(read(&path));
    for _ in 0..100 {
        match rig.claim(read(&path)) {
            Progress::Done(outcome) => drop(granted(outcome)),
            Progress::Pending(_) => panic!("a claim that need not wait has to wait"),
        }
    }
}

#[test]
fn a_leased_file_makes_nobody_else_wait() {
    require!(feature::statmount());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/leased", "given back");
        place.write("open/fast", "");
    });
    let path = rig.place.join("open/leased");
    others_go_on(&mut rig);
    let holder = File::open(&path).unwrap();
    require!(leased(&holder));
    let ticket = rig.pend(read(&path));
    // Nothing was answered for the one that waits.
    let fast = rig.place.join("open/fast");
    for _ in 0..100 {
        assert!(matches!(
            rig.claim(read(&fast)),
            Progress::Done(Outcome::Granted(_))
        ));
        assert!(rig.broker.completed(&mut rig.log).is_empty());
    }
    drop(holder);
    assert_eq!(content(granted(rig.wait(ticket))), "given back");
}

#[test]
fn more_that_hang_than_there_are_threads_make_nobody_else_wait() {
    require!(feature::statmount());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        for number in 0..12 {
            place.write(format!("open/{number}"), "given back");
        }
        place.write("open/fast", "");
    });
    let paths: Vec<_> = (0..12)
        .map(|number| rig.place.join(format!("open/{number}")))
        .collect();
    for path in &paths {
        rig.granted(read(path));
    }
    rig.granted(read(rig.place.join("open/fast")));
    let holders: Vec<_> = paths.iter().map(|path| File::open(path).unwrap()).collect();
    for holder in &holders {
        require!(lease(holder).map_err(|error| format!("no lease can be had here: {error}")));
    }
    let tickets: Vec<_> = paths.iter().map(|path| rig.pend(read(path))).collect();
    let fast = rig.place.join("open/fast");
    for _ in 0..100 {
        assert!(matches!(
            rig.claim(read(&fast)),
            Progress::Done(Outcome::Granted(_))
        ));
    }
    assert_eq!(rig.broker.pending(), tickets.len());
    // One whose peer is gone is forgotten; the others are answered once they can be.
    rig.broker.cancel(&mut rig.log, tickets[11]);
    drop(holders);
    let answered = rig.wait_for(11);
    for (ticket, outcome) in answered {
        assert_ne!(ticket, tickets[11]);
        drop(granted(outcome));
    }
    assert_eq!(rig.broker.pending(), 0);
}

#[test]
fn what_waits_is_bounded() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/leased", "");
    });
    let path = rig.place.join("open/leased");
    rig.granted(read(&path));
    let holder = File::open(&path).unwrap();
    require!(leased(&holder));
    let (mut waiting, mut refused) = (0, 0);
    for _ in 0..300 {
        match rig.claim(read(&path)) {
            Progress::Pending(_) => waiting += 1,
            Progress::Done(Outcome::Refused(refusal)) => {
                assert_eq!(refusal.code, Code::Limit);
                refused += 1;
            }
            Progress::Done(Outcome::Granted(_)) => panic!("the lease is held"),
        }
    }
    assert!(
        waiting >= 64 && refused >= 100,
        "{waiting} wait, {refused} refused"
    );
    drop(holder);
    for (_, outcome) in rig.wait_for(waiting) {
        drop(granted(outcome));
    }
}

#[test]
fn a_fifo_that_nobody_opens_holds_nothing_up() {
    require!(feature::statmount());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&place.join("open/fifo"), mode).unwrap();
        drop(UnixListener::bind(place.join("open/socket")).unwrap());
        place.write("open/fast", "");
    });
    let fifo = rig.place.join("open/fifo");
    let refusal = rig.refused(write(&fifo));
    assert_eq!((refusal.code, refusal.errno), (Code::Failed, Errno::ENXIO));
    let reader = rig.granted(read(&fifo));
    let writer = rig.granted(write(&fifo));
    nix::unistd::write(&writer.fd, b"through").unwrap();
    drop(writer);
    assert_eq!(content(reader), "through");
    let socket = rig.place.join("open/socket");
    assert_eq!(rig.refused(read(socket)).errno, Errno::ENXIO);
    others_go_on(&mut rig);
}

#[test]
fn a_name_that_is_not_in_memory_is_looked_up_aside() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |_| {});
    let path = rig.place.join("open/nobody/looked/here");
    let ticket = rig.pend(read(path));
    let refusal = refused(rig.wait(ticket));
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::NoSuchFile, Errno::ENOENT)
    );
}

#[test]
fn a_claim_that_is_cancelled_is_recorded_and_never_answered() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/leased", "");
    });
    let path = rig.place.join("open/leased");
    rig.granted(read(&path));
    let holder = File::open(&path).unwrap();
    require!(leased(&holder));
    let ticket = rig.pend(read(&path));
    rig.broker.cancel(&mut rig.log, ticket);
    rig.broker.cancel(&mut rig.log, ticket);
    let records = rig.records();
    assert_eq!(records.len(), 2);
    assert_eq!(records[1]["code"], "unavailable");
    drop(holder);
    // Its file came after all, and was closed.
    let other = rig.pend(read(rig.place.join("open/not/there")));
    assert_eq!(refused(rig.wait(other)).code, Code::NoSuchFile);
}

#[test]
fn out_of_descriptors_is_a_refusal_and_ends_with_its_cause() {
    const NAME: &str = "waiting::out_of_descriptors_is_a_refusal_and_ends_with_its_cause";
    if !is_inner() {
        return passes(&mut inner(NAME));
    }
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "x");
    });
    let path = rig.place.join("open/a");
    rig.granted(read(&path));
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let mut held = Vec::new();
    let refusal = loop {
        match rig.ask(read(&path)) {
            Outcome::Granted(grant) => held.push(grant),
            Outcome::Refused(refusal) => break refusal,
        }
    };
    assert_eq!((refusal.code, refusal.errno), (Code::Limit, Errno::EMFILE));
    assert!(!held.is_empty());
    held.clear();
    rig.granted(read(&path));
}

#[test]
fn a_grant_costs_little() {
    require!(feature::statmount());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "x");
    });
    let path = rig.place.join("open/a");
    let request = OpenRequest {
        flags: OpenFlags::NONBLOCK,
        ..read(&path)
    };
    rig.granted(request.clone());
    let start = Instant::now();
    for _ in 0..2000 {
        assert!(matches!(
            rig.claim(request.clone()),
            Progress::Done(Outcome::Granted(_))
        ));
    }
    // Far above what it takes, far below what any wait would.
    let each = start.elapsed() / 2000;
    assert!(each.as_millis() < 5, "{each:?}");
    eprintln!("a grant takes {each:?} here");
}
