//! Why a claim went no further.

use nix::errno::Errno;

/// What ends the way of a claim before it was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kernel's own answer, which the child would have got without us. Not recorded.
    Native(Errno),
    /// Our refusal, and why. Recorded.
    Refused(Errno, &'static str),
    /// It cannot be found out without waiting.
    WouldWait,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Native(errno)
    }
}

/// A refusal of ours.
pub(super) fn refused(why: &'static str) -> Failure {
    Failure::Refused(Errno::EACCES, why)
}
