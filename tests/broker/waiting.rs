//! What makes one claim wait makes no other wait.

use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::lease::lease;
use crate::rig::*;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use protocol::{Code, OpenFlags, OpenRequest};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::Instant;
use supervisor::broker::{Claim, Outcome, Peer, Progress};
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

/// A rig with a FIFO in it, and where that is.
fn with_a_fifo() -> (Rig, std::path::PathBuf) {
    let rig = Rig::new(&open_below(), Approver::Deny, |place| {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&place.join("open/fifo"), mode).unwrap();
        drop(UnixListener::bind(place.join("open/socket")).unwrap());
        place.write("open/fast", "");
    });
    let fifo = rig.place.join("open/fifo");
    (rig, fifo)
}

fn at_once(request: OpenRequest) -> OpenRequest {
    let flags = OpenFlags::NONBLOCK;
    OpenRequest { flags, ..request }
}

/// Whether somebody has the FIFO open for reading, or waits for who writes.
fn is_read(fifo: &std::path::Path) -> bool {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK;
    let opened = nix::fcntl::open(fifo, flags, nix::sys::stat::Mode::empty());
    assert!(matches!(opened, Ok(_) | Err(Errno::ENXIO)), "{opened:?}");
    opened.is_ok()
}

#[test]
fn an_end_of_a_fifo_is_granted_when_somebody_opens_the_other() {
    require!(feature::statmount());
    let (mut rig, fifo) = with_a_fifo();
    let refusal = rig.refused(at_once(write(&fifo)));
    assert_eq!((refusal.code, refusal.errno), (Code::Failed, Errno::ENXIO));
    drop(rig.granted(at_once(read(&fifo))));
    let waiting = rig.pend(read(&fifo));
    others_go_on(&mut rig);
    let writing = rig.pend(write(&fifo));
    let both = rig.wait_for(2);
    let mut both: Vec<_> = both
        .into_iter()
        .map(|(ticket, outcome)| (ticket, granted(outcome)))
        .collect();
    both.sort_by_key(|(ticket, _)| *ticket);
    let [(reads, reader), (writes, writer)] = both.try_into().expect("two");
    assert_eq!((reads, writes), (waiting, writing));
    let flags = nix::fcntl::fcntl(&reader.fd, nix::fcntl::FcntlArg::F_GETFL).unwrap();
    assert_eq!(flags & libc::O_NONBLOCK, 0);
    nix::unistd::write(&writer.fd, b"through").unwrap();
    drop(writer);
    assert_eq!(content(reader), "through");
    let socket = rig.place.join("open/socket");
    assert_eq!(rig.refused(read(socket)).errno, Errno::ENXIO);
    others_go_on(&mut rig);
}

#[test]
fn who_is_gone_leaves_no_end_of_a_fifo() {
    require!(feature::statmount());
    let (mut rig, fifo) = with_a_fifo();
    let ticket = rig.pend(read(&fifo));
    eventually("it waits", || is_read(&fifo));
    // That was a writer.
    drop(granted(rig.wait(ticket)));
    let ticket = rig.pend(read(&fifo));
    rig.broker.cancel(&mut rig.log, ticket);
    assert!(!is_read(&fifo));
    let mut asking = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let pid = asking.id() as i32;
    let process = sys::pidfd::Pidfd::open(pid).unwrap();
    let peer = Peer {
        pid,
        uid: nix::unistd::geteuid().as_raw(),
        pidfd: Some(process.as_fd()),
    };
    let Progress::Pending(ticket) = rig.claim_of(&peer, read(&fifo)) else {
        panic!("it does not wait");
    };
    asking.kill().unwrap();
    asking.wait().unwrap();
    let refusal = refused(rig.wait(ticket));
    assert_eq!(refusal.code, Code::Unavailable);
    assert!(!is_read(&fifo));
    // Nobody wakes us for it any more.
    let mut fds = [PollFd::new(rig.broker.wake_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
}

#[test]
fn so_many_wait_for_ends_of_fifos_and_no_more() {
    require!(feature::statmount());
    let (mut rig, fifo) = with_a_fifo();
    for _ in 0..32 {
        let _waits = rig.pend(read(&fifo));
    }
    assert_eq!(rig.refused(read(&fifo)).code, Code::Limit);
    others_go_on(&mut rig);
    let writer = File::options().write(true).open(&fifo).unwrap();
    for (_, outcome) in rig.wait_for(32) {
        drop(granted(outcome));
    }
    drop(writer);
    let _waits = rig.pend(read(&fifo));
}

#[test]
fn what_all_ask_over_is_not_kept_for_a_fifo() {
    let (mut rig, fifo) = with_a_fifo();
    let own = sys::pidfd::Pidfd::open(std::process::id() as i32).unwrap();
    let peer = Peer {
        pid: std::process::id() as i32,
        uid: nix::unistd::geteuid().as_raw(),
        pidfd: Some(own.as_fd()),
    };
    let claim = Claim::new(read(&fifo)).unwrap().alone();
    let outcome = match rig.broker.claim(&mut rig.log, &peer, claim) {
        Progress::Done(outcome) => outcome,
        Progress::Pending(ticket) => rig.wait(ticket),
    };
    assert_eq!(refused(outcome).errno, Errno::EAGAIN);
    assert!(!is_read(&fifo));
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
