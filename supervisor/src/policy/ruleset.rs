//! A compiled policy: what the kernel is told, and how the child is run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Serialize;

use super::access::Access;
use super::origin::Origin;
use super::rules::{Decision, Environment, Layer, Reach};
use super::settings::{
    BestEffort, BrokerRules, Limits, NativeGrant, PortRules, ProcessRules, Tmp, Udp, Warning,
};

/// What is left to the supervisor, and so must be asked of it at each open or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Brokered {
    /// Something may be read (perhaps after a question) that the kernel was not told of, because something inside its tree is
    /// denied or because the rule asks, matches or counts. What is only absent yet does not count.
    pub read: bool,
    /// The same for what may be written, made, removed and renamed.
    pub write: bool,
    /// The kernel had to be given more than the policy allows: it lets files be read that may be executed, where a pattern
    /// denies some of them. No open may be left to it.
    pub closed: bool,
}

impl Brokered {
    /// The rights of which each use is asked about.
    #[must_use]
    pub fn rights(self) -> Access {
        let mut rights = Access::NONE;
        // Where no open may be left to the kernel, all are asked about.
        if self.read || self.closed {
            rights |= Access::READ;
        }
        if self.write {
            rights |= Access::WRITE;
        }
        rights
    }
}

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

impl Ruleset {
    /// What the kernel is told to grant, one Landlock ruleset per layer: they stack in the kernel as the
    /// layers stack here.
    pub fn native_layers(&self) -> impl ExactSizeIterator<Item = &[NativeGrant]> {
        self.layers.iter().map(|layer| layer.native.as_slice())
    }

    /// What the kernel cannot be left alone with.
    #[must_use]
    pub fn brokered(&self) -> Brokered {
        let left = self
            .layers
            .iter()
            .fold(Access::NONE, |left, layer| left | layer.brokered());
        let mut native = self.layers.iter().flat_map(|layer| &layer.native);
        Brokered {
            read: left.contains(Access::READ),
            write: left.contains(Access::WRITE),
            closed: native.any(NativeGrant::executes_only),
        }
    }

    /// The rules that grant so often and no more: where each stands, what it says, and how often.
    #[must_use]
    pub fn budgets(&self) -> Vec<String> {
        let rules = self.layers.iter().flat_map(|layer| &layer.rules);
        let counted = rules.filter_map(|rule| {
            let text = rule.origin.rule().unwrap_or_default();
            Some(format!("{}: {text}, {} times", rule.origin, rule.budget?))
        });
        let mut counted: Vec<String> = counted.collect();
        counted.sort();
        counted
    }

    /// Whether a rule asks.
    #[must_use]
    pub fn asks(&self) -> bool {
        let mut rules = self.layers.iter().flat_map(|layer| &layer.rules);
        rules.any(|rule| rule.decision == Decision::Ask)
    }

    /// The ports that the kernel may let the child connect to, whatever the address.
    #[must_use]
    pub fn tcp_connect(&self) -> &PortRules {
        &self.tcp_connect
    }

    /// The ports that the kernel may let the child bind, whatever the address.
    #[must_use]
    pub fn tcp_bind(&self) -> &PortRules {
        &self.tcp_bind
    }

    /// Whether a rule about TCP holds only if every connect and bind is decided by the supervisor: it
    /// names an address, which the kernel cannot be told.
    #[must_use]
    pub fn needs_connect_door(&self) -> bool {
        let needs = |layer: &Layer| layer.needs_connect_door() || layer.binds_addresses();
        self.layers.iter().any(needs)
    }

    /// Whether it matters for connections to this machine's own ports who listens there.
    #[must_use]
    pub fn reaches_itself(&self) -> bool {
        let own = |layer: &Layer| {
            let loopback = layer.loopback.as_ref();
            loopback.is_some_and(|loopback| loopback.reach == Reach::Own)
        };
        self.layers.iter().any(own)
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
