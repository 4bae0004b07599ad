//! What keeps a connection's requests in the socket until they are answered, so that whoever serves it next finds those that were not.

use crate::{Error, Result};
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use sys::messages::{consume, look_from_the_start};

/// The requests of one connection that are still in its socket.
///
/// A socket with unread bytes in it is readable all the time: an edge tells when there are more of them.
#[derive(Debug)]
pub(crate) struct Durable {
    edge: Epoll,
    /// The frames that were looked at, in their order, and whether each is answered.
    frames: VecDeque<Looked>,
    /// There may be bytes that were not looked at.
    pub unseen: bool,
}

#[derive(Debug)]
struct Looked {
    length: usize,
    id: Option<u64>,
    is_answered: bool,
}

impl Durable {
    /// Begins with the first byte in the socket.
    pub fn new(socket: BorrowedFd<'_>) -> Result<Self> {
        look_from_the_start(socket).map_err(Error::io("setsockopt(SO_PEEK_OFF)"))?;
        let edge =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Error::io("epoll_create"))?;
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        edge.add(socket, EpollEvent::new(both, 0))
            .map_err(Error::io("epoll_ctl"))?;
        Ok(Self {
            edge,
            frames: VecDeque::new(),
            unseen: false,
        })
    }

    /// Readable when something happened: [`Durable::happened`].
    pub fn edge(&self) -> BorrowedFd<'_> {
        self.edge.0.as_fd()
    }

    /// What happened since it was last asked.
    pub fn happened(&mut self) -> Result<PollFlags> {
        let mut events = [EpollEvent::empty()];
        let count = self.edge.wait(&mut events, EpollTimeout::ZERO);
        let mut what = PollFlags::empty();
        if count.map_err(Error::io("epoll_wait"))? == 0 {
            return Ok(what);
        }
        for (event, flag) in [
            (EpollFlags::EPOLLIN, PollFlags::POLLIN),
            (EpollFlags::EPOLLOUT, PollFlags::POLLOUT),
            (EpollFlags::EPOLLHUP, PollFlags::POLLHUP),
            (EpollFlags::EPOLLERR, PollFlags::POLLERR),
        ] {
            what.set(flag, events[0].events().contains(event));
        }
        self.unseen |= what.contains(PollFlags::POLLIN);
        Ok(what)
    }

    /// A frame was looked at. With an id it is answered later; without, it is done with.
    pub fn looked(&mut self, length: usize, id: Option<u64>) {
        self.frames.push_back(Looked {
            length,
            id,
            is_answered: id.is_none(),
        });
    }

    /// A request was answered.
    pub fn answered(&mut self, id: Option<u64>) {
        let found = self
            .frames
            .iter_mut()
            .find(|frame| frame.id == id && !frame.is_answered);
        if let Some(frame) = found {
            frame.is_answered = true;
        }
    }

    /// Takes what is answered out of the socket, as far as nothing before it waits.
    pub fn consume(&mut self, socket: BorrowedFd<'_>) -> Result<()> {
        while self.frames.front().is_some_and(|frame| frame.is_answered) {
            if let Some(frame) = self.frames.pop_front() {
                consume(socket, frame.length).map_err(Error::io("recv"))?;
            }
        }
        Ok(())
    }
}
