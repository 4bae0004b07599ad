//! Whether an entry may be made, taken away, moved or given another name.
//!
//! A rule is about names, and what stands below a directory has its names from it. So to move a directory, or to put a link or a
//! file in its place, changes what rules mean; and what is moved keeps what the kernel was told to grant. Nothing here may make
//! a denied thing reachable under another name, nor an allowed thing do its work under a denied one.

use std::path::Path;

use super::access::Access;
use super::origin::Origin;
use super::pattern::{Shape, is_below};
use super::rules::{FileRule, Layer};
use super::ruleset::Ruleset;
use super::settings::NativeGrant;
use super::subject::Subject;
use super::verdict::{Allowed, Denial, Mechanism, Question, Reason, Verdict};
use super::world::Kind;

impl Ruleset {
    /// Whether what is no directory may be opened so, or made and opened. What may not be made in a place may not be written
    /// there either.
    pub fn decide_open(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        let verdict = self.decide(subject, access);
        if !access.contains(Access::WRITE) {
            return verdict;
        }
        let denial = self.denied_by(|shape| shape.leads_through(subject.path, false));
        denial.into_iter().fold(verdict, Verdict::and)
    }

    /// Whether an entry of this kind may be made where there is none. A directory is made where the child may write. On the way
    /// to a denied name only a directory is made: with a link there the name would mean something else, and some programs let
    /// a file stand for a directory elsewhere (`.git`).
    ///
    /// A link, wherever it leads, is made only in a directory that may be written: where a rule names what is absent, the next run
    /// would follow it.
    ///
    /// The mechanism is the kernel's only if it lets the directory be written that the entry stands in.
    pub fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict {
        let entry = match kind {
            Kind::Link => self.decide_replace(subject),
            _ => self.decide_entry(subject),
        };
        let leads = |shape: &Shape| shape.leads_through(subject.path, kind == Kind::Link);
        match self.denied_by(leads) {
            Some(denial) if kind != Kind::Directory => entry.and(denial),
            _ => entry,
        }
    }

    /// Whether a directory or a symbolic link may be taken away, or something put in its place. It may be written, and so may the
    /// directory that it stands in: a rule that names it says nothing about its name. And nothing below it is denied by name,
    /// whether that exists or not. What is neither, see [`Ruleset::decide_remove`].
    pub fn decide_replace(&self, subject: &Subject<'_>) -> Verdict {
        let entry = self.decide_file_replaced(subject);
        let directory = subject.path.parent().unwrap_or(subject.path);
        entry.and(self.decide(&Subject::named(directory), Access::WRITE))
    }

    /// Whether what is neither a directory nor a symbolic link may be taken away. That asks for no more than to make it, but where a
    /// rule names the file itself, as the kernel has it: that the file may be written says nothing about its name.
    pub fn decide_remove(&self, subject: &Subject<'_>) -> Verdict {
        let entry = self.decide_entry(subject);
        self.keeps_its_name(subject)
            .into_iter()
            .fold(entry, Verdict::and)
    }

    /// Whether what stands at `from`, of this kind, may be moved to `to`, over what may be there. Two entries are exchanged if each
    /// may be moved to where the other is.
    pub fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, kind: Kind) -> Verdict {
        let end = |subject| match kind {
            Kind::Directory | Kind::Link => self.decide_replace(subject),
            Kind::File | Kind::Device | Kind::Other => self.decide_file_replaced(subject),
        };
        let kept = |subject: &Subject<'_>| self.keeps_its_name(subject).into_iter();
        // What is not there loses no name.
        let taken = to.object.and_then(|_| kept(to).next());
        let ends = kept(from).chain(taken).fold(end(from), Verdict::and);
        let ends = ends.and(end(to)).and(self.decide_make(to, kind));
        let differing = || {
            let mut layers = self.layers.iter();
            layers.find_map(|layer| differing_below(layer, from, to.path))
        };
        match self.gain(from, to, Access::READ | Access::WRITE) {
            None if kind == Kind::Directory => differing().into_iter().fold(ends, Verdict::and),
            gain => gain.into_iter().fold(ends, Verdict::and),
        }
    }

    /// Whether the file (or the symbolic link itself) at `from` may get another name at `to`, under which nothing may be done with
    /// it that may not be done already.
    pub fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict {
        let made = self.decide_make(to, Kind::Link);
        let gain = self.gain(from, to, Access::ALL);
        gain.into_iter().fold(made, Verdict::and)
    }

    /// Of the grants by which the kernel gives this access, those whose object the child might have taken away: the kernel was
    /// told of the object, and what stands in its place by now is not its to give.
    #[must_use]
    pub fn unsettled_grants(&self, subject: &Subject<'_>, access: Access) -> Vec<&NativeGrant> {
        let mut found = Vec::new();
        for layer in &self.layers {
            let is_written =
                |path: &Path| layer.rule(&Subject::named(path), Access::WRITE).is_some();
            let native = access
                .iter()
                .filter_map(|right| layer.native(subject, right));
            found.extend(native.filter(|grant| {
                let directory = grant.path.parent().filter(|_| grant.is_dir);
                is_written(&grant.path) && directory.is_none_or(is_written)
            }));
        }
        found
    }

    /// Writing, where the kernel does its part only if it was told of the directory above.
    fn decide_entry(&self, subject: &Subject<'_>) -> Verdict {
        let verdict = self.decide(subject, Access::WRITE);
        let told = |directory| {
            let directory = Subject::named(directory);
            let mut layers = self.layers.iter();
            layers.all(|layer| layer.native(&directory, Access::WRITE).is_some())
        };
        let is_native = subject.path.parent().is_some_and(told);
        match verdict {
            Verdict::Allow(allowed) if !is_native => Verdict::Allow(Allowed {
                mechanism: Mechanism::Broker,
                ..allowed
            }),
            verdict => verdict,
        }
    }

    /// The same, and nothing below it is denied by its name.
    fn decide_file_replaced(&self, subject: &Subject<'_>) -> Verdict {
        let entry = self.decide_entry(subject);
        let is_named_below = |shape: &Shape| {
            matches!(shape, Shape::Tree(_)) && shape.leads_through(subject.path, false)
        };
        let denial = self.denied_by(is_named_below);
        denial.into_iter().fold(entry, Verdict::and)
    }

    /// The refusal to take away what is named by a rule of which the kernel is told, in a directory that no rule lets be written.
    fn keeps_its_name(&self, subject: &Subject<'_>) -> Option<Verdict> {
        let directory = Subject::named(subject.path.parent().unwrap_or(subject.path));
        let is_named = |layer: &Layer| {
            let told = |rule: &&FileRule| rule.native && rule.object.is_some();
            let mut rules = layer.rules.iter().filter(told);
            rules.any(|rule| rule.access.contains(Access::WRITE) && rule.is_about(subject))
        };
        let mut layers = self.layers.iter();
        let is_kept =
            layers.any(|layer| is_named(layer) && layer.rule(&directory, Access::WRITE).is_none());
        is_kept.then(|| refused(None, Reason::NoRule))
    }

    /// The refusal by a denial of which some shape is so.
    fn denied_by(&self, is_so: impl Fn(&Shape) -> bool) -> Option<Verdict> {
        let mut denials = self.layers.iter().flat_map(|layer| &layer.denials);
        let denial = denials.find(|denial| denial.shapes.iter().any(&is_so))?;
        Some(refused(Some(&denial.origin), Reason::Rule))
    }

    /// The refusal because more of these rights could be had at `to` than at `from`: by the rule that denies them there, or else by
    /// the one that gives them here.
    fn gain(&self, from: &Subject<'_>, to: &Subject<'_>, rights: Access) -> Option<Verdict> {
        rights.iter().find_map(|right| {
            let (before, then) = (self.decide(from, right), self.decide(to, right));
            if reluctance(&then) >= reluctance(&before) {
                return None;
            }
            match (before, then) {
                (Verdict::Deny(denial), _) if denial.reason == Reason::Rule => {
                    Some(Verdict::Deny(denial))
                }
                (_, Verdict::Allow(Allowed { rule, .. }) | Verdict::Ask(Question { rule, .. })) => {
                    Some(refused(Some(&rule), Reason::WouldGain))
                }
                (_, then) => Some(then),
            }
        })
    }
}

/// How hard it is to get: what is counted or ends some day is harder than what is not, and what is asked about harder still.
pub(super) fn reluctance(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow(allowed) if allowed.is_plain() => 0,
        Verdict::Allow(_) => 1,
        Verdict::Ask(_) => 2,
        Verdict::Deny(_) => 3,
    }
}

/// The refusal because something below `to` would not be what it was below `from`.
fn differing_below(layer: &Layer, from: &Subject<'_>, to: &Path) -> Option<Verdict> {
    let differs = |shape: &Shape| shape.remainder(from.path) != shape.remainder(to);
    let mut denials = layer.denials.iter();
    if let Some(denial) = denials.find(|denial| denial.shapes.iter().any(differs)) {
        return Some(refused(Some(&denial.origin), Reason::WouldGain));
    }
    let reaches_below = |path: &Path, right| {
        let mut rules = layer.rules.iter();
        rules.any(|rule| {
            rule.is_plain()
                && rule.access.contains(right)
                && matches!(&rule.shape, Shape::Tree(tree) if is_below(path, tree))
        })
    };
    // What is moved must have been the child's as a whole: a pattern allows what it matches, and nothing below. Or all below it is
    // asked about, and counted, under its new name as it was under the old.
    let is_alike = || {
        let mut rules = layer.rules.iter().map(|rule| &rule.shape);
        rules.all(|shape| shape.remainder(from.path) == shape.remainder(to))
    };
    let mut rights = (Access::READ | Access::WRITE).iter();
    if let Some(right) = rights.find(|right| !reaches_below(from.path, *right))
        && !is_alike()
    {
        let rule = layer.rule(from, right).map(|rule| &rule.origin);
        return Some(refused(rule, Reason::WouldGain));
    }
    // The kernel's grants go with the directories that they were given on.
    let mut grants = layer.native.iter().filter(|grant| grant.is_dir);
    let lost = grants.find(|grant| match grant.path.strip_prefix(from.path) {
        Ok(rest) => {
            let moved = to.join(rest);
            !grant
                .access
                .iter()
                .all(|right| reaches_below(&moved, right))
        }
        Err(_) => false,
    })?;
    Some(refused(Some(&lost.origin), Reason::WouldGain))
}

fn refused(rule: Option<&Origin>, reason: Reason) -> Verdict {
    Verdict::Deny(Denial {
        rule: rule.cloned(),
        access: Some(Access::WRITE),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{Memory, compile_in};
    use super::super::{Access, Kind, Mechanism, Reason, Ruleset, Subject, Verdict};

    fn ruleset(text: &str) -> Ruleset {
        let world = Memory::new(&[
            "/repo/.git/config",
            "/repo/src/main.rs",
            "/repo/out/main",
            "/repo/Cargo.toml",
            "/data/file",
        ]);
        compile_in(&world, &[text]).expect("good")
    }

    /// `kernel`, `us`, or why not.
    fn said(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock => "kernel",
            Verdict::Allow(_) => "us",
            Verdict::Ask(_) => "ask",
            Verdict::Deny(denial) => match denial.reason {
                Reason::Rule => "rule",
                Reason::WouldGain => "gain",
                _ => "no rule",
            },
        }
    }

    fn at(path: &str) -> Subject<'_> {
        Subject::named(Path::new(path))
    }

    fn moved(ruleset: &Ruleset, from: &str, to: &str, kind: Kind) -> &'static str {
        said(ruleset.decide_move(&at(from), &at(to), kind))
    }

    #[test]
    fn what_leads_to_a_denied_name_stays_where_and_what_it_is() {
        let ruleset = ruleset(
            "[fs]\nwrite = [\"/repo\"]\ndeny_write = [\"/repo/.git/hooks\", \"/repo/.cargo/config.toml\"]",
        );
        for (path, expected) in [
            ("/repo/.git", "rule"),
            ("/repo/.git/hooks", "rule"),
            ("/repo/.cargo", "rule"),
            ("/repo/src", "us"),
            ("/repo/src/main.rs", "kernel"),
            ("/repo/.git/index", "us"),
        ] {
            assert_eq!(said(ruleset.decide_replace(&at(path))), expected, "{path}");
        }
        let make = |path, kind| said(ruleset.decide_make(&at(path), kind));
        assert_eq!(make("/repo/.cargo", Kind::Directory), "us");
        assert_eq!(make("/repo/.cargo", Kind::File), "rule");
        assert_eq!(make("/repo/.cargo", Kind::Link), "rule");
        assert_eq!(make("/repo/new", Kind::Link), "us");
        assert_eq!(make("/repo/src/new", Kind::File), "kernel");
        assert_eq!(make("/repo/.git/hooks/pre-commit", Kind::File), "rule");
        assert_eq!(make("/elsewhere", Kind::Directory), "no rule");
        let denial = match ruleset.decide_replace(&at("/repo/.git")) {
            Verdict::Deny(denial) => denial.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(denial.contains("/repo/.git/hooks"), "{denial}");
    }

    #[test]
    fn a_directory_does_not_take_its_content_to_where_other_names_are_denied() {
        let ruleset = ruleset(
            "[fs]\nwrite = [\"/repo\", \"/data\"]\ndeny_write = [\"/repo/**/.git/hooks\"]\ndeny = [\"/repo/**/.env\"]",
        );
        for (from, to, expected) in [
            ("/repo/src", "/repo/lib", "us"),
            ("/repo/src", "/repo/out/src", "us"),
            // What was no hook becomes one.
            ("/repo/src", "/repo/sub/.git", "gain"),
            // And what was one is one no more.
            ("/repo/sub/.git", "/repo/src", "gain"),
            ("/repo/src", "/data/src", "gain"),
            ("/data/src", "/repo/src", "gain"),
            ("/data/one", "/data/two", "kernel"),
            ("/repo/src", "/repo/.env", "rule"),
        ] {
            assert_eq!(
                moved(&ruleset, from, to, Kind::Directory),
                expected,
                "{from} {to}"
            );
        }
        // A file has no names below it. But none is put where a directory of hooks would be, and no link.
        assert_eq!(moved(&ruleset, "/repo/a", "/data/a", Kind::File), "us");
        assert_eq!(
            moved(&ruleset, "/repo/a", "/repo/b/.git", Kind::File),
            "rule"
        );
        assert_eq!(
            moved(&ruleset, "/repo/a", "/repo/b/.git", Kind::Link),
            "rule"
        );
        let make = |path, kind| said(ruleset.decide_make(&at(path), kind));
        assert_eq!(make("/repo/b/.git", Kind::Directory), "us");
        assert_eq!(make("/repo/b/.git", Kind::File), "rule");
        assert_eq!(make("/repo/b/link", Kind::Link), "us");
        // Nor is one that is there given another content.
        let open = |path, access| said(ruleset.decide_open(&at(path), access));
        assert_eq!(open("/repo/b/.git", Access::READ | Access::WRITE), "rule");
        assert_eq!(open("/repo/b/.git", Access::READ), "us");
        assert_eq!(open("/repo/b/git", Access::WRITE), "us");
    }

    #[test]
    fn links_do_not_stand_where_a_pattern_leads_through_whatever_name() {
        let ruleset = ruleset("[fs]\nwrite = [\"/repo\"]\ndeny = [\"/repo/*/key\"]");
        let make = |path, kind| said(ruleset.decide_make(&at(path), kind));
        assert_eq!(make("/repo/any", Kind::Link), "rule");
        assert_eq!(make("/repo/any", Kind::File), "us");
        assert_eq!(make("/repo/any/link", Kind::Link), "us");
        assert_eq!(
            moved(&ruleset, "/repo/one", "/repo/two", Kind::Directory),
            "us"
        );
        assert_eq!(
            moved(&ruleset, "/repo/one", "/repo/two/one", Kind::Directory),
            "gain"
        );
    }

    #[test]
    fn what_a_pattern_allows_is_not_moved_with_what_is_below() {
        let ruleset = ruleset("[fs]\nwrite = [\"/repo/*\", \"/repo/*/*\", \"/data\"]");
        let moved = |from, to, kind| moved(&ruleset, from, to, kind);
        assert_eq!(moved("/repo/src/a", "/data/a", Kind::Directory), "gain");
        assert_eq!(moved("/repo/src/a", "/data/a", Kind::File), "us");
        assert_eq!(moved("/data/a", "/repo/src/a", Kind::Directory), "us");
        assert_eq!(moved("/repo/src", "/data/src", Kind::Directory), "no rule");
    }

    #[test]
    fn another_name_gives_no_more_than_the_first() {
        let ruleset = ruleset(
            "[fs]\nread = [\"/data\"]\nwrite = [\"/repo\"]\nexec = [\"/repo/out\"]\ndeny = [\"/repo/key\"]",
        );
        let linked = |from, to| said(ruleset.decide_link(&at(from), &at(to)));
        assert_eq!(linked("/repo/src/main.rs", "/repo/src/other"), "kernel");
        assert_eq!(linked("/repo/out/main", "/repo/src/main"), "kernel");
        assert_eq!(linked("/repo/src/main", "/repo/out/main"), "gain");
        assert_eq!(linked("/data/file", "/repo/src/file"), "gain");
        assert_eq!(linked("/repo/key", "/repo/src/key"), "rule");
        assert_eq!(linked("/repo/src/main", "/data/main"), "no rule");
    }

    #[test]
    fn an_entry_is_the_kernels_only_where_its_directory_is() {
        let ruleset = ruleset("[fs]\nwrite = [\"/repo\"]\ndeny = [\"/repo/key\"]");
        // To be written, `src` is the kernel's; to be removed it is not.
        assert_eq!(
            said(ruleset.decide(&at("/repo/src"), Access::WRITE)),
            "kernel"
        );
        assert_eq!(said(ruleset.decide_replace(&at("/repo/src"))), "us");
        assert_eq!(
            moved(&ruleset, "/repo/src/a", "/repo/out/a", Kind::Directory),
            "kernel"
        );
        assert_eq!(
            moved(&ruleset, "/repo/src", "/repo/lib", Kind::Directory),
            "us"
        );
    }

    #[test]
    fn what_a_rule_names_stays_where_its_directory_is_not_written() {
        let ruleset =
            ruleset("[fs]\nwrite = [\"/repo\", \"/data/file\", \"/absent?\", \"/data/*.tmp\"]");
        for path in ["/repo", "/data/file", "/absent", "/data/a.tmp"] {
            assert_eq!(said(ruleset.decide_replace(&at(path))), "no rule", "{path}");
            let make = |kind| said(ruleset.decide_make(&at(path), kind));
            assert_eq!(make(Kind::Link), "no rule", "{path}");
            assert_eq!(make(Kind::Directory), "us", "{path}");
            assert_eq!(make(Kind::File), "us", "{path}");
        }
        assert_eq!(
            moved(&ruleset, "/repo", "/absent", Kind::Directory),
            "no rule"
        );
        assert_eq!(
            moved(&ruleset, "/repo/src/link", "/data/file", Kind::Link),
            "no rule"
        );
        assert_eq!(
            moved(&ruleset, "/data/a.tmp", "/data/b.tmp", Kind::File),
            "us"
        );
    }

    #[test]
    fn what_is_asked_about_or_counted_gains_nothing_by_another_name() {
        let ruleset = ruleset(
            "[fs]\nwrite = [\"/repo\"]\nask_write = [\"/data\", \"/more?\"]\n\
             [[request]]\npath = \"/data/sub?\"\naccess = [\"read\", \"write\"]\ndecision = \"allow\"\n\
             [[request]]\npath = \"/once?\"\naccess = [\"read\", \"write\"]\ndecision = \"allow\"\nbudget = 1",
        );
        for (from, to, kind, expected) in [
            ("/data/a", "/data/b", Kind::File, "ask"),
            ("/data/a", "/more/b", Kind::File, "ask"),
            ("/repo/a", "/data/b", Kind::File, "ask"),
            ("/data/a", "/repo/b", Kind::File, "gain"),
            ("/data/a", "/once/b", Kind::File, "gain"),
            ("/once/a", "/once/b", Kind::File, "us"),
            ("/once/a", "/data/b", Kind::File, "ask"),
            ("/once/a", "/repo/b", Kind::File, "gain"),
            // All that is in it as well.
            ("/data/a", "/data/b", Kind::Directory, "ask"),
            ("/data/a", "/data/c/d", Kind::Directory, "ask"),
            ("/data/a", "/more/b", Kind::Directory, "gain"),
            // Its own name is nobody's to take away.
            ("/data", "/more/b", Kind::Directory, "no rule"),
            ("/once/a", "/once/b", Kind::Directory, "us"),
            ("/once/a", "/data/b", Kind::Directory, "gain"),
        ] {
            assert_eq!(
                moved(&ruleset, from, to, kind),
                expected,
                "{from} {to} {kind:?}"
            );
        }
        let link = |from, to| said(ruleset.decide_link(&at(from), &at(to)));
        assert_eq!(link("/data/a", "/data/b"), "ask");
        assert_eq!(link("/data/a", "/repo/b"), "gain");
        assert_eq!(link("/once/a", "/repo/b"), "gain");
    }

    #[test]
    fn what_the_kernel_was_told_of_may_be_something_else_by_now() {
        let ruleset =
            ruleset("[fs]\nread = [\"/data\"]\nwrite = [\"/repo\"]\ndeny = [\"/repo/key\"]");
        let unsettled = |path| {
            let grants = ruleset.unsettled_grants(&at(path), Access::READ);
            let paths = grants.iter().map(|grant| grant.path.display().to_string());
            paths.collect::<Vec<_>>()
        };
        assert_eq!(unsettled("/repo/src/main.rs"), ["/repo/src"]);
        assert_eq!(unsettled("/repo/Cargo.toml"), ["/repo/Cargo.toml"]);
        assert_eq!(unsettled("/data/file"), Vec::<String>::new());
        let whole = compile_in(
            &Memory::new(&["/repo/src/"]),
            &["[fs]\nwrite = [\"/repo\"]"],
        )
        .expect("good");
        assert!(
            whole
                .unsettled_grants(&at("/repo/src"), Access::WRITE)
                .is_empty()
        );
    }

    #[test]
    fn a_file_that_a_rule_names_keeps_its_name() {
        // That something is denied elsewhere changes nothing about it.
        for denied in ["", "deny = [\"/repo/key\"]"] {
            let text = format!(
                "[fs]\nwrite = [\"/repo\", \"/data/file\", \"/data/none?\"]\n{denied}\n\
                 [[request]]\npath = \"/data/*.tmp\"\naccess = [\"read\", \"write\"]\ndecision = \"allow\""
            );
            let ruleset = ruleset(&text);
            let removed = |path| said(ruleset.decide_remove(&at(path)));
            assert_eq!(removed("/data/file"), "no rule");
            assert_ne!(removed("/repo/Cargo.toml"), "no rule");
            // What is made where nothing was is removed again.
            assert_eq!(removed("/data/none"), "us");
            assert_eq!(removed("/data/a.tmp"), "us");
            let file = Subject {
                object: Some(super::super::FileId::new(0, 1)),
                ..at("/data/file")
            };
            for kind in [Kind::File, Kind::Device, Kind::Other] {
                let away = ruleset.decide_move(&at("/data/file"), &at("/repo/new"), kind);
                assert_eq!(said(away), "no rule");
                let over = ruleset.decide_move(&at("/repo/Cargo.toml"), &file, kind);
                assert_eq!(said(over), "no rule");
            }
            let within = ruleset.decide_move(&at("/data/a.tmp"), &at("/data/none"), Kind::File);
            assert_eq!(said(within), "us");
        }
    }

    #[test]
    fn what_is_moved_keeps_no_grant_that_its_new_place_does_not_have() {
        let ruleset = ruleset(
            "[fs]\nwrite = [\"/repo\", \"/data\"]\nexec = [\"/repo/out\"]\ndeny = [\"/repo/key\"]",
        );
        assert_eq!(
            moved(&ruleset, "/repo/out", "/repo/other", Kind::Directory),
            "gain"
        );
        assert_eq!(
            moved(&ruleset, "/repo/src", "/repo/other", Kind::Directory),
            "us"
        );
    }
}
