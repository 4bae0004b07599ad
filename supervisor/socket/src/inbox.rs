//! Bytes become frames again, each with its sender and its descriptors.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use protocol::frame::{self, HEADER};
use sys::messages::{Lost, Wait, Welcome, receive};

use crate::Peer;

/// What is read at once: a request or an answer of ordinary size, and more of them when they queue.
const CHUNK: usize = 4096;

/// The bytes that came and are not yet used: at most one whole frame's and a chunk.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// The unused bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    /// Who sent them: all of them, since [`Inbox::fill`] is only called with less than a frame left.
    sender: Option<Arc<Peer>>,
    /// What came with them.
    attached: Vec<Attached>,
}

/// Descriptors that came with a chunk.
///
/// The kernel ends a chunk after a message with descriptors: they belong to the frame that
/// holds the last byte of the chunk.
#[derive(Debug)]
struct Attached {
    /// Where the chunk ended in the buffer.
    end: usize,
    fds: Vec<OwnedFd>,
    lost: Option<Lost>,
}

/// How bytes are read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// They are taken out of the socket.
    Take(Wait),
    /// They stay there until they are consumed. Does not wait.
    #[cfg(target_os = "linux")]
    Look,
}

/// What came of reading once.
#[derive(Debug)]
pub(crate) enum Filled {
    /// The peer has closed.
    End,
    /// More bytes.
    Bytes,
    /// More bytes, but of another sender than the part of a frame that was there. That part is
    /// gone: nobody can say whose frame it would have become.
    Interrupted(Option<Arc<Peer>>),
}

/// A whole frame.
pub(crate) struct Frame<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) sender: Option<&'a Arc<Peer>>,
    pub(crate) fds: Vec<OwnedFd>,
    /// Why its descriptors are not all there; then none is.
    pub(crate) lost: Option<Lost>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether part of a frame is waiting for its rest.
    pub(crate) fn in_frame(&self) -> bool {
        self.start < self.end
    }

    /// How many bytes wait for the rest of their frame.
    pub(crate) fn unused(&self) -> usize {
        self.end - self.start
    }

    /// Whether [`Inbox::take`] has something to say.
    pub(crate) fn is_whole(&self) -> bool {
        match self.announced() {
            Ok(Some(length)) => self.unused() >= HEADER + length,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The sender of the last bytes.
    pub(crate) fn sender(&self) -> Option<&Arc<Peer>> {
        self.sender.as_ref()
    }

    /// Takes the next whole frame, or `None` when its rest has not come.
    ///
    /// # Errors
    /// A length that no frame may have.
    pub(crate) fn take(&mut self) -> Result<Option<Frame<'_>>, protocol::Error> {
        let Some(length) = self.announced()? else {
            return Ok(None);
        };
        let text = self.start + HEADER;
        if self.end - text < length {
            return Ok(None);
        }
        self.start = text + length;
        let mut fds = Vec::new();
        let mut lost = None;
        while self
            .attached
            .first()
            .is_some_and(|attached| attached.end <= self.start)
        {
            let attached = self.attached.remove(0);
            fds.extend(attached.fds);
            lost = lost.or(attached.lost);
        }
        let text = &self.buffer[text..self.start];
        Ok(Some(Frame {
            text,
            sender: self.sender.as_ref(),
            fds,
            lost,
        }))
    }

    /// The length of the next frame, when its header is there.
    fn announced(&self) -> Result<Option<usize>, protocol::Error> {
        let unused = &self.buffer[self.start..self.end];
        unused
            .first_chunk()
            .map(|header| frame::length(*header))
            .transpose()
    }

    /// Reads once. Call it when [`Inbox::take`] had nothing more to give.
    pub(crate) fn fill(
        &mut self,
        socket: BorrowedFd<'_>,
        welcome: Welcome,
        how: Reading,
    ) -> nix::Result<Filled> {
        self.make_room();
        let room = &mut self.buffer[self.end..];
        let received = match how {
            Reading::Take(wait) => receive(socket, room, welcome, wait)?,
            #[cfg(target_os = "linux")]
            Reading::Look => sys::messages::look(socket, room, welcome)?,
        };
        if received.length == 0 {
            return Ok(Filled::End);
        }
        let in_frame = self.in_frame();
        let sender = received.sender.and_then(Peer::sent);
        let is_same = match (&self.sender, &sender) {
            (Some(before), Some(now)) => before.is(now),
            (None, None) => true,
            _ => false,
        };
        let before = match (&self.sender, &sender) {
            // What was found out about it holds on.
            (Some(before), Some(now)) if is_same && before.is_still(now) => None,
            _ => std::mem::replace(&mut self.sender, sender.map(Arc::new)),
        };
        let mut filled = Filled::Bytes;
        if in_frame && !is_same {
            self.attached.clear();
            self.start = self.end;
            filled = Filled::Interrupted(before);
        }
        self.end += received.length;
        if received.lost.is_some() || !received.fds.is_empty() {
            self.attached.push(Attached {
                end: self.end,
                fds: received.fds,
                lost: received.lost,
            });
        }
        Ok(filled)
    }

    /// Moves what is unused to the front, and has room for the rest of its frame, or for a chunk.
    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            for attached in &mut self.attached {
                attached.end -= self.start;
            }
            self.end -= self.start;
            self.start = 0;
        }
        // A length that may not be is found before anything is made for it: it never gets here.
        let frame = self
            .announced()
            .ok()
            .flatten()
            .map_or(0, |length| HEADER + length);
        let wanted = frame.max(self.end + 1).max(CHUNK);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > CHUNK && wanted == CHUNK {
            // A large frame is gone; its memory goes with it.
            self.buffer.truncate(CHUNK);
            self.buffer.shrink_to(CHUNK);
        }
    }
}
