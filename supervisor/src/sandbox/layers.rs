//! What is really in force, for the start record, `doctor` and whoever wants to know.

use crate::audit::{Layer, State};
use crate::policy::Access;
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
    /// The policy gives TCP, and a supervisor above this one may connect and bind on the child's behalf, by its own policy.
    pub tcp_above: bool,
    /// The session may connect to what it listens on, and whether it can; `None`: it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaches_itself: Option<bool>,
    /// Who decides what is opened, made, removed and moved.
    pub opens: Opens,
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

/// Who decides what is opened, made, removed and moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opens {
    /// Landlock alone: it was told of all that the policy allows.
    Landlock,
    /// The supervisor is asked first where these rights are wanted, and leaves to Landlock what Landlock grants.
    Trapped(Access),
    /// The same, but no open is ever left to Landlock, which lets more be read than the policy does.
    Closed(Access),
    /// The supervisor decides where these rights are wanted, and Landlock the rest. It sees every use of both.
    Watched(Access),
    /// Landlock alone, though it was not told of all. A library that programs preload asks over the socket for what it refused.
    Preloaded(Instead),
    /// Landlock alone, though it was not told of all: nobody can be asked. The rest can be had over the socket.
    SocketOnly(Instead),
}

/// Why opens are not trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instead {
    /// The policy says so.
    Chosen,
    /// There can be no listener.
    NoListener,
}

impl Opens {
    /// The same where programs preload the library.
    pub(super) fn preloaded(self) -> Self {
        match self {
            Self::SocketOnly(instead) => Self::Preloaded(instead),
            Self::Landlock => Self::Preloaded(Instead::Chosen),
            other => other,
        }
    }

    /// The rights of which each use is asked about.
    pub fn trapped(self) -> Access {
        match self {
            Self::Watched(_) => Access::READ | Access::WRITE,
            other => other.decided(),
        }
    }

    /// The rights of which each use is decided by the supervisor.
    pub fn decided(self) -> Access {
        match self {
            Self::Trapped(rights) | Self::Closed(rights) | Self::Watched(rights) => rights,
            Self::Landlock | Self::Preloaded(_) | Self::SocketOnly(_) => Access::NONE,
        }
    }

    /// The same, and the supervisor looks on where Landlock decides.
    pub(super) fn watched(self) -> Self {
        match self {
            // There it decides all that Landlock would.
            Self::Closed(rights) => Self::Closed(rights | Access::WRITE),
            other => Self::Watched(other.decided()),
        }
    }

    /// The rights of which it decides each use, where it looks on at the others.
    pub fn watches(self) -> Option<Access> {
        match self {
            Self::Watched(decided) => Some(decided),
            _ => None,
        }
    }

    /// Whether Landlock grants more than the policy, so that no open may be left to it.
    pub fn closed(self) -> bool {
        matches!(self, Self::Closed(_))
    }
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
        let mut layers = vec![
            simple("files", true),
            simple("truncate", self.truncation),
            simple("ioctl", self.ioctl),
            match self.tcp && self.tcp_above {
                false => simple("net", self.tcp),
                true => Layer {
                    name: "net",
                    state: State::Weakened,
                    detail: Some("decided by the supervisor above, by its policy"),
                },
            },
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
                } else if self.tcp_above {
                    "no Unix sockets"
                } else {
                    "no Unix sockets; TCP by port"
                }),
            },
            Layer {
                name: "opens",
                state: State::Enforced,
                detail: Some(match self.opens {
                    Opens::Landlock => "by Landlock alone",
                    Opens::Trapped(rights) if !rights.contains(Access::READ) => {
                        "those that write: decided by the supervisor"
                    }
                    Opens::Trapped(_) => "decided by the supervisor",
                    Opens::Closed(_) => "decided and done by the supervisor, none by Landlock",
                    Opens::Watched(decided) if decided.is_empty() => {
                        "by Landlock; the supervisor looks on"
                    }
                    Opens::Watched(_) => {
                        "decided by the supervisor, or by Landlock while it looks on"
                    }
                    Opens::Preloaded(Instead::Chosen) => {
                        "by Landlock; a preloaded library asks for the rest, as the policy says"
                    }
                    Opens::Preloaded(Instead::NoListener) => {
                        "no listener: by Landlock; a preloaded library asks for the rest"
                    }
                    Opens::SocketOnly(Instead::Chosen) => {
                        "by Landlock; the rest over the socket only, as the policy says"
                    }
                    Opens::SocketOnly(Instead::NoListener) => {
                        "no listener: what stands beside a denial over the socket only"
                    }
                }),
            },
            optional("processes", self.processes),
            Layer {
                name: "limits",
                state: State::Enforced,
                detail: Some(self.limits),
            },
            simple("tag", self.tag),
        ];
        layers.extend(self.reaches_itself.map(|can| Layer {
            name: "loopback",
            state: if can { State::Enforced } else { State::Unused },
            detail: Some(if can {
                "what the session listens on"
            } else {
                "nothing: who listens cannot be found out here"
            }),
        }));
        layers
    }
}
