//! A policy of random rules, as text; and what it says of a name, found out by comparing the text with the name.

use crate::chance::Chance;
use crate::pattern::{Part, Pattern, covers, is_wild, leads, meets, parts};
use crate::tree::{
    Id, Kind, NAMES, Settled, look, names_of_all, scan, settle, some_entry, some_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    No,
    /// Not under this name, but the kernel was told of the file under another, and knows it by that.
    Either,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Read,
    Write,
    Exec,
    Make,
    AskRead,
    AskWrite,
    Deny,
    DenyWrite,
    Request { writes: bool, asks: bool },
}

/// A rule as it is written.
#[derive(Clone, Debug)]
pub struct Rule {
    what: What,
    /// Without the question mark of what may be absent.
    path: String,
    optional: bool,
}

/// A rule once what it names was found.
#[derive(Debug)]
struct Found {
    what: What,
    patterns: Vec<Pattern>,
    /// It names one thing and all below it.
    is_tree: bool,
    object: Option<Id>,
    /// Files in what is denied that had more names than one.
    known: BTreeSet<Id>,
}

/// A stack of policies as they were understood.
#[derive(Debug)]
pub struct Law {
    layers: Vec<Vec<Found>>,
    /// What everything was called when the rules were read.
    before: BTreeMap<Id, Vec<PathBuf>>,
    /// What the files were called that are denied under every name they had.
    taken: Vec<PathBuf>,
}

impl Rule {
    fn random(chance: &mut Chance, top: &Path) -> Self {
        let what = match chance.below(20) {
            0..=2 => What::Read,
            3..=7 => What::Write,
            8 => What::Exec,
            9 => What::Make,
            10 => What::AskRead,
            11 => What::AskWrite,
            12..=14 => What::Deny,
            15 | 16 => What::DenyWrite,
            _ => What::Request {
                writes: chance.one_in(2),
                asks: chance.one_in(4),
            },
        };
        let is_denial = matches!(what, What::Deny | What::DenyWrite);
        let named = match chance.below(4) {
            0 => some_name(chance, top),
            // What is granted is mostly large, and what is denied lies in it.
            1 | 2 if !is_denial => top.join(*chance.pick(&NAMES[..4])),
            _ => some_entry(chance, top),
        };
        let mut path = named.to_str().expect("text").to_owned();
        let is_plain = matches!(what, What::Exec | What::Make);
        if !is_plain && chance.one_in(5) {
            const ENDS: [&str; 9] = [
                "/**",
                "/*",
                "/**/x.key",
                "/*/a",
                "/?/*",
                "/[ab]",
                "/**/a/b",
                "/*.txt",
                "/[!a]/**",
            ];
            let end = *chance.pick(&ENDS);
            path += end;
        }
        if chance.one_in(6) {
            path = path.replacen('/', "//", 1) + "/";
        }
        let optional = !matches!(what, What::Make | What::Deny | What::DenyWrite);
        Self {
            what,
            path,
            optional,
        }
    }

    fn grants(&self) -> bool {
        !matches!(self.what, What::Deny | What::DenyWrite | What::Make)
    }

    fn find(&self) -> Option<Found> {
        let path = self.path.trim_end_matches('/');
        let texts = parts(Path::new(path));
        let literal = texts
            .iter()
            .position(|text| is_wild(text))
            .unwrap_or(texts.len());
        let is_tree = literal == texts.len();
        let rest: Pattern = texts[literal..]
            .iter()
            .map(|text| match is_wild(text) {
                true => Part::Wild(text.to_vec()),
                false => Part::Literal(text.to_vec()),
            })
            .collect();
        let anchor = PathBuf::from("/").join(
            texts[..literal]
                .iter()
                .map(|text| std::ffi::OsStr::from_bytes(text))
                .collect::<PathBuf>(),
        );
        let unseen = || Settled {
            names: vec![anchor.clone()],
            object: None,
        };
        let settled = settle(&anchor).unwrap_or_else(unseen);
        let mut names = settled.names;
        let is_denial = matches!(self.what, What::Deny | What::DenyWrite);
        if is_denial {
            names.push(anchor);
        } else {
            names.truncate(1);
        }
        let mut known = BTreeSet::new();
        if let (true, true, Some(_)) = (is_denial, is_tree, settled.object) {
            scan(&names[0], &mut |path, id, kind| {
                let links = path.symlink_metadata().map_or(0, |found| found.nlink());
                if kind == Kind::File && links > 1 {
                    known.insert(id);
                }
            });
        }
        let patterns = names.iter().map(|name| {
            let literal = parts(name).into_iter();
            let literal = literal.map(|part| Part::Literal(part.to_vec()));
            literal.chain(rest.iter().cloned()).collect()
        });
        Some(Found {
            what: self.what,
            patterns: patterns.collect(),
            is_tree,
            object: settled.object.map(|(id, _)| id).filter(|_| is_tree),
            known,
        })
    }
}

/// Rules of one policy.
pub fn some_rules(chance: &mut Chance, top: &Path) -> Vec<Rule> {
    let count = 2 + chance.below(8);
    let mut rules: Vec<Rule> = (0..count).map(|_| Rule::random(chance, top)).collect();
    // Without some that grant much, nothing is left to be denied.
    for _ in 0..chance.below(4) {
        let what = *chance.pick(&[What::Read, What::Write]);
        let path = top.join(*chance.pick(&NAMES[..4]));
        rules.push(Rule {
            what,
            path: path.to_str().expect("text").to_owned(),
            optional: true,
        });
    }
    rules
}

/// A policy that says this.
pub fn text(rules: &[Rule]) -> String {
    let mut text = String::from("version = 1\nbase = false\ntmp = \"none\"\n[fs]\n");
    for (what, key) in [
        (What::Read, "read"),
        (What::Write, "write"),
        (What::Exec, "exec"),
        (What::Make, "make"),
        (What::AskRead, "ask_read"),
        (What::AskWrite, "ask_write"),
        (What::Deny, "deny"),
        (What::DenyWrite, "deny_write"),
    ] {
        let listed = rules.iter().filter(|rule| rule.what == what);
        let listed = listed.map(|rule| format!("{:?}", rule.spelled()));
        text += &format!("{key} = [{}]\n", listed.collect::<Vec<_>>().join(", "));
    }
    for rule in rules {
        if let What::Request { writes, asks } = rule.what {
            let access = if writes {
                "\"read\", \"write\""
            } else {
                "\"read\""
            };
            let decision = if asks { "ask" } else { "allow" };
            text += &format!(
                "[[request]]\npath = {:?}\naccess = [{access}]\ndecision = \"{decision}\"\n",
                rule.spelled()
            );
        }
    }
    text
}

impl Rule {
    fn spelled(&self) -> String {
        match self.optional && self.grants() {
            true => format!("{}?", self.path),
            false => self.path.clone(),
        }
    }
}

impl Found {
    fn denies(&self, right: Right) -> bool {
        match self.what {
            What::Deny => true,
            What::DenyWrite => right == Right::Write,
            _ => false,
        }
    }

    /// Whether it is a rule that lets this be done, and whether it says so without asking.
    fn grants(&self, right: Right) -> Option<bool> {
        let (writes, at_once) = match self.what {
            What::Read | What::Exec => (false, true),
            What::Write => (true, true),
            What::AskRead => (false, false),
            What::AskWrite => (true, false),
            What::Request { writes, asks } => (writes, !asks),
            What::Make | What::Deny | What::DenyWrite => return None,
        };
        (right == Right::Read || writes).then_some(at_once)
    }

    /// Whether the kernel is told of it.
    fn is_native(&self) -> bool {
        self.is_tree && matches!(self.what, What::Read | What::Write | What::Exec)
    }

    fn is_about(&self, path: &[&[u8]], id: Option<Id>) -> bool {
        let by_name = |pattern: &Pattern| match self.is_tree {
            true => covers(pattern, path),
            false => meets(pattern, path),
        };
        self.patterns.iter().any(by_name) || (id.is_some() && self.object == id)
    }

    fn forbids(&self, path: &[&[u8]], id: Option<Id>) -> bool {
        self.patterns.iter().any(|pattern| covers(pattern, path))
            || id.is_some_and(|id| self.object == Some(id) || self.known.contains(&id))
    }
}

impl Law {
    /// What the rules mean now.
    pub fn read(layers: &[Vec<Rule>], top: &Path) -> Self {
        let before = names_of_all(top);
        let find = |rules: &Vec<Rule>| rules.iter().filter_map(Rule::find).collect();
        let layers: Vec<Vec<Found>> = layers.iter().map(find).collect();
        let known = layers.iter().flatten().flat_map(|rule| &rule.known);
        let taken = known.filter_map(|id| before.get(id)).flatten().cloned();
        let taken = taken.collect();
        Self {
            layers,
            before,
            taken,
        }
    }

    /// Whether it may be done to what has this name, links followed, and is this file.
    pub fn says(&self, path: &Path, id: Option<Id>, right: Right) -> Says {
        let layers = self.layers.iter();
        let least = layers
            .map(|layer| self.layer_says(layer, path, id, right))
            .min();
        least.unwrap_or(Says::No)
    }

    fn layer_says(&self, layer: &[Found], path: &Path, id: Option<Id>, right: Right) -> Says {
        let own = parts(path);
        let mut denials = layer.iter().filter(|rule| rule.denies(right));
        if denials.any(|rule| rule.forbids(&own, id)) {
            return Says::No;
        }
        let allows = |rule: &&Found| rule.grants(right) == Some(true);
        let mut allowing = layer.iter().filter(allows);
        if allowing.any(|rule| rule.is_about(&own, id)) {
            // Something else may have such a name by now, of which the rules do not tell it apart.
            let is_taken = right == Right::Write
                && self.taken.iter().any(|name| name.starts_with(path))
                || self.taken.iter().any(|name| path.starts_with(name));
            return if is_taken { Says::Either } else { Says::Yes };
        }
        let names = id.and_then(|id| self.before.get(&id));
        let is_told = |name: &PathBuf| {
            let name = parts(name);
            let mut natives = layer.iter().filter(|rule| rule.is_native()).filter(allows);
            let mut denials = layer.iter().filter(|rule| rule.denies(right));
            natives.any(|rule| rule.is_about(&name, None))
                && !denials.any(|rule| rule.forbids(&name, None))
        };
        match names.is_some_and(|names| names.iter().any(is_told)) {
            true => Says::Either,
            false => Says::No,
        }
    }

    fn denials(&self) -> impl Iterator<Item = &Found> {
        let rules = self.layers.iter().flatten();
        rules.filter(|rule| rule.denies(Right::Write))
    }

    /// Whether the path is on the way to a denied name.
    pub fn leads_to_denied(&self, path: &Path, matched: bool) -> bool {
        let own = parts(path);
        let mut patterns = self.denials().flat_map(|rule| &rule.patterns);
        patterns.any(|pattern| leads(pattern, &own, matched))
    }

    /// Whether something below it is denied by a name that is spelled out.
    fn holds_denied(&self, path: &Path) -> bool {
        let own = parts(path);
        let denials = self.denials().filter(|rule| rule.is_tree);
        let mut patterns = denials.flat_map(|rule| &rule.patterns);
        patterns.any(|pattern| leads(pattern, &own, false))
    }

    /// Whether it may be opened, or made and opened.
    pub fn says_of_open(&self, path: &Path, id: Option<Id>, rights: &[Right]) -> Says {
        let each = rights.iter().map(|right| self.says(path, id, *right));
        let says = each.min().expect("some right");
        match rights.contains(&Right::Write) && self.leads_to_denied(path, false) {
            true => Says::No,
            false => says,
        }
    }

    /// Whether something of this kind may be made where nothing is.
    pub fn says_of_making(&self, path: &Path, kind: Kind) -> Says {
        let leads = kind != Kind::Directory && self.leads_to_denied(path, kind == Kind::Link);
        match kind {
            _ if leads => Says::No,
            Kind::Link => self.says_of_replacing(path, None),
            _ => self.says(path, None, Right::Write),
        }
    }

    /// Whether a directory or a link may be taken away.
    pub fn says_of_replacing(&self, path: &Path, id: Option<Id>) -> Says {
        let parent = path.parent().expect("it lies below");
        let above = self.says(parent, None, Right::Write);
        match self.holds_denied(path) {
            true => Says::No,
            false => self.says(path, id, Right::Write).min(above),
        }
    }

    /// Whether a file may be taken away: as it may be made, but where a rule names the file itself, and none its directory.
    pub fn says_of_removing(&self, path: &Path, id: Id) -> Says {
        let own = parts(path);
        let above = parts(path.parent().expect("it lies below"));
        let is_kept = |layer: &Vec<Found>| {
            let written = |rule: &&Found| rule.grants(Right::Write).is_some();
            let mut rules = layer.iter().filter(written);
            let mut natives = layer.iter().filter(written).filter(|rule| rule.is_native());
            let is_named =
                natives.any(|rule| rule.object.is_some() && rule.is_about(&own, Some(id)));
            is_named && !rules.any(|rule| rule.is_about(&above, None))
        };
        match self.layers.iter().any(is_kept) {
            true => Says::No,
            false => self.says(path, Some(id), Right::Write),
        }
    }

    /// Whether what stands at one name could be used for more at the other, itself or anything that is below it or could be.
    pub fn gains(&self, from: &Path, to: &Path, kind: Kind) -> Option<String> {
        let mut names = vec![PathBuf::new()];
        if kind == Kind::Directory {
            scan(from, &mut |path, _, _| {
                names.push(path.strip_prefix(from).expect("below").to_owned());
            });
            for name in NAMES {
                names.push(name.into());
                names.extend(NAMES.map(|below| Path::new(name).join(below)));
            }
        }
        for name in names {
            let (old, new) = match name.as_os_str().is_empty() {
                true => (from.to_owned(), to.to_owned()),
                false => (from.join(&name), to.join(&name)),
            };
            let id = look(&old).map(|(id, _)| id);
            for right in [Right::Read, Right::Write] {
                let (before, then) = (self.says(&old, id, right), self.says(&new, id, right));
                if before == Says::No && then == Says::Yes {
                    return Some(format!("{right:?} {} {}", old.display(), new.display()));
                }
            }
        }
        None
    }
}
