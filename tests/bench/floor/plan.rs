//! What a launch must do, as the benchmark wrote it down: so the floor follows the presets without knowing policy.

use crate::must;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// Read with one call from one file; everything in it is laid out one after the other, as the accessors below say.
pub struct Plan {
    bytes: Vec<u8>,
}

/// `struct sock_filter`.
const INSTRUCTION: usize = 8;
/// Counts at the start: rules, instructions, bytes of the record, and the rights that are handled (files, network).
const HEADER: usize = 40;

impl Plan {
    pub fn read(path: &OsStr) -> Self {
        let path = CString::new(path.as_bytes()).expect("a path holds no zero byte");
        let fd = must!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
            0
        );
        let mut bytes = vec![0u8; 1 << 16];
        let length = must!(libc::SYS_read, fd, bytes.as_mut_ptr(), bytes.len());
        must!(libc::SYS_close, fd);
        bytes.truncate(length as usize);
        Self { bytes }
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    pub fn handled_files(&self) -> u64 {
        self.number(24)
    }

    pub fn handled_net(&self) -> u64 {
        self.number(32)
    }

    /// The filter, aligned as its elements need it.
    pub fn filter(&self) -> Vec<u64> {
        let length = self.number(8) as usize;
        (0..length)
            .map(|at| self.number(HEADER + at * INSTRUCTION))
            .collect()
    }

    pub fn record(&self) -> &[u8] {
        let start = HEADER + self.number(8) as usize * INSTRUCTION;
        &self.bytes[start..start + self.number(16) as usize]
    }

    /// Rights and path of each rule, the path with its zero byte.
    pub fn rules(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut at = HEADER + self.number(8) as usize * INSTRUCTION + self.number(16) as usize;
        (0..self.number(0)).map(move |_| {
            let access = self.number(at);
            let rest = &self.bytes[at + 8..];
            let length = rest
                .iter()
                .position(|byte| *byte == 0)
                .expect("a path ends with a zero byte")
                + 1;
            at += 8 + length;
            (access, &rest[..length])
        })
    }
}
