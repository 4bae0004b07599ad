//! A plain yes, or what stands against it.

use crate::policy::{Denial, Mechanism, Verdict};
use nix::errno::Errno;
use std::path::Path;

/// Why something must not be done by us, nor left to the kernel.
#[derive(Debug)]
pub(super) enum Objection<'a> {
    /// The law's, about this path.
    Denied(Denial, &'a Path),
    /// The law says yes to this path, but only when somebody was asked, or as often or as long as a rule says.
    Asks(Verdict, &'a Path),
    /// Ours, about this path.
    Refused(Errno, &'static str, Option<&'a Path>),
}

/// To change what has no name takes a descriptor that is open for writing.
pub(super) const NAMELESS: Objection<'static> = Objection::Refused(
    Errno::EACCES,
    "it has no name, and the caller cannot write to it",
    None,
);

/// Whether a verdict about this path is a plain yes, and what makes it so.
pub(super) fn passed(verdict: Verdict, path: &Path) -> Result<Mechanism, Objection<'_>> {
    match verdict {
        Verdict::Allow(allowed) if allowed.is_plain() => Ok(allowed.mechanism),
        Verdict::Deny(denial) => Err(Objection::Denied(denial, path)),
        asks @ (Verdict::Allow(_) | Verdict::Ask(_)) => Err(Objection::Asks(asks, path)),
    }
}
