//! What a session waits for beside its trapped calls, behind one descriptor.
//!
//! A trapped call is slept for and woken for, and each descriptor that is polled meanwhile costs twice: of seven, a microsecond for
//! every open of the child. Nearly always it is the call that came, and the rest has nothing to say. So the rest stands in an epoll
//! set, of which it is only ever asked whether anything in it is ready; then all of it is polled.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// One of the rest: a key that no other ever had or will have, its descriptor, and what it is polled for.
pub(super) type Member<'a> = (u64, BorrowedFd<'a>, PollFlags);

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// This of the trapped calls, and nothing of the rest. Empty: the time is over.
    Calls(PollFlags),
    /// Something of the rest, or that could not be told: all is to be polled.
    Rest,
}

/// The set, and who is in it.
#[derive(Debug, Default)]
pub(super) struct Rest {
    set: Option<Epoll>,
    members: Vec<(u64, RawFd, PollFlags)>,
}

impl Rest {
    /// Waits until something happens to the trapped calls or to the rest, which are all of `members`.
    ///
    /// # Errors
    /// The errno of `poll(2)`.
    pub fn wait<'a>(
        &mut self,
        calls: BorrowedFd<'_>,
        members: impl Iterator<Item = Member<'a>> + Clone,
        timeout: PollTimeout,
    ) -> Result<First, Errno> {
        let Some(set) = self.holding(members) else {
            return Ok(First::Rest);
        };
        let mut fds = [calls, set.0.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        nix::poll::poll(&mut fds, timeout)?;
        let [calls, rest] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::all()));
        Ok(match rest.is_empty() {
            true => First::Calls(calls),
            false => First::Rest,
        })
    }

    /// The set with exactly these in it. Where it is another one than before, all of it is made anew: what was closed here may live
    /// on elsewhere, and would be in the old one for as long as it does. `None`: it cannot be had.
    fn holding<'a>(&mut self, members: impl Iterator<Item = Member<'a>> + Clone) -> Option<&Epoll> {
        let known = self.members.iter().copied();
        let told = members
            .clone()
            .map(|(key, fd, what)| (key, fd.as_raw_fd(), what));
        if self.set.is_none() || !known.eq(told.clone()) {
            self.set = None;
            self.members = told.collect();
            self.set = make(members).ok();
        }
        self.set.as_ref()
    }
}

fn make<'a>(members: impl Iterator<Item = Member<'a>>) -> Result<Epoll, Errno> {
    let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (_, fd, what) in members {
        // The bits are the same ones.
        let what = EpollFlags::from_bits_retain(what.bits().into());
        match set.add(fd, EpollEvent::new(what, 0)) {
            // One that stands for several of them.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{dup2, pipe, write};
    use std::os::fd::OwnedFd;

    const NOW: PollTimeout = PollTimeout::ZERO;
    const IN: PollFlags = PollFlags::POLLIN;

    fn none() -> First {
        First::Calls(PollFlags::empty())
    }

    #[test]
    fn whoever_is_in_it_is_heard_and_nobody_else() {
        let [calls, one, other] = [(); 3].map(|()| pipe().unwrap());
        let mut rest = Rest::default();
        let mut first = |members: &[(u64, &OwnedFd, PollFlags)]| {
            let members = members
                .iter()
                .map(|(key, fd, what)| (*key, fd.as_fd(), *what));
            rest.wait(calls.0.as_fd(), members, NOW).unwrap()
        };
        assert_eq!(first(&[(0, &one.0, IN)]), none());
        write(&other.1, b"x").unwrap();
        assert_eq!(first(&[(0, &one.0, IN)]), none());
        assert_eq!(first(&[(0, &one.0, IN), (1, &other.0, IN)]), First::Rest);
        assert_eq!(first(&[(0, &one.0, IN)]), none());
        // What is asked of it changes.
        assert_eq!(first(&[(0, &one.1, PollFlags::empty())]), none());
        assert_eq!(first(&[(0, &one.1, PollFlags::POLLOUT)]), First::Rest);
        write(&calls.1, b"x").unwrap();
        assert_eq!(first(&[(0, &one.0, IN)]), First::Calls(IN));
        assert_eq!(first(&[(0, &one.0, IN), (1, &other.0, IN)]), First::Rest);
    }

    #[test]
    fn what_was_closed_here_and_lives_on_elsewhere_is_not_heard() {
        let (calls, _writer) = pipe().unwrap();
        let (mut old, writer) = pipe().unwrap();
        let elsewhere = old.try_clone().unwrap();
        let mut rest = Rest::default();
        let mut first = |key, fd: &OwnedFd| {
            let members = [(key, fd.as_fd(), IN)];
            rest.wait(calls.as_fd(), members.into_iter(), NOW).unwrap()
        };
        assert_eq!(first(0, &old), none());
        // Another one gets its number.
        let (new, _keep) = pipe().unwrap();
        dup2(&new, &mut old).unwrap();
        write(&writer, b"x").unwrap();
        assert_eq!(first(1, &old), none());
        drop(elsewhere);
    }

    #[test]
    fn one_descriptor_may_stand_for_several() {
        let (calls, _writer) = pipe().unwrap();
        let (one, writer) = pipe().unwrap();
        let mut rest = Rest::default();
        let mut first = || {
            let members = [(0, one.as_fd(), IN), (1, one.as_fd(), IN)];
            rest.wait(calls.as_fd(), members.into_iter(), NOW).unwrap()
        };
        assert_eq!(first(), none());
        write(&writer, b"x").unwrap();
        assert_eq!(first(), First::Rest);
    }
}
