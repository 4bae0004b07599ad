//! The kernel's audit (netlink(7), `NETLINK_AUDIT`): its records, for whoever may read them beside its daemon.

use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `AUDIT_SYSCALL` (linux/audit.h): the call that the records of its number are about.
pub const CALL: u16 = 1300;
/// `AUDIT_EOE`: there is no more of that number.
pub const END: u16 = 1320;
/// `AUDIT_EVENT_LISTENER`: a reader has joined or left.
pub const READER: u16 = 1335;
/// `AUDIT_LANDLOCK_ACCESS` (Linux 6.15): Landlock refused something.
pub const LANDLOCK_ACCESS: u16 = 1423;
/// `AUDIT_LANDLOCK_DOMAIN`: whose domain it is that refused, or that it is no more.
pub const LANDLOCK_DOMAIN: u16 = 1424;

/// As long as the text of a record can be, with its header (`MAX_AUDIT_MESSAGE_LENGTH`), and some more.
pub const LONGEST: usize = 16 * 1024;

/// `struct nlmsghdr`: its size.
const HEADER: usize = 16;
/// `NLMSG_ERROR`, `NLM_F_REQUEST`, `NLM_F_ACK`.
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
/// `AUDIT_USER`
const USER: u16 = 1005;
/// `1 << (AUDIT_NLGRP_READLOG - 1)`
const READLOG: u32 = 1;
/// Room for records while nobody reads.
const ROOM: usize = 4 << 20;

/// A reader of the kernel's records.
#[derive(Debug)]
pub struct Records(OwnedFd);

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'b> {
    /// A record: its type, and its text.
    Record(u16, &'b [u8]),
    /// The answer to what was sent: an errno, or 0.
    Refused(i32),
    /// Nothing that is understood here, or that is not the kernel's.
    Other,
}

impl Records {
    /// Joins those who are sent the records (`AUDIT_NLGRP_READLOG`). They are sent from now on, if there are any.
    ///
    /// # Errors
    /// `EPERM` without CAP_AUDIT_READ over the whole machine, `EPROTONOSUPPORT` where the kernel has no audit.
    pub fn join() -> Result<Self, Errno> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkAudit,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, READLOG))?;
        Ok(Self(socket))
    }

    /// Whether anything is recorded. What was sent meanwhile is thrown away.
    ///
    /// To ask for the status takes a hundred times longer: the kernel starts a thread to answer. A message of a user that says nothing is
    /// ignored where nothing is recorded, and invalid where it would be (Linux 5.9; Landlock is recorded since 6.15).
    ///
    /// # Errors
    /// `EPERM` without CAP_AUDIT_WRITE, or the errno of `sendto(2)` and `recvfrom(2)`.
    pub fn is_on(&self) -> Result<bool, Errno> {
        let mut question = [0; HEADER];
        question[..4].copy_from_slice(&(HEADER as u32).to_ne_bytes());
        question[4..6].copy_from_slice(&USER.to_ne_bytes());
        question[6..8].copy_from_slice(&(REQUEST | ACKNOWLEDGE).to_ne_bytes());
        send(self.0.as_raw_fd(), &question, MsgFlags::MSG_NOSIGNAL)?;
        let mut buffer = [0; LONGEST];
        loop {
            match self.receive(&mut buffer) {
                Ok(Message::Refused(0)) => return Ok(false),
                Ok(Message::Refused(libc::EINVAL)) => return Ok(true),
                Ok(Message::Refused(number)) => return Err(Errno::from_raw(number)),
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Has room for many records while nobody reads. Where that may not be had, for fewer.
    pub fn make_room(&self) {
        if setsockopt(&self.0, RcvBufForce, &ROOM).is_err() {
            let _as_much_as_there_is = setsockopt(&self.0, RcvBuf, &ROOM);
        }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// `EAGAIN`: there is none. `ENOBUFS`: some were lost, since nobody took them. Another errno of `recvfrom(2)`.
    pub fn receive<'b>(&self, buffer: &'b mut [u8; LONGEST]) -> Result<Message<'b>, Errno> {
        let (length, sender) = recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), buffer)?;
        // Only the kernel has no port.
        if sender.is_none_or(|sender| sender.pid() != 0) {
            return Ok(Message::Other);
        }
        Ok(parse(&buffer[..length]))
    }
}

impl AsFd for Records {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One message. How long it is the kernel has always said in two ways; what was received is right.
fn parse(message: &[u8]) -> Message<'_> {
    let word = |at: usize| {
        let word = message.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(word))
    };
    let Some(kind) = word(4).map(|word| word as u16) else {
        return Message::Other;
    };
    match kind {
        ERROR => match word(HEADER) {
            Some(number) => Message::Refused((number as i32).wrapping_neg()),
            None => Message::Other,
        },
        kind => match message.get(HEADER..) {
            Some(text) => Message::Record(kind, text),
            None => Message::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = 0u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn records_and_answers_are_told_apart() {
        let record = message(LANDLOCK_ACCESS, b"audit(1.2:3): domain=1");
        assert_eq!(
            parse(&record),
            Message::Record(LANDLOCK_ACCESS, b"audit(1.2:3): domain=1")
        );
        let refused = message(ERROR, &(-libc::EPERM).to_ne_bytes());
        assert_eq!(parse(&refused), Message::Refused(libc::EPERM));
    }

    #[test]
    fn what_is_cut_off_is_nothing() {
        let whole = message(ERROR, &[1, 0, 0, 0]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Message::Other, "{length}");
        }
        assert_eq!(parse(&message(CALL, b"")), Message::Record(CALL, b""));
    }

    #[test]
    fn whoever_may_read_the_records_learns_whether_there_are_any() {
        // Who may not is told so by the errno.
        if let Ok(records) = Records::join() {
            let known = records.is_on();
            assert!(matches!(known, Ok(_) | Err(Errno::EPERM)), "{known:?}");
        }
    }
}
