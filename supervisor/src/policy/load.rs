//! From a policy's name to everything it says: what it extends is read and merged below it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::{Document, Extend};
use super::error::{PolicyError, Site, SourceText, nearest};
use super::origin::Source;
use super::policy::Policy;
use super::presets::Preset;

/// Where policy files are read. Each is read once.
pub trait Library {
    /// Reads a policy file.
    ///
    /// # Errors
    /// Why it cannot be had, in one line.
    fn text(&mut self, path: &Path) -> Result<PolicyText, String>;
}

/// A policy file that was read.
#[derive(Clone, Debug)]
pub struct PolicyText {
    /// What it says.
    pub text: String,
    /// Where the file that was read is, absolute.
    pub path: PathBuf,
}

/// A library without files: for presets, which extend only one another.
#[derive(Clone, Copy, Debug)]
pub struct NoFiles;

impl Library for NoFiles {
    fn text(&mut self, _path: &Path) -> Result<PolicyText, String> {
        Err("only presets can be named here".to_owned())
    }
}

/// How deep `extends` may lead.
const DEPTH: usize = 8;

impl Policy {
    /// The policy of a name as `--policy` takes it: a preset, or a file when there is a `/` in it or it ends
    /// in `.toml`.
    ///
    /// # Errors
    /// When the text cannot be had, or is not a policy.
    pub fn named(name: &str, library: &mut dyn Library) -> Result<Self, PolicyError> {
        let mut loader = Loader {
            library,
            open: Vec::new(),
        };
        loader.load(name, Path::new(""), None)
    }

    /// The policy that applies when none is named.
    ///
    /// # Errors
    /// Never for the text that is shipped.
    pub fn built_in() -> Result<Self, PolicyError> {
        let mut loader = Loader {
            library: &mut NoFiles,
            open: Vec::new(),
        };
        loader.merged(Preset::BUILT_IN.document()?, Path::new(""))
    }

    /// A text, as if it stood in a file of this name.
    ///
    /// # Errors
    /// When it is not a policy.
    pub fn parse(name: &str, text: &str, library: &mut dyn Library) -> Result<Self, PolicyError> {
        let mut loader = Loader {
            library,
            open: Vec::new(),
        };
        let directory = Path::new(name).parent().unwrap_or(Path::new(""));
        loader.read(
            SourceText::new(Source::File(name.into()), text.to_owned()),
            directory,
        )
    }
}

struct Loader<'l> {
    library: &'l mut dyn Library,
    /// The policies that are being read, outermost first.
    open: Vec<String>,
}

impl Loader<'_> {
    fn load(
        &mut self,
        name: &str,
        directory: &Path,
        site: Option<&Site>,
    ) -> Result<Policy, PolicyError> {
        let wrong = |message: String| match site {
            Some(site) => PolicyError::at(site, message),
            None => PolicyError::new(message),
        };
        if name.contains('/') || name.ends_with(".toml") {
            return self.load_file(name, directory, site.is_some(), wrong);
        }
        let Some(preset) = Preset::named(name) else {
            let names: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
            let error = wrong(format!("there is no preset `{name}`"));
            let known = format!(
                "the presets are {}; a file is named with a `/` or `.toml`",
                names.join(", ")
            );
            return Err(error.help(match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? {known}"),
                None => known,
            }));
        };
        self.enter(preset.name, &wrong)?;
        let policy = self.merged(preset.document()?, Path::new(""))?;
        self.open.pop();
        Ok(policy)
    }

    fn load_file(
        &mut self,
        name: &str,
        directory: &Path,
        is_extended: bool,
        wrong: impl Fn(String) -> PolicyError,
    ) -> Result<Policy, PolicyError> {
        let named = Path::new(name);
        // The operator may start anywhere; what a file extends must be plain to see in it.
        if is_extended && named.components().any(|part| part.as_os_str() == "..") {
            return Err(wrong(format!("`{name}` climbs out of its directory"))
                .help("name the file below this one, or by its absolute path"));
        }
        let path = directory.join(named);
        let shown = path.display().to_string();
        let found = self
            .library
            .text(&path)
            .map_err(|why| wrong(format!("cannot use policy file `{shown}`: {why}")))?;
        self.enter(&found.path.display().to_string(), &wrong)?;
        let directory = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let source = Source::File(shown.as_str().into());
        let mut policy = self.read(SourceText::new(source, found.text), &directory)?;
        policy.files.insert(found.path);
        self.open.pop();
        Ok(policy)
    }

    fn enter(
        &mut self,
        name: &str,
        wrong: &dyn Fn(String) -> PolicyError,
    ) -> Result<(), PolicyError> {
        if self.open.iter().any(|open| open == name) {
            return Err(wrong(format!("`{name}` extends itself")));
        }
        if self.open.len() >= DEPTH {
            return Err(wrong(format!(
                "`extends` leads deeper than {DEPTH} policies"
            )));
        }
        self.open.push(name.to_owned());
        Ok(())
    }

    fn read(&mut self, text: SourceText, directory: &Path) -> Result<Policy, PolicyError> {
        self.merged(Document::parse(&Arc::new(text))?, directory)
    }

    /// A document with what it extends below it.
    fn merged(&mut self, document: Document, directory: &Path) -> Result<Policy, PolicyError> {
        // A file is there under its place, which is absolute.
        let is_base = self.open.last().is_some_and(|open| open == "base");
        let mut policy = Policy::nothing();
        let is_named = |extend: &Extend| extend.name == "base";
        if document.base && !is_base && !document.extends.iter().any(is_named) {
            policy = policy.merge(self.load("base", Path::new(""), None)?);
        }
        for extend in &document.extends {
            let mut extended = self.load(&extend.name, directory, Some(&extend.site))?;
            for (name, site) in &extend.without {
                if !extended.drop_rule(name) {
                    return Err(no_such_rule(name, site, &extended, &extend.name));
                }
            }
            policy = policy.merge(extended);
        }
        Ok(policy.merge(document.own))
    }
}

fn no_such_rule(name: &str, site: &Site, policy: &Policy, preset: &str) -> PolicyError {
    let error = PolicyError::at(site, format!("`{preset}` has no rule `{name}`"));
    let names: Vec<String> = policy.rule_names().collect();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!(
            "a rule is named by its key and its text, such as `read:/usr`; `supervise show {preset}` lists them"
        )),
    }
}
