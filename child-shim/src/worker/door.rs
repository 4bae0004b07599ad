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
    Endpoint,
    Caller(u64),
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Self::Termination => 0,
            Self::Bell => 1,
            Self::Endpoint => 2,
            Self::Caller(number) => number + 3,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::Termination,
            1 => Self::Bell,
            2 => Self::Endpoint,
            number => Self::Caller(number - 3),
        }
    }
}

/// The most that is looked at before the clock is.
pub(super) const AT_ONCE: usize = 32;

/// Whoever serves waits for all of it; another thread, while it is told to, only for there being something.
#[derive(Debug)]
pub(super) struct Door {
    all: Epoll,
    /// Has `all` in it, for one time only; the clock; and the bell.
    aside: Epoll,
    clock: TimerFd,
    bell: EventFd,
}

/// `all`, in `aside`.
const SOMETHING: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLONESHOT);

impl Door {
    /// With nothing behind it.
    ///
    /// # Errors
    /// The errno of making it.
    pub(super) fn new() -> nix::Result<Self> {
        let all = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let aside = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let ringing = EpollEvent::new(EpollFlags::EPOLLIN, Source::Bell.number());
        all.add(&bell, ringing)?;
        // Neither is read there: each time that it goes off counts once.
        let once = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        aside.add(&clock, once)?;
        aside.add(&bell, once)?;
        aside.add(&all.0, EpollEvent::new(EpollFlags::empty(), 0))?;
        Ok(Self {
            all,
            aside,
            clock,
            bell,
        })
    }

    pub(super) fn add(&self, fd: impl AsFd, source: Source, events: EpollFlags) -> nix::Result<()> {
        self.all.add(fd, EpollEvent::new(events, source.number()))
    }

    pub(super) fn change(
        &self,
        fd: impl AsFd,
        source: Source,
        events: EpollFlags,
    ) -> nix::Result<()> {
        let mut event = EpollEvent::new(events, source.number());
        self.all.modify(fd, &mut event)
    }

    /// To be called before it is closed: a child that a job forked may have it open still.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // What is not there need not be removed.
        let _absent = self.all.delete(fd);
    }

    /// Waits until there is something to do, or until then, and says what.
    ///
    /// # Errors
    /// The errno of `epoll_wait(2)`.
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        now: Instant,
    ) -> nix::Result<impl Iterator<Item = (Source, EpollFlags)> + use<>> {
        let timeout = until.map_or(EpollTimeout::NONE, |time| {
            // Rounded up: a moment too early is a turn for nothing.
            let rest = time.saturating_duration_since(now) + Duration::from_micros(999);
            EpollTimeout::try_from(rest.as_millis()).unwrap_or(EpollTimeout::MAX)
        });
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = match self.all.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno),
        };
        let events = events.into_iter().take(count);
        Ok(events.map(|event| (Source::of(event.data()), event.events())))
    }

    /// From now on whoever [`sleep`](Self::sleep)s is woken by the first thing that comes, or at that time.
    ///
    /// # Errors
    /// The errno of telling the kernel.
    pub(super) fn watch(&self, until: Option<Instant>) -> nix::Result<()> {
        if let Some(time) = until {
            // A time of zero would be never.
            let rest = time.saturating_duration_since(Instant::now());
            let rest = TimeSpec::from_duration(rest.max(Duration::from_nanos(1)));
            let set = TimerSetTimeFlags::empty();
            self.clock.set(Expiration::OneShot(rest), set)?;
        }
        self.all_aside(SOMETHING)
    }

    /// Whoever sleeps is to be left alone again. That it is not woken all the same is not certain.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub(super) fn leave_alone(&self) -> nix::Result<()> {
        self.all_aside(EpollFlags::empty())
    }

    fn all_aside(&self, events: EpollFlags) -> nix::Result<()> {
        self.aside
            .modify(&self.all.0, &mut EpollEvent::new(events, 0))
    }

    /// Sleeps until there may be something to look at.
    ///
    /// # Errors
    /// The errno of `epoll_wait(2)`.
    pub(super) fn sleep(&self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 3];
        match self.aside.wait(&mut events, EpollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Wakes whoever waits or sleeps.
    pub(super) fn ring(&self) {
        // A counter that is full rings already.
        let _set = self.bell.write(1);
    }

    /// The bell was heard.
    pub(super) fn silence(&self) {
        let _rang = self.bell.read();
    }
}
