//! A compiled policy, laid out for a reader.

use serde::Serialize;

use super::access::Access;
use super::origin::Origin;
use super::pattern::Shape;
use super::rules::{Decision, Destination, FileRule, Layer, Reach, TcpRule};
use super::ruleset::Ruleset;
use super::subject::Subject;

/// A rule about files, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileLine {
    /// Which policy of the stack: 0 is the one that allows.
    pub layer: usize,
    /// The path, or the pattern.
    pub path: String,
    /// What the rule says.
    pub says: Says,
    /// Which rights it is about.
    pub access: Access,
    /// Who makes it so.
    pub by: By,
    /// Whether nothing is there yet.
    pub absent: bool,
    /// Where it stands.
    pub rule: Origin,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// May be done.
    Allow,
    /// May be done if the approver agrees.
    Ask,
    /// Is refused.
    Deny,
}

/// Who makes it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The kernel alone.
    Kernel,
    /// The kernel, but for what lies beside a denial: that is the supervisor's, at each open.
    KernelAndSupervisor,
    /// The supervisor, at each open.
    Supervisor,
    /// The supervisor, on request over its socket.
    Socket,
    /// The supervisor, for every connect and bind.
    ConnectDoor,
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::KernelAndSupervisor => "kernel, rest by supervisor",
            Self::Supervisor => "supervisor",
            Self::Socket => "socket",
            Self::ConnectDoor => "connect door",
        })
    }
}

/// A rule about connections or names of sockets, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectLine {
    /// Which policy of the stack.
    pub layer: usize,
    /// The address and port, or the path of a socket.
    pub to: String,
    /// What the rule says.
    pub says: Says,
    /// Who makes it so.
    pub by: By,
    /// Where it stands.
    pub rule: Origin,
}

impl Ruleset {
    /// The rules about files, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<FileLine> {
        let asked = self.brokered().rights();
        let mut lines = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            lines.extend(layer.rules.iter().map(|rule| FileLine {
                layer: number,
                path: rule.shape.to_string(),
                says: match rule.decision {
                    Decision::Allow => Says::Allow,
                    Decision::Ask => Says::Ask,
                },
                access: rule.access,
                by: layer.by(rule, asked),
                absent: self.is_absent(&rule.origin, &rule.shape),
                rule: rule.origin.clone(),
            }));
            for denial in &layer.denials {
                // The other names of the same thing are denied with it.
                let Some(shape) = denial.shapes.first() else {
                    continue;
                };
                lines.push(FileLine {
                    layer: number,
                    path: shape.to_string(),
                    says: Says::Deny,
                    access: denial.access,
                    by: By::Kernel,
                    absent: false,
                    rule: denial.origin.clone(),
                });
            }
        }
        lines.sort_by(|first, second| {
            (first.layer, &first.path, first.says).cmp(&(second.layer, &second.path, second.says))
        });
        lines
    }

    /// The rules about connections.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectLine> {
        let mut lines = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            lines.extend(layer.connect.iter().map(|rule| ConnectLine {
                layer: number,
                to: rule.to_string(),
                says: Says::Allow,
                by: match rule.to {
                    Destination::Anywhere if !layer.needs_connect_door() => By::Kernel,
                    _ => By::ConnectDoor,
                },
                rule: rule.origin.clone(),
            }));
            lines.extend(layer.loopback.as_ref().map(|loopback| ConnectLine {
                layer: number,
                to: match loopback.reach {
                    Reach::Own => "loopback, what listens there itself".to_owned(),
                    Reach::Nobody | Reach::Anybody => "loopback".to_owned(),
                },
                says: match loopback.reach {
                    Reach::Nobody => Says::Deny,
                    Reach::Own | Reach::Anybody => Says::Allow,
                },
                by: By::ConnectDoor,
                rule: loopback.origin.clone(),
            }));
            lines.extend(layer.unix.iter().map(|rule| ConnectLine {
                layer: number,
                to: rule.shape.to_string(),
                says: Says::Allow,
                by: By::ConnectDoor,
                rule: rule.origin.clone(),
            }));
        }
        lines
    }

    /// The rules about what TCP sockets may be bound to.
    #[must_use]
    pub fn binds(&self) -> Vec<ConnectLine> {
        let layers = self.layers.iter().enumerate();
        let lines = layers.flat_map(|(number, layer)| {
            layer.bind.iter().map(move |rule| ConnectLine {
                layer: number,
                to: rule.to_string(),
                says: Says::Allow,
                by: match rule.to {
                    Destination::Anywhere => By::Kernel,
                    Destination::Network(..) => By::ConnectDoor,
                },
                rule: rule.origin.clone(),
            })
        });
        lines.collect()
    }

    fn is_absent(&self, origin: &Origin, shape: &Shape) -> bool {
        self.absent
            .iter()
            .any(|(path, own)| own == origin && path == shape.anchor())
    }
}

impl Layer {
    /// `asked`: the rights of which each use is the supervisor's to decide first.
    fn by(&self, rule: &FileRule, asked: Access) -> By {
        let given = match rule.access.intersects(asked) {
            true => By::Supervisor,
            false => By::Socket,
        };
        let Shape::Tree(path) = &rule.shape else {
            return given;
        };
        let subject = Subject {
            path,
            object: rule.object,
        };
        let is_whole = rule
            .access
            .iter()
            .all(|right| self.native(&subject, right).is_some());
        if is_whole {
            return By::Kernel;
        }
        let is_part = self
            .native
            .iter()
            .any(|grant| grant.path.starts_with(path) && grant.access.intersects(rule.access))
            || rule
                .access
                .iter()
                .any(|right| self.native(&subject, right).is_some());
        if is_part {
            By::KernelAndSupervisor
        } else {
            given
        }
    }
}

impl std::fmt::Display for TcpRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.to {
            Destination::Anywhere => f.write_str("*")?,
            Destination::Network(address, length) => {
                let is_single = length == if address.is_ipv4() { 32 } else { 128 };
                let text = if is_single {
                    address.to_string()
                } else {
                    format!("{address}/{length}")
                };
                if address.is_ipv6() {
                    write!(f, "[{text}]")?;
                } else {
                    f.write_str(&text)?;
                }
            }
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}
