//! What policies say, merged: rules as they were written, each with its place.
//!
//! Merging is the union of rules and, for single settings, the later one. It is associative and idempotent, so
//! the order and the repetition of `extends` mean nothing for rules.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::Scope;

use super::access::Access;
use super::error::{PolicyError, Site};
use super::origin::Origin;
use super::quantity;
use super::rules::{Decision, Destination, Reach, VariablePattern, changes_programs};
use super::settings::{Approver, BestEffort, Limits, Tmp, Transparent, Udp};

/// Rules and settings of one authority: a policy with all it extends, or the flags of the command line.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) rules: Vec<Rule>,
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) wall: Option<Duration>,
    pub(super) cpu: Option<Duration>,
    pub(super) memory: Option<u64>,
    pub(super) processes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) file_size: Option<u64>,
    pub(super) tmp: Option<Tmp>,
    pub(super) udp: Option<Udp>,
    pub(super) ptrace_own: Option<bool>,
    pub(super) orphans_awaited: Option<bool>,
    pub(super) own_terminal: Option<bool>,
    pub(super) approver: Option<Approver>,
    pub(super) timeout: Option<Duration>,
    pub(super) transparent: Option<Transparent>,
}

/// One rule as it was written.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// The key it stands under: with the text it is the rule's name, such as `deny:$HOME/.aws`.
    pub key: &'static str,
    /// The rule's own text.
    pub text: Arc<OsStr>,
    pub what: What,
    pub site: Site,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The text is a path. `native`: the kernel may be told.
    Allow {
        access: Access,
        decision: Decision,
        native: bool,
        ttl: Option<Duration>,
        scope: Option<Scope>,
        budget: Option<u32>,
    },
    Deny {
        access: Access,
    },
    Make,
    Connect {
        to: Destination,
        port: Option<u16>,
    },
    Bind {
        to: Destination,
        port: Option<u16>,
    },
    Loopback {
        reach: Reach,
    },
    Unix {
        unconfined_peer: bool,
    },
    KeepCapability,
    Pass(VariablePattern),
    Set {
        value: OsString,
    },
    BestEffort,
}

/// The keys of `[fs]`, and what a path under each of them means.
pub(super) static FILE_KEYS: [(&str, What); 9] = [
    ("read", native(Access::READ)),
    ("write", native(Access::READ.union(Access::WRITE))),
    ("exec", native(Access::READ.union(Access::EXEC))),
    ("make", What::Make),
    (
        "deny",
        What::Deny {
            access: Access::ALL,
        },
    ),
    (
        "deny_write",
        What::Deny {
            access: Access::WRITE,
        },
    ),
    ("ask_read", asked(Access::READ)),
    ("ask_write", asked(Access::READ.union(Access::WRITE))),
    ("ask_exec", asked(Access::READ.union(Access::EXEC))),
];

const fn native(access: Access) -> What {
    What::Allow {
        access,
        decision: Decision::Allow,
        native: true,
        ttl: None,
        scope: None,
        budget: None,
    }
}

const fn asked(access: Access) -> What {
    What::Allow {
        access,
        decision: Decision::Ask,
        native: false,
        ttl: None,
        scope: None,
        budget: None,
    }
}

/// A flag of the command line that adds a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `--read PATH`
    Read,
    /// `--write PATH`
    Write,
    /// `--exec PATH`
    Exec,
    /// `--deny PATH`
    Deny,
    /// `--ask PATH`: reading and writing, after a question.
    Ask,
    /// `--connect ADDRESS:PORT`
    Connect,
    /// `--keep-cap NAME`
    KeepCap,
    /// `--best-effort LAYER`
    BestEffort,
    /// `--env NAME` or `--env NAME=VALUE`
    Env,
    /// The supervisor\'s own program, which is executed inside to ask for files (`supervise request`).
    Own,
    /// The library that asks for what programs open. They read it when they start.
    Library,
}

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "--read",
            Self::Write => "--write",
            Self::Exec => "--exec",
            Self::Deny => "--deny",
            Self::Ask => "--ask",
            Self::Connect => "--connect",
            Self::KeepCap => "--keep-cap",
            Self::BestEffort => "--best-effort",
            Self::Env => "--env",
            Self::Own => "supervise itself",
            Self::Library => "the preloaded library",
        }
    }
}

impl Rule {
    /// The same rule, wherever it stands.
    fn same(&self, other: &Self) -> bool {
        // The texts first, for they differ: every rule that is added is held against all that are there.
        self.text == other.text && self.key == other.key && self.what == other.what
    }

    /// What `without` calls it.
    fn is_named(&self, name: &str) -> bool {
        name.split_once(':')
            .is_some_and(|(key, text)| self.key == key && *self.text == *OsStr::new(text))
    }

    /// Whether this rule leaves no room for an earlier one: there is a single value for the name.
    fn replaces(&self, earlier: &Self) -> bool {
        match (&self.what, &earlier.what) {
            (What::Set { .. }, What::Set { .. }) => self.text == earlier.text,
            (What::Loopback { .. }, What::Loopback { .. }) => true,
            _ => false,
        }
    }

    /// An error about this rule.
    pub fn error(&self, message: impl Into<String>) -> PolicyError {
        PolicyError::at(&self.site, message)
    }

    /// The rule's place, with its text.
    pub fn origin(&self) -> Origin {
        let text = Arc::clone(&self.text);
        self.site.origin().with_rule(self.key, text)
    }
}

impl Policy {
    /// A policy that says nothing, and so allows nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            rules: Vec::new(),
            files: BTreeSet::new(),
            wall: None,
            cpu: None,
            memory: None,
            processes: None,
            open_files: None,
            file_size: None,
            tmp: None,
            udp: None,
            ptrace_own: None,
            orphans_awaited: None,
            own_terminal: None,
            approver: None,
            timeout: None,
            transparent: None,
        }
    }

    /// The rules of both; a setting of `other` stands before one of ours.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        if self.rules.is_empty() {
            self.rules = other.rules;
        } else {
            self.rules.reserve(other.rules.len());
            for rule in other.rules {
                self.add(rule);
            }
        }
        self.files.extend(other.files);
        self.wall = other.wall.or(self.wall);
        self.cpu = other.cpu.or(self.cpu);
        self.memory = other.memory.or(self.memory);
        self.processes = other.processes.or(self.processes);
        self.open_files = other.open_files.or(self.open_files);
        self.file_size = other.file_size.or(self.file_size);
        self.tmp = other.tmp.or(self.tmp);
        self.udp = other.udp.or(self.udp);
        self.ptrace_own = other.ptrace_own.or(self.ptrace_own);
        self.orphans_awaited = other.orphans_awaited.or(self.orphans_awaited);
        self.own_terminal = other.own_terminal.or(self.own_terminal);
        self.approver = other.approver.or(self.approver);
        self.timeout = other.timeout.or(self.timeout);
        self.transparent = other.transparent.or(self.transparent);
        self
    }

    /// Adds a rule, unless the same one is there.
    pub(super) fn add(&mut self, rule: Rule) {
        if self.rules.iter().any(|own| own.same(&rule)) {
            return;
        }
        self.rules.retain(|own| !rule.replaces(own));
        self.rules.push(rule);
    }

    /// Drops the rule of this name, such as `deny:$HOME/.aws`; false when there is none.
    pub(super) fn drop_rule(&mut self, name: &str) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| !rule.is_named(name));
        self.rules.len() < before
    }

    /// The names of all rules, as `without` calls them.
    pub(super) fn rule_names(&self) -> impl Iterator<Item = String> {
        self.rules
            .iter()
            .map(|rule| format!("{}:{}", rule.key, rule.text.to_string_lossy()))
    }

    /// Adds what a flag of the command line says. Paths are taken as they are: no variable, no pattern.
    ///
    /// # Errors
    /// When the value is not one for this flag.
    pub fn add_flag(&mut self, flag: Flag, value: &OsStr) -> Result<(), PolicyError> {
        let site = Site::Flag(flag.name());
        let (key, text, what) = match flag {
            Flag::Read | Flag::Library => ("read", value.to_owned(), native(Access::READ)),
            Flag::Write => (
                "write",
                value.to_owned(),
                native(Access::READ | Access::WRITE),
            ),
            Flag::Exec | Flag::Own => (
                "exec",
                value.to_owned(),
                native(Access::READ | Access::EXEC),
            ),
            Flag::Ask => (
                "ask_write",
                value.to_owned(),
                asked(Access::READ | Access::WRITE),
            ),
            Flag::Deny => (
                "deny",
                value.to_owned(),
                What::Deny {
                    access: Access::ALL,
                },
            ),
            Flag::Connect => {
                let what = connect(&value.to_string_lossy(), &site)?;
                ("connect", value.to_owned(), what)
            }
            Flag::KeepCap => {
                let name = capability(&value.to_string_lossy(), &site)?;
                ("keep_caps", name.into(), What::KeepCapability)
            }
            Flag::BestEffort => {
                let what = best_effort(&value.to_string_lossy(), &site)?;
                ("best_effort", value.to_owned(), what)
            }
            Flag::Env => environment_flag(value, &site)?,
        };
        self.add(Rule {
            key,
            text: text.into(),
            what,
            site,
        });
        Ok(())
    }

    /// Who answers questions, whatever the policy says: `--approver`.
    pub fn set_approver(&mut self, approver: Approver) {
        self.approver = Some(approver);
    }

    /// The limits it sets.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            wall: self.wall,
            cpu: self.cpu,
            memory: self.memory,
            processes: self.processes,
            open_files: self.open_files,
            file_size: self.file_size,
        }
    }

    /// The texts of all rules of one kind.
    pub(super) fn texts(&self, kind: &What) -> BTreeSet<String> {
        self.rules
            .iter()
            .filter(|rule| rule.what == *kind)
            .map(|rule| rule.text.to_string_lossy().into_owned())
            .collect()
    }

    /// The policy files it was read from.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.files.iter().map(PathBuf::as_path)
    }
}

/// A rule of `[net] connect`.
pub(super) fn connect(text: &str, site: &Site) -> Result<What, PolicyError> {
    let (to, port) = quantity::endpoint(text).map_err(|bad| bad_endpoint(bad, text, site))?;
    // The unspecified address is this machine, and is decided as such.
    let to = match to {
        Destination::Network(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32) => {
            Destination::Network(Ipv4Addr::LOCALHOST.into(), 32)
        }
        to => to,
    };
    Ok(What::Connect { to, port })
}

/// A rule of `[net] bind`.
pub(super) fn bind(text: &str, site: &Site) -> Result<What, PolicyError> {
    let (to, port) = quantity::endpoint(text).map_err(|bad| bad_endpoint(bad, text, site))?;
    // Who binds the unspecified address has all of them; that of IPv6, those of IPv4 as well.
    let to = match to {
        Destination::Network(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 32) => {
            Destination::Network(Ipv4Addr::UNSPECIFIED.into(), 0)
        }
        Destination::Network(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128) => Destination::Anywhere,
        to => to,
    };
    Ok(What::Bind { to, port })
}

fn bad_endpoint(bad: quantity::BadEndpoint, text: &str, site: &Site) -> PolicyError {
    let error = PolicyError::at(site, bad.to_string());
    match text.rsplit_once(':') {
        Some((name, port)) if bad == quantity::BadEndpoint::Name => {
            error.help(if name == "localhost" {
                format!("write the address: \"127.0.0.1:{port}\" or \"[::1]:{port}\"")
            } else {
                format!("write the address, or \"*:{port}\" for every address")
            })
        }
        _ => error,
    }
}

/// The capabilities that a policy may keep: those that act on files of the user's own tree, and low ports.
/// Never those that reach around the sandbox.
const CAPABILITIES: [&str; 8] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
];

/// A name of `keep_caps`, without `CAP_`, in upper case.
pub(super) fn capability(text: &str, site: &Site) -> Result<String, PolicyError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if CAPABILITIES.contains(&name) {
        return Ok(name.to_owned());
    }
    let help = super::error::suggestion(name, &CAPABILITIES);
    Err(PolicyError::at(
        site,
        format!("`{text}` is not a capability that can be kept"),
    )
    .help(help))
}

/// A name of `[env] pass`: exact, or with one `*` at its end.
pub(super) fn variable_pattern(text: &str, site: &Site) -> Result<VariablePattern, PolicyError> {
    let (stem, is_prefix) = match text.strip_suffix('*') {
        Some(stem) => (stem, true),
        None => (text, false),
    };
    let is_name = stem
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name || stem.is_empty() {
        return Err(
            PolicyError::at(site, format!("`{text}` is not the name of a variable"))
                .help("a name of letters, digits and `_`, with one `*` at its end at most"),
        );
    }
    if stem.starts_with("SUPERVISE") {
        return Err(PolicyError::at(
            site,
            "variables named SUPERVISE… are the supervisor's own",
        ));
    }
    if is_prefix && changes_programs(stem.as_bytes()) {
        return Err(PolicyError::at(
            site,
            format!("`{text}` would pass variables that make programs load or run something"),
        )
        .help("name each of them in full"));
    }
    Ok(if is_prefix {
        VariablePattern::StartingWith(stem.to_owned())
    } else {
        VariablePattern::Exact(stem.to_owned())
    })
}

/// A variable that is set: its name must be one.
pub(super) fn set_variable(name: &str, value: &OsStr, site: &Site) -> Result<What, PolicyError> {
    if let VariablePattern::StartingWith(_) = variable_pattern(name, site)? {
        return Err(PolicyError::at(
            site,
            format!("`{name}` cannot be set: it is many names"),
        ));
    }
    if value.as_bytes().contains(&0) {
        return Err(PolicyError::at(
            site,
            "a variable's value cannot hold a NUL byte",
        ));
    }
    Ok(What::Set {
        value: value.to_owned(),
    })
}

fn environment_flag(
    value: &OsStr,
    site: &Site,
) -> Result<(&'static str, OsString, What), PolicyError> {
    let bytes = value.as_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
        let name = value.to_string_lossy();
        return Ok((
            "pass",
            value.to_owned(),
            What::Pass(variable_pattern(&name, site)?),
        ));
    };
    let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let what = set_variable(&name, OsStr::from_bytes(&bytes[at + 1..]), site)?;
    Ok(("set", name.into(), what))
}

/// A name of `[require] best_effort`.
pub(super) fn best_effort(text: &str, site: &Site) -> Result<What, PolicyError> {
    let known = BestEffort::NAMES.map(|(name, _)| name);
    if known.contains(&text) {
        return Ok(What::BestEffort);
    }
    Err(
        PolicyError::at(site, format!("`{text}` is not a layer that can be missing"))
            .help(super::error::suggestion(text, &known)),
    )
}
