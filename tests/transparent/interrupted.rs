//! Signals for threads that wait in a call: they interrupt what they would interrupt without us, and nothing else.

use crate::harness::process::until_it_waits_in;
use crate::harness::run::Running;
use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, probe, probe_outside};
use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, listen};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A socket file called `full` in a session, whose listener's queue is full, and who is in it.
struct Full {
    supervised: Supervised,
    listener: UnixListener,
    first: UnixStream,
    workspace: Workspace,
}

impl Full {
    fn new() -> Self {
        let workspace = Workspace::new();
        let path = workspace.join("full");
        let listener = UnixListener::bind(&path).expect("the place is free");
        listen(&listener, Backlog::new(0).expect("0 is a backlog")).expect("it listens");
        listener.set_nonblocking(true).expect("it need not wait");
        let first = UnixStream::connect(&path).expect("there is room for one");
        let supervised = Supervised::new(Lists::writing(&workspace.path()));
        Self {
            supervised,
            listener,
            first,
            workspace,
        }
    }

    fn probe(&self, words: &[&str]) -> Command {
        probe(&self.workspace.path(), words)
    }

    fn start(&self, mut command: Command) -> Running {
        self.supervised.inside(move || run::start(&mut command))
    }
}

/// The same for a port, and its address.
struct FullPort {
    supervised: Supervised,
    listener: TcpListener,
    first: TcpStream,
    address: String,
    workspace: Workspace,
}

impl FullPort {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listen(&listener, Backlog::new(0).expect("0 is a backlog")).expect("it listens");
        listener.set_nonblocking(true).expect("it need not wait");
        let address = listener.local_addr().expect("it is bound");
        let first = TcpStream::connect(address).expect("there is room for one");
        let supervised = Supervised::new(Lists {
            connect: vec![address],
            ..Lists::default()
        });
        Self {
            supervised,
            listener,
            first,
            address: address.to_string(),
            workspace: Workspace::new(),
        }
    }
}

/// Ends the first in a queue; returns the second, who waited until now.
fn second<F, S>(first: F, accept: impl Fn() -> std::io::Result<S>) -> S {
    drop(first);
    let next = || {
        let mut come = None;
        run::eventually("somebody comes", || {
            come = accept().ok();
            come.is_some()
        });
        come.expect("somebody came")
    };
    drop(next());
    next()
}

#[test]
fn a_connect_that_waits_for_a_place_is_interrupted() {
    require!(feature::sockets());
    let full = Full::new();
    let act = ["alarmed-unix", "once", "full"];
    let place = full.workspace.path();
    let said = full.supervised.probe(&place, &act);
    assert_eq!(said, ["alarm", "ok EINTR, then Some(EAGAIN)"]);
    assert_eq!(said, probe_outside(&place, &act));
}

#[test]
fn a_connect_that_waits_for_a_place_is_made_again_where_the_program_wants_that() {
    require!(feature::sockets());
    let full = Full::new();
    let mut waiting = full.start(full.probe(&["alarmed-unix", "restart", "full"]));
    waiting.until_it_says("alarm");
    let _second = second(full.first, || full.listener.accept());
    assert_eq!(waiting.wait().lines(), ["alarm", "ok"]);
}

#[test]
fn a_handshake_goes_on_when_its_connect_was_interrupted() {
    require!(feature::sockets());
    let full = FullPort::new();
    let act = ["alarmed-tcp", "once", &full.address];
    let place = full.workspace.path();
    let said = full.supervised.probe(&place, &act);
    assert_eq!(said, ["alarm", "ok EINTR, then Some(EALREADY)"]);
    assert_eq!(said, probe_outside(&place, &act));
}

#[test]
fn a_handshake_is_waited_for_again_where_the_program_wants_that() {
    require!(feature::sockets());
    let full = FullPort::new();
    let act = ["alarmed-tcp", "restart", &full.address];
    let mut command = probe(&full.workspace.path(), &act);
    let mut waiting = full.supervised.inside(move || run::start(&mut command));
    waiting.until_it_says("alarm");
    // The kernel sends what was not answered again, after a second or two.
    let _second = second(full.first, || full.listener.accept());
    assert_eq!(waiting.wait().lines(), ["alarm", "ok"]);
}

#[test]
fn who_waits_for_its_turn_is_interrupted_as_well() {
    require!(feature::sockets());
    let full = Full::new();
    // More than may be under way at a time.
    let waiting: Vec<_> = (0..100)
        .map(|_| full.start(full.probe(&["alarmed-unix", "once", "full"])))
        .collect();
    for waiting in waiting {
        let said = waiting.wait();
        assert_eq!(said.lines(), ["alarm", "ok EINTR, then Some(EAGAIN)"]);
    }
}

#[test]
fn signals_that_end_a_program_end_it_while_it_waits() {
    require!(feature::sockets());
    let full = Full::new();
    // The second would write a core file, so the kernel lets the program run to that point itself.
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // The test itself may have been started with some of them ignored.
        let mut command = Command::new("env");
        command
            .arg("--default-signal")
            .arg(crate::harness::built::probe());
        command
            .args(["connect-unix", "full"])
            .current_dir(full.workspace.path());
        let waiting = full.start(command);
        until_it_waits_in(waiting.pid(), &[libc::SYS_connect]);
        waiting.signal(signal);
        assert_eq!(waiting.wait().code(), 128 + signal as i32);
    }
}

#[test]
fn a_program_is_stopped_while_it_waits_and_goes_on_waiting() {
    require!(feature::sockets());
    let full = Full::new();
    let waiting = full.start(full.probe(&["connect-unix", "full"]));
    let pid = waiting.pid();
    until_it_waits_in(pid, &[libc::SYS_connect]);
    crate::harness::process::stop(pid);
    waiting.signal(Signal::SIGCONT);
    until_it_waits_in(pid, &[libc::SYS_connect]);
    let _second = second(full.first, || full.listener.accept());
    assert_eq!(waiting.wait().lines(), ["ok"]);
}

/// A FIFO in a session where every open is answered by the door.
fn fifo(workspace: &Workspace) -> (Supervised, PathBuf, PathBuf) {
    let inside = workspace.make_dir("inside");
    let fifo = inside.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a new name");
    let supervised = Supervised::new(Lists {
        closed: true,
        ..Lists::writing(&inside)
    });
    (supervised, inside, fifo)
}

/// The other end of a FIFO, without waiting: an error where nobody reads.
fn write_at_once(fifo: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    options
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(fifo)
}

#[test]
fn an_open_that_waits_for_the_other_end_is_interrupted_and_leaves_no_end() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let (supervised, inside, _) = fifo(&workspace);
    for (flags, then) in [("rdonly", "Some(ENXIO)"), ("wronly", "None")] {
        let act = ["alarmed-open", "once", "fifo", flags];
        let said = supervised.probe(&inside, &act);
        assert_eq!(
            said,
            ["alarm", &format!("ok EINTR, then {then}")],
            "{flags}"
        );
        assert_eq!(said, probe_outside(&inside, &act), "{flags}");
    }
}

#[test]
fn an_open_goes_on_waiting_for_the_other_end_where_the_program_wants_that() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let (supervised, inside, fifo) = fifo(&workspace);
    let mut command = probe(&inside, &["alarmed-open", "restart", "fifo", "rdonly"]);
    let mut waiting = supervised.inside(move || run::start(&mut command));
    waiting.until_it_says("alarm");
    let mut writer = None;
    run::eventually("it reads again", || {
        writer = write_at_once(&fifo).ok();
        writer.is_some()
    });
    assert_eq!(waiting.wait().lines(), ["alarm", "ok"]);
}

#[test]
fn many_opens_that_wait_are_each_interrupted() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let (supervised, inside, _) = fifo(&workspace);
    // Each its own: who asks afterwards whether anybody is there lets others through.
    let waiting: Vec<_> = (0..40)
        .map(|at| {
            let name = format!("fifo{at}");
            nix::unistd::mkfifo(&inside.join(&name), nix::sys::stat::Mode::S_IRWXU)
                .expect("a new name");
            let mut command = probe(&inside, &["alarmed-open", "once", &name, "rdonly"]);
            supervised.inside(move || run::start(&mut command))
        })
        .collect();
    for waiting in waiting {
        let said = waiting.wait();
        assert_eq!(said.lines(), ["alarm", "ok EINTR, then Some(ENXIO)"]);
    }
}

#[test]
fn who_is_killed_while_it_waits_for_the_other_end_leaves_no_end() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let (supervised, inside, fifo) = fifo(&workspace);
    // More, one after the other, than may wait at a time.
    for _ in 0..100 {
        let words = ["open", "nothing", "rdonly", "--", "open", "fifo", "rdonly"];
        let mut command = probe(&inside, &words);
        let mut waiting = supervised.inside(move || run::start(&mut command));
        waiting.until_it_says("ENOENT");
        until_it_waits_in(waiting.pid(), &[libc::SYS_openat]);
        waiting.signal(Signal::SIGKILL);
        assert_eq!(waiting.wait().code(), 128 + libc::SIGKILL);
    }
    run::eventually("nobody reads any more", || write_at_once(&fifo).is_err());
}
