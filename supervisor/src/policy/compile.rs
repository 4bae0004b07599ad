//! A stack of policies → `Ruleset`: what they say together. Each becomes a layer of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::access::Access;
use super::error::PolicyError;
use super::facts::{Expander, Facts};
use super::layer::{Compiler, Followed};
use super::pattern::Shape;
use super::policy::{Policy, Rule, What};
use super::rules::{Decision, Destination, Environment, Layer, Reach, VariablePattern};
use super::ruleset::Ruleset;
use super::settings::{
    Approver, BestEffort, BrokerRules, Limits, PortRules, ProcessRules, Tmp, Transparent, Udp,
    Warning,
};
use super::world::{Planned, World, trace};

/// A thing of the supervisor's own that no child may touch, whatever the policy says.
#[derive(Clone, Debug)]
pub struct Protected {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// What is refused.
    pub access: Access,
    /// What it is, as in "audit log".
    pub what: &'static str,
}

/// Why a question is answered with no after this long, when the policy does not say.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// The kernel holds 16 stacked rulesets, and a run may itself be inside another.
const LAYERS: usize = 8;

impl Ruleset {
    /// Compiles a stack of policies: the first, with the flags of the command line merged into it, allows; each
    /// further one can only narrow it. Policy files are protected without being listed.
    ///
    /// # Errors
    /// When a rule means nothing here, or nothing could enforce it.
    pub fn compile(
        policies: &[Policy],
        facts: &Facts,
        world: &dyn World,
        protected: &[Protected],
    ) -> Result<Self, PolicyError> {
        let Some((first, narrowing)) = policies.split_first() else {
            return Err(PolicyError::new("no policy was given"));
        };
        if policies.len() > LAYERS {
            return Err(PolicyError::new(format!(
                "{} policies are stacked; {LAYERS} is the most",
                policies.len()
            )));
        }
        let mut warnings = narrowed_in_vain(narrowing);
        let mut planned = Planned::new(world);
        let (make, links) = plan_directories(first, facts, &mut planned)?;
        let mut guarded: Vec<Protected> = protected.to_vec();
        guarded.extend(
            policies
                .iter()
                .flat_map(|policy| &policy.files)
                .map(|file| Protected {
                    path: file.clone(),
                    access: Access::WRITE,
                    what: "policy file",
                }),
        );
        let mut layers = Vec::with_capacity(policies.len());
        let mut absent = Vec::new();
        for (number, policy) in policies.iter().enumerate() {
            let tmpdir = temporary_directory(policy, facts, &mut planned)?;
            let mut compiler = Compiler::new(Expander { facts, tmpdir }, &planned);
            if number == 0 {
                // What the first layer denies is denied.
                compiler.guard(&guarded);
                compiler.links.clone_from(&links);
            }
            compiler.rules(policy)?;
            compiler.temporary(policy);
            let compiled = compiler.finish(&mut warnings)?;
            absent.extend(compiled.absent);
            layers.push(compiled.layer);
        }
        let broker = broker_rules(first, narrowing);
        warnings.extend(asked_in_vain(&layers, &broker));
        let each = |port_rules: fn(&Policy) -> PortRules| {
            policies
                .iter()
                .map(port_rules)
                .reduce(|first, second| first.intersection(&second))
                .unwrap_or_else(PortRules::none)
        };
        let limits: Option<Limits> = policies
            .iter()
            .map(Policy::limits)
            .reduce(|first, second| first.tighter(&second));
        let has_narrow_loopback = layers.iter().any(|layer| {
            layer
                .loopback
                .as_ref()
                .is_some_and(|loopback| loopback.reach != Reach::Anybody)
        });
        Ok(Self {
            tcp_connect: if has_narrow_loopback {
                PortRules::none()
            } else {
                each(connect_ports)
            },
            tcp_bind: each(bind_ports),
            udp: least(policies, |policy| policy.udp.unwrap_or(Udp::None)).unwrap_or(Udp::None),
            limits: limits.unwrap_or_default(),
            process: ProcessRules {
                keep_caps: common(
                    policies
                        .iter()
                        .map(|policy| policy.texts(&What::KeepCapability)),
                ),
                ptrace_own: policies
                    .iter()
                    .all(|policy| policy.ptrace_own.unwrap_or(false)),
                orphans_awaited: policies
                    .iter()
                    .all(|policy| policy.orphans_awaited.unwrap_or(false)),
                own_terminal: policies
                    .iter()
                    .any(|policy| policy.own_terminal.unwrap_or(false)),
            },
            environment: environment(policies, first),
            make,
            tmp: least(policies, |policy| policy.tmp.unwrap_or(Tmp::Private)).unwrap_or(Tmp::None),
            broker,
            best_effort: BestEffort(common(
                policies
                    .iter()
                    .map(|policy| policy.texts(&What::BestEffort)),
            )),
            warnings,
            absent,
            layers,
        })
    }
}
/// What `$TMPDIR` is under a policy. The private one will be made.
fn temporary_directory(
    policy: &Policy,
    facts: &Facts,
    planned: &mut Planned<'_>,
) -> Result<Option<PathBuf>, PolicyError> {
    let path = match policy.tmp.unwrap_or(Tmp::Private) {
        Tmp::Private => facts.tmpdir.clone(),
        Tmp::Shared => PathBuf::from("/tmp"),
        Tmp::None => return Ok(None),
    };
    planned.plan(&path).map_err(|error| {
        PolicyError::new(format!("$TMPDIR {}: {}", path.display(), error.desc()))
    })?;
    Ok(Some(path))
}

/// The directories that the first policy has made, outermost first, and the links that lead there.
fn plan_directories(
    policy: &Policy,
    facts: &Facts,
    planned: &mut Planned<'_>,
) -> Result<(Vec<PathBuf>, Vec<Followed>), PolicyError> {
    let expander = Expander {
        facts,
        tmpdir: Some(facts.tmpdir.clone()),
    };
    let (mut made, mut links) = (Vec::new(), Vec::new());
    for rule in policy.rules.iter().filter(|rule| rule.what == What::Make) {
        for expanded in expander.paths(rule)? {
            let Shape::Tree(path) = &expanded.shape else {
                return Err(rule.error("a directory to make is named, not matched"));
            };
            let cannot = |error: Errno| {
                let why = error.desc();
                rule.error(format!("`{}` cannot be made: {why}", path.display()))
            };
            let traced = trace(planned, path).map_err(cannot)?;
            let end = traced.canonical;
            links.extend(
                traced
                    .links
                    .into_iter()
                    .map(|link| (rule.clone(), link, end.clone())),
            );
            made.extend(planned.plan(path).map_err(cannot)?);
        }
    }
    Ok((made, links))
}

fn connect_ports(policy: &Policy) -> PortRules {
    ports(policy, |what| match what {
        What::Connect {
            to: Destination::Anywhere,
            port,
        } => Some(*port),
        _ => None,
    })
}

fn bind_ports(policy: &Policy) -> PortRules {
    ports(policy, |what| match what {
        What::Bind {
            to: Destination::Anywhere,
            port,
        } => Some(*port),
        _ => None,
    })
}

fn ports(policy: &Policy, port_of: fn(&What) -> Option<Option<u16>>) -> PortRules {
    policy
        .rules
        .iter()
        .filter_map(|rule| port_of(&rule.what))
        .collect::<Option<BTreeSet<u16>>>()
        .map_or(PortRules::Any, PortRules::Ports)
}

fn least<T: Ord>(policies: &[Policy], value: impl Fn(&Policy) -> T) -> Option<T> {
    policies.iter().map(value).min()
}

fn environment(policies: &[Policy], first: &Policy) -> Environment {
    let passed = |policy: &Policy| -> Vec<VariablePattern> {
        let pattern = |rule: &Rule| match &rule.what {
            What::Pass(pattern) => Some(pattern.clone()),
            _ => None,
        };
        policy.rules.iter().filter_map(pattern).collect()
    };
    let set = first.rules.iter().filter_map(|rule| match &rule.what {
        What::Set { value } => Some((rule.text.to_os_string(), value.clone())),
        _ => None,
    });
    Environment {
        pass: policies.iter().map(passed).collect(),
        set: set.collect::<BTreeMap<OsString, OsString>>(),
    }
}

/// A narrowing policy may say that nobody is asked, or wait less; who answers is the operator's to say.
fn broker_rules(first: &Policy, narrowing: &[Policy]) -> BrokerRules {
    let denied = narrowing
        .iter()
        .any(|policy| policy.approver == Some(Approver::Deny));
    let approver = first.approver.clone().filter(|_| !denied);
    let timeout = first.timeout.unwrap_or(QUESTION_TIMEOUT);
    BrokerRules {
        approver: approver.unwrap_or(Approver::Deny),
        timeout: narrowing
            .iter()
            .filter_map(|policy| policy.timeout)
            .fold(timeout, Duration::min),
        transparent: first.transparent.unwrap_or(Transparent::Auto),
    }
}

/// What further policies say that a policy that narrows cannot say.
fn narrowed_in_vain(narrowing: &[Policy]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for policy in narrowing {
        for rule in &policy.rules {
            let what = match rule.what {
                What::Set { .. } => "sets a variable",
                What::Make => "makes a directory",
                _ => continue,
            };
            warnings.push(Warning {
                origin: Some(rule.origin()),
                message: format!("a further policy can only narrow: that it {what} is ignored"),
                at_start: true,
            });
        }
        if policy
            .approver
            .as_ref()
            .is_some_and(|own| *own != Approver::Deny)
        {
            warnings.push(Warning {
                origin: None,
                message: "a further policy can only narrow: its approver is ignored".to_owned(),
                at_start: true,
            });
        }
        if policy.transparent.is_some() {
            warnings.push(Warning {
                origin: None,
                message: "a further policy can only narrow: its `transparent` is ignored"
                    .to_owned(),
                at_start: false,
            });
        }
    }
    warnings
}

/// Questions that nobody will answer.
fn asked_in_vain(layers: &[Layer], broker: &BrokerRules) -> Vec<Warning> {
    if broker.approver != Approver::Deny {
        return Vec::new();
    }
    let rules = layers.iter().flat_map(|layer| &layer.rules);
    rules
        .filter(|rule| rule.decision == Decision::Ask)
        .map(|rule| Warning {
            origin: Some(rule.origin.clone()),
            message: "this asks, and the approver is `deny`: every question is answered with no"
                .to_owned(),
            at_start: true,
        })
        .collect()
}

/// The layers of enforcement that every layer of the policy lets a kernel lack.
fn common(sets: impl Iterator<Item = BTreeSet<String>>) -> BTreeSet<String> {
    sets.reduce(|first, second| first.intersection(&second).cloned().collect())
        .unwrap_or_default()
}
