//! Terminals (ioctl_tty(2), termios(3)): who has the foreground, how one behaves, how large it is, and new ones.

use crate::raw_syscall;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Which process group the terminal has in its foreground; `None` when `fd` is not the controlling terminal.
pub fn foreground(fd: BorrowedFd<'_>) -> Option<Pid> {
    tcgetpgrp(fd).ok()
}

/// Puts `group` into the foreground of the terminal, also from the background, where the kernel would stop the caller
/// with SIGTTOU unless it is blocked.
///
/// # Errors
/// The errno of `tcsetpgrp(3)`.
pub fn set_foreground(fd: BorrowedFd<'_>, group: Pid) -> Result<(), Errno> {
    let mask = crate::signals::block(&[libc::SIGTTOU])?;
    let result = tcsetpgrp(fd, group);
    crate::signals::restore(mask)?;
    result
}

/// A new terminal: the end that sees what is written to it and types, which never waits, and the end of those who use it.
///
/// # Errors
/// The errno of opening `/dev/ptmx`, or of unlocking and opening the other end.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = open("/dev/ptmx", flags, Mode::empty())?;
    let unlocked = 0i32;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // SAFETY: the first request reads a live integer; the second takes flags, and a success is a new descriptor of ours.
    let slave = unsafe {
        let master = master.as_raw_fd();
        raw_syscall!(
            libc::SYS_ioctl,
            master,
            libc::TIOCSPTLCK,
            &raw const unlocked
        )?;
        // By the descriptor: where /dev/pts is, if it is anywhere, does not matter.
        let slave = raw_syscall!(libc::SYS_ioctl, master, libc::TIOCGPTPEER, flags.bits())?;
        OwnedFd::from_raw_fd(slave as i32)
    };
    Ok((master, slave))
}

/// Sends SIGINT, SIGQUIT or SIGTSTP to the foreground of the terminal whose other end `master` is.
///
/// # Errors
/// The errno of `ioctl(2)` with `TIOCSIG`.
pub fn signal_foreground(master: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    unsafe { raw_syscall!(libc::SYS_ioctl, master.as_raw_fd(), TIOCSIG, signal) }.map(drop)
}

/// `_IOW('T', 0x36, int)`.
const TIOCSIG: u32 = 0x4004_5436;

/// How much a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

impl Size {
    /// That of a terminal that does not know its own.
    pub const USUAL: Self = Self {
        rows: 24,
        columns: 80,
    };
}

/// How large the terminal is, if it knows; and if it is one.
#[must_use]
pub fn size(fd: BorrowedFd<'_>) -> Option<Size> {
    let [rows, columns, ..] = window(fd).ok()?;
    (rows > 0 && columns > 0).then_some(Size { rows, columns })
}

/// How large a terminal says that it is: rows, columns, and both in pixels (`struct winsize`).
pub type Window = [u16; 4];

/// How large the terminal is.
///
/// # Errors
/// The errno of `ioctl(2)`.
pub fn window(of: BorrowedFd<'_>) -> Result<Window, Errno> {
    let mut size = [0; 4];
    let place = size.as_mut_ptr();
    // SAFETY: `struct winsize` is four shorts, which the request writes into live ones.
    unsafe { raw_syscall!(libc::SYS_ioctl, of.as_raw_fd(), libc::TIOCGWINSZ, place)? };
    Ok(size)
}

/// Makes the terminal that large; whoever is in its foreground is told of a change.
///
/// # Errors
/// The errno of `ioctl(2)`.
pub fn set_window(of: BorrowedFd<'_>, size: Window) -> Result<(), Errno> {
    let place = size.as_ptr();
    // SAFETY: `struct winsize` is four shorts, which the request reads from live ones.
    unsafe { raw_syscall!(libc::SYS_ioctl, of.as_raw_fd(), libc::TIOCSWINSZ, place) }.map(drop)
}

/// Gives the terminal `to` the modes of the terminal `from`.
///
/// # Errors
/// The errno of `ioctl(2)`.
pub fn copy_modes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    Modes::set(&Modes::get(from)?, to)
}

/// How a terminal behaves: `struct termios` as the kernel has it, on the architectures that are supported.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Modes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    /// The line discipline, and what the characters are.
    rest: [u8; 20],
}

/// A termios in words.
const WORDS: usize = 9;

impl Modes {
    fn get(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let mut modes = Self::from_words([0; WORDS]);
        // SAFETY: the kernel writes one termios of its own layout, 36 bytes, into a live one.
        unsafe {
            raw_syscall!(
                libc::SYS_ioctl,
                fd.as_raw_fd(),
                libc::TCGETS,
                &raw mut modes
            )?;
        }
        Ok(modes)
    }

    /// At once: who first waits for what is on its way waits for ever where the terminal is stopped.
    fn set(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let modes = std::ptr::from_ref(self);
        // SAFETY: the kernel reads one termios of its own layout from a live one.
        unsafe { raw_syscall!(libc::SYS_ioctl, fd.as_raw_fd(), libc::TCSETS, modes) }.map(drop)
    }

    /// The same, but every byte comes and goes as it is (cfmakeraw(3)).
    fn raw(mut self) -> Self {
        self.input &= !(libc::IGNBRK | libc::BRKINT | libc::PARMRK | libc::ISTRIP);
        self.input &= !(libc::INLCR | libc::IGNCR | libc::ICRNL | libc::IXON);
        self.output &= !libc::OPOST;
        self.local &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN);
        // Behind the line discipline.
        self.rest[1 + libc::VMIN] = 1;
        self.rest[1 + libc::VTIME] = 0;
        self
    }

    fn from_words(words: [u32; WORDS]) -> Self {
        let [input, output, control, local, more @ ..] = words;
        let mut rest = [0; 20];
        for (bytes, word) in rest.chunks_exact_mut(4).zip(more) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Self {
            input,
            output,
            control,
            local,
            rest,
        }
    }

    fn words(&self) -> [u32; WORDS] {
        let mut words = [
            self.input,
            self.output,
            self.control,
            self.local,
            0,
            0,
            0,
            0,
            0,
        ];
        for (word, bytes) in words[4..].iter_mut().zip(self.rest.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words
    }
}

/// A terminal that is made raw for a time, and how it was before, in memory that several processes may share: whichever of them is
/// left can put it back.
#[derive(Debug)]
pub struct Borrowed {
    fd: OwnedFd,
    before: [AtomicU32; WORDS],
    /// Not 0: it was made raw, and `before` is whole.
    is_raw: AtomicU32,
}

impl Borrowed {
    /// One that is as it is.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            before: Default::default(),
            is_raw: AtomicU32::new(0),
        }
    }

    /// Makes it raw, and keeps in mind how it was. Where it is so already by us, it is as nothing.
    ///
    /// # Errors
    /// The errno of `ioctl(2)`.
    pub fn make_raw(&self) -> Result<(), Errno> {
        let now = Modes::get(self.fd.as_fd())?;
        if self.is_raw() && now == self.before().raw() {
            return Ok(());
        }
        self.is_raw.store(0, Ordering::Release);
        for (kept, word) in self.before.iter().zip(now.words()) {
            kept.store(word, Ordering::Release);
        }
        self.is_raw.store(1, Ordering::Release);
        now.raw().set(self.fd.as_fd())
    }

    /// Puts back how it was, unless somebody else has changed it since: whoever did knows better. To be called by whoever is
    /// left, also on the memory of another process: it makes system calls, and nothing else.
    ///
    /// # Errors
    /// The errno of `ioctl(2)`.
    pub fn restore(&self) -> Result<(), Errno> {
        if !self.is_raw() {
            return Ok(());
        }
        let before = self.before();
        if Modes::get(self.fd.as_fd())? == before.raw() {
            before.set(self.fd.as_fd())?;
        }
        self.is_raw.store(0, Ordering::Release);
        Ok(())
    }

    /// Forgets how it was: it is somebody else's now.
    pub fn forget(&self) {
        self.is_raw.store(0, Ordering::Release);
    }

    /// Whether it was made raw and not put back.
    pub fn is_raw(&self) -> bool {
        self.is_raw.load(Ordering::Acquire) != 0
    }

    fn before(&self) -> Modes {
        let mut words = [0; WORDS];
        for (word, kept) in words.iter_mut().zip(&self.before) {
            *word = kept.load(Ordering::Acquire);
        }
        Modes::from_words(words)
    }
}

impl AsFd for Borrowed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};

    fn echoes(fd: BorrowedFd<'_>) -> bool {
        let modes = tcgetattr(fd).unwrap();
        modes.local_flags.contains(LocalFlags::ECHO)
    }

    #[test]
    fn a_borrowed_terminal_is_raw_and_then_as_it_was() {
        let (_master, slave) = pair().unwrap();
        let before = tcgetattr(&slave).unwrap();
        let borrowed = Borrowed::new(slave.try_clone().unwrap());
        borrowed.restore().unwrap();
        for _ in 0..2 {
            borrowed.make_raw().unwrap();
            let mut raw = before.clone();
            nix::sys::termios::cfmakeraw(&mut raw);
            assert_eq!(tcgetattr(&slave).unwrap(), raw);
            borrowed.make_raw().unwrap();
            borrowed.restore().unwrap();
            assert_eq!(tcgetattr(&slave).unwrap(), before);
        }
    }

    #[test]
    fn what_somebody_else_changed_meanwhile_stays_so() {
        let (_master, slave) = pair().unwrap();
        let borrowed = Borrowed::new(slave.try_clone().unwrap());
        borrowed.make_raw().unwrap();
        let mut theirs = tcgetattr(&slave).unwrap();
        theirs.local_flags.insert(LocalFlags::ISIG);
        tcsetattr(&slave, SetArg::TCSANOW, &theirs).unwrap();
        borrowed.restore().unwrap();
        assert!(!echoes(slave.as_fd()));
        assert_eq!(tcgetattr(&slave).unwrap(), theirs);
    }

    #[test]
    fn sizes_are_set_and_modes_are_copied() {
        let [(master, from), (_other, to)] = [(); 2].map(|()| pair().unwrap());
        set_window(master.as_fd(), [7, 11, 13, 17]).unwrap();
        assert_eq!(window(from.as_fd()), Ok([7, 11, 13, 17]));
        let mut silent = tcgetattr(&from).unwrap();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&from, SetArg::TCSANOW, &silent).unwrap();
        assert!(echoes(to.as_fd()));
        copy_modes(from.as_fd(), to.as_fd()).unwrap();
        assert!(!echoes(to.as_fd()));
    }
}
