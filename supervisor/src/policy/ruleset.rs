//! A compiled policy: what the kernel is told, and what is decided at access time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Access;
use super::origin::Origin;
use super::pattern::{Relation, Shape, is_below, is_canonical};
use super::settings::{
    BestEffort, BrokerRules, Limits, NativeGrant, PortRules, ProcessRules, Tmp, Udp, Warning,
};
use super::subject::{FileId, Subject};
use super::verdict::{Allowed, Denial, Mechanism, Question, Reason, Verdict};
use super::world::Entry;

/// Everything that a run is allowed. A stack of layers: what one of them does not allow is denied.
#[derive(Clone, Debug)]
pub struct Ruleset {
    pub(super) layers: Vec<Layer>,
    pub(super) tcp_connect: PortRules,
    pub(super) tcp_bind: PortRules,
    pub(super) udp: Udp,
    pub(super) limits: Limits,
    pub(super) process: ProcessRules,
    pub(super) environment: Environment,
    pub(super) make: Vec<PathBuf>,
    pub(super) tmp: Tmp,
    pub(super) broker: BrokerRules,
    pub(super) best_effort: BestEffort,
    pub(super) warnings: Vec<Warning>,
    /// Rules about what need not be there, and is not.
    pub(super) absent: Vec<(PathBuf, Origin)>,
}

/// One policy of the stack.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub rules: Vec<FileRule>,
    pub denials: Vec<DenyRule>,
    pub native: Vec<NativeGrant>,
    pub connect: Vec<ConnectRule>,
    pub loopback: Option<Loopback>,
    pub unix: Vec<UnixRule>,
}

/// A rule that allows, at once or after a question.
#[derive(Clone, Debug)]
pub(super) struct FileRule {
    pub access: Access,
    pub shape: Shape,
    pub object: Option<FileId>,
    pub decision: Decision,
    pub ttl: Option<Duration>,
    pub budget: Option<u32>,
    pub origin: Origin,
}

/// What a rule answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Decision {
    Allow,
    Ask,
}

/// A rule that denies. It holds under every name that leads to it and for the object itself.
#[derive(Clone, Debug)]
pub(super) struct DenyRule {
    pub access: Access,
    pub shapes: Vec<Shape>,
    /// The object, and files in it that have names elsewhere.
    pub objects: Vec<FileId>,
    /// What stood at the place that was named, unless it was a pattern.
    pub found: Option<(PathBuf, Entry)>,
    pub origin: Origin,
}

impl DenyRule {
    /// Where the denied thing is, and what.
    pub fn place(&self) -> Option<(&Path, Entry)> {
        let (path, entry) = self.found.as_ref()?;
        Some((path, *entry))
    }

    /// How this denial bears on a path.
    pub fn relation(&self, path: &Path, object: Option<FileId>) -> Relation {
        if object.is_some_and(|object| self.objects.contains(&object)) {
            return Relation::Covers;
        }
        let mut worst = Relation::Apart;
        for shape in &self.shapes {
            match (shape.relation(path), worst) {
                (Relation::Covers, _) => return Relation::Covers,
                (Relation::Anywhere, _) => worst = Relation::Anywhere,
                (Relation::Below, Relation::Apart) => worst = Relation::Below,
                _ => {}
            }
        }
        worst
    }
}

/// Where a TCP connection may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectRule {
    pub to: Destination,
    pub port: Option<u16>,
    pub origin: Origin,
}

/// An address, a network, or anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Destination {
    Anywhere,
    Network(IpAddr, u8),
}

impl Destination {
    fn holds(self, address: IpAddr) -> bool {
        fn prefix(bits: u128, width: u8, length: u8) -> u128 {
            let shift = u32::from(width - length.min(width));
            bits.checked_shr(shift).unwrap_or(0)
        }
        match (self, address) {
            (Self::Anywhere, _) => true,
            (Self::Network(IpAddr::V4(own), length), IpAddr::V4(other)) => {
                prefix(u32::from(own).into(), 32, length)
                    == prefix(u32::from(other).into(), 32, length)
            }
            (Self::Network(IpAddr::V6(own), length), IpAddr::V6(other)) => {
                prefix(own.into(), 128, length) == prefix(other.into(), 128, length)
            }
            (Self::Network(..), _) => false,
        }
    }
}

/// What is said about the machine's own loopback addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loopback {
    pub allowed: bool,
    pub origin: Origin,
}

/// A socket file that may be connected to.
#[derive(Clone, Debug)]
pub(super) struct UnixRule {
    pub shape: Shape,
    pub object: Option<FileId>,
    pub unconfined_peer: bool,
    pub origin: Origin,
}

/// Which variables reach the child.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// For each layer, what it lets pass.
    pub pass: Vec<Vec<VariablePattern>>,
    pub set: BTreeMap<OsString, OsString>,
}

/// A name, or the start of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum VariablePattern {
    Exact(String),
    StartingWith(String),
}

impl VariablePattern {
    fn passes(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own.as_bytes() == name,
            Self::StartingWith(own) => name.starts_with(own.as_bytes()) && !changes_programs(name),
        }
    }
}

/// Variables that make programs load or run what they name: passed only when named in full.
pub(super) fn changes_programs(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 9] = [
        b"BASH_ENV",
        b"ENV",
        b"GLIBC_TUNABLES",
        b"JAVA_TOOL_OPTIONS",
        b"IFS",
        b"NODE_OPTIONS",
        b"PS4",
        b"RUSTC_WRAPPER",
        b"SHELLOPTS",
    ];
    const FAMILIES: [&[u8]; 8] = [
        b"BASH_FUNC_",
        b"DYLD_",
        b"GCONV_",
        b"GIT_",
        b"LD_",
        b"PERL5",
        b"PYTHON",
        b"RUBY",
    ];
    EXACT.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
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

    /// Whether a TCP connection to this address may be made.
    pub fn decide_connect(&self, address: SocketAddr) -> Verdict {
        let address = SocketAddr::new(effective(address.ip()), address.port());
        let native = self.tcp_connect.contains(address.port());
        all(self
            .layers
            .iter()
            .map(|layer| layer.decide_connect(address, native)))
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

    /// What the kernel is told to grant, one Landlock ruleset per layer: they stack in the kernel as the
    /// layers stack here.
    pub fn native_layers(&self) -> impl ExactSizeIterator<Item = &[NativeGrant]> {
        self.layers.iter().map(|layer| layer.native.as_slice())
    }

    /// The ports that the kernel may let the child connect to, whatever the address.
    #[must_use]
    pub fn tcp_connect(&self) -> &PortRules {
        &self.tcp_connect
    }

    /// The ports that the child may bind.
    #[must_use]
    pub fn tcp_bind(&self) -> &PortRules {
        &self.tcp_bind
    }

    /// Whether a rule about TCP connections holds only if every connect is decided by the supervisor: it
    /// names an address, which the kernel cannot be told.
    #[must_use]
    pub fn needs_connect_door(&self) -> bool {
        self.layers.iter().any(Layer::needs_connect_door)
    }

    /// Datagrams over IP.
    #[must_use]
    pub fn udp(&self) -> Udp {
        self.udp
    }

    /// Whether Unix stream sockets are of any use: some path could be connected to or bound.
    #[must_use]
    pub fn unix_stream(&self) -> bool {
        self.layers.iter().all(|layer| {
            !layer.unix.is_empty()
                || layer
                    .rules
                    .iter()
                    .any(|rule| rule.access.contains(Access::WRITE))
        })
    }

    /// Whether a rule names socket files beside those below the write trees.
    #[must_use]
    pub fn lists_unix_sockets(&self) -> bool {
        self.layers.iter().any(|layer| !layer.unix.is_empty())
    }

    /// Bounds of the run.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What processes keep and may do to each other.
    #[must_use]
    pub fn process(&self) -> &ProcessRules {
        &self.process
    }

    /// What the child's environment is, given the caller's.
    #[must_use]
    pub fn environment(&self, caller: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
        let passes = |name: &[u8]| {
            self.environment
                .pass
                .iter()
                .all(|layer| layer.iter().any(|pattern| pattern.passes(name)))
        };
        let mut result: BTreeMap<OsString, OsString> = caller
            .iter()
            .filter(|(name, _)| passes(name.as_bytes()))
            .cloned()
            .collect();
        result.extend(self.environment.set.clone());
        result.into_iter().collect()
    }

    /// Directories to create before the launch, outermost first.
    #[must_use]
    pub fn make_dirs(&self) -> &[PathBuf] {
        &self.make
    }

    /// What `$TMPDIR` is.
    #[must_use]
    pub fn tmp(&self) -> Tmp {
        self.tmp
    }

    /// How questions are answered.
    #[must_use]
    pub fn broker(&self) -> &BrokerRules {
        &self.broker
    }

    /// Which layers of enforcement a kernel may lack.
    #[must_use]
    pub fn best_effort(&self) -> &BestEffort {
        &self.best_effort
    }

    /// What the operator should know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
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
    fn rule(&self, subject: &Subject<'_>, right: Access) -> Option<&FileRule> {
        self.rules
            .iter()
            .filter(|rule| rule.access.contains(right))
            .filter(|rule| {
                rule.shape.grants(subject.path)
                    || (rule.object.is_some() && rule.object == subject.object)
            })
            .min_by_key(|rule| {
                let least = |bound: Option<u64>| bound.map_or(0, |bound| u64::MAX - bound);
                (
                    rule.decision,
                    least(rule.ttl.map(|ttl| ttl.as_secs())),
                    least(rule.budget.map(u64::from)),
                    &rule.origin,
                )
            })
    }

    pub fn needs_connect_door(&self) -> bool {
        let addressed = |rule: &ConnectRule| rule.to != Destination::Anywhere;
        self.connect.iter().any(addressed)
            || match &self.loopback {
                Some(loopback) => loopback.allowed || !self.connect.is_empty(),
                None => false,
            }
    }

    fn decide_connect(&self, address: SocketAddr, native: bool) -> Verdict {
        let ip = address.ip();
        if let Some(loopback) = self.loopback.as_ref().filter(|_| ip.is_loopback()) {
            return if loopback.allowed {
                allowed(&loopback.origin, Mechanism::ConnectDoor)
            } else {
                Verdict::Deny(refused(Some(loopback.origin.clone()), Reason::Rule))
            };
        }
        let rule = self
            .connect
            .iter()
            .filter(|rule| rule.port.is_none_or(|port| port == address.port()))
            .filter(|rule| rule.to.holds(ip))
            .min_by_key(|rule| (rule.to, &rule.origin));
        match rule {
            Some(rule) if native && rule.to == Destination::Anywhere => {
                allowed(&rule.origin, Mechanism::Landlock)
            }
            Some(rule) => allowed(&rule.origin, Mechanism::ConnectDoor),
            None => Verdict::Deny(refused(None, Reason::NoRule)),
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

/// The layers of enforcement that every layer of the policy lets a kernel lack.
pub(super) fn common(sets: impl Iterator<Item = BTreeSet<String>>) -> BTreeSet<String> {
    sets.reduce(|first, second| first.intersection(&second).cloned().collect())
        .unwrap_or_default()
}
