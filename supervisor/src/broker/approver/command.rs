//! A program that answers: the question on its standard input, the answer its exit status.
//!
//! Of a yes it may say for whom it speaks, in one word on its standard output. A word that nobody knows is a no: who wrote it meant
//! less than all.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use protocol::Scope;
use sys::command::Starter;
use sys::pidfd::Pidfd;

use super::Answer;
use crate::broker::question::Question;

/// No word is so long.
const LONGEST: usize = 64;

/// One run of the operator's program.
#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    pidfd: Pidfd,
}

impl Program {
    /// Starts it. It gets nothing of the caller's environment, and its own process group, so that what it starts ends with
    /// it; it dies with us.
    pub fn start(
        starter: &Starter,
        command: &[String],
        question: &Question,
        timeout: Duration,
    ) -> Result<Self, &'static str> {
        let (program, arguments) = command
            .split_first()
            .ok_or("the approver's command is empty")?;
        let message = question
            .message(timeout)
            .map_err(|_| "the question cannot be written")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            // The child may have put files of its own where we are.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0);
        let mut child = starter
            .spawn(command)
            .map_err(|_| "the approver cannot be started")?;
        let pidfd = i32::try_from(child.id())
            .ok()
            .and_then(|pid| Pidfd::open(pid).ok());
        let Some(pidfd) = pidfd else {
            kill(&mut child);
            return Err("the approver cannot be waited for");
        };
        let mut program = Self { child, pidfd };
        if program.tell(&message).is_none() {
            program.end();
            return Err("the approver cannot be told the question");
        }
        Ok(program)
    }

    /// The message is shorter than any pipe, so it goes in whole; one that does not read it may still answer.
    fn tell(&mut self, message: &[u8]) -> Option<()> {
        let mut input = self.child.stdin.take()?;
        fcntl(&input, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).ok()?;
        match input.write_all(message) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => None,
            _ => Some(()),
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub fn answer(&mut self) -> Option<Answer> {
        let status = match self.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(_) => return Some(Answer::no("nobody knows how the approver ended")),
        };
        Some(match status.code() {
            Some(0) => self.said(),
            Some(_) => Answer::no("the approver refused"),
            None => Answer::no("the approver was killed"),
        })
    }

    /// For whom its yes speaks. It is read once, when it has ended: nobody waits for what it may have left running.
    fn said(&mut self) -> Answer {
        let mut said = [0; LONGEST];
        let output = self.child.stdout.take();
        let read = output.map(|mut output| {
            fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            match output.read(&mut said) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                read => read,
            }
        });
        let Some(Ok(count)) = read else {
            return Answer::no("what the approver said cannot be read");
        };
        match said.get(..count).map(<[u8]>::trim_ascii) {
            Some([]) => Answer::YES,
            Some(word) => match std::str::from_utf8(word).ok().and_then(Scope::from_name) {
                Some(scope) => Answer::yes(Some(scope)),
                None => Answer::no("the approver agreed, but to nobody knows what"),
            },
            None => Answer::no("what the approver said cannot be read"),
        }
    }

    /// Kills it and what it started.
    pub fn end(mut self) {
        kill(&mut self.child);
    }
}

/// Its number is its own, and its group's, for as long as it was not waited for.
fn kill(child: &mut Child) {
    if let Ok(Some(_)) = child.try_wait() {
        return;
    }
    let Ok(pid) = i32::try_from(child.id()) else {
        return;
    };
    // Only what is gone already cannot be killed; what is killed is waited for at once, since nothing can hold it up.
    if killpg(Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
        drop(child.wait());
    }
}
