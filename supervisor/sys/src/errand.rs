//! A process that lives for one call that is not the supervisor's: `connect(2)`, `bind(2)` or `listen(2)` on a socket, or an open
//! that waits for somebody.
//!
//! Whoever connects to a Unix socket, or listens on one, shows the credentials of the process that made the call. The supervisor
//! must not lend its own: the errand enters the Landlock domains of the session first, so a peer that looks (or a kernel that, from
//! ABI 9 on, confines a connect) sees a member of the sandbox. Its capabilities and ids are those of the thread that starts it,
//! which serves with exactly the child's. Its working directory and umask are its own, so a name can be bound as the child spelled
//! it and with the mode that the child would give it. A call that waits makes only this process wait, and can be given up without
//! a trace, as a signal gives it up: by ending the process; an open, which leaves a descriptor when it comes to its end, by a signal.

use crate::clone::{Stack, clone_on, die_with};
use crate::inet;
use crate::pidfd::Pidfd;
use crate::raw_syscall;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, c_int, c_long, c_void};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

mod opening;
#[cfg(test)]
mod tests;

use opening::Opening;

/// Its work is a dozen system calls, and a signal: what the kernel saves then takes a few pages.
const STACK: usize = 32 * 1024;

/// The answer before there is one.
const NONE_YET: i32 = -1;

/// How long somebody who was killed may take to be gone, in milliseconds. All but a hanging file server are faster, also where
/// twenty wait for each processor.
const LAST_MOMENTS: u16 = 1000;

/// What an errand is for.
#[derive(Debug)]
pub enum Act<'a> {
    /// To connect to this socket file, `O_PATH`.
    ConnectTo(OwnedFd),
    /// To connect to this address.
    Connect(SocketAddr),
    /// To bind a Unix socket to a name.
    Bind {
        /// The name: at most 108 bytes.
        name: &'a CStr,
        /// Where it begins unless it begins with a slash. `O_PATH` will do.
        directory: OwnedFd,
        /// Whose file it will be.
        maker: Maker,
    },
    /// To wait for connections, as many at a time.
    Listen(c_int),
    /// To open what is held (`O_PATH`), however long that takes.
    Open(OFlag),
}

/// As whom a file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maker {
    /// The umask.
    pub umask: u32,
    /// The user that file systems see.
    pub uid: u32,
    /// The group that file systems see.
    pub gid: u32,
}

/// A call that was begun. Dropping it ends it.
#[derive(Debug)]
pub struct Errand {
    pidfd: Pidfd,
    // What the process uses until it is gone; `None` once that was given back.
    means: Option<Means>,
}

#[derive(Debug)]
struct Means {
    _stack: Stack,
    task: Box<Task>,
    of: OwnedFd,
    _other: Option<OwnedFd>,
}

/// What the process is told, and where it leaves its answer. Shared memory.
#[derive(Debug)]
struct Task {
    supervisor: c_int,
    rulesets: Vec<c_int>,
    directory: Option<c_int>,
    maker: Option<Maker>,
    call: c_long,
    socket: c_int,
    /// The second argument when it is a number.
    backlog: c_int,
    /// The second argument when it is an address, which is the third's many bytes.
    address: Option<Vec<u8>>,
    /// An open instead.
    opening: Option<Opening>,
    answer: AtomicI32,
}

impl Errand {
    /// Starts the call on a socket, or on what is to be opened, from within `rulesets`, outermost first.
    ///
    /// # Errors
    /// What prevented the process from being made. What the call says is [`Errand::answer`].
    pub fn start(of: OwnedFd, act: Act<'_>, rulesets: &[BorrowedFd<'_>]) -> Result<Self, Errno> {
        let mut task = Task {
            supervisor: std::process::id() as c_int,
            rulesets: rulesets.iter().map(|fd| fd.as_raw_fd()).collect(),
            directory: None,
            maker: None,
            call: libc::SYS_connect,
            socket: of.as_raw_fd(),
            backlog: 0,
            address: None,
            opening: None,
            answer: AtomicI32::new(NONE_YET),
        };
        let other = match act {
            Act::ConnectTo(target) => {
                let path = format!("/proc/self/fd/{}", target.as_raw_fd());
                task.address = Some(unix(path.as_bytes()));
                Some(target)
            }
            Act::Connect(address) => {
                task.address = Some(inet::encoded(address));
                None
            }
            Act::Bind {
                name,
                directory,
                maker,
            } => {
                task.call = libc::SYS_bind;
                task.address = Some(unix(name.to_bytes()));
                task.directory =
                    (!name.to_bytes().starts_with(b"/")).then_some(directory.as_raw_fd());
                task.maker = Some(maker);
                Some(directory)
            }
            Act::Listen(backlog) => {
                (task.call, task.backlog) = (libc::SYS_listen, backlog);
                None
            }
            Act::Open(flags) => {
                task.opening = Some(Opening::new(of.as_fd(), flags));
                None
            }
        };
        let mut task = Box::new(task);
        let stack = Stack::new(STACK)?;
        let mut pidfd: c_int = -1;
        // No signal at its end: nobody who waits for children in general is told of it.
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
        let argument: *mut Task = &raw mut *task;
        // SAFETY: `run` makes system calls only and ends by exit. The task and the stack live in the value returned, whose
        // drop keeps them until the process is gone, or for ever; only atomics in it are written after this point. No flag is
        // forbidden.
        unsafe { clone_on(&stack, flags, run, argument.cast(), &raw mut pidfd) }?;
        // SAFETY: CLONE_PIDFD stored a new descriptor, which is ours.
        let pidfd = Pidfd::from(unsafe { OwnedFd::from_raw_fd(pidfd) });
        Ok(Self {
            pidfd,
            means: Some(Means {
                _stack: stack,
                task,
                of,
                _other: other,
            }),
        })
    }

    /// What the call said; `None` while the process is at it. A process that was killed has no answer: `ECONNABORTED`.
    pub fn answer(&self) -> Option<Result<(), Errno>> {
        match self.pidfd.has_exited() {
            Ok(true) => Some(self.left().unwrap_or(Err(Errno::ECONNABORTED))),
            _ => None,
        }
    }

    /// Gives the call up, as a signal would, and returns the socket with what the call said, if it came to an end first.
    pub fn give_up(mut self) -> (Option<OwnedFd>, Option<Result<(), Errno>>) {
        self.end();
        let answer = self.left();
        (self.means.take().map(|means| means.of), answer)
    }

    /// Gives an open up, as a signal would, unless it came to its end first. `EINTR`: it did not, and nothing was opened.
    ///
    /// # Errors
    /// That of the open; `EINTR`.
    pub fn give_up_open(mut self) -> Result<OwnedFd, Errno> {
        self.end();
        let opened = self.means.as_ref().and_then(|means| {
            let opening = means.task.opening.as_ref()?;
            opening.take()
        });
        match (opened, self.left()) {
            (Some(fd), _) => Ok(fd),
            (None, Some(Err(errno))) => Err(errno),
            (None, _) => Err(Errno::EINTR),
        }
    }

    fn left(&self) -> Option<Result<(), Errno>> {
        let task = &self.means.as_ref()?.task;
        match task.answer.load(Ordering::Acquire) {
            0 => Some(Ok(())),
            NONE_YET => None,
            errno => Some(Err(Errno::from_raw(errno))),
        }
    }

    /// Ends the process. Its means are given back when it is gone.
    fn end(&mut self) {
        let opening = self.means.as_ref().and_then(|it| it.task.opening.as_ref());
        let went = opening.is_some_and(|opening| {
            // Killed, it could leave a descriptor that nobody knows of.
            opening.withdraw();
            self.goes_after(opening::INTERRUPTION)
        });
        if went || self.goes_after(libc::SIGKILL) {
            let _collected = self.pidfd.collect();
        } else {
            // A file server that answers nobody keeps even the dead. Nobody waits for it: what the process uses stays its own.
            std::mem::forget(self.means.take());
        }
    }

    /// Whether the process ends when it is sent this signal.
    fn goes_after(&self, signal: c_int) -> bool {
        // It is our child, so this can only fail when it is gone already.
        let _gone = self.pidfd.send_signal(signal);
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::from(LAST_MOMENTS)) {
                Err(Errno::EINTR) => {}
                other => return other.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

impl AsFd for Errand {
    /// Readable when there is an [`Errand::answer`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if self.means.is_some() {
            self.end();
        }
    }
}

/// `struct sockaddr_un`, as long as its name. What is longer than the kernel takes is the kernel's to refuse.
fn unix(name: &[u8]) -> Vec<u8> {
    [&(libc::AF_UNIX as u16).to_ne_bytes(), name].concat()
}

unsafe extern "C" fn run(argument: *mut c_void) -> ! {
    // SAFETY: `start` passes a task that outlives this process.
    let task = unsafe { &*argument.cast::<Task>() };
    let answer = perform(task).err().map_or(0, |errno| errno as i32);
    task.answer.store(answer, Ordering::Release);
    loop {
        // SAFETY: ends this process only.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, 0) };
    }
}

/// System calls only: the memory is the supervisor's.
fn perform(task: &Task) -> Result<(), Errno> {
    die_with(task.supervisor)?;
    // SAFETY: takes numbers; about this process only.
    unsafe { raw_syscall!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }?;
    for ruleset in &task.rulesets {
        // SAFETY: takes numbers; about this process only.
        unsafe { raw_syscall!(libc::SYS_landlock_restrict_self, *ruleset, 0) }?;
    }
    if let Some(directory) = task.directory {
        // SAFETY: takes a number. This process does not share its working directory (no CLONE_FS).
        unsafe { raw_syscall!(libc::SYS_fchdir, directory) }?;
    }
    if let Some(maker) = task.maker {
        become_maker(maker)?;
    }
    if let Some(opening) = &task.opening {
        return opening.perform();
    }
    let called = match &task.address {
        Some(address) => {
            let bytes = address.as_ptr();
            // SAFETY: the address is live and of that length.
            unsafe { raw_syscall!(task.call, task.socket, bytes, address.len()) }
        }
        // SAFETY: takes numbers.
        None => unsafe { raw_syscall!(task.call, task.socket, task.backlog) },
    };
    called.map(drop)
}

fn become_maker(maker: Maker) -> Result<(), Errno> {
    // SAFETY: takes a number. This process does not share its umask (no CLONE_FS).
    unsafe { raw_syscall!(libc::SYS_umask, maker.umask) }?;
    // The group first: who gave up the user cannot change it any more.
    for (call, id) in [
        (libc::SYS_setfsgid, maker.gid),
        (libc::SYS_setfsuid, maker.uid),
    ] {
        // It returns the id before, never an error: asked again, it says whether it worked.
        // SAFETY: takes a number; about this process only.
        unsafe { raw_syscall!(call, id) }?;
        // SAFETY: the same.
        if unsafe { raw_syscall!(call, id) }? as u32 != id {
            return Err(Errno::EPERM);
        }
    }
    Ok(())
}
