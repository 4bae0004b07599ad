//! `sendmsg` and `recvmsg` on Unix stream sockets: bytes, with descriptors and the sender's identity.
//!
//! What every caller would otherwise have to remember holds here: descriptors arrive
//! close-on-exec, a dead peer is `EPIPE` and never `SIGPIPE`, a signal does not shorten a call,
//! and no descriptor that nobody asked for stays open.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::peers::Credentials;

/// The most descriptors that one call here sends or receives.
pub const MAX_FDS: usize = 8;

/// Whether a call may wait for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the kernel has data, or room. (A socket that somebody made non-blocking does not wait.)
    Yes,
    /// Not at all: `EAGAIN` instead.
    No,
}

/// What a receiver takes besides bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// How many descriptors.
    pub fds: usize,
    /// Who sent it; to be said of every socket that passes credentials.
    pub sender: bool,
}

/// Who sent a message, as the kernel attests on a socket that asked for it.
#[derive(Debug)]
pub struct Sender {
    /// Process, user and group of the sender when it sent.
    pub credentials: Credentials,
    /// The sending process itself; absent before Linux 6.5, elsewhere, and when out of descriptors.
    pub pidfd: Option<OwnedFd>,
}

/// What one [`receive`] brought.
#[derive(Debug)]
pub struct Received {
    /// Number of bytes; zero is the end of the stream.
    pub length: usize,
    /// Descriptors, close-on-exec, in the sender's order; never more than were asked for.
    pub fds: Vec<OwnedFd>,
    /// The sender, on a socket that passes credentials.
    pub sender: Option<Sender>,
    /// Why descriptors that were sent are not among them, if any are missing: then none is.
    pub lost: Option<Lost>,
}

/// Why descriptors did not arrive. All that did were closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// More came than were asked for.
    Surplus,
    /// This process has as many as it may have.
    OutOfDescriptors,
}

/// Room for the control messages of one call, aligned as their headers must be.
///
/// Credentials, one pidfd, and [`MAX_FDS`] descriptors.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

const CONTROL: usize =
    space(CREDENTIALS) + space(size_of::<RawFd>()) + space(MAX_FDS * size_of::<RawFd>());

/// The size of `struct ucred`: three 32-bit numbers.
const CREDENTIALS: usize = 12;

/// `CMSG_LEN`: a header and its data, without the padding after it.
const fn length(data: usize) -> usize {
    // SAFETY: CMSG_LEN only computes; it has no precondition.
    (unsafe { libc::CMSG_LEN(data as libc::c_uint) }) as usize
}

/// `CMSG_SPACE`: a header, its data and the padding up to the next header.
const fn space(data: usize) -> usize {
    // SAFETY: CMSG_SPACE only computes; it has no precondition.
    (unsafe { libc::CMSG_SPACE(data as libc::c_uint) }) as usize
}

/// Sends bytes, and `fds` with the first of them, in one `sendmsg`.
///
/// Returns how many bytes went; when that is fewer than given, the descriptors went all the same
/// and the rest is to be sent without them.
///
/// # Errors
/// `EINVAL` when descriptors are given without a byte to carry them, or more than [`MAX_FDS`];
/// otherwise what `sendmsg` says. Then neither bytes nor descriptors were sent.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> nix::Result<usize> {
    if fds.len() > MAX_FDS || (bytes.is_empty() && !fds.is_empty()) {
        return Err(Errno::EINVAL);
    }
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut message = empty_message(&mut part);
    if !fds.is_empty() {
        let size = std::mem::size_of_val(fds);
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = space(size) as _;
        // SAFETY: msg_control points to CONTROL bytes, aligned for a header, of which
        // msg_controllen = CMSG_SPACE(size) are declared; size ≤ MAX_FDS descriptors, so that this
        // is within CONTROL. CMSG_FIRSTHDR is then not null, and its data has room for `size` bytes,
        // written one unaligned descriptor at a time.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = length(size) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (index, fd) in fds.iter().enumerate() {
                data.add(index).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    let flags = SEND | dont_wait(wait);
    loop {
        // SAFETY: `message` points to one iovec over `bytes`, which sendmsg only reads, and to
        // `control` or nothing; all outlive the call. The descriptors are open: they are borrowed.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) };
        match Errno::result(sent) {
            Ok(sent) => return Ok(sent.unsigned_abs()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Receives bytes into `buffer`, with what else is `welcome`, in one `recvmsg`.
///
/// The kernel ends a call after a message with descriptors, and, on a socket that passes
/// credentials, before a message of another sender: so all bytes are of one sender, and the
/// descriptors came with the message that the last of these bytes belongs to.
///
/// # Errors
/// `EINVAL` when more than [`MAX_FDS`] descriptors are asked for; otherwise what `recvmsg` says.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    welcome: Welcome,
    wait: Wait,
) -> nix::Result<Received> {
    receive_with(socket, buffer, welcome, RECEIVE | dont_wait(wait))
}

/// As [`receive`], without waiting; but what comes stays in the socket until it is [`consume`]d, and the next look begins behind it. So
/// whoever has the socket next finds what was not consumed. For sockets that were told to [`look_from_the_start`].
///
/// # Errors
/// As [`receive`].
#[cfg(target_os = "linux")]
pub fn look(socket: BorrowedFd<'_>, buffer: &mut [u8], welcome: Welcome) -> nix::Result<Received> {
    let flags = RECEIVE | libc::MSG_DONTWAIT | libc::MSG_PEEK;
    receive_with(socket, buffer, welcome, flags)
}

/// Has the next [`look`] begin with the first byte that is in the socket (`SO_PEEK_OFF`, unix(7)).
///
/// # Errors
/// What `setsockopt` says.
#[cfg(target_os = "linux")]
pub fn look_from_the_start(socket: BorrowedFd<'_>) -> nix::Result<()> {
    let start: libc::c_int = 0;
    // SAFETY: the value is a live int, and its size is said.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEEK_OFF,
            (&raw const start).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// Takes so many bytes, which were looked at, out of the socket.
///
/// # Errors
/// What `recv` says; `EPIPE` when there are not so many.
#[cfg(target_os = "linux")]
pub fn consume(socket: BorrowedFd<'_>, mut length: usize) -> nix::Result<()> {
    let mut scratch = [0; 4096];
    let nothing = Welcome {
        fds: 0,
        sender: false,
    };
    while length > 0 {
        let part = length.min(scratch.len());
        let taken = receive(socket, &mut scratch[..part], nothing, Wait::No)?.length;
        if taken == 0 {
            return Err(Errno::EPIPE);
        }
        length -= taken;
    }
    Ok(())
}

fn receive_with(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    welcome: Welcome,
    flags: libc::c_int,
) -> nix::Result<Received> {
    if welcome.fds > MAX_FDS {
        return Err(Errno::EINVAL);
    }
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut message = empty_message(&mut part);
    loop {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control_length(welcome) as _;
        // SAFETY: `message` points to one iovec over `buffer`, exclusively borrowed, and to
        // `control`, of which at most CONTROL bytes are declared; all outlive the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
        match Errno::result(received) {
            Ok(received) => {
                let mut what = Received {
                    length: received.unsigned_abs(),
                    fds: Vec::new(),
                    sender: None,
                    lost: None,
                };
                take_control(&message, &mut what);
                what.lost = match message.msg_flags & libc::MSG_CTRUNC != 0 {
                    // There was room for what was asked for, and less than that came.
                    true if what.fds.len() < welcome.fds => Some(Lost::OutOfDescriptors),
                    true => Some(Lost::Surplus),
                    false if what.fds.len() > welcome.fds => Some(Lost::Surplus),
                    false => None,
                };
                if what.lost.is_some() {
                    what.fds.clear();
                }
                return Ok(what);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Moves every descriptor and the credentials out of the control buffer.
fn take_control(message: &libc::msghdr, what: &mut Received) {
    let mut identity = Identity::default();
    // SAFETY: `message` was filled by a successful recvmsg: msg_controllen bytes of the control
    // buffer are initialised and hold well-formed headers, which is what CMSG_FIRSTHDR and
    // CMSG_NXTHDR walk; each header's cmsg_len bounds its data, so that `size` bytes are there.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let size = ((*header).cmsg_len as usize).saturating_sub(length(0));
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let first = data.cast::<RawFd>();
                    for index in 0..size / size_of::<RawFd>() {
                        what.fds.extend(adopt(first.add(index).read_unaligned()));
                    }
                }
                (libc::SOL_SOCKET, kind) => identity.take(kind, data, size),
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    let pidfd = identity.pidfd;
    what.sender = identity
        .credentials
        .map(|credentials| Sender { credentials, pidfd });
}

/// What the control messages of one call say about the sender.
#[derive(Default)]
struct Identity {
    credentials: Option<Credentials>,
    pidfd: Option<OwnedFd>,
}

impl Identity {
    /// Takes what one control message of the socket level says.
    ///
    /// # Safety
    /// `data` points to `size` readable bytes that the kernel wrote, once, for this `kind`.
    #[cfg(target_os = "linux")]
    unsafe fn take(&mut self, kind: libc::c_int, data: *const libc::c_uchar, size: usize) {
        /// Which the libc crate does not name.
        const SCM_PIDFD: libc::c_int = 4;
        if kind == libc::SCM_CREDENTIALS && size >= CREDENTIALS {
            // SAFETY: there are the bytes of a `ucred`, three integers; the read is unaligned.
            let sender = unsafe { data.cast::<libc::ucred>().read_unaligned() };
            self.credentials = Some(Credentials::from(sender));
        }
        if kind == SCM_PIDFD && size >= size_of::<RawFd>() {
            // SAFETY: there are the bytes of one descriptor; the read is unaligned.
            self.pidfd = adopt(unsafe { data.cast::<RawFd>().read_unaligned() });
        }
    }

    /// Only Linux names the sender of a message.
    #[cfg(not(target_os = "linux"))]
    unsafe fn take(&mut self, _kind: libc::c_int, _data: *const libc::c_uchar, _size: usize) {}
}

/// Makes a descriptor number from the kernel our own; a negative one is an error in its place
/// (the sender was gone before a pidfd could be made).
fn adopt(number: RawFd) -> Option<OwnedFd> {
    if number < 0 {
        return None;
    }
    // SAFETY: the kernel has just installed this descriptor for us, in a control message that
    // is walked once, so nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    if RECEIVE == 0 && set_close_on_exec(&fd).is_err() {
        return None;
    }
    Some(fd)
}

/// For systems that cannot do it at reception.
fn set_close_on_exec(fd: &OwnedFd) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// A message of one part, without address or control data.
fn empty_message(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is a C structure of integers and pointers, for which zero is valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message
}

/// The exact size of the control data that is welcome.
///
/// `CMSG_SPACE` of one descriptor is 24 bytes, which admits two without a word: the last
/// header is therefore given its length and no padding. Descriptors can still get into the room
/// for the sender (the pidfd comes after them); these the count finds.
fn control_length(welcome: Welcome) -> usize {
    let sender = match welcome.sender {
        true => space(CREDENTIALS) + space(size_of::<RawFd>()),
        false => 0,
    };
    let rights = match welcome.fds {
        0 => 0,
        fds => length(fds * size_of::<RawFd>()),
    };
    sender + rights
}

/// Never a signal instead of an error. (Elsewhere the socket itself is told, when it is made.)
#[cfg(target_os = "linux")]
const SEND: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const SEND: libc::c_int = 0;

/// Close-on-exec from the moment a descriptor exists, since another thread may be about to exec.
#[cfg(target_os = "linux")]
const RECEIVE: libc::c_int = libc::MSG_CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: libc::c_int = 0;

const fn dont_wait(wait: Wait) -> libc::c_int {
    match wait {
        Wait::Yes => 0,
        Wait::No => libc::MSG_DONTWAIT,
    }
}

#[cfg(test)]
mod tests;
