//! What the daemon's loop waits for: descriptors, each under a token of its own.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What names a descriptor here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Something to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Something to read.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, self.read);
        flags.set(EpollFlags::EPOLLOUT, self.write);
        flags
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub token: Token,
    /// It can be read, or its other end is closed.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// Both directions are closed, or something is wrong with it.
    pub broken: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller(Epoll);

impl Poller {
    /// One that waits for nothing yet.
    ///
    /// # Errors
    /// The errno of `epoll_create1(2)`.
    pub fn new() -> Result<Self, Errno> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    /// Waits for this descriptor too.
    ///
    /// # Errors
    /// The errno of `epoll_ctl(2)`.
    pub fn add(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Errno> {
        self.0.add(fd, EpollEvent::new(interest.flags(), token.0))
    }

    /// Waits for something else on it.
    ///
    /// # Errors
    /// The errno of `epoll_ctl(2)`.
    pub fn change(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<(), Errno> {
        self.0
            .modify(fd, &mut EpollEvent::new(interest.flags(), token.0))
    }

    /// Waits no more for it. To be called before it is closed: a duplicate elsewhere would keep it here.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // One that is not there need not be removed.
        let _absent = self.0.delete(fd);
    }

    /// Waits until something is ready, or until then.
    ///
    /// # Errors
    /// The errno of `epoll_wait(2)`, but for `EINTR`.
    pub fn wait(&self, until: Option<Instant>, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        let timeout = match until {
            None => EpollTimeout::NONE,
            // Rounded up: to wake too early is to wake twice.
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                let left = left + Duration::from_micros(999);
                EpollTimeout::try_from(left.as_millis()).unwrap_or(EpollTimeout::MAX)
            }
        };
        let mut events = [EpollEvent::empty(); 64];
        ready.clear();
        let count = match self.0.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        ready.extend(events[..count].iter().map(|event| {
            let flags = event.events();
            let has = |flag| flags.contains(flag);
            Ready {
                token: Token(event.data()),
                read: has(EpollFlags::EPOLLIN) || has(EpollFlags::EPOLLRDHUP),
                write: has(EpollFlags::EPOLLOUT),
                broken: has(EpollFlags::EPOLLHUP) || has(EpollFlags::EPOLLERR),
            }
        }));
        Ok(())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}
