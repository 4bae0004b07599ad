//! The directory in which the kernel shows this process its own descriptors: through it what a descriptor holds can be opened again,
//! and its name read.
//!
//! It is opened once: to walk there takes as long as what is done there. In a copy of this process it would show the descriptors of
//! the other, so the copy must know that it is one, and the kernel tells it without being asked: a page that it empties in copies.

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// Does something to the link that stands for a descriptor of ours: in which directory, under which name.
pub(crate) fn by_number<T>(fd: BorrowedFd<'_>, act: impl FnOnce(BorrowedFd<'_>, &CStr) -> T) -> T {
    static OWN: OnceLock<Option<Own>> = OnceLock::new();
    let own = OWN.get_or_init(Own::open);
    let mut text = Text::new();
    let number = fd.as_raw_fd();
    match own.as_ref().filter(|own| own.mark.is_ours()) {
        Some(own) => {
            let name = text.of(format_args!("{number}"));
            act(own.directory.as_fd(), name)
        }
        None => {
            let name = text.of(format_args!("/proc/self/fd/{number}"));
            act(AT_FDCWD, name)
        }
    }
}

struct Own {
    directory: OwnedFd,
    mark: Mark,
}

impl Own {
    fn open() -> Option<Self> {
        let mark = Mark::set()?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open("/proc/self/fd", flags, Mode::empty()).ok()?;
        Some(Self { directory, mark })
    }
}

/// A byte that is 1 in this process, and 0 in copies of it.
struct Mark(NonNull<AtomicU8>);

// SAFETY: the byte is atomic, and stays where it is for as long as the process lives.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Mark {
    const PAGE: usize = 4096;

    /// `None`: this kernel empties no pages in copies (before Linux 4.14).
    fn set() -> Option<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping where the kernel finds room.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), Self::PAGE, access, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: that mapping, which nobody else knows of. Nothing is in it yet.
        let is_wiped = unsafe { libc::madvise(page, Self::PAGE, libc::MADV_WIPEONFORK) } == 0;
        let Some(byte) = NonNull::new(page.cast::<AtomicU8>()).filter(|_| is_wiped) else {
            // SAFETY: as above; nobody will use it.
            unsafe { libc::munmap(page, Self::PAGE) };
            return None;
        };
        let mark = Self(byte);
        mark.byte().store(1, Ordering::Relaxed);
        Some(mark)
    }

    fn is_ours(&self) -> bool {
        self.byte().load(Ordering::Relaxed) == 1
    }

    fn byte(&self) -> &AtomicU8 {
        // SAFETY: a mapped page, aligned and never unmapped; all zeroes, or whatever was stored, is a valid AtomicU8.
        unsafe { self.0.as_ref() }
    }
}

/// Room for a short name: this is done for every file that is opened for somebody, and an allocation is not for nothing.
struct Text {
    bytes: [u8; Self::ROOM],
    used: usize,
}

impl Text {
    /// As long as the longest of these names, and what ends it.
    const ROOM: usize = "/proc/self/fd/-2147483648".len() + 1;

    fn new() -> Self {
        Self {
            bytes: [0; Self::ROOM],
            used: 0,
        }
    }

    fn of(&mut self, text: std::fmt::Arguments<'_>) -> &CStr {
        self.write_fmt(text).expect("there is room for any number");
        CStr::from_bytes_until_nul(&self.bytes).expect("what was not written is zero")
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        // The last byte is never written.
        let room = self.bytes[..Self::ROOM - 1].get_mut(self.used..end);
        room.ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_any_number() {
        for number in [0, 42, i32::MAX, i32::MIN] {
            let name = format!("/proc/self/fd/{number}");
            let mut text = Text::new();
            assert_eq!(text.of(format_args!("{name}")).to_bytes(), name.as_bytes());
        }
    }

    #[test]
    fn a_copy_of_this_process_knows_that_it_is_one() {
        let mark = Mark::set().expect("pages are emptied in copies");
        assert!(mark.is_ours());
        // SAFETY: the copy looks at a byte and leaves without running anything else of this process.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let is_ours = mark.is_ours();
                // SAFETY: takes a number and ends the copy.
                unsafe { libc::_exit(i32::from(is_ours)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let ended = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, 0));
                assert!(mark.is_ours());
            }
        }
    }
}
