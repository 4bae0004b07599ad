//! Reading another process's memory (process_vm_readv(2)): bounded, once, and never beyond the page that faults.

use crate::ancestor;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

/// The smallest page of any machine we run on. A read that ends at its boundary faults only where a byte of it is missing.
const PAGE: usize = 4096;
/// What most strings fit into.
const PIECE: usize = 256;

/// Copies exactly `buffer.len()` bytes from `address` of the thread's memory.
///
/// # Errors
/// `EFAULT` when not all of it is there; `EPERM` when its memory may not be read; `ESRCH` when it is gone.
pub fn read_exact(thread: i32, address: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut at = 0;
    while at < buffer.len() {
        let from = address.checked_add(at as u64).ok_or(Errno::EFAULT)?;
        at += read_some(thread, from, &mut buffer[at..])?;
    }
    Ok(())
}

/// Copies a string that ends within `limit` bytes, its end included.
///
/// # Errors
/// `ENAMETOOLONG` when it does not end there; else as [`read_exact`].
pub fn read_c_string(thread: i32, address: u64, limit: usize) -> Result<CString, Errno> {
    let mut text = Vec::new();
    let mut buffer = [0; PIECE];
    while text.len() < limit {
        let from = address
            .checked_add(text.len() as u64)
            .ok_or(Errno::EFAULT)?;
        let to_boundary = PAGE - (from as usize & (PAGE - 1));
        let length = PIECE.min(to_boundary).min(limit - text.len());
        let got = read_some(thread, from, &mut buffer[..length])?;
        let got = &buffer[..got];
        if let Some(end) = got.iter().position(|byte| *byte == 0) {
            // With room for the byte that ends it.
            text.reserve_exact(end + 1);
            text.extend(&got[..end]);
            return CString::new(text).map_err(|_| Errno::EINVAL);
        }
        text.extend(got);
    }
    Err(Errno::ENAMETOOLONG)
}

/// Copies at least one byte, at most `buffer.len()`. Where the kernel leaves that to ancestors, one of them opens it.
fn read_some(thread: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let done = read_itself(thread, address, buffer);
    ancestor::or_ask(done, |ancestor| {
        // Opened each time: what it is of may have become another program meanwhile.
        read_opened(ancestor.memory(thread)?.as_fd(), address, buffer)
    })
}

/// Reads at least one byte of memory that was opened.
fn read_opened(memory: BorrowedFd<'_>, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    // The half of the addresses that is the kernel's is nobody's memory.
    let address = i64::try_from(address).map_err(|_| Errno::EFAULT)?;
    match nix::sys::uio::pread(memory, buffer, address) {
        // 0: there is no memory any more. EIO: none of it is there.
        Ok(0) | Err(Errno::EIO) => Err(Errno::EFAULT),
        read => read,
    }
}

/// The same by this process.
fn read_itself(thread: i32, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut _,
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel writes at most iov_len bytes to the live buffer; the remote address is only looked up in the other
    // process, where a bad one is EFAULT.
    let result =
        unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
    match Errno::result(result)? {
        0 => Err(Errno::EFAULT),
        got => Ok(got as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        nix::unistd::gettid().as_raw()
    }

    /// Two pages, the second of which cannot be read.
    struct Cliff(*mut u8);

    impl Cliff {
        fn new() -> Self {
            // SAFETY: a new mapping at an address of the kernel's choice; its second half is closed; the first is filled.
            unsafe {
                let base = libc::mmap(
                    std::ptr::null_mut(),
                    2 * PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                );
                assert_ne!(base, libc::MAP_FAILED);
                assert_eq!(libc::mprotect(base.add(PAGE), PAGE, libc::PROT_NONE), 0);
                base.cast::<u8>().write_bytes(b'x', PAGE);
                Self(base.cast())
            }
        }

        /// Writes `text` so that its last byte is the last that can be read, and says where it begins.
        fn ending_with(&self, text: &[u8]) -> u64 {
            // SAFETY: the text is shorter than the first page, which is ours to write.
            unsafe {
                let start = self.0.add(PAGE - text.len());
                start.copy_from_nonoverlapping(text.as_ptr(), text.len());
                start as u64
            }
        }
    }

    impl Drop for Cliff {
        fn drop(&mut self) {
            // SAFETY: the mapping that `new` made, which nobody uses any more.
            unsafe { libc::munmap(self.0.cast(), 2 * PAGE) };
        }
    }

    #[test]
    fn a_string_that_ends_at_the_last_byte_is_read() {
        let cliff = Cliff::new();
        let address = cliff.ending_with(b"/etc/passwd\0");
        assert_eq!(
            read_c_string(own(), address, 4096).unwrap().as_bytes(),
            b"/etc/passwd"
        );
        let long = [[b'a'; 600].as_slice(), b"\0"].concat();
        let address = cliff.ending_with(&long);
        assert_eq!(
            read_c_string(own(), address, 4096).unwrap().as_bytes(),
            &long[..600]
        );
    }

    #[test]
    fn a_string_that_runs_off_the_edge_is_a_fault() {
        let cliff = Cliff::new();
        let address = cliff.ending_with(b"/etc/passwd");
        assert_eq!(read_c_string(own(), address, 4096), Err(Errno::EFAULT));
        assert_eq!(read_c_string(own(), 0, 4096), Err(Errno::EFAULT));
        assert_eq!(read_c_string(own(), u64::MAX, 4096), Err(Errno::EFAULT));
    }

    #[test]
    fn a_string_is_never_longer_than_its_limit() {
        let text = [[b'a'; 4096].as_slice(), b"\0"].concat();
        let address = text.as_ptr() as u64;
        assert_eq!(
            read_c_string(own(), address, 4096),
            Err(Errno::ENAMETOOLONG)
        );
        assert_eq!(
            read_c_string(own(), address + 1, 4096)
                .unwrap()
                .as_bytes()
                .len(),
            4095
        );
    }

    #[test]
    fn memory_that_an_ancestor_opened_is_read_alike() {
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let cliff = Cliff::new();
        let address = cliff.ending_with(b"at the edge");
        let mut buffer = [0; 64];
        let read = read_opened(memory.as_fd(), address, &mut buffer[..11]);
        assert_eq!((read, &buffer[..11]), (Ok(11), &b"at the edge"[..]));
        for nothing in [0, 8, 1 << 62, u64::MAX - 7] {
            let read = read_opened(memory.as_fd(), nothing, &mut buffer);
            assert_eq!(read, Err(Errno::EFAULT), "{nothing:x}");
        }
    }

    #[test]
    fn all_of_it_or_a_fault() {
        let cliff = Cliff::new();
        let address = cliff.ending_with(b"12345678");
        let mut buffer = [0; 8];
        read_exact(own(), address, &mut buffer).unwrap();
        assert_eq!(&buffer, b"12345678");
        let mut longer = [0; 9];
        assert_eq!(read_exact(own(), address, &mut longer), Err(Errno::EFAULT));
    }

    #[test]
    fn nobody_there_is_said() {
        let mut buffer = [0; 1];
        assert_eq!(read_exact(i32::MAX, 4096, &mut buffer), Err(Errno::ESRCH));
    }
}
