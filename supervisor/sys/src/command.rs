//! Starting a helper of the supervisor's own.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};

/// A thread that starts helpers, with the capabilities that its maker had when it was made.
///
/// The kernel forgets who is to die with whom when executing a program gives capabilities that the process did not have
/// (PR_SET_PDEATHSIG(2const)). A thread of root that gave its own up starts such processes; this one does not.
#[derive(Debug)]
pub struct Starter(Sender<(Command, SyncSender<io::Result<Child>>)>);

impl Starter {
    /// Starts the thread. It ends with this value.
    ///
    /// # Errors
    /// That of starting a thread.
    pub fn new() -> io::Result<Self> {
        let (sender, orders) = channel::<(Command, SyncSender<io::Result<Child>>)>();
        let work = move || {
            for (mut command, answer) in orders {
                // Whoever gave the order waits for the answer.
                let _told = answer.send(die_with_parent(&mut command).spawn());
            }
        };
        let thread = std::thread::Builder::new().name("starter".to_owned());
        thread.stack_size(STACK).spawn(work)?;
        Ok(Self(sender))
    }

    /// Starts a helper that dies with this process.
    ///
    /// # Errors
    /// That of starting it.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts helpers is gone");
        let (answer, answered) = sync_channel(1);
        self.0.send((command, answer)).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

/// Enough for what the standard library does to start a program.
const STACK: usize = 128 * 1024;

/// Makes what `command` starts die with the thread that starts it (PR_SET_PDEATHSIG(2const)).
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: takes numbers and changes the calling process alone.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // The parent may have died before.
        if std::os::unix::process::parent_id() != parent {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: runs between fork and exec: two system calls, and errors that hold a number and allocate nothing.
    unsafe { command.pre_exec(prepare) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pidfd::Pidfd;
    use std::time::{Duration, Instant};

    #[test]
    fn a_helper_dies_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            die_with_parent(command.arg("60")).spawn().unwrap()
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        let process = Pidfd::open(child.id() as i32).unwrap();
        let start = Instant::now();
        while !process.has_exited().unwrap() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        assert_eq!(child.wait().unwrap().code(), None);
    }
}
