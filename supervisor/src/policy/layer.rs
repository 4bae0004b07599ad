//! One `Policy` → a layer: variables replaced, every path followed once, denials and grants laid out.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::access::Access;
use super::aliases;
use super::compile::Protected;
use super::decide::acts_outside;
use super::error::PolicyError;
use super::facts::{Expanded, Expander};
use super::native::{self, Wanted};
use super::origin::{Origin, Source};
use super::pattern::{Shape, has_wildcard};
use super::policy::{Policy, Rule, What};
use super::rules::{Decision, DenyRule, FileRule, Layer, Loopback, TcpRule, UnixRule};
use super::settings::{Tmp, Warning};
use super::world::{Planned, Traced, trace};

/// A link that a rule was followed through: the rule, where the link stands, and where the rule came out.
pub(super) type Followed = (Rule, PathBuf, PathBuf);

/// One policy on its way to a layer.
pub(super) struct Compiler<'c> {
    expander: Expander<'c>,
    world: &'c Planned<'c>,
    pub layer: Layer,
    wanted: Vec<Wanted>,
    pub links: Vec<Followed>,
    pub absent: Vec<(PathBuf, Origin)>,
}

impl<'c> Compiler<'c> {
    pub fn new(expander: Expander<'c>, world: &'c Planned<'c>) -> Self {
        Self {
            expander,
            world,
            layer: Layer::nothing(),
            wanted: Vec::new(),
            links: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// The supervisor's own denials.
    pub fn guard(&mut self, protected: &[Protected]) {
        for thing in protected {
            let origin = Origin::protected(thing.what);
            let shape = Shape::Tree(thing.path.clone());
            // What we cannot look at the child cannot either.
            let traced =
                trace(self.world, &thing.path).unwrap_or_else(|_| Traced::unseen(&thing.path));
            let rule = denial(thing.access, &shape, &traced, origin);
            self.layer.denials.push(rule);
        }
    }

    pub fn rules(&mut self, policy: &Policy) -> Result<(), PolicyError> {
        self.layer.rules.reserve(policy.rules.len());
        self.wanted.reserve(policy.rules.len());
        for rule in &policy.rules {
            let origin = rule.origin();
            match &rule.what {
                What::Allow { .. } => {
                    for expanded in self.expander.paths(rule)? {
                        self.allow(rule, &expanded, &origin)?;
                    }
                }
                What::Deny { access } => {
                    for expanded in self.expander.paths(rule)? {
                        self.deny(rule, *access, &expanded, &origin)?;
                    }
                }
                What::Connect { to, port } => self.layer.connect.push(TcpRule {
                    to: *to,
                    port: *port,
                    origin,
                }),
                What::Loopback { reach } => {
                    let reach = *reach;
                    self.layer.loopback = Some(Loopback { reach, origin });
                }
                What::Unix { unconfined_peer } => {
                    for expanded in self.expander.paths(rule)? {
                        self.unix(rule, &expanded, *unconfined_peer, &origin)?;
                    }
                }
                What::Bind { to, port } => self.layer.bind.push(TcpRule {
                    to: *to,
                    port: *port,
                    origin,
                }),
                What::Make
                | What::KeepCapability
                | What::Pass(_)
                | What::Set { .. }
                | What::BestEffort => {}
            }
        }
        Ok(())
    }

    fn allow(
        &mut self,
        rule: &Rule,
        expanded: &Expanded,
        origin: &Origin,
    ) -> Result<(), PolicyError> {
        let What::Allow {
            access,
            decision,
            native,
            ttl,
            scope,
            budget,
        } = rule.what
        else {
            return Ok(());
        };
        let is_tree = matches!(expanded.shape, Shape::Tree(_));
        if access.contains(Access::EXEC) && decision == Decision::Ask {
            return Err(rule
                .error("asking before a file is executed cannot be enforced yet (later)")
                .help("list what may be executed under `exec`"));
        }
        if access.contains(Access::EXEC) && !is_tree {
            return Err(rule
                .error("what may be executed is told to the kernel, and that knows no patterns")
                .help("list the directories or files"));
        }
        let anchor = expanded.shape.anchor();
        let traced = trace(self.world, anchor);
        let traced = match traced {
            Ok(traced) => traced,
            Err(error) if !expanded.optional => {
                return Err(rule.error(format!(
                    "cannot look at `{}`: {}",
                    anchor.display(),
                    error.desc()
                )));
            }
            Err(_) => Traced::unseen(anchor),
        };
        forbid_whole(rule, access, &traced)?;
        if traced.entry.is_none() {
            if !expanded.optional {
                let help = match rule.site {
                    super::error::Site::Flag(_) => {
                        "make it first, or name the directory it will be made in"
                    }
                    super::error::Site::Text(..) => {
                        "put `?` behind it if it may be absent; a directory under `make` is created before the launch"
                    }
                };
                return Err(rule
                    .error(format!("`{}` does not exist", anchor.display()))
                    .help(help));
            }
            self.absent.push((anchor.to_owned(), origin.clone()));
        }
        let canonical = traced.canonical;
        self.writes_too_much(rule, access, &canonical)?;
        for link in &traced.links {
            self.links
                .push((rule.clone(), link.clone(), canonical.clone()));
        }
        if let (true, true, Some(entry)) = (native, is_tree, traced.entry) {
            self.wanted.push(Wanted {
                path: canonical.clone(),
                entry,
                access,
                origin: origin.clone(),
            });
        }
        self.layer.rules.push(FileRule {
            access,
            shape: expanded.shape.anchored(canonical),
            object: traced
                .entry
                .filter(|_| is_tree)
                .and_then(|entry| entry.object),
            decision,
            native: native && is_tree,
            ttl,
            scope,
            budget,
            origin: origin.clone(),
        });
        Ok(())
    }

    /// What is shipped must not open a whole home because of where it was started.
    fn writes_too_much(&self, rule: &Rule, access: Access, path: &Path) -> Result<(), PolicyError> {
        let Some(home) = &self.expander.facts.home else {
            return Ok(());
        };
        let is_shipped = || {
            matches!(
                rule.site.origin().source(),
                Source::BuiltIn | Source::Preset(_)
            )
        };
        if access.contains(Access::WRITE) && home.starts_with(path) && is_shipped() {
            return Err(rule
                .error(format!(
                    "`{}` is the home directory or above it: too much to be written by a policy that is not your own",
                    path.display()
                ))
                .help("start in a directory of the project, or write a policy (`supervise init`)"));
        }
        Ok(())
    }

    fn deny(
        &mut self,
        rule: &Rule,
        access: Access,
        expanded: &Expanded,
        origin: &Origin,
    ) -> Result<(), PolicyError> {
        let anchor = expanded.shape.anchor();
        // What cannot be looked at is denied by its name.
        let traced = trace(self.world, anchor).unwrap_or_else(|_| Traced::unseen(anchor));
        let is_flag = matches!(rule.site, super::error::Site::Flag(_));
        if is_flag && traced.entry.is_none() && has_wildcard(anchor.as_os_str().as_bytes()) {
            // Taken for a name it would deny nothing that was meant.
            return Err(rule
                .error(format!("`{}` is not there", anchor.display()))
                .help("a flag names one path, as a shell gives it; a pattern goes into a policy: deny = [\"$PWD/**/.env\"]"));
        }
        let rule = denial(access, &expanded.shape, &traced, origin.clone());
        self.layer.denials.push(rule);
        Ok(())
    }

    fn unix(
        &mut self,
        rule: &Rule,
        expanded: &Expanded,
        unconfined_peer: bool,
        origin: &Origin,
    ) -> Result<(), PolicyError> {
        let anchor = expanded.shape.anchor();
        // A socket that is not there yet is no mistake: servers make theirs.
        let traced = trace(self.world, anchor).unwrap_or_else(|_| Traced::unseen(anchor));
        if !unconfined_peer && traced.names().any(acts_outside) {
            return Err(rule
                .error("the service behind this socket starts programs or opens files outside the sandbox")
                .help(format!(
                    "to allow that: {{ path = {:?}, unconfined_peer = true }}",
                    rule.text.to_string_lossy()
                )));
        }
        self.layer.unix.push(UnixRule {
            shape: expanded.shape.anchored(traced.canonical),
            object: traced.entry.and_then(|entry| entry.object),
            unconfined_peer,
            origin: origin.clone(),
        });
        Ok(())
    }

    /// `$TMPDIR` itself is granted by the setting that makes it.
    pub fn temporary(&mut self, policy: &Policy) {
        let Some(path) = self.expander.tmpdir.clone() else {
            return;
        };
        let name = match policy.tmp.unwrap_or(Tmp::Private) {
            Tmp::Shared => "tmp = \"shared\"",
            Tmp::Private | Tmp::None => "tmp = \"private\"",
        };
        let origin = Origin::whole(Source::Setting(name.into()));
        let access = Access::READ | Access::WRITE;
        let Ok(traced) = trace(self.world, &path) else {
            return;
        };
        let canonical = traced.canonical;
        if let Some(entry) = traced.entry {
            self.wanted.push(Wanted {
                path: canonical.clone(),
                entry,
                access,
                origin: origin.clone(),
            });
        }
        self.layer.rules.push(FileRule {
            access,
            shape: Shape::Tree(canonical),
            object: traced.entry.and_then(|entry| entry.object),
            decision: Decision::Allow,
            native: true,
            ttl: None,
            scope: None,
            budget: None,
            origin,
        });
    }

    /// Lays out what the kernel is told.
    pub fn finish(mut self, warnings: &mut Vec<Warning>) -> Result<Self, PolicyError> {
        warnings.extend(self.shared_with_the_host());
        self.links_stay_put()?;
        self.questions_are_asked()?;
        aliases::deny(&mut self.layer.denials, &self.wanted, self.world, warnings);
        let laid = native::lay(&self.wanted, &self.layer.denials, self.world, warnings)?;
        self.layer.native = laid.grants;
        self.layer.left = laid.left;
        // Daemons keep many of them for long.
        self.layer.rules.shrink_to_fit();
        self.layer.native.shrink_to_fit();
        self.layer.denials.shrink_to_fit();
        Ok(self)
    }

    /// Places that other programs of the host write too.
    fn shared_with_the_host(&self) -> impl Iterator<Item = Warning> {
        let written = self
            .wanted
            .iter()
            .filter(|wanted| wanted.access.contains(Access::WRITE));
        written.filter_map(|wanted| {
            let shared = ["/dev/shm", "/tmp", "/var/tmp"];
            let path = shared.into_iter().find(|path| wanted.path == Path::new(path))?;
            Some(Warning {
                origin: Some(wanted.origin.clone()),
                message: format!(
                    "`{path}` is shared with all other programs of the user, those in other sandboxes too"
                ),
                at_start: false,
            })
        })
    }

    /// A link in a directory that the child may write says only what the child wants it to say.
    fn links_stay_put(&self) -> Result<(), PolicyError> {
        for (rule, link, target) in &self.links {
            let writable = self
                .wanted
                .iter()
                .filter(|wanted| wanted.access.contains(Access::WRITE))
                .find(|wanted| link.starts_with(&wanted.path) && *link != wanted.path);
            if let Some(writable) = writable
                && !target.starts_with(&writable.path)
            {
                return Err(rule
                    .error(format!(
                        "`{}` is a link to `{}`, and stands where the child may write",
                        link.display(),
                        target.display()
                    ))
                    .help("name what it leads to, if that is meant"));
            }
        }
        Ok(())
    }

    /// A question about what is allowed anyway would never be asked.
    fn questions_are_asked(&self) -> Result<(), PolicyError> {
        let rules = &self.layer.rules;
        for asked in rules.iter().filter(|rule| rule.decision == Decision::Ask) {
            let anyway = rules
                .iter()
                .filter(|rule| rule.decision == Decision::Allow)
                .filter(|rule| rule.access.contains(asked.access))
                .find(|rule| rule.shape.grants(asked.shape.anchor()));
            if let Some(rule) = anyway {
                return Err(PolicyError::new(format!(
                    "{} asks about `{}`, which {} allows without asking",
                    asked.origin,
                    asked.shape.anchor().display(),
                    rule.origin
                ))
                .help("a rule that allows cannot be narrowed by one that asks: list less there"));
            }
        }
        Ok(())
    }
}

fn denial(access: Access, shape: &Shape, traced: &Traced, origin: Origin) -> DenyRule {
    // First as it was written.
    let mut shapes = vec![shape.clone()];
    for name in traced.names() {
        let other = shape.anchored(name.to_owned());
        if !shapes.contains(&other) {
            shapes.push(other);
        }
    }
    let is_tree = matches!(shape, Shape::Tree(_));
    let entry = traced.entry.filter(|_| is_tree);
    DenyRule {
        access,
        shapes,
        objects: entry.and_then(|entry| entry.object).into_iter().collect(),
        found: entry.map(|entry| (traced.canonical.clone(), entry)),
        origin,
    }
}

/// Places that no rule may open as a whole: they hold other processes, all devices, everything.
fn forbid_whole(rule: &Rule, access: Access, traced: &Traced) -> Result<(), PolicyError> {
    for name in traced.names() {
        let mut parts = name.components().skip(1).map(|part| part.as_os_str());
        let (first, second) = (parts.next(), parts.next());
        let first = first.and_then(|part| part.to_str());
        let of_process = second.and_then(|part| part.to_str()).is_some_and(|part| {
            part == "self"
                || part == "thread-self"
                || part.bytes().all(|byte| byte.is_ascii_digit())
        });
        match (first, second) {
            (None, _) => {
                return Err(rule.error("`/` holds everything, other processes and devices too").help(
                    "list the directories that are needed, such as /usr, /etc, /home/me/project",
                ));
            }
            (Some("proc"), None) => {
                return Err(rule
                    .error("`/proc` is never opened as a whole: it holds the secrets of every process")
                    .help("list single files; the base preset has cpuinfo, meminfo, stat and a few more"));
            }
            (Some("proc"), Some(_)) if of_process => {
                return Err(rule
                    .error("the processes below `/proc` cannot be named by a rule")
                    .help("a child has its own `/proc/self` from the supervisor, on request"));
            }
            (Some("proc"), Some(_)) if access.contains(Access::WRITE) => {
                return Err(rule.error("nothing below `/proc` is ever written by a child"));
            }
            (Some("dev"), None) => {
                return Err(rule
                    .error("`/dev` is never opened as a whole: it holds every disk")
                    .help("list single devices; the base preset has null, zero, full, tty, ptmx, random and urandom"));
            }
            _ => {}
        }
    }
    Ok(())
}
