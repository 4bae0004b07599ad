//! Descriptors by number: duplicates at chosen numbers, and what may stand at the standard ones.

use nix::errno::Errno;
#[cfg(target_os = "linux")]
use nix::fcntl::OFlag;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A close-on-exec duplicate of `fd`, at the lowest free number that is not below `lowest`.
///
/// # Errors
/// The errno of `fcntl(2)` with `F_DUPFD_CLOEXEC`.
pub fn duplicate_from(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the call makes a new descriptor, which nobody else owns.
    unsafe {
        let new = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest);
        Errno::result(new).map(|new| OwnedFd::from_raw_fd(new))
    }
}

/// A close-on-exec duplicate of an inherited descriptor, by its number: not 0, 1 or 2, and not one of those that were duplicated
/// to.
///
/// # Errors
/// `EBADF` when no descriptor has this number.
pub fn duplicate_number(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: any number may be asked for; the new descriptor is ours, and the one it was made from is left as it is.
    unsafe {
        let new = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        Errno::result(new).map(|new| OwnedFd::from_raw_fd(new))
    }
}

/// Low numbers that are kept for what is handed to a new process.
///
/// A process that is cloned with a copy of a table gets room for the highest number that is copied, for life. Who has thousands of
/// descriptors therefore hands down none but these.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Window {
    nothing: OwnedFd,
    slots: Vec<OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Window {
    /// Takes the `count` lowest free numbers that are not below `lowest`. To be done early, while low numbers are free.
    ///
    /// # Errors
    /// The errno of opening `/dev/null`, or of `fcntl(2)` with `F_DUPFD_CLOEXEC`.
    pub fn reserve(lowest: RawFd, count: usize) -> Result<Self, Errno> {
        use nix::sys::stat::Mode;
        use std::os::fd::AsFd;
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let nothing = nix::fcntl::open("/dev/null", flags, Mode::empty())?;
        let slots = (0..count).map(|_| duplicate_from(nothing.as_fd(), lowest));
        Ok(Self {
            slots: slots.collect::<Result<_, _>>()?,
            nothing,
        })
    }

    /// Duplicates of `fds` in the window, close-on-exec, in this order; until [`Window::clear`].
    ///
    /// # Errors
    /// `EMFILE` when there are more than slots; the errno of `dup3(2)`.
    pub fn fill(&mut self, fds: &[BorrowedFd<'_>]) -> Result<Vec<RawFd>, Errno> {
        if fds.len() > self.slots.len() {
            return Err(Errno::EMFILE);
        }
        let mut numbers = Vec::with_capacity(fds.len());
        for (slot, fd) in self.slots.iter_mut().zip(fds) {
            nix::unistd::dup3(fd, slot, OFlag::O_CLOEXEC)?;
            numbers.push(slot.as_raw_fd());
        }
        Ok(numbers)
    }

    /// The first number behind the window.
    pub fn end(&self) -> RawFd {
        let highest = self.slots.iter().map(AsRawFd::as_raw_fd).max();
        highest.unwrap_or(2) + 1
    }

    /// Gives back what [`Window::fill`] duplicated.
    ///
    /// # Errors
    /// The errno of `dup3(2)`.
    pub fn clear(&mut self) -> Result<(), Errno> {
        for slot in &mut self.slots {
            nix::unistd::dup3(&self.nothing, slot, OFlag::O_CLOEXEC)?;
        }
        Ok(())
    }
}
