//! Looking at processes from the outside, and being another user.

use super::run::eventually;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Nobody's number, on every Linux.
pub const NOBODY: u32 = 65534;

/// Makes `command` run as that user and group, with no other group. Needs root.
pub fn as_uid(command: &mut Command, uid: u32) -> &mut Command {
    as_member(command, uid, &[])
}

/// The same, with these further groups.
pub fn as_member<'a>(command: &'a mut Command, uid: u32, groups: &[u32]) -> &'a mut Command {
    let groups = groups.to_owned();
    let become_that_user = move || {
        // SAFETY: setgroups(2) reads as many numbers as it is told, which the list has.
        if unsafe { libc::setgroups(groups.len(), groups.as_ptr()) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: both calls take a number, and change this process alone, which is about to execute another program.
        if unsafe { libc::setgid(uid) } != 0 || unsafe { libc::setuid(uid) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: runs between fork and exec: only system calls and an error without allocation (`last_os_error` holds a number).
    unsafe { command.pre_exec(become_that_user) }
}

/// Gives `command` each of these descriptors under its number, which must be below 100, and otherwise its standard streams alone:
/// not what whoever started the tests left open.
pub fn inherit(command: &mut Command, fds: Vec<(OwnedFd, RawFd)>) -> &mut Command {
    // Above all numbers that are given, lest one be lost before its turn.
    let lift = |(fd, number): (OwnedFd, RawFd)| {
        let lifted = sys::fds::duplicate_from(fd.as_fd(), 100).expect("a number is free");
        (lifted, number)
    };
    let fds: Vec<(OwnedFd, RawFd)> = fds.into_iter().map(lift).collect();
    let give = move || {
        // SAFETY: close_range(2) takes numbers, and closes nothing before this process executes another program.
        nix::errno::Errno::result(unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3,
                u32::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            )
        })?;
        for (fd, number) in &fds {
            // SAFETY: dup2(2) takes two numbers, and changes this process alone, which is about to execute another program.
            nix::errno::Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), *number) })?;
        }
        Ok(())
    };
    // SAFETY: runs between fork and exec: system calls alone, and an error without allocation.
    unsafe { command.pre_exec(give) }
}

/// Makes `command` lead a session of its own, whose terminal is its standard input.
pub fn lead_terminal(command: &mut Command) -> &mut Command {
    let lead = || {
        nix::unistd::setsid()?;
        // SAFETY: TIOCSCTTY takes a number.
        nix::errno::Errno::result(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) })?;
        Ok(())
    };
    // SAFETY: runs between fork and exec: two system calls, and an error without allocation.
    unsafe { command.pre_exec(lead) }
}

/// Whether there is such a process, and it is not merely waiting to be reaped.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// The state letter of proc_pid_stat(5).
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Stops a process, and waits until each of its threads stands: they go on for a moment after the signal was sent.
#[track_caller]
pub fn stop(pid: i32) {
    let signal = nix::sys::signal::Signal::SIGSTOP;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it runs");
    eventually("every thread of it stood still", || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it is there");
        threads.flatten().all(|thread| {
            let name = thread.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            number.and_then(state) == Some('T')
        })
    });
}

/// The parent, as the kernel has it now.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Waits until a process waits in one of these calls.
#[track_caller]
pub fn until_it_waits_in(pid: i32, calls: &[i64]) {
    eventually(
        &format!("{pid} waits in one of the calls {calls:?}"),
        || {
            let said = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            let number = said.split(' ').next().and_then(|word| word.parse().ok());
            number.is_some_and(|number| calls.contains(&number))
        },
    );
}

/// How often a process has given up the processor of itself, as in each call that waits for somebody.
pub fn waits(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

/// The living processes one of whose arguments contains `mark`: a word that only one test uses.
pub fn marked(mark: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("/proc is there");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(mark) && is_alive(*pid)
    })
    .collect()
}

/// Waits until none of them lives.
#[track_caller]
pub fn eventually_gone(pids: &[i32]) {
    eventually(&format!("all of {pids:?} were gone"), || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
}
