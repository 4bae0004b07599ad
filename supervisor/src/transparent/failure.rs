//! Why a claim went no further.

use nix::errno::Errno;

/// What ends the way of a claim before it was performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kernel's own answer, which the child would have got without us. Not recorded.
    Native(Errno),
    /// Our refusal, and why. Recorded.
    Refused(Errno, &'static str),
    /// The memory of the caller cannot be read, so what it asks for is not known.
    Unreadable,
    /// A directory on the way lies so deep that no path names it.
    TooDeep,
    /// It cannot be found out without waiting.
    WouldWait,
}

impl Failure {
    /// What the child gets for it.
    pub fn errno(self) -> Errno {
        match self {
            Self::Native(errno) | Self::Refused(errno, _) => errno,
            Self::Unreadable | Self::TooDeep | Self::WouldWait => Errno::EACCES,
        }
    }
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

/// A refusal for want of descriptors, memory or processes, whatever it was that there was none of.
pub(super) fn out_of_means<E>(_cause: E) -> Failure {
    refused("the supervisor is out of means")
}
