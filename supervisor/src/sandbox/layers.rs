//! What is really in force, for the start record, `doctor` and whoever wants to know.

use serde::Serialize;

/// The layers of a confinement as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layers {
    /// The Landlock ABI that enforces the file rules.
    pub landlock_abi: u32,
    /// Which bugs of Landlock the kernel has fixed, as its bits.
    pub landlock_errata: u32,
    /// Truncation needs the right to write (ABI 3).
    pub truncation: bool,
    /// Device ioctls need a right (ABI 5).
    pub ioctl: bool,
    /// TCP is confined to the ports of the policy (ABI 4), or there is none to confine.
    pub tcp: bool,
    /// Signals and abstract sockets end at the sandbox (ABI 6).
    pub scope: bool,
    /// Instructions of the seccomp filter.
    pub filter: usize,
    /// The filter has a listener.
    pub listener: bool,
    /// Calls that wait for the listener are interrupted by fatal signals only.
    pub wait_killable: bool,
    /// What happens to changes of mode, owner, times and attributes.
    pub metadata: Metadata,
    /// Connects are decided by the supervisor. Where not, there are no Unix sockets, and TCP is the kernel's to confine by port.
    pub connect: bool,
    /// The number of tasks is bounded.
    pub processes: bool,
    /// How far limits reach.
    pub limits: &'static str,
    /// Capabilities that the child has.
    pub kept_capabilities: Vec<&'static str>,
    /// Every process carries the session's tag.
    pub tag: bool,
}

/// What happens to changes of mode, owner, times and attributes, which Landlock does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metadata {
    /// The supervisor decides each by the policy.
    Decided,
    /// The supervisor above this one decides each, by its own policy.
    Above,
    /// All are refused.
    Refused,
    /// Nobody decides: file modes alone do. The policy allowed for that.
    Unguarded,
}
