//! Who has ended, and what is ended: children that are collected, and what may not be without its daemon or its keeper.

use super::line::Line;
use super::{Keeper, KeeperError, failed};
use crate::launch::{Exit, collect};
use crate::sandbox::Tag;
use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// More than this end only in a daemon's making of workers that a bomb goes off in.
const MOST_EARLY: usize = 1024;

impl Keeper {
    /// Ends what the keeper before was killed over, and what was to die with it.
    pub(super) fn end_what_was_begun(&mut self) -> Result<(), KeeperError> {
        for tag in self.marks.all().map_err(failed("read the marks"))? {
            // What came back whole is the daemon's to judge.
            if !self.table.has(tag.number()) {
                self.end(tag.number())?;
            }
        }
        Ok(())
    }

    /// Collects all who ended: the daemon, workers, and what they left behind.
    pub(super) fn reap(&mut self, line: &mut Line) -> Result<(), KeeperError> {
        while let Some((pid, code, status)) = ended()? {
            if pid == line.pid {
                line.exit = Some(match code {
                    libc::CLD_EXITED => Exit::Code(status),
                    _ => Exit::Signal(status),
                });
            } else if !self.table.exited(pid, code, status)
                && !self.begun.is_empty()
                && self.early.len() < MOST_EARLY
            {
                self.early.push((pid, code, status));
            }
        }
        Ok(())
    }

    /// After the death of a daemon: what it did not finish, and what was to die with it, is ended.
    pub(super) fn clear_up(&mut self, line: &mut Line) -> Result<(), KeeperError> {
        // What was said before its death counts.
        self.listen(line);
        for key in std::mem::take(&mut self.begun) {
            self.end(key)?;
        }
        self.early.clear();
        for key in self.table.torn() {
            self.end(key)?;
            self.table.forget(key);
        }
        for key in self.table.bound() {
            self.end(key)?;
            self.table.killed(key);
        }
        Ok(())
    }

    /// Ends what may not be without us.
    pub(super) fn end_bound(&mut self) {
        for key in self.table.bound() {
            // The kernel kills the workers themselves when we are gone, and their marks have the rest ended.
            let _left = self.end(key);
        }
    }

    /// Kills everything that carries the key, and waits until it is gone.
    fn end(&self, key: u64) -> Result<(), KeeperError> {
        if let Some(tag) = Tag::from_number(key) {
            collect(tag).map_err(failed("end a session"))?;
        }
        self.unmark(key);
        Ok(())
    }
}

/// The next child that has ended: its pid, `si_code` and `si_status`.
fn ended() -> Result<Option<(i32, i32, i32)>, KeeperError> {
    loop {
        let raw = |pid: Pid| pid.as_raw();
        return match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(pid, status)) => Ok(Some((raw(pid), libc::CLD_EXITED, status))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Ok(Some((raw(pid), libc::CLD_KILLED, signal as i32)))
            }
            Ok(_) | Err(Errno::ECHILD) => Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(failed("collect a child")(errno)),
        };
    }
}
