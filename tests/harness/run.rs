//! Running a program to its end, never longer than a deadline.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use sys::seccomp;

/// Long enough for a machine that does ten other things; a test that meets it has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    /// The exit status as a shell would show it: 128 and the signal where a signal ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Itself, when it exited with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// What it printed, line by line, when it succeeded.
    #[track_caller]
    pub fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code(), 0, "{self}");
        self.stdout.lines().collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// Runs to the end with an empty standard input. Fails the test after [`DEADLINE`].
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    run_with_input(command, b"")
}

/// As [`run`], with something to read. The input must fit into a pipe.
#[track_caller]
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Ran {
    assert!(
        input.len() <= 4096,
        "the input is written before anybody reads it"
    );
    let mut running = start(command.stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().expect("a pipe was asked for");
    // A program that never reads is no failure of the test.
    let _unread = stdin.write_all(input);
    drop(stdin);
    running.wait()
}

/// Runs a supervisor where somebody else listens already, so that it can have no listener.
#[track_caller]
pub fn run_without_listener(command: &mut Command) -> Ran {
    /// Lets every call happen.
    const ALL: seccomp::Instruction = seccomp::Instruction {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            seccomp::set_no_new_privs().expect("new privileges can be given up");
            let listener = seccomp::install(&[ALL], seccomp::NEW_LISTENER);
            let ran = run(command);
            drop(listener.expect("the filter can be installed"));
            ran
        });
        confined.join().expect("the command ran")
    })
}

/// As [`run`], for what may take longer than any test: other tests.
#[track_caller]
pub fn run_within(command: &mut Command, longest: Duration) -> Ran {
    start(command.stdin(Stdio::null())).wait_within(longest)
}

/// A program that is still going. Killed when the test is over.
pub struct Running {
    pub child: Child,
    started: Instant,
    line: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Starts a program, its output kept for the test. Its standard input is empty unless `command` says otherwise.
#[track_caller]
pub fn start(command: &mut Command) -> Running {
    let line = format!("{command:?}");
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("{line}: {error}"));
    for stream in [
        child.stdout.as_ref().map(AsFd::as_fd),
        child.stderr.as_ref().map(AsFd::as_fd),
    ] {
        let stream = stream.expect("a pipe was asked for");
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(stream, nix::fcntl::FcntlArg::F_SETFL(flags))
            .expect("a pipe need not wait");
    }
    Running {
        child,
        started: Instant::now(),
        line,
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, signal)
            .expect("a child that was not waited for can be signalled");
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn until_it_says(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            let ended = self
                .child
                .try_wait()
                .expect("our own child can be waited for")
                .is_some();
            self.listen();
            if ended && !String::from_utf8_lossy(&self.stdout).contains(text) {
                panic!(
                    "{} ended without saying {text:?}\n{}",
                    self.line,
                    self.said()
                );
            }
            assert!(
                Instant::now() < deadline,
                "{} never said {text:?}\n{}",
                self.line,
                self.said()
            );
        }
    }

    /// Waits for its end. Descendants that still hold its output do not count.
    #[track_caller]
    pub fn wait(self) -> Ran {
        self.wait_within(DEADLINE)
    }

    #[track_caller]
    fn wait_within(mut self, longest: Duration) -> Ran {
        // One that serves for long is not late for having done so.
        let began = Instant::now();
        let status = loop {
            let status = self
                .child
                .try_wait()
                .expect("our own child can be waited for");
            // Read after the status was taken: nothing that it wrote can be missed.
            self.listen();
            if let Some(status) = status {
                break status;
            }
            if began.elapsed() > longest {
                panic!("{} did not end in {longest:?}\n{}", self.line, self.said());
            }
        };
        Ran {
            status,
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&self.stderr).into_owned(),
            took: self.started.elapsed(),
        }
    }

    fn said(&self) -> String {
        let [stdout, stderr] =
            [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        format!("--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }

    /// Takes what is there, waiting a moment when there is nothing.
    fn listen(&mut self) {
        let mut open = Vec::new();
        open.extend(
            self.child
                .stdout
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        open.extend(
            self.child
                .stderr
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        // An interrupted wait is a short wait.
        let _events = poll(&mut open, PollTimeout::from(2u8));
        if ended(self.child.stdout.as_mut(), &mut self.stdout) {
            self.child.stdout = None;
        }
        if ended(self.child.stderr.as_mut(), &mut self.stderr) {
            self.child.stderr = None;
        }
    }
}

/// Reads all that is there; true at the end of the stream.
fn ended(stream: Option<&mut impl Read>, into: &mut Vec<u8>) -> bool {
    let Some(stream) = stream else {
        return false;
    };
    // Stops at the end, or with an error when there is nothing more now.
    stream.read_to_end(into).is_ok()
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has been waited for already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Polls until `condition` holds. Fails the test after [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "in {DEADLINE:?} it never happened that {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Polls until the file is there and says something, and returns what it says.
#[track_caller]
pub fn eventually_reads(path: &std::path::Path) -> String {
    let mut content = String::new();
    eventually(&format!("{} was written", path.display()), || {
        content = std::fs::read_to_string(path).unwrap_or_default();
        !content.is_empty()
    });
    content
}
