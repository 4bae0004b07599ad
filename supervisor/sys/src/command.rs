//! Starting a helper of the supervisor's own.

use std::os::unix::process::CommandExt;
use std::process::Command;

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
