//! The arguments of a trapped call, and what they point to: each copied once, bounded.

use super::failure::Failure;
use nix::errno::Errno;
use std::ffi::CString;
use sys::process_memory;
use sys::seccomp::Notification;

/// `XATTR_NAME_MAX` (linux/limits.h).
const NAME_MAX: usize = 255;
/// `XATTR_SIZE_MAX` (linux/limits.h).
const VALUE_MAX: usize = 65536;
/// The kernel takes no extensible structure that is larger than a page.
const STRUCTURE_MAX: usize = 4096;

/// The registers of a thread that waits in a call. The kernel looks at the low half of most; so do we.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    thread: i32,
    args: [u64; 6],
}

impl Registers {
    pub fn of(notification: &Notification) -> Self {
        Self {
            thread: notification.thread,
            args: notification.args,
        }
    }

    /// An `int`.
    pub fn int(&self, at: usize) -> i32 {
        self.args[at] as i32
    }

    /// An `unsigned int`, an id.
    pub fn unsigned(&self, at: usize) -> u32 {
        self.args[at] as u32
    }

    /// A `size_t`.
    pub fn size(&self, at: usize) -> usize {
        self.args[at] as usize
    }

    /// A `long`, a `loff_t`.
    pub fn long(&self, at: usize) -> i64 {
        self.args[at] as i64
    }

    /// Whether a pointer is null.
    pub fn is_null(&self, at: usize) -> bool {
        self.args[at] == 0
    }

    /// The mode of a file: `umode_t` is 16 bits, of which the kernel uses 12.
    pub fn mode(&self, at: usize) -> u32 {
        u32::from(self.args[at] as u16) & 0o7777
    }

    /// The mode of a file and its type: all of a `umode_t`.
    pub fn mode_and_type(&self, at: usize) -> u32 {
        u32::from(self.args[at] as u16)
    }

    /// A path.
    pub fn path(&self, at: usize) -> Result<CString, Failure> {
        let limit = libc::PATH_MAX as usize;
        process_memory::read_c_string(self.thread, self.args[at], limit).map_err(unreadable)
    }

    /// The name of an extended attribute.
    pub fn attribute_name(&self, at: usize) -> Result<CString, Failure> {
        match process_memory::read_c_string(self.thread, self.args[at], NAME_MAX + 1) {
            Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE.into()),
            Ok(name) if name.is_empty() => Err(Errno::ERANGE.into()),
            other => other.map_err(unreadable),
        }
    }

    /// The value of an extended attribute.
    pub fn attribute_value(&self, address: u64, size: usize) -> Result<Vec<u8>, Failure> {
        if size > VALUE_MAX {
            return Err(Errno::E2BIG.into());
        }
        self.bytes(address, size)
    }

    /// A structure that may grow with kernels to come, as the caller knows it.
    pub fn structure(&self, at: usize, size: usize, least: usize) -> Result<Vec<u8>, Failure> {
        match size {
            size if size > STRUCTURE_MAX => Err(Errno::E2BIG.into()),
            size if size < least => Err(Errno::EINVAL.into()),
            size => self.bytes(self.args[at], size),
        }
    }

    /// An array of N 64-bit words: a `timespec`, a `timeval` and a `utimbuf` are made of such.
    pub fn words<const N: usize>(&self, at: usize) -> Result<[i64; N], Failure> {
        let bytes = self.bytes(self.args[at], 8 * N)?;
        let mut words = [0; N];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = i64::from_ne_bytes(chunk.try_into().expect("chunks of 8"));
        }
        Ok(words)
    }

    /// So many bytes from there. The caller has bounded `size`.
    pub fn bytes(&self, address: u64, size: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; size];
        process_memory::read_exact(self.thread, address, &mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// The pointer in a register.
    pub fn pointer(&self, at: usize) -> u64 {
        self.args[at]
    }
}

/// A process that made itself unreadable cannot be served: what it asks for is not known.
fn unreadable(errno: Errno) -> Failure {
    match errno {
        Errno::EPERM | Errno::EACCES => Failure::Unreadable,
        other => other.into(),
    }
}
