//! What is really in force, for the start record, `doctor` and whoever wants to know.

use crate::audit::{Layer, State};
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

impl Layers {
    /// The layers as the record of a start names them.
    pub fn recorded(&self) -> Vec<Layer<'static>> {
        let simple = |name, there: bool| Layer {
            name,
            state: if there {
                State::Enforced
            } else {
                State::Missing
            },
            detail: None,
        };
        let optional = |name, there: bool| Layer {
            name,
            state: if there {
                State::Enforced
            } else {
                State::Unused
            },
            detail: None,
        };
        vec![
            simple("files", true),
            simple("truncate", self.truncation),
            simple("ioctl", self.ioctl),
            simple("net", self.tcp),
            simple("scope", self.scope),
            simple("seccomp", true),
            simple("listener", self.listener),
            Layer {
                name: "metadata",
                state: match self.metadata {
                    Metadata::Decided | Metadata::Refused => State::Enforced,
                    Metadata::Above => State::Weakened,
                    Metadata::Unguarded => State::Missing,
                },
                detail: Some(match self.metadata {
                    Metadata::Decided => "decided by the supervisor",
                    Metadata::Refused => "all changes refused",
                    Metadata::Above => "decided by the supervisor above, by its policy",
                    Metadata::Unguarded => "file modes alone",
                }),
            },
            Layer {
                name: "connect",
                state: State::Enforced,
                detail: Some(if self.connect {
                    "decided by the supervisor"
                } else {
                    "no Unix sockets; TCP by port"
                }),
            },
            optional("processes", self.processes),
            Layer {
                name: "limits",
                state: State::Enforced,
                detail: Some(self.limits),
            },
            simple("tag", self.tag),
        ]
    }
}
