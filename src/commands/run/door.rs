//! Which door the command's opens go through, and what confines it then.
//!
//! What the kernel could not be told is asked of the supervisor: by the kernel itself, where a listener can be had; else by a library
//! that programs preload, which asks for what the kernel refused. It comes as a file of its own, and adds nothing to what the
//! policy allows: a program without it, or one that took it out, is refused what the kernel refuses.

use super::{Failure, ours};
use crate::law::Law;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::policy::{Access, Mechanism, Ruleset, Subject, Transparent, Verdict};
use supervisor::sandbox::{Confinement, Kernel, Listener, Opens, Tag, prepare};

/// What confines a command, and how it asks.
#[derive(Debug)]
pub struct Confined {
    pub confinement: Arc<Confinement>,
    /// What its programs preload.
    library: Option<PathBuf>,
    /// Why they do not, where they should.
    pub without: Option<String>,
}

/// Whether anybody reads what the kernel writes down of its refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// For this command.
    Heard,
    /// Nobody does, and the kernel need not.
    Unheard,
}

impl Confined {
    /// Finds it all out.
    pub fn prepare(
        law: &Law,
        ruleset: &Ruleset,
        kernel: &Kernel,
        tag: Option<Tag>,
        listener: Listener,
        refusals: Refusals,
    ) -> Result<Self, Failure> {
        let confinement = prepare(ruleset, kernel, listener, tag).map_err(ours)?;
        let confinement = match refusals {
            Refusals::Heard => confinement.witnessed(),
            Refusals::Unheard => confinement,
        };
        let transparent = ruleset.broker().transparent;
        let is_wanted = match transparent {
            Transparent::Preload => true,
            Transparent::Auto => {
                let layers = confinement.layers();
                !layers.listener && matches!(layers.opens, Opens::SocketOnly(_))
            }
            Transparent::Notify | Transparent::None => false,
        };
        let library = match is_wanted {
            true => law
                .library()
                .and_then(|library| loadable(ruleset, library))
                .map(Some),
            false => Ok(None),
        };
        let (library, without) = match library {
            Ok(library) => (library, None),
            Err(why) if transparent == Transparent::Preload => {
                return Err(ours(format!(
                    "the policy says transparent = \"preload\", and {why}"
                )));
            }
            Err(why) => (None, Some(why)),
        };
        let confinement = match library {
            Some(_) => confinement.preloaded(),
            None => confinement,
        };
        Ok(Self {
            confinement: Arc::new(confinement),
            library: library.map(Path::to_owned),
            without,
        })
    }

    /// Has it start with this soft limit of open files, where the policy sets none.
    pub fn limit_open_files(&mut self, soft: u64) -> Result<(), String> {
        let failed = |why: &str| format!("cannot limit open files: {why}");
        // Nobody else has it yet.
        let own = Arc::get_mut(&mut self.confinement).ok_or_else(|| failed("it is in use"))?;
        own.limit_open_files(soft)
            .map_err(|errno| failed(errno.desc()))
    }

    /// What more the command finds in its environment, and what it does not find there.
    pub fn adapt(&self, environment: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
        let mut adapted = environment.to_vec();
        if !self.confinement.layers().connect {
            // Who connects is connected by the supervisor, or by nobody.
            adapted.retain(|(name, _)| name != "SUPERVISE_SOCKET");
        }
        let Some(library) = &self.library else {
            return adapted;
        };
        match adapted.iter_mut().find(|(name, _)| name == "LD_PRELOAD") {
            Some((_, others)) if !others.is_empty() => {
                others.push(":");
                others.push(library);
            }
            Some((_, nothing)) => *nothing = library.into(),
            None => adapted.push(("LD_PRELOAD".into(), library.into())),
        }
        adapted
    }
}

/// The library, if the kernel lets programs read it: the loader does, before anybody could ask for it.
fn loadable<'a>(ruleset: &Ruleset, library: &'a Path) -> Result<&'a Path, String> {
    let why = match ruleset.decide(&Subject::named(library), Access::READ) {
        Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock => return Ok(library),
        Verdict::Deny(denial) => denial.to_string(),
        _ => "a denial beside it keeps the kernel from letting it be read".to_owned(),
    };
    Err(format!("{}: {why}", library.display()))
}
