//! Capabilities of the calling thread (capabilities(7)).

use nix::errno::Errno;

/// A set of capabilities, one bit for each number.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CapSet(pub u64);

/// Names and numbers from linux/capability.h, in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// How many capabilities have names here: every kernel with Landlock knows that many, and newer ones perhaps more.
pub const NAMED: u8 = NAMES.len() as u8;

impl CapSet {
    /// No capability at all.
    pub const EMPTY: Self = Self(0);

    /// The number of a capability by its name, with or without `CAP_`, in any case.
    pub fn number(name: &str) -> Option<u8> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES
            .iter()
            .position(|known| *known == bare)
            .map(|at| at as u8)
    }

    /// This set and one more capability.
    #[must_use]
    pub fn with(self, number: u8) -> Self {
        Self(self.0 | 1 << number)
    }

    /// What both sets hold.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the set holds the capability.
    pub fn contains(self, number: u8) -> bool {
        self.0 & 1 << number != 0
    }

    /// The names of what the set holds, without `CAP_`.
    pub fn names(self) -> Vec<&'static str> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(at, _)| self.contains(*at as u8))
            .map(|(_, name)| *name)
            .collect()
    }
}

impl std::fmt::Debug for CapSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): 64-bit sets in two halves.
pub const VERSION_3: u32 = 0x2008_0522;

/// `struct __user_cap_header_struct`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Header {
    /// [`VERSION_3`].
    pub version: u32,
    /// 0: the calling thread.
    pub pid: i32,
}

/// `struct __user_cap_data_struct`, one half of 32 capabilities.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Half {
    /// In force now.
    pub effective: u32,
    /// May be put in force.
    pub permitted: u32,
    /// Kept over an exec of a file that inherits them.
    pub inheritable: u32,
}

/// The two halves that make `keep` the effective and permitted set, and the inheritable one when `inherit` says so.
pub const fn halves(keep: CapSet, inherit: bool) -> [Half; 2] {
    let low = keep.0 as u32;
    let high = (keep.0 >> 32) as u32;
    [
        Half {
            effective: low,
            permitted: low,
            inheritable: if inherit { low } else { 0 },
        },
        Half {
            effective: high,
            permitted: high,
            inheritable: if inherit { high } else { 0 },
        },
    ]
}

/// The permitted set of the calling thread.
///
/// # Errors
/// The errno of `capget(2)`.
pub fn permitted() -> Result<CapSet, Errno> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Half::default(); 2];
    // SAFETY: capget(2) version 3 reads one header and writes two halves; both are live and of that layout.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(CapSet(
        u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32,
    ))
}

/// Makes `keep` all that the calling thread has: what is not in it is gone for good. Threads it starts later inherit this.
///
/// # Errors
/// The errno of `capset(2)`; `EPERM` when `keep` holds what the thread has not.
pub fn restrict_thread(keep: CapSet) -> Result<(), Errno> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let data = halves(keep, false);
    // SAFETY: capset(2) version 3 reads one header and two halves; both are live. The raw call acts on this thread only.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel_header() {
        assert_eq!(CapSet::number("CHOWN"), Some(0));
        assert_eq!(CapSet::number("cap_sys_admin"), Some(21));
        assert_eq!(CapSet::number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(CapSet::number("EVERYTHING"), None);
    }

    #[test]
    fn a_thread_that_gave_up_its_capabilities_has_none() {
        std::thread::spawn(|| {
            restrict_thread(CapSet::EMPTY).unwrap();
            assert_eq!(permitted().unwrap(), CapSet::EMPTY);
        })
        .join()
        .unwrap();
    }
}
