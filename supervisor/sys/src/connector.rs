//! A process that lives for one `connect(2)` to a Unix socket.
//!
//! Whoever listens sees the credentials of the process that connects. The supervisor must not lend its own: the connector
//! enters the Landlock domains of the session first, so a peer that looks (or a kernel that, from ABI 9 on, confines this
//! connect) sees a member of the sandbox. Its capabilities and ids are those of the thread that starts it, which serves with
//! exactly the child's. A connect that waits, for a place in a full backlog, makes only this process wait.

use crate::clone::{Stack, clone_on};
use crate::pidfd::Pidfd;
use crate::raw_syscall;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Its work is a dozen system calls.
const STACK: usize = 16 * 1024;

/// The answer before there is one.
const NONE_YET: i32 = -1;

/// A connect that was begun. Dropping it ends it.
#[derive(Debug)]
pub struct Connector {
    pidfd: Pidfd,
    // The process uses both until it is gone, which `drop` waits for.
    _stack: Stack,
    task: Box<Task>,
    // Keep open what the process uses by number.
    _held: Vec<OwnedFd>,
}

/// What the process is told, and where it leaves its answer. Shared memory.
#[derive(Debug)]
struct Task {
    supervisor: c_int,
    rulesets: Vec<c_int>,
    socket: c_int,
    address: libc::sockaddr_un,
    answer: AtomicI32,
}

impl Connector {
    /// Starts connecting `socket` to the located socket file `target` (`O_PATH`), from within `rulesets`, outermost first.
    ///
    /// # Errors
    /// What prevented the process from being made. What the connect says is [`Connector::answer`].
    pub fn start(
        socket: OwnedFd,
        target: OwnedFd,
        rulesets: &[BorrowedFd<'_>],
    ) -> Result<Self, Errno> {
        // SAFETY: all zeroes is a valid sockaddr_un.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let path = format!("/proc/self/fd/{}", target.as_raw_fd());
        // The longest such name is shorter than sun_path by far; what is left over stays NUL.
        for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
            *to = from as std::ffi::c_char;
        }
        let mut task = Box::new(Task {
            supervisor: std::process::id() as c_int,
            rulesets: rulesets.iter().map(|fd| fd.as_raw_fd()).collect(),
            socket: socket.as_raw_fd(),
            address,
            answer: AtomicI32::new(NONE_YET),
        });
        let stack = Stack::new(STACK)?;
        let mut pidfd: c_int = -1;
        // No signal at its end: nobody who waits for children in general is told of it.
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
        let argument: *mut Task = &raw mut *task;
        // SAFETY: `run` makes system calls only and ends by exit. The task and the stack live in the value returned, whose
        // drop waits until the process is gone; only the atomic in it is written after this point. No flag is forbidden.
        unsafe { clone_on(&stack, flags, run, argument.cast(), &raw mut pidfd) }?;
        // SAFETY: CLONE_PIDFD stored a new descriptor, which is ours.
        let pidfd = Pidfd::from(unsafe { OwnedFd::from_raw_fd(pidfd) });
        Ok(Self {
            pidfd,
            _stack: stack,
            task,
            _held: vec![socket, target],
        })
    }

    /// What the connect said; `None` while the process is at it. A process that was killed has no answer: `ECONNABORTED`.
    pub fn answer(&self) -> Option<Result<(), Errno>> {
        match self.pidfd.has_exited() {
            Ok(true) => Some(match self.task.answer.load(Ordering::Acquire) {
                0 => Ok(()),
                NONE_YET => Err(Errno::ECONNABORTED),
                errno => Err(Errno::from_raw(errno)),
            }),
            _ => None,
        }
    }
}

impl AsFd for Connector {
    /// Readable when there is an [`Connector::answer`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // It is our child, so this can only fail when it is gone already.
        let _gone = self.pidfd.send_signal(libc::SIGKILL);
        let mut fds = [nix::poll::PollFd::new(
            self.pidfd.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        // Its memory is ours to give back only when it is gone. Killed, it is gone at once: an AF_UNIX connect waits killably.
        while nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _collected = self.pidfd.collect();
    }
}

unsafe extern "C" fn run(argument: *mut c_void) -> ! {
    // SAFETY: `start` passes a task that outlives this process.
    let task = unsafe { &*argument.cast::<Task>() };
    let answer = connect(task).err().map_or(0, |errno| errno as i32);
    task.answer.store(answer, Ordering::Release);
    loop {
        // SAFETY: ends this process only.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, 0) };
    }
}

/// System calls only: the memory is the supervisor's.
fn connect(task: &Task) -> Result<(), Errno> {
    // SAFETY: takes numbers; about this process only.
    unsafe {
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL,
            0,
            0,
            0
        )
    }?;
    // The supervisor may have died before that.
    // SAFETY: takes nothing.
    if unsafe { raw_syscall!(libc::SYS_getppid) }? != task.supervisor as usize {
        return Err(Errno::ECONNABORTED);
    }
    // SAFETY: takes numbers; about this process only.
    unsafe { raw_syscall!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }?;
    for ruleset in &task.rulesets {
        // SAFETY: takes numbers; about this process only.
        unsafe { raw_syscall!(libc::SYS_landlock_restrict_self, *ruleset, 0) }?;
    }
    let address = &raw const task.address;
    // SAFETY: the address is live and of that size.
    let connected = unsafe {
        raw_syscall!(
            libc::SYS_connect,
            task.socket,
            address,
            size_of::<libc::sockaddr_un>()
        )
    };
    connected.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn located(path: &std::path::Path) -> OwnedFd {
        use nix::fcntl::{OFlag, open};
        open(
            path,
            OFlag::O_PATH | OFlag::O_NOFOLLOW,
            nix::sys::stat::Mode::empty(),
        )
        .unwrap()
    }

    fn stream() -> OwnedFd {
        use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
        socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap()
    }

    fn wait(connector: &Connector) -> Result<(), Errno> {
        let mut fds = [PollFd::new(connector.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        connector.answer().expect("it has ended")
    }

    fn place(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("sys-connector-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_peer_sees_a_process_that_is_not_the_supervisor() {
        let path = place("peer");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = stream();
        let connector = Connector::start(socket.try_clone().unwrap(), located(&path), &[]).unwrap();
        assert_eq!(wait(&connector), Ok(()));
        drop(connector);
        let (accepted, _) = listener.accept().unwrap();
        let peer =
            nix::sys::socket::getsockopt(&accepted, nix::sys::socket::sockopt::PeerCredentials)
                .unwrap();
        assert_ne!(peer.pid(), std::process::id() as i32);
        use std::io::{Read, Write};
        UnixStream::from(socket).write_all(b"hello").unwrap();
        let mut text = String::new();
        (&accepted).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nobody_listening_is_said() {
        let path = place("nobody");
        drop(UnixListener::bind(&path).unwrap());
        let connector = Connector::start(stream(), located(&path), &[]).unwrap();
        assert_eq!(wait(&connector), Err(Errno::ECONNREFUSED));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_connect_that_waits_can_be_ended() {
        let path = place("full");
        let listener = UnixListener::bind(&path).unwrap();
        // One place in the backlog, and it is taken.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let first = Connector::start(stream(), located(&path), &[]).unwrap();
        assert_eq!(wait(&first), Ok(()));
        let second = Connector::start(stream(), located(&path), &[]).unwrap();
        let pid = pid_of(&second);
        // Until it sleeps in connect(2), it has not come to where it would wait.
        while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap()
            .contains(") S ")
        {
            std::thread::yield_now();
        }
        assert_eq!(second.answer(), None);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
        drop(second);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        std::fs::remove_file(path).unwrap();
    }

    /// A ruleset that lets nothing be executed.
    fn ruleset() -> Option<OwnedFd> {
        const EXECUTE: u64 = 1;
        // SAFETY: the kernel reads 8 bytes, the first field of its attribute, from a live word; a success is a new descriptor.
        unsafe {
            let result = libc::syscall(libc::SYS_landlock_create_ruleset, &EXECUTE, 8, 0);
            Errno::result(result)
                .ok()
                .map(|fd| OwnedFd::from_raw_fd(fd as c_int))
        }
    }

    #[test]
    fn it_connects_from_within_the_rulesets_it_is_given() {
        let path = place("ruleset");
        let _listener = UnixListener::bind(&path).unwrap();
        let Some(ruleset) = ruleset() else {
            assert_eq!(
                crate::landlock::abi(),
                0,
                "there is Landlock, but no ruleset"
            );
            return;
        };
        let inside = Connector::start(
            stream(),
            located(&path),
            &[ruleset.as_fd(), ruleset.as_fd()],
        );
        assert_eq!(wait(&inside.unwrap()), Ok(()));
        // What is no ruleset stops it: it never connects from without.
        let none = located(&path);
        let outside = Connector::start(stream(), located(&path), &[none.as_fd()]).unwrap();
        assert_eq!(wait(&outside), Err(Errno::EBADF));
        std::fs::remove_file(path).unwrap();
    }

    fn pid_of(connector: &Connector) -> i32 {
        let info = std::fs::read_to_string(format!(
            "/proc/self/fdinfo/{}",
            connector.as_fd().as_raw_fd()
        ))
        .unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        pid.unwrap().trim().parse().unwrap()
    }
}
