//! Descriptors that were there before this program began, known by their number alone.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// A close-on-exec duplicate of the descriptor with this number, whatever it is.
///
/// The number itself is left to whoever else knows it.
///
/// # Errors
/// `EBADF` when there is none; what `fcntl` says.
pub fn duplicate(number: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory; it fails for one that is not open.
    let duplicate = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just installed this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_duplicate_is_another_number_of_the_same_file() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        let twin = duplicate(file.as_raw_fd()).expect("a duplicate");
        assert_ne!(twin.as_raw_fd(), file.as_raw_fd());
        let [one, other] = [nix::sys::stat::fstat(&file), nix::sys::stat::fstat(&twin)];
        assert_eq!(one.expect("fstat").st_rdev, other.expect("fstat").st_rdev);
    }

    #[test]
    fn a_number_without_a_descriptor_is_an_error() {
        assert_eq!(duplicate(-1).map(drop), Err(Errno::EBADF));
        assert_eq!(duplicate(RawFd::MAX).map(drop), Err(Errno::EBADF));
    }
}
