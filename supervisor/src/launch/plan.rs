//! What guardian and child read, prepared before either exists, and what they write for the supervisor to read.

use super::{OwnTerminal, Step};
use crate::sandbox::Confinement;
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// How the program is executed.
#[derive(Debug)]
pub(super) enum Image {
    /// An ELF file, by the descriptor through which it was found: what was checked is what runs.
    Descriptor(OwnedFd),
    /// The same, by the number that a duplicate of it has for as long as the launch lasts.
    Number(RawFd),
    /// A script, by its path: its interpreter opens it again, and a descriptor would be closed or shown as `/dev/fd/N`.
    Path(CString),
}

impl Image {
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Descriptor(fd) => Some(fd.as_raw_fd()),
            Self::Number(number) => Some(*number),
            Self::Path(_) => None,
        }
    }
}

/// A null-terminated array of C strings, as `execve(2)` wants it.
#[derive(Debug)]
pub(super) struct Strings {
    _owned: Vec<CString>,
    /// The addresses, as the kernel reads them.
    addresses: Vec<usize>,
}

impl Strings {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let addresses = strings
            .iter()
            .map(|string| string.as_ptr().expose_provenance())
            .chain([0])
            .collect();
        Self {
            _owned: strings,
            addresses,
        }
    }

    /// The null-terminated array of pointers.
    pub(super) fn as_ptr(&self) -> *const usize {
        self.addresses.as_ptr()
    }
}

/// Whose child the program becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parent {
    /// The guardian's, with which it dies.
    Guardian,
    /// That of the process that the supervisor itself is a child of, and which outlives it.
    Keeper {
        /// Its pid.
        pid: i32,
        /// The program is to die with it.
        is_fatal: bool,
    },
}

/// All that guardian and child need. Nothing in it changes once they run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The supervisor, whose death the guardian watches for.
    pub supervisor: i32,
    /// Who collects the program.
    pub parent: Parent,
    /// Where the guardian says that something happened.
    pub events: OwnedFd,
    pub confinement: Arc<Confinement>,
    pub working_directory: OwnedFd,
    /// Descriptors from this number on are not even copied into the child's table.
    pub copy_below: u32,
    /// From which descriptor to which: sources are above every target.
    pub place: Vec<(RawFd, RawFd)>,
    /// The terminal that is to control the command's session, where it has one of its own.
    pub terminal: Option<OwnTerminal>,
    /// Descriptors from this number on are closed by the exec.
    pub close_from: u32,
    /// The caller's signal mask, as the kernel's 64 bits.
    pub signal_mask: u64,
    /// Whether the caller ignored SIGCHLD.
    pub ignore_sigchld: bool,
    pub image: Image,
    pub argv: Strings,
    pub envp: Strings,
    /// What becomes of descendants when the command itself has ended.
    pub orphans: super::Orphans,
}

/// Where the life of the child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum State {
    Launching = 0,
    Running = 1,
    Failed = 2,
    Ended = 3,
}

/// What guardian and child tell the supervisor, by memory that all three share.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub state: AtomicU32,
    pub step: AtomicU32,
    pub errno: AtomicI32,
    pub child: AtomicI32,
    pub child_fd: AtomicI32,
    pub listener: AtomicI32,
    /// `si_code` and `si_status` of the child's end.
    pub code: AtomicI32,
    pub status: AtomicI32,
    /// The signal that stopped the child, 0 while it runs.
    pub stopped: AtomicI32,
    /// How often the child was stopped.
    pub stops: AtomicU32,
    /// Not 0: the child has ended, and left descendants.
    pub left: AtomicU32,
    /// Set by the supervisor: end everything.
    pub end: AtomicU32,
}

impl Report {
    /// The failed step and its errno, when a step failed.
    pub(super) fn failure(&self) -> Option<(Step, Errno)> {
        let errno = self.errno.load(Ordering::Acquire);
        let step = Step::from_number(self.step.load(Ordering::Acquire))?;
        (errno != 0).then(|| (step, Errno::from_raw(errno)))
    }

    pub(super) fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u32
    }
}

/// Plan and report in one place, so that one pointer reaches both.
#[derive(Debug)]
pub(super) struct Shared {
    pub plan: Plan,
    pub report: Report,
    pub child_stack: sys::clone::Stack,
}
