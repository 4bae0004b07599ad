//! The text of one policy: TOML with spans, read key by key.

use std::ffi::OsStr;
use std::sync::Arc;

use toml::de::DeValue;

use super::access::Access;
use super::error::{PolicyError, Site, SourceText};
use super::policy::{self, FILE_KEYS, Policy, Rule, What};
use super::reader::{Node, Reader};
use super::rules::{Decision, Reach};
use super::settings::{Approver, Tmp, Transparent, Udp};
use protocol::Scope;

/// One text, read: its own rules, and what it extends.
pub struct Document {
    pub own: Policy,
    /// Whether the base preset is implied.
    pub base: bool,
    pub extends: Vec<Extend>,
}

/// A preset's name or a file's, and the rules of it that are dropped.
pub struct Extend {
    pub name: String,
    pub without: Vec<(String, Site)>,
    pub site: Site,
}

impl Document {
    /// Reads a text. Nothing is expanded or looked up.
    pub fn parse(text: &Arc<SourceText>) -> Result<Self, PolicyError> {
        let reader = Reader { text };
        let root = reader.root()?;
        let mut document = Self {
            own: Policy::nothing(),
            base: true,
            extends: Vec::new(),
        };
        let mut version = false;
        for (key, node) in root.get_ref() {
            match key.get_ref().as_ref() {
                "version" => {
                    reader.version(node)?;
                    version = true;
                }
                "base" => document.base = reader.boolean(node)?,
                "extends" => document.extends = reader.extends(node)?,
                "tmp" => document.own.tmp = Some(reader.choice(node, &TMP)?),
                "fs" => reader.files(node, &mut document.own)?,
                "request" => reader.requests(node, &mut document.own)?,
                "net" => reader.net(node, &mut document.own)?,
                "limits" => reader.limits(node, &mut document.own)?,
                "process" => reader.process(node, &mut document.own)?,
                "env" => reader.environment(node, &mut document.own)?,
                "broker" => reader.broker(node, &mut document.own)?,
                "require" => reader.require(node, &mut document.own)?,
                _ => return Err(reader.unknown(key, "a policy", &TOP)),
            }
        }
        if !version {
            return Err(
                PolicyError::at(&reader.site(0..0), "the policy does not say its version")
                    .help("begin it with `version = 1`"),
            );
        }
        Ok(document)
    }
}

const TOP: [&str; 12] = [
    "version", "base", "extends", "tmp", "fs", "request", "net", "limits", "process", "env",
    "broker", "require",
];
const TMP: [(&str, Tmp); 3] = [
    ("private", Tmp::Private),
    ("shared", Tmp::Shared),
    ("none", Tmp::None),
];
const UDP: [(&str, Udp); 2] = [("none", Udp::None), ("any", Udp::Any)];

impl Reader<'_> {
    fn version(&self, node: &Node<'_>) -> Result<(), PolicyError> {
        match self.integer(node)? {
            1 => Ok(()),
            other => Err(self
                .error(
                    node,
                    format!("version {other} of the policy language is not known"),
                )
                .help("this program knows `version = 1`")),
        }
    }

    /// One rule of a list: its text, and what it means.
    fn rule(&self, key: &'static str, node: &Node<'_>, text: &str, what: What) -> Rule {
        Rule {
            key,
            text: OsStr::new(text).into(),
            what,
            site: self.site(node.span()),
        }
    }

    /// A list of strings, each of which becomes a rule.
    fn rules(
        &self,
        key: &'static str,
        node: &Node<'_>,
        policy: &mut Policy,
        meaning: impl Fn(&str, &Site) -> Result<What, PolicyError>,
    ) -> Result<(), PolicyError> {
        for item in self.array(node)? {
            let text = self.string(item)?;
            let what = meaning(text, &self.site(item.span()))?;
            policy.add(self.rule(key, item, text, what));
        }
        Ok(())
    }

    fn extends(&self, node: &Node<'_>) -> Result<Vec<Extend>, PolicyError> {
        self.array(node)?
            .iter()
            .map(|item| self.extend(item))
            .collect()
    }

    fn extend(&self, node: &Node<'_>) -> Result<Extend, PolicyError> {
        let site = self.site(node.span());
        if !node.get_ref().is_table() {
            let name = self.string(node)?.to_owned();
            let without = Vec::new();
            return Ok(Extend {
                name,
                without,
                site,
            });
        }
        let mut name = None;
        let mut without = Vec::new();
        for (key, value) in self.table(node, "{ preset = \"…\", without = [] }")? {
            match key.get_ref().as_ref() {
                "preset" => name = Some(self.string(value)?.to_owned()),
                "without" => {
                    for item in self.array(value)? {
                        without.push((self.string(item)?.to_owned(), self.site(item.span())));
                    }
                }
                _ => return Err(self.unknown(key, "`extends`", &["preset", "without"])),
            }
        }
        let name = name.ok_or_else(|| self.error(node, "this does not name a `preset`"))?;
        Ok(Extend {
            name,
            without,
            site,
        })
    }

    fn files(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        for (key, value) in self.table(node, "[fs]")? {
            let word = key.get_ref().as_ref();
            let Some((key, what)) = FILE_KEYS.iter().find(|(name, _)| *name == word) else {
                let known: Vec<&str> = FILE_KEYS.iter().map(|(name, _)| *name).collect();
                return Err(self.unknown(key, "[fs]", &known));
            };
            self.rules(key, value, policy, |_, _| Ok(what.clone()))?;
        }
        Ok(())
    }

    fn requests(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        let DeValue::Array(tables) = node.get_ref() else {
            return Err(self.expected(node, "tables, each begun with `[[request]]`"));
        };
        for table in tables {
            self.request(table, policy)?;
        }
        Ok(())
    }

    fn request(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        const KNOWN: [&str; 6] = ["path", "access", "decision", "ttl", "scope", "budget"];
        const DECISIONS: [(&str, Decision); 2] =
            [("allow", Decision::Allow), ("ask", Decision::Ask)];
        let (mut path, mut access, mut decision) = (None, Access::READ, None);
        let (mut ttl, mut scope, mut budget) = (None, None, None);
        for (key, value) in self.table(node, "[[request]]")? {
            match key.get_ref().as_ref() {
                "path" => path = Some((self.string(value)?, value)),
                "access" => access = self.access(value)?,
                "decision" => decision = Some(self.choice(value, &DECISIONS)?),
                "ttl" => ttl = Some(self.duration(value)?),
                "scope" => {
                    scope = Some((
                        self.choice(value, &Scope::ALL.map(|one| (one.as_str(), one)))?,
                        value,
                    ))
                }
                "budget" => {
                    let number = u32::try_from(self.integer(value)?).ok();
                    let number = number.filter(|number| *number > 0);
                    budget = Some(number.ok_or_else(|| {
                        self.error(value, "a budget is a number of grants, at least 1")
                    })?);
                }
                _ => return Err(self.unknown(key, "[[request]]", &KNOWN)),
            }
        }
        let (path, at) = path.ok_or_else(|| self.error(node, "this request names no `path`"))?;
        let decision = decision.ok_or_else(|| {
            self.error(node, "this request has no `decision`")
                .help("allowed here: \"allow\", \"ask\"")
        })?;
        let contradiction = match (scope, decision, ttl) {
            (Some((_, at)), Decision::Allow, _) => Some((
                at,
                "a scope is that of a yes: it goes with `decision = \"ask\"`",
            )),
            (Some((Scope::Once, at)), _, Some(_)) => Some((at, "a yes for once has no `ttl`")),
            _ => None,
        };
        if let Some((at, what)) = contradiction {
            return Err(self.error(at, what));
        }
        let what = What::Allow {
            access,
            decision,
            native: false,
            ttl,
            scope: scope.map(|(scope, _)| scope),
            budget,
        };
        policy.add(self.rule("request", at, path, what));
        Ok(())
    }

    fn access(&self, node: &Node<'_>) -> Result<Access, PolicyError> {
        const RIGHTS: [(&str, Access); 3] = [
            ("read", Access::READ),
            ("write", Access::WRITE),
            ("exec", Access::EXEC),
        ];
        let mut access = Access::NONE;
        for item in self.array(node)? {
            let right = self.choice(item, &RIGHTS)?;
            if right == Access::EXEC {
                return Err(self
                    .error(item, "nobody can execute a file on the child's behalf")
                    .help("put the path under `exec` in [fs]"));
            }
            access |= right;
        }
        if access.is_empty() {
            return Err(self.error(node, "a request is for at least one right"));
        }
        Ok(access)
    }

    fn net(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        const KNOWN: [&str; 5] = ["connect", "bind", "loopback", "udp", "unix"];
        for (key, value) in self.table(node, "[net]")? {
            match key.get_ref().as_ref() {
                "connect" => self.rules("connect", value, policy, policy::connect)?,
                "bind" => self.rules("bind", value, policy, policy::bind)?,
                "loopback" => self.loopback(value, policy)?,
                "udp" => policy.udp = Some(self.choice(value, &UDP)?),
                "unix" => {
                    for item in self.array(value)? {
                        self.unix(item, policy)?;
                    }
                }
                _ => return Err(self.unknown(key, "[net]", &KNOWN)),
            }
        }
        Ok(())
    }

    fn loopback(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        const CHOICES: [(&str, Reach); 3] = [
            ("none", Reach::Nobody),
            ("own", Reach::Own),
            ("any", Reach::Anybody),
        ];
        let reach = self.choice(node, &CHOICES)?;
        let text = self.string(node)?;
        policy.add(self.rule("loopback", node, text, What::Loopback { reach }));
        Ok(())
    }

    fn unix(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        let mut unconfined_peer = false;
        let mut path = None;
        if node.get_ref().is_table() {
            for (key, value) in self.table(node, "{ path = \"…\" }")? {
                match key.get_ref().as_ref() {
                    "path" => path = Some(self.string(value)?),
                    "unconfined_peer" => unconfined_peer = self.boolean(value)?,
                    _ => return Err(self.unknown(key, "`unix`", &["path", "unconfined_peer"])),
                }
            }
        } else {
            path = Some(self.string(node)?);
        }
        let path = path.ok_or_else(|| self.error(node, "this names no `path`"))?;
        policy.add(self.rule("unix", node, path, What::Unix { unconfined_peer }));
        Ok(())
    }

    fn limits(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        const KNOWN: [&str; 6] = [
            "wall",
            "cpu",
            "memory",
            "processes",
            "open_files",
            "file_size",
        ];
        for (key, value) in self.table(node, "[limits]")? {
            match key.get_ref().as_ref() {
                "wall" => policy.wall = Some(self.duration(value)?),
                "cpu" => policy.cpu = Some(self.duration(value)?),
                "memory" => policy.memory = Some(self.size(value)?),
                "processes" => policy.processes = Some(self.integer(value)?),
                "open_files" => policy.open_files = Some(self.integer(value)?),
                "file_size" => policy.file_size = Some(self.size(value)?),
                _ => return Err(self.unknown(key, "[limits]", &KNOWN)),
            }
        }
        Ok(())
    }

    fn process(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        for (key, value) in self.table(node, "[process]")? {
            match key.get_ref().as_ref() {
                "keep_caps" => {
                    for item in self.array(value)? {
                        let name = policy::capability(self.string(item)?, &self.site(item.span()))?;
                        policy.add(self.rule("keep_caps", item, &name, What::KeepCapability));
                    }
                }
                "ptrace" => {
                    let own = self.choice(value, &[("none", false), ("own", true)])?;
                    policy.ptrace_own = Some(own);
                }
                "orphans" => {
                    let awaited = self.choice(value, &[("kill", false), ("wait", true)])?;
                    policy.orphans_awaited = Some(awaited);
                }
                "terminal" => {
                    let own = self.choice(value, &[("inherited", false), ("own", true)])?;
                    policy.own_terminal = Some(own);
                }
                _ => {
                    let known = ["keep_caps", "orphans", "ptrace", "terminal"];
                    return Err(self.unknown(key, "[process]", &known));
                }
            }
        }
        Ok(())
    }

    fn environment(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        for (key, value) in self.table(node, "[env]")? {
            match key.get_ref().as_ref() {
                "pass" => self.rules("pass", value, policy, |text, site| {
                    policy::variable_pattern(text, site).map(What::Pass)
                })?,
                "set" => {
                    for (name, value) in self.table(value, "set = { NAME = \"value\" }")? {
                        let text = self.string(value)?;
                        let at = self.site(name.span());
                        let what = policy::set_variable(name.get_ref(), text.as_ref(), &at)?;
                        policy.add(self.rule("set", value, name.get_ref(), what));
                    }
                }
                _ => return Err(self.unknown(key, "[env]", &["pass", "set"])),
            }
        }
        Ok(())
    }

    fn broker(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        for (key, value) in self.table(node, "[broker]")? {
            match key.get_ref().as_ref() {
                "approver" => policy.approver = Some(self.approver(value)?),
                "timeout" => policy.timeout = Some(self.duration(value)?),
                "transparent" => {
                    policy.transparent = Some(self.choice(value, &Transparent::NAMES)?)
                }
                _ => {
                    let known = ["approver", "timeout", "transparent"];
                    return Err(self.unknown(key, "[broker]", &known));
                }
            }
        }
        Ok(())
    }

    fn approver(&self, node: &Node<'_>) -> Result<Approver, PolicyError> {
        if !node.get_ref().is_table() {
            let known = [
                ("deny", Approver::Deny),
                ("terminal", Approver::Terminal),
                ("control", Approver::Control),
            ];
            return self.choice(node, &known);
        }
        let mut command = Vec::new();
        for (key, value) in self.table(node, "{ command = [\"…\"] }")? {
            match key.get_ref().as_ref() {
                "command" => {
                    for item in self.array(value)? {
                        command.push(self.string(item)?.to_owned());
                    }
                }
                _ => return Err(self.unknown(key, "`approver`", &["command"])),
            }
        }
        if !command
            .first()
            .is_some_and(|program| program.starts_with('/'))
        {
            return Err(self
                .error(node, "an approver's program is named by its absolute path")
                .help("approver = { command = [\"/usr/local/bin/approve\"] }"));
        }
        Ok(Approver::Command(command))
    }

    fn require(&self, node: &Node<'_>, policy: &mut Policy) -> Result<(), PolicyError> {
        for (key, value) in self.table(node, "[require]")? {
            match key.get_ref().as_ref() {
                "best_effort" => self.rules("best_effort", value, policy, policy::best_effort)?,
                _ => return Err(self.unknown(key, "[require]", &["best_effort"])),
            }
        }
        Ok(())
    }
}
