//! From flags to the policy that applies.

use crate::args::PolicyArgs;
use crate::places;
use crate::preload;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use supervisor::audit::{Bytes, Digest, Named};
use supervisor::policy::{
    Access, Approver, Facts, Flag, Library, Policy, PolicyError, PolicyText, Preset, Protected,
    Ruleset, Tmp, World,
};
use supervisor::sources::{self, FactsError, FileSystem, PolicyFiles};

/// The policies that the operator named, read once, and what they are compiled against.
#[derive(Debug)]
pub struct Law {
    policies: Vec<Policy>,
    /// The names that the operator gave, and the hash of each text.
    names: Vec<(OsString, Digest)>,
    facts: Facts,
    /// Our own program, which is executed inside to ask for files.
    pub own: Option<PathBuf>,
    /// What programs preload, where it is there.
    library: Option<PathBuf>,
    /// Directories of sessions that live.
    pub runtime: PathBuf,
    /// What is kept.
    pub state: PathBuf,
    /// What else nobody inside may touch.
    protected: Vec<PathBuf>,
}

/// Why there is no policy that could apply.
#[derive(Debug, thiserror::Error)]
pub enum LawError {
    /// It is not a policy, or cannot be had.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// What it speaks of cannot be found out.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The flags are at odds with themselves or with the machine.
    #[error("{0}")]
    Usage(String),
}

impl Law {
    /// Reads the policies that `args` name. What the policy calls `$PWD` is where the command starts: the directory of `--chdir`,
    /// where there is one. `tmp` names the private temporary directory, which need not be there yet.
    ///
    /// # Errors
    /// [`LawError`]
    pub fn read(args: &PolicyArgs, tmp: PathBuf) -> Result<Self, LawError> {
        Self::read_from(&mut PolicyFiles, args, tmp)
    }

    /// The same, with policy files from elsewhere.
    ///
    /// # Errors
    /// [`LawError`]
    pub fn read_from(
        files: &mut dyn Library,
        args: &PolicyArgs,
        tmp: PathBuf,
    ) -> Result<Self, LawError> {
        // Files are named from where the operator is.
        let mut policies = Vec::new();
        let mut names = Vec::new();
        for name in &args.policy {
            let (policy, digest) = named(name, files)?;
            policies.push(policy);
            names.push((name.clone(), digest));
        }
        let approver = args.approver.as_deref().map(approver).transpose()?;
        refuse_own_variables(args)?;
        let environment: Vec<_> = std::env::vars_os().collect();
        let home = args.env.iter().find_map(|variable| home(variable));
        let directory = args.chdir.as_deref();
        let facts = sources::gather(&environment, home, tmp, directory);
        let mut facts = facts.map_err(|error| match (error, directory) {
            (FactsError::Directory(errno), Some(directory)) => {
                LawError::Usage(format!("--chdir {}: {}", directory.display(), errno.desc()))
            }
            (error, _) => error.into(),
        })?;
        for variable in &args.var {
            let text = variable.to_str().and_then(|text| text.split_once('='));
            let (name, value) = text.filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                LawError::Usage(format!(
                    "--var {}: write it as NAME=VALUE",
                    variable.display()
                ))
            })?;
            facts.variables.insert(name.to_owned(), value.into());
        }
        if policies.is_empty() {
            refuse_wide_directory(&facts)?;
            policies.push(Policy::built_in()?);
            names.push((
                "(built-in)".into(),
                Digest::of(Preset::BUILT_IN.text.as_bytes()),
            ));
        }
        add_flags(&mut policies[0], args)?;
        // What one policy needs, another that narrows it cannot waive; whoever starts it can.
        for policy in &mut policies {
            for layer in &args.best_effort {
                policy.add_flag(Flag::BestEffort, OsStr::new(layer))?;
            }
        }
        if let Some(approver) = approver {
            policies[0].set_approver(approver);
        }
        let own = places::own_program().ok();
        if let Some(own) = &own {
            for policy in &mut policies {
                policy.add_flag(Flag::Own, own.as_os_str())?;
            }
        }
        // Whether it is needed is seen at the start, here or in a sandbox within.
        let library = own.as_deref().and_then(preload::find);
        if let Some(library) = &library {
            for policy in &mut policies {
                policy.add_flag(Flag::Library, library.as_os_str())?;
            }
        }
        let home = facts.home.clone().unwrap_or_else(|| PathBuf::from("/"));
        let (runtime, state) = (places::runtime(&home), places::state(&home));
        Ok(Self {
            policies,
            names,
            facts,
            own,
            library,
            runtime,
            state,
            protected: Vec::new(),
        })
    }

    /// The directory that the command starts in.
    pub fn cwd(&self) -> &Path {
        &self.facts.cwd
    }

    /// Nobody inside may touch these either.
    pub fn protect(&mut self, paths: Vec<PathBuf>) {
        self.protected = paths;
    }

    /// What programs can preload.
    ///
    /// # Errors
    /// Why they can not, and what to do.
    pub fn library(&self) -> Result<&Path, String> {
        match &self.library {
            Some(library) if preload::can_be_named(library) => Ok(library),
            Some(library) => Err(format!(
                "{} cannot be preloaded from a directory of that name",
                library.display()
            )),
            None => Err(preload::missing(
                self.own.as_deref().unwrap_or(Path::new("/")),
            )),
        }
    }

    /// What the policies call `$HOME`.
    pub fn home(&self) -> Option<&Path> {
        self.facts.home.as_deref()
    }

    /// Whether there are several, each of which narrows the first.
    pub fn is_stacked(&self) -> bool {
        self.policies.len() > 1
    }

    /// The policies by name, for the record.
    pub fn named(&self) -> Vec<Named<'_>> {
        self.names
            .iter()
            .map(|(name, sha256)| Named {
                name: Bytes::from(name.as_os_str()),
                sha256: *sha256,
            })
            .collect()
    }

    /// The policies by name, for people.
    pub fn describe(&self) -> String {
        let names = self.names.iter().map(|(name, _)| name.to_string_lossy());
        names.collect::<Vec<_>>().join(", narrowed by ")
    }

    /// Compiles the policies against the file system as it is now. `audit` is the file of the record, where there is one.
    ///
    /// # Errors
    /// [`LawError`]
    pub fn compile(&self, audit: Option<&Path>) -> Result<Ruleset, LawError> {
        self.compile_for(&FileSystem, audit)
    }

    /// The same for a file system that is seen in another way.
    ///
    /// # Errors
    /// [`LawError`]
    pub fn compile_for(
        &self,
        world: &dyn World,
        audit: Option<&Path>,
    ) -> Result<Ruleset, LawError> {
        let protect = |path: &Path, what| Protected {
            path: path.to_owned(),
            access: Access::ALL,
            what,
        };
        let mut protected = vec![
            protect(&self.runtime, "runtime directory"),
            protect(&self.state, "state directory"),
        ];
        let more = self.protected.iter();
        protected.extend(more.map(|path| protect(path, "directory of the daemon")));
        protected.extend(audit.map(|path| protect(path, "audit log")));
        Ok(Ruleset::compile(
            &self.policies,
            &self.facts,
            world,
            &protected,
        )?)
    }

    /// Whether the command gets a private temporary directory.
    pub fn wants_tmp(ruleset: &Ruleset) -> bool {
        ruleset.tmp() == Tmp::Private
    }
}

/// What `--env` says of the home directory.
pub fn home(variable: &OsStr) -> Option<PathBuf> {
    let path = PathBuf::from(variable.to_str()?.strip_prefix("HOME=")?);
    path.is_absolute().then_some(path)
}

/// Reads a policy, and takes the hash of the text that bears the name.
fn named(name: &OsStr, files: &mut dyn Library) -> Result<(Policy, Digest), LawError> {
    let name = name
        .to_str()
        .ok_or_else(|| LawError::Usage(format!("--policy {}: not UTF-8", name.display())))?;
    let mut library = Hashing { first: None, files };
    let policy = Policy::named(name, &mut library)?;
    let preset = || {
        Preset::ALL
            .iter()
            .find(|preset| preset.name == name)
            .map(|preset| Digest::of(preset.text.as_bytes()))
    };
    let digest = library
        .first
        .or_else(preset)
        .unwrap_or_else(|| Digest::of(b""));
    Ok((policy, digest))
}

/// The policy files, and the hash of the first that is read: the one that was named. What it extends comes after.
struct Hashing<'a> {
    first: Option<Digest>,
    files: &'a mut dyn Library,
}

impl Library for Hashing<'_> {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        let text = self.files.text(path)?;
        self.first
            .get_or_insert_with(|| Digest::of(text.text.as_bytes()));
        Ok(text)
    }
}

/// The built-in policy writes the working directory: where that is the home directory or above, it would open far too much.
fn refuse_wide_directory(facts: &Facts) -> Result<(), LawError> {
    let wide = facts.cwd == Path::new("/")
        || facts
            .home
            .as_ref()
            .is_some_and(|home| home.starts_with(&facts.cwd));
    if !wide {
        return Ok(());
    }
    Err(LawError::Usage(format!(
        "the built-in policy lets the command write the working directory, and that is {}; start in a directory of the project, or name a policy (-p)",
        facts.cwd.display()
    )))
}

fn add_flags(policy: &mut Policy, args: &PolicyArgs) -> Result<(), LawError> {
    for (flag, values) in [
        (Flag::Read, &args.read),
        (Flag::Write, &args.write),
        (Flag::Exec, &args.exec),
        (Flag::Deny, &args.deny),
        (Flag::Ask, &args.ask),
        (Flag::Env, &args.env),
    ] {
        for value in values {
            policy.add_flag(flag, value)?;
        }
    }
    for (flag, values) in [
        (Flag::Connect, &args.connect),
        (Flag::KeepCap, &args.keep_cap),
    ] {
        for value in values {
            policy.add_flag(flag, OsStr::new(value))?;
        }
    }
    Ok(())
}

/// Who answers. A command's words are divided at blanks; one with blanks in its words is written as a JSON list. No shell sees it.
fn approver(text: &str) -> Result<Approver, LawError> {
    let usage = |what: String| LawError::Usage(format!("--approver: {what}"));
    let mut command: Vec<String> = match text.trim_start() {
        "deny" => return Ok(Approver::Deny),
        "allow" => return Ok(Approver::Allow),
        "terminal" => return Ok(Approver::Terminal),
        "control" => return Ok(Approver::Control),
        list if list.starts_with('[') => serde_json::from_str(list)
            .map_err(|error| usage(format!("`{text}` is no list of words in JSON: {error}")))?,
        words => words.split_ascii_whitespace().map(str::to_owned).collect(),
    };
    match command.first_mut() {
        // It is started from the root directory, lest the command inside put something in its way.
        Some(program) if program.contains('/') => {
            let path = std::path::absolute(&*program)
                .map_err(|error| usage(format!("{program}: {error}")))?;
            *program = path.to_string_lossy().into_owned();
            Ok(Approver::Command(command))
        }
        _ => Err(usage(format!(
            "`{text}` is none of deny, allow, terminal, control and a program's path (with a `/`) and its arguments"
        ))),
    }
}

/// Variables that tell the command about its sandbox, and what says them instead.
fn refuse_own_variables(args: &PolicyArgs) -> Result<(), LawError> {
    for variable in &args.env {
        let text = variable.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        let instead = match name {
            "PWD" => "--chdir sets the working directory",
            "TMPDIR" => "`tmp` in the policy says where temporary files go",
            name if name == "SUPERVISE" || name.starts_with("SUPERVISE_") => {
                "it says where the supervisor is"
            }
            _ => continue,
        };
        return Err(LawError::Usage(format!(
            "--env {name}: supervise itself sets this one; {instead}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        match approver(text) {
            Ok(Approver::Command(command)) => command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_approver_is_a_word_or_a_command_with_arguments() {
        assert!(matches!(approver("deny"), Ok(Approver::Deny)));
        assert_eq!(words("/bin/ask --fast  x"), ["/bin/ask", "--fast", "x"]);
        assert_eq!(
            words(r#"["/bin/ask", "two words"]"#),
            ["/bin/ask", "two words"]
        );
        for bad in ["", "ask", "maybe --fast", "[", "[]", "[1]"] {
            assert!(approver(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_approver_named_from_here_is_found_from_anywhere() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(words("./ask")[0], here.join("ask").to_string_lossy());
    }
}
