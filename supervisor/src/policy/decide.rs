//! The one place that decides: about files, about connections, about sockets. Everybody who needs to know asks here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::access::Access;
use super::origin::Origin;
use super::pattern::{Relation, is_below, is_canonical};
use super::rules::{Decision, Destination, FileRule, Layer, Loopback, Reach, TcpRule};
use super::ruleset::Ruleset;
use super::settings::NativeGrant;
use super::subject::Subject;
use super::verdict::{Allowed, Denial, Mechanism, Question, Reason, Verdict};

/// Who listens at an address that is to be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A member of the session, and nobody else.
    Session,
    /// Anybody, as far as is known.
    Anybody,
}

impl Ruleset {
    /// Whether a located file may be accessed so. Every right asked for must be allowed by every layer.
    pub fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        // A path that is not canonical was not located: no rule can be about it.
        let located = is_canonical(subject.path);
        let mut verdict = None;
        for layer in self.layers.iter().filter(|_| located) {
            for right in access.iter() {
                let next = layer.decide(subject, right);
                verdict = Some(match verdict {
                    None => next,
                    Some(before) => Verdict::and(before, next),
                });
            }
        }
        verdict.unwrap_or(Verdict::Deny(Denial {
            rule: None,
            access: Some(access),
            reason: Reason::NoRule,
        }))
    }

    /// Whether the kernel would execute this file, whatever the rules say: it was told to execute all that lies there, as a pattern
    /// is denied that it does not know of.
    #[must_use]
    pub fn executes_regardless(&self, subject: &Subject<'_>) -> bool {
        let mut layers = self.layers.iter();
        layers.all(|layer| layer.native(subject, Access::EXEC).is_some())
    }

    /// Whether the kernel was told to let something of this name be accessed so. That is no decision, but cheaper than one.
    #[must_use]
    pub fn may_be_native(&self, path: &Path, access: Access) -> bool {
        let subject = Subject::named(path);
        let mut layers = self.layers.iter();
        layers.all(|layer| {
            let mut rights = access.iter();
            rights.all(|right| layer.native(&subject, right).is_some())
        })
    }

    /// Whether there are files that are denied such access for what they are, under whatever name they are found. Directories do not
    /// count.
    #[must_use]
    pub fn knows_files(&self, access: Access) -> bool {
        let mut denials = self.layers.iter().flat_map(|layer| &layer.denials);
        denials.any(|denial| denial.access.intersects(access) && denial.knows_files())
    }

    /// Whether a TCP connection to this address may be made, given who listens there.
    pub fn decide_connect(&self, address: SocketAddr, peer: Peer) -> Verdict {
        let address = SocketAddr::new(effective(address.ip()), address.port());
        let native = self.tcp_connect.contains(address.port());
        all(self
            .layers
            .iter()
            .map(|layer| layer.decide_connect(address, peer, native)))
        .unwrap_or_else(|| Verdict::Deny(refused(None, Reason::NoRule)))
    }

    /// Whether a TCP socket may be bound to this address. Port 0 is one that the kernel chooses.
    pub fn decide_bind(&self, address: SocketAddr) -> Verdict {
        all(self.layers.iter().map(|layer| layer.decide_bind(address)))
            .unwrap_or_else(|| Verdict::Deny(refused(None, Reason::NoRule)))
    }

    /// Whether a connection to this located socket file may be made: one that is listed, or lies where the
    /// policy lets the child write.
    pub fn decide_unix(&self, subject: &Subject<'_>) -> Verdict {
        let located = is_canonical(subject.path);
        let layers = self.layers.iter().filter(|_| located);
        all(layers.map(|layer| layer.decide_unix(subject)))
            .unwrap_or_else(|| Verdict::Deny(refused(None, Reason::NoRule)))
    }
}

impl Layer {
    /// Whether the kernel alone lets this layer's child do it.
    pub fn native(&self, subject: &Subject<'_>, right: Access) -> Option<&NativeGrant> {
        self.native
            .iter()
            .filter(|grant| grant.access.contains(right))
            .find(|grant| {
                is_below(subject.path, &grant.path)
                    || (grant.object.is_some() && grant.object == subject.object)
            })
    }

    fn decide(&self, subject: &Subject<'_>, right: Access) -> Verdict {
        if let Some(denial) = self.denied(subject, right) {
            return Verdict::Deny(Denial {
                rule: Some(denial.clone()),
                access: Some(right),
                reason: Reason::Rule,
            });
        }
        if let Some(grant) = self.native(subject, right) {
            return Verdict::Allow(Allowed {
                rule: grant.origin.clone(),
                ttl: None,
                budget: None,
                mechanism: Mechanism::Landlock,
            });
        }
        let Some(rule) = self.rule(subject, right) else {
            return Verdict::Deny(Denial {
                rule: None,
                access: Some(right),
                reason: Reason::NoRule,
            });
        };
        if right == Access::EXEC {
            return Verdict::Deny(Denial {
                rule: Some(rule.origin.clone()),
                access: Some(right),
                reason: Reason::NotNative,
            });
        }
        let (ttl, budget) = (rule.ttl, rule.budget);
        let origin = rule.origin.clone();
        match rule.decision {
            Decision::Allow => Verdict::Allow(Allowed {
                rule: origin,
                ttl,
                budget,
                mechanism: Mechanism::Broker,
            }),
            Decision::Ask => Verdict::Ask(Question {
                rule: origin,
                ttl,
                scope: rule.scope,
                lasts: rule.lasts(),
                budget,
            }),
        }
    }

    fn denied(&self, subject: &Subject<'_>, right: Access) -> Option<&Origin> {
        self.denials
            .iter()
            .filter(|denial| denial.access.contains(right))
            .find(|denial| denial.relation(subject.path, subject.object) == Relation::Covers)
            .map(|denial| &denial.origin)
    }

    /// The most generous rule about this file, so that the order of rules means nothing.
    pub fn rule(&self, subject: &Subject<'_>, right: Access) -> Option<&FileRule> {
        self.rules
            .iter()
            .filter(|rule| rule.access.contains(right))
            .filter(|rule| rule.is_about(subject))
            .min_by_key(|rule| {
                let least = |bound: Option<u64>| bound.map_or(0, |bound| u64::MAX - bound);
                (
                    rule.decision,
                    least(rule.ttl.map(|ttl| ttl.as_secs())),
                    least(rule.scope.map(|scope| scope as u64)),
                    least(rule.budget.map(u64::from)),
                    &rule.origin,
                )
            })
    }

    /// The rights of which something is left to the supervisor.
    pub fn brokered(&self) -> Access {
        let asked = self.rules.iter().filter(|rule| !rule.native);
        asked.fold(self.left, |left, rule| {
            let anchor = Subject::named(rule.shape.anchor());
            let rights = rule.access.iter();
            rights
                .filter(|right| self.native(&anchor, *right).is_none())
                .fold(left, Access::union)
        })
    }

    pub fn needs_connect_door(&self) -> bool {
        let addressed = |rule: &TcpRule| rule.to != Destination::Anywhere;
        self.connect.iter().any(addressed)
            || match &self.loopback {
                // The session's own ports are a permission that can be missing: it needs no other.
                Some(loopback) => loopback.reach == Reach::Anybody || !self.connect.is_empty(),
                None => false,
            }
    }

    /// Whether only certain addresses may be bound.
    pub fn binds_addresses(&self) -> bool {
        let addressed = |rule: &TcpRule| rule.to != Destination::Anywhere;
        self.bind.iter().any(addressed)
    }

    fn decide_connect(&self, address: SocketAddr, peer: Peer, native: bool) -> Verdict {
        let ip = address.ip();
        let loopback = self.loopback.as_ref().filter(|_| ip.is_loopback());
        if let Some(Loopback { reach, origin }) = loopback {
            match (reach, peer) {
                (Reach::Anybody, _) | (Reach::Own, Peer::Session) => {
                    return allowed(origin, Mechanism::ConnectDoor);
                }
                (Reach::Nobody, _) => {
                    return Verdict::Deny(refused(Some(origin.clone()), Reason::Rule));
                }
                (Reach::Own, Peer::Anybody) => {}
            }
        }
        let rule = self
            .connect
            .iter()
            .filter(|rule| loopback.is_none() || rule.to.is_loopback())
            .filter(|rule| rule.port.is_none_or(|port| port == address.port()))
            .filter(|rule| rule.to.holds(ip))
            .min_by_key(|rule| (rule.to, &rule.origin));
        match rule {
            Some(rule) if native && rule.to == Destination::Anywhere => {
                allowed(&rule.origin, Mechanism::Landlock)
            }
            Some(rule) => allowed(&rule.origin, Mechanism::ConnectDoor),
            None => Verdict::Deny(match loopback {
                Some(loopback) => refused(Some(loopback.origin.clone()), Reason::NotOwn),
                None => refused(None, Reason::NoRule),
            }),
        }
    }

    fn decide_bind(&self, address: SocketAddr) -> Verdict {
        let ip = address.ip().to_canonical();
        let rules = self
            .bind
            .iter()
            .filter(|rule| rule.port.is_none_or(|port| port == address.port()))
            .filter(|rule| rule.to.lets_bind(ip));
        match rules.min_by_key(|rule| (rule.to, &rule.origin)) {
            Some(rule) => allowed(&rule.origin, Mechanism::ConnectDoor),
            None => match &self.loopback {
                // Whoever is to reach itself must be able to listen, where only this machine hears it. Low ports are those of
                // services.
                Some(Loopback {
                    reach: Reach::Own,
                    origin,
                }) if is_loopback(address.ip()) && !matches!(address.port(), 1..1024) => {
                    allowed(origin, Mechanism::ConnectDoor)
                }
                _ => Verdict::Deny(refused(None, Reason::NoRule)),
            },
        }
    }

    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict {
        if let Some(denial) = self.denied(subject, Access::WRITE) {
            return Verdict::Deny(refused(Some(denial.clone()), Reason::Rule));
        }
        let listed = self
            .unix
            .iter()
            .filter(|rule| {
                rule.shape.grants(subject.path)
                    || (rule.object.is_some() && rule.object == subject.object)
            })
            .max_by_key(|rule| rule.unconfined_peer);
        let outside = acts_outside(subject.path);
        match listed {
            Some(rule) if rule.unconfined_peer || !outside => {
                return allowed(&rule.origin, Mechanism::ConnectDoor);
            }
            _ if outside => return Verdict::Deny(refused(None, Reason::UnconfinedPeer)),
            _ => {}
        }
        let written = self.rule(subject, Access::WRITE);
        match written.filter(|rule| rule.decision == Decision::Allow) {
            Some(rule) => allowed(&rule.origin, Mechanism::ConnectDoor),
            None => Verdict::Deny(refused(None, Reason::NoRule)),
        }
    }
}

/// Every verdict must be a yes; `None` when there is none.
fn all(verdicts: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    verdicts.reduce(Verdict::and)
}

fn allowed(rule: &Origin, mechanism: Mechanism) -> Verdict {
    Verdict::Allow(Allowed {
        rule: rule.clone(),
        ttl: None,
        budget: None,
        mechanism,
    })
}

fn refused(rule: Option<Origin>, reason: Reason) -> Denial {
    Denial {
        rule,
        access: None,
        reason,
    }
}

/// Whether it is an address of this machine that no other reaches.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// The address that the kernel connects to: a mapped IPv4 address is that address, and the unspecified
/// address is this machine.
fn effective(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// Whether a socket is known to belong to a service that starts programs or opens files for its callers,
/// outside every sandbox: a message bus, a service manager, a container or virtual machine manager.
pub(super) fn acts_outside(path: &Path) -> bool {
    const TREES: [&str; 14] = [
        "/run/containerd",
        "/run/crio",
        "/run/dbus",
        "/run/docker",
        "/run/docker.sock",
        "/run/incus",
        "/run/libvirt",
        "/run/lxd",
        "/run/podman",
        "/run/snapd-snap.socket",
        "/run/snapd.socket",
        "/run/systemd",
        "/var/lib/incus",
        "/var/lib/lxd",
    ];
    const OF_USERS: [&str; 6] = [
        "bus",
        "systemd",
        "podman",
        "docker.sock",
        "libvirt",
        "containerd",
    ];
    let path = path
        .strip_prefix("/var/run")
        .map_or_else(|_| path.to_owned(), |rest| Path::new("/run").join(rest));
    if TREES.iter().any(|tree| path.starts_with(tree)) {
        return true;
    }
    path.strip_prefix("/run/user").is_ok_and(|rest| {
        rest.components()
            .nth(1)
            .is_some_and(|name| OF_USERS.iter().any(|own| name.as_os_str() == *own))
    })
}
