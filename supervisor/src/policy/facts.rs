//! What variables stand for, and rules with their variables replaced.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::iter::once;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::error::{PolicyError, nearest};
use super::pattern::{Glob, Shape, has_wildcard, is_canonical};
use super::policy::{Rule, What};

/// The world's facts that rules may name. Values, found by whoever starts the run.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The child's working directory, canonical: `$PWD`.
    pub cwd: PathBuf,
    /// The user's directory: `$HOME` and `~`.
    pub home: Option<PathBuf>,
    /// The user's name: `$USER`.
    pub user: Option<String>,
    /// The private directory of this run, which need not exist yet: `$TMPDIR` under `tmp = "private"`.
    pub tmpdir: PathBuf,
    /// The repository that the working directory lies in: `$REPO`.
    pub repository: Option<Repository>,
    /// Everything else that has a value: `XDG_*` and a few more from the environment, and `--var`.
    pub variables: BTreeMap<String, OsString>,
}

/// A git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The directory that has `.git` in it.
    pub root: PathBuf,
    /// For a work tree of another repository: that one's own `.git` directory, which holds the history. Whoever
    /// finds it must have made sure that it knows this work tree.
    pub common: Option<PathBuf>,
}

/// A path as a rule means it: absolute, its variables replaced, cleaned of `//` and `.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub shape: Shape,
    /// It may be absent (`?` at the end).
    pub optional: bool,
}

/// A byte of a path, and whether it means itself whatever it is: what a variable stands for holds no wildcard.
type Glyph = (u8, bool);

/// What variables stand for in one layer of policy.
pub(super) struct Expander<'f> {
    pub facts: &'f Facts,
    /// `$TMPDIR`, if there is one.
    pub tmpdir: Option<PathBuf>,
}

impl Expander<'_> {
    /// The paths that a rule of a policy file means: more than one where `$REPO` is a work tree, whose
    /// history lies elsewhere.
    pub fn paths(
        &self,
        rule: &Rule,
    ) -> Result<impl Iterator<Item = Expanded> + use<>, PolicyError> {
        let mut others = Vec::new();
        let text = rule.text.as_bytes();
        if matches!(rule.site, super::error::Site::Flag(_)) {
            return Ok(once(self.flag(rule)?).chain(others));
        }
        let (text, optional) = match text.strip_suffix(b"?") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let first = self.path(rule, text, optional)?;
        if let (Some(common), Some(repository)) =
            (self.common_directory(text), &self.facts.repository)
        {
            others.push(self.path(rule, &common, optional)?);
            // In a work tree `.git` is a file that says where the history lies.
            if matches!(rule.what, What::Deny { .. }) {
                others.push(Expanded {
                    shape: Shape::Tree(repository.root.join(".git")),
                    optional,
                });
            }
        }
        Ok(once(first).chain(others))
    }

    /// A path of the command line: it means itself, relative to the working directory.
    fn flag(&self, rule: &Rule) -> Result<Expanded, PolicyError> {
        if rule.text.is_empty() {
            return Err(rule.error("a path is needed here, and this is empty"));
        }
        Ok(Expanded {
            shape: Shape::Tree(self.facts.cwd.join(&*rule.text)),
            optional: false,
        })
    }

    /// The same rule for the history of a work tree: `$REPO` and what is below `$REPO/.git`.
    fn common_directory(&self, text: &[u8]) -> Option<Vec<u8>> {
        let common = self.facts.repository.as_ref()?.common.as_ref()?;
        let rest = text
            .strip_prefix(b"$REPO")
            .or_else(|| text.strip_prefix(b"${REPO:-$PWD}"))?;
        let rest = match rest {
            b"" => rest,
            _ => rest
                .strip_prefix(b"/.git")
                .filter(|rest| rest.is_empty() || rest[0] == b'/')?,
        };
        let mut path = common.as_os_str().as_bytes().to_owned();
        path.extend(rest);
        Some(path)
    }

    fn path(&self, rule: &Rule, text: &[u8], optional: bool) -> Result<Expanded, PolicyError> {
        // Most rules are plain: nothing to replace, nothing to match, nothing to clean.
        let plain_text = Path::new(OsStr::from_bytes(text));
        if is_canonical(plain_text) && !text.contains(&b'$') && !has_wildcard(text) {
            return Ok(Expanded {
                shape: Shape::Tree(plain_text.to_owned()),
                optional,
            });
        }
        let glyphs = self.glyphs(rule, text)?;
        if glyphs.first() != Some(&(b'/', true)) && glyphs.first() != Some(&(b'/', false)) {
            return Err(not_absolute(rule, text));
        }
        let components: Vec<&[Glyph]> = glyphs
            .split(|(byte, _)| *byte == b'/')
            .filter(|part| !part.is_empty() && plain(part) != b".")
            .collect();
        if components.iter().any(|part| plain(part) == b"..") {
            return Err(rule
                .error("`..` in a rule depends on what links lead to")
                .help("name the directory itself"));
        }
        let wild = |part: &&[Glyph]| {
            part.iter()
                .any(|(byte, own)| !own && has_wildcard(&[*byte]))
        };
        let literal = components.iter().position(wild).unwrap_or(components.len());
        let mut anchor = PathBuf::from("/");
        anchor.extend(
            components[..literal]
                .iter()
                .map(|part| OsString::from_vec(plain(part))),
        );
        if literal == components.len() {
            return Ok(Expanded {
                shape: Shape::Tree(anchor),
                optional,
            });
        }
        let glob = Glob::new(anchor, components[literal..].iter().copied())
            .map_err(|bad| rule.error(bad.to_string()))?;
        Ok(Expanded {
            shape: Shape::Glob(glob),
            optional,
        })
    }

    /// Replaces `~` and variables.
    fn glyphs(&self, rule: &Rule, text: &[u8]) -> Result<Vec<Glyph>, PolicyError> {
        let mut glyphs = Vec::with_capacity(text.len() + 32);
        let mut rest = text;
        if let Some(tail) = text.strip_prefix(b"~") {
            if !tail.is_empty() && tail[0] != b'/' {
                return Err(rule
                    .error("other users' directories are not known here")
                    .help("name the directory itself"));
            }
            literal(&mut glyphs, &self.value(rule, "HOME")?);
            rest = tail;
        }
        while let Some((first, tail)) = rest.split_first() {
            if *first != b'$' {
                glyphs.push((*first, false));
                rest = tail;
                continue;
            }
            rest = self.variable(rule, tail, &mut glyphs)?;
        }
        Ok(glyphs)
    }

    /// Replaces one variable; `text` begins behind the `$`. Yields what follows.
    fn variable<'t>(
        &self,
        rule: &Rule,
        text: &'t [u8],
        glyphs: &mut Vec<Glyph>,
    ) -> Result<&'t [u8], PolicyError> {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name_of = |text: &[u8]| {
            let end = text.iter().position(|byte| !is_name(byte));
            String::from_utf8_lossy(&text[..end.unwrap_or(text.len())]).into_owned()
        };
        let Some(braced) = text.strip_prefix(b"{") else {
            let name = name_of(text);
            if name.is_empty() {
                return Err(rule
                    .error("`$` is not followed by a variable's name")
                    .help("there is no shell here: `$(…)` and `$1` mean nothing"));
            }
            literal(glyphs, &self.value(rule, &name)?);
            return Ok(&text[name.len()..]);
        };
        let end = closing(braced).ok_or_else(|| rule.error("`${` without its `}`"))?;
        let (inside, rest) = (&braced[..end], &braced[end + 1..]);
        let name = name_of(inside);
        match &inside[name.len()..] {
            b"" if !name.is_empty() => literal(glyphs, &self.value(rule, &name)?),
            [b':', b'-', default @ ..] if !name.is_empty() => match self.lookup(&name) {
                Some(value) => literal(glyphs, &value),
                None => glyphs.extend(self.glyphs(rule, default)?),
            },
            _ => {
                return Err(rule
                    .error("this is not a variable")
                    .help("`$NAME`, `${NAME}` or `${NAME:-default}`"));
            }
        }
        Ok(rest)
    }

    fn value(&self, rule: &Rule, name: &str) -> Result<OsString, PolicyError> {
        if let Some(value) = self.lookup(name) {
            return Ok(value);
        }
        let error = rule.error(format!("`${name}` has no value"));
        let known = ["PWD", "HOME", "REPO", "TMPDIR", "USER"];
        let near = nearest(name, known.into_iter().filter(|known| *known != name));
        Err(error.help(match (name, near) {
            ("REPO", _) => "the working directory is in no git repository: `${REPO:-$PWD}` falls back".to_owned(),
            ("TMPDIR", _) => "`tmp = \"none\"` leaves no temporary directory".to_owned(),
            (_, Some(near)) => format!("did you mean `${near}`?"),
            (_, None) => format!(
                "give it one with `--var {name}=VALUE`, or write `${{{name}:-default}}`; the environment is read for XDG_*, CARGO_HOME and RUSTUP_HOME only"
            ),
        }))
    }

    fn lookup(&self, name: &str) -> Option<OsString> {
        let facts = self.facts;
        let path = |path: &Path| path.as_os_str().to_owned();
        if let Some(value) = facts.variables.get(name) {
            return Some(value.clone());
        }
        let in_home = |rest: &str| facts.home.as_ref().map(|home| path(&home.join(rest)));
        match name {
            "PWD" => Some(path(&facts.cwd)),
            "HOME" => facts.home.as_deref().map(path),
            "USER" => facts.user.as_ref().map(OsString::from),
            "TMPDIR" => self.tmpdir.as_deref().map(path),
            "REPO" => facts.repository.as_ref().map(|found| path(&found.root)),
            "XDG_CONFIG_HOME" => in_home(".config"),
            "XDG_CACHE_HOME" => in_home(".cache"),
            "XDG_DATA_HOME" => in_home(".local/share"),
            "XDG_STATE_HOME" => in_home(".local/state"),
            _ => None,
        }
    }
}

fn not_absolute(rule: &Rule, text: &[u8]) -> PolicyError {
    let text = OsStr::from_bytes(text).to_string_lossy();
    rule.error("a path in a policy begins with `/`, `~` or a variable")
        .help(format!(
            "write \"$PWD/{}\" for what is below the working directory",
            text.trim_start_matches("./")
        ))
}

/// The bytes, each meaning itself.
fn literal(glyphs: &mut Vec<Glyph>, value: &OsStr) {
    glyphs.extend(value.as_bytes().iter().map(|byte| (*byte, true)));
}

fn plain(part: &[Glyph]) -> Vec<u8> {
    part.iter().map(|(byte, _)| *byte).collect()
}

/// Where the brace that is open here closes: defaults may hold variables in braces.
fn closing(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
