//! What a worker waits for, and how one thread is called to it that otherwise sleeps.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Termination,
    /// What a job came to.
    Bell,
    /// The time that was set.
    Clock,
    Endpoint,
    Caller(u64),
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Termination => 0,
            Self::Bell => 1,
            Self::Clock => 2,
            Self::Endpoint => 3,
            Self::Caller(number) => number + 4,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::Termination,
            1 => Self::Bell,
            2 => Self::Clock,
            3 => Self::Endpoint,
            number => Self::Caller(number - 4),
        }
    }
}

/// What came of it.
type Came = (Source, EpollFlags);

/// The most that is looked at before the clock is.
const AT_ONCE: usize = 32;

/// Whoever serves waits for all of it, and is told of it again until it is dealt with. Another thread sleeps until something comes that
/// nobody waits for at that time.
///
/// Both wait for the same things *exclusively*: then the kernel asks one after the other, in the order in which they were added, and the
/// first that has somebody waiting takes it alone. So it need not be told each time when whoever served begins to do something else.
#[derive(Debug)]
pub(super) struct Door {
    all: Epoll,
    /// The same, behind it. Nothing is read there: each time that something comes counts once.
    aside: Epoll,
    clock: TimerFd,
    bell: EventFd,
}

/// In `all`.
const FIRST: EpollFlags = EpollFlags::EPOLLEXCLUSIVE;

/// In `aside`.
const BEHIND: EpollFlags = EpollFlags::EPOLLEXCLUSIVE.union(EpollFlags::EPOLLET);

impl Door {
    /// With nothing behind it.
    ///
    /// # Errors
    /// The errno of making it.
    pub(super) fn new() -> nix::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let door = Self {
            all: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            aside: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clock: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?,
            bell: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        };
        door.add(&door.bell, Source::Bell, EpollFlags::EPOLLIN)?;
        door.add(&door.clock, Source::Clock, EpollFlags::EPOLLIN)?;
        Ok(door)
    }

    pub(super) fn add(&self, fd: impl AsFd, source: Source, events: EpollFlags) -> nix::Result<()> {
        let fd = fd.as_fd();
        let first = EpollEvent::new(events | FIRST, source.number());
        self.all.add(fd, first)?;
        let behind = EpollEvent::new(events | BEHIND, source.number());
        let added = self.aside.add(fd, behind);
        if added.is_err() {
            self.remove(fd);
        }
        added
    }

    /// Who waits exclusively can only come anew. What was there before that is seen then, by both.
    pub(super) fn change(
        &self,
        fd: impl AsFd,
        source: Source,
        events: EpollFlags,
    ) -> nix::Result<()> {
        self.remove(fd.as_fd());
        self.add(fd, source, events)
    }

    /// To be called before it is closed: a child that a job forked may have it open still.
    pub(super) fn remove(&self, fd: impl AsFd) {
        for place in [&self.all, &self.aside] {
            // What is not there need not be removed.
            let _absent = place.delete(fd.as_fd());
        }
    }

    /// Waits until there is something to do, and says what.
    ///
    /// # Errors
    /// The errno of `epoll_wait(2)`.
    pub(super) fn wait(&self) -> nix::Result<impl ExactSizeIterator<Item = Came> + use<>> {
        self.come(EpollTimeout::NONE)
    }

    /// Says what there is to do.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub(super) fn look(&self) -> nix::Result<impl ExactSizeIterator<Item = Came> + use<>> {
        self.come(EpollTimeout::ZERO)
    }

    fn come(
        &self,
        timeout: EpollTimeout,
    ) -> nix::Result<impl ExactSizeIterator<Item = Came> + use<>> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = match self.all.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        let events = events.into_iter().take(count);
        Ok(events.map(|event| (Source::of(event.data()), event.events())))
    }

    /// Has the clock go off at that time, and at no other any more.
    ///
    /// # Errors
    /// The errno of `timerfd_settime(2)`.
    pub(super) fn set_clock(&self, time: Instant) -> nix::Result<()> {
        // A time of zero would be never.
        let rest = time.saturating_duration_since(Instant::now());
        let rest = TimeSpec::from_duration(rest.max(Duration::from_nanos(1)));
        let set = TimerSetTimeFlags::empty();
        self.clock.set(Expiration::OneShot(rest), set)
    }

    /// The clock was heard.
    pub(super) fn silence_clock(&self) {
        let _went_off = self.clock.wait();
    }

    /// Sleeps until there may be something to look at.
    ///
    /// # Errors
    /// The errno of `epoll_wait(2)`.
    pub(super) fn sleep(&self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        match self.aside.wait(&mut events, EpollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Wakes whoever waits, and where nobody does, whoever sleeps.
    pub(super) fn ring(&self) {
        // A counter that is full rings already.
        let _set = self.bell.write(1);
    }

    /// The bell was heard.
    pub(super) fn silence(&self) {
        let _rang = self.bell.read();
    }
}
