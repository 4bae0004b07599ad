//! Laws that hold for all policies, tried on random ones, and against an oracle that knows no trick.

mod moves;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::tests::{Memory, facts};
use super::{Access, Flag, Mechanism, NativeGrant, NoFiles, Policy, Ruleset, Subject, Verdict};

const RIGHTS: [Access; 3] = [Access::READ, Access::WRITE, Access::EXEC];

/// A tree of three names and three levels; every directory has them all, so that every rule means something.
fn tree() -> (Memory, Vec<String>) {
    let mut paths = Vec::new();
    for first in ["a", "b", "c"] {
        for second in ["a", "b", "c.x"] {
            paths.push(format!("/t/{first}/{second}/a"));
            paths.push(format!("/t/{first}/{second}/b"));
        }
        paths.push(format!("/t/{first}/f.x"));
    }
    paths.push("/t/f".to_owned());
    let names: Vec<&str> = paths.iter().map(String::as_str).collect();
    let memory = Memory::new(&names);
    let mut all: BTreeSet<String> = BTreeSet::new();
    for path in &paths {
        let above = Path::new(path)
            .ancestors()
            .take_while(|name| name.parent().is_some());
        all.extend(above.map(|name| name.display().to_string()));
    }
    // And what does not exist yet.
    all.extend([
        "/t/a/new".to_owned(),
        "/t/b/a/new.x".to_owned(),
        "/u".to_owned(),
    ]);
    (memory, all.into_iter().collect())
}

#[derive(Clone, Debug)]
struct Sketch {
    key: &'static str,
    path: String,
}

impl Sketch {
    fn is_glob(&self) -> bool {
        self.path.contains(['*', '?', '['])
    }

    fn rights(&self) -> Access {
        match self.key {
            "read" => Access::READ,
            "write" => Access::READ | Access::WRITE,
            "exec" => Access::READ | Access::EXEC,
            "deny" => Access::ALL,
            _ => Access::WRITE,
        }
    }

    fn denies(&self) -> bool {
        self.key.starts_with("deny")
    }
}

fn plain_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3).prop_map(|parts| {
        parts
            .iter()
            .fold("/t".to_owned(), |path, part| format!("{path}/{part}"))
    })
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "*", "**", "?", "*.x", "[!a]", "f*"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| {
        parts
            .iter()
            .fold("/t".to_owned(), |path, part| format!("{path}/{part}"))
    })
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let allow = prop::sample::select(vec!["read", "write", "exec"]);
    let deny = prop::sample::select(vec!["deny", "deny_write"]);
    prop_oneof![
        4 => (allow, plain_path()).prop_map(|(key, path)| Sketch { key, path }),
        1 => (prop::sample::select(vec!["read", "write"]), pattern())
            .prop_map(|(key, path)| Sketch { key, path }),
        2 => (deny.clone(), plain_path()).prop_map(|(key, path)| Sketch { key, path }),
        1 => (deny, pattern()).prop_map(|(key, path)| Sketch { key, path }),
    ]
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec(sketch(), 0..6)
}

fn text(rules: &[Sketch]) -> String {
    let mut text = "version = 1\nbase = false\ntmp = \"none\"\n[fs]\n".to_owned();
    for key in ["read", "write", "exec", "deny", "deny_write"] {
        let paths: Vec<String> = rules
            .iter()
            .filter(|rule| rule.key == key)
            // What is absent may be.
            .map(|rule| format!("\"{}?\"", rule.path))
            .collect();
        text.push_str(&format!("{key} = [{}]\n", paths.join(", ")));
    }
    text
}

fn policy(rules: &[Sketch]) -> Policy {
    Policy::parse("random.toml", &text(rules), &mut NoFiles).expect("a good policy")
}

fn compiled(stack: &[Policy], world: &Memory) -> Ruleset {
    Ruleset::compile(stack, &facts(), world, &[]).expect("a good stack")
}

/// What the language says, in the words of the language: a path and all below it; a pattern allows what it matches, and denies
/// that and all below it; a denial wins.
struct Oracle(Vec<(Sketch, globset::GlobMatcher)>);

impl Oracle {
    fn new(rules: &[Sketch]) -> Self {
        let matcher = |rule: &Sketch| {
            let mut glob = globset::GlobBuilder::new(&rule.path);
            let glob = glob.literal_separator(true).build();
            glob.expect("a good pattern").compile_matcher()
        };
        Self(
            rules
                .iter()
                .map(|rule| (rule.clone(), matcher(rule)))
                .collect(),
        )
    }

    /// The rules that say something about a right to a path.
    fn about(&self, path: &str, right: Access) -> impl Iterator<Item = &Sketch> {
        let path = Path::new(path).to_owned();
        let reaches = move |(rule, matcher): &&(Sketch, globset::GlobMatcher)| {
            let mut above = path.ancestors();
            if rule.is_glob() && !rule.denies() {
                matcher.is_match(&path)
            } else {
                above.any(|name| matcher.is_match(name))
            }
        };
        let about = self.0.iter().filter(reaches).map(|(rule, _)| rule);
        about.filter(move |rule| rule.rights().contains(right))
    }

    fn denies(&self, path: &str, right: Access) -> bool {
        self.about(path, right).any(Sketch::denies)
    }

    fn allows(&self, path: &str, right: Access) -> bool {
        self.about(path, right).next().is_some() && !self.denies(path, right)
    }
}

/// A policy's rules, whatever their order.
fn content(policy: &Policy) -> (BTreeSet<String>, String) {
    let rules = policy.rules.iter();
    let rules = rules.map(|rule| format!("{} {:?} {:?}", rule.key, rule.text, rule.what));
    let settings = format!(
        "{:?} {:?} {:?} {:?} {:?}",
        policy.limits(),
        policy.tmp,
        policy.udp,
        policy.approver,
        policy.timeout
    );
    (rules.collect(), settings)
}

fn with_settings(rules: &[Sketch], files: Option<u64>, variable: Option<u8>) -> Policy {
    let mut text = text(rules);
    if let Some(files) = files {
        text.push_str(&format!("[limits]\nopen_files = {files}\n"));
    }
    let mut policy = Policy::parse("random.toml", &text, &mut NoFiles).expect("a good policy");
    if let Some(value) = variable {
        let set = format!("NAME={value}");
        policy
            .add_flag(Flag::Env, set.as_ref())
            .expect("a good flag");
    }
    policy
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        sketches(),
        prop::option::of(0u64..3),
        prop::option::of(0u8..3),
    )
        .prop_map(|(rules, files, variable)| with_settings(&rules, files, variable))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_associative(a in any_policy(), b in any_policy(), c in any_policy()) {
        let left = a.clone().merge(b.clone()).merge(c.clone());
        let right = a.merge(b.merge(c));
        prop_assert_eq!(content(&left), content(&right));
    }

    #[test]
    fn merging_is_idempotent(a in any_policy(), b in any_policy()) {
        prop_assert_eq!(content(&a.clone().merge(a.clone())), content(&a));
        let both = a.clone().merge(b.clone());
        prop_assert_eq!(content(&both.clone().merge(b)), content(&both));
    }

    #[test]
    fn rules_have_no_order(rules in sketches().prop_shuffle(), at in 0usize..6) {
        let (world, paths) = tree();
        let mut turned = rules.clone();
        turned.rotate_left(at.min(rules.len()));
        let first = compiled(&[policy(&rules)], &world);
        let second = compiled(&[policy(&turned)], &world);
        prop_assert_eq!(first.brokered(), second.brokered());
        for path in &paths {
            for right in RIGHTS {
                let subject = Subject::named(Path::new(path));
                prop_assert_eq!(first.decide(&subject, right).is_allowed(), second.decide(&subject, right).is_allowed());
            }
        }
    }

    #[test]
    fn decisions_are_the_oracles(rules in sketches()) {
        let (world, paths) = tree();
        let ruleset = compiled(&[policy(&rules)], &world);
        let has_denials = rules.iter().any(Sketch::denies);
        let oracle = Oracle::new(&rules);
        for path in &paths {
            for right in RIGHTS {
                let subject = Subject::named(Path::new(path));
                let decided = ruleset.decide(&subject, right).is_allowed();
                let expected = oracle.allows(path, right);
                if right == Access::EXEC && (has_denials || !world.exists(path)) {
                    // Where the kernel could not be told, nobody may execute.
                    prop_assert!(!decided || expected, "{right} {path}");
                } else {
                    prop_assert_eq!(decided, expected, "{} {}", right, path);
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_is_told_is_allowed(rules in sketches()) {
        let (world, paths) = tree();
        let ruleset = compiled(&[policy(&rules)], &world);
        let native: Vec<_> = ruleset.native_layers().flatten().cloned().collect();
        let spelled: Vec<Sketch> = rules.iter().filter(|rule| !(rule.denies() && rule.is_glob())).cloned().collect();
        let (oracle, spelled) = (Oracle::new(&rules), Oracle::new(&spelled));
        for path in &paths {
            for right in RIGHTS {
                let mut told = native
                    .iter()
                    .filter(|grant| grant.access.contains(right) && Path::new(path).starts_with(&grant.path))
                    .peekable();
                if told.peek().is_none() || oracle.allows(path, right) {
                    continue;
                }
                // Only where reading is not the kernel's, and only what nothing but a pattern denies, may it execute more.
                prop_assert!(right == Access::EXEC && told.all(NativeGrant::executes_only), "{right} {path}");
                prop_assert!(spelled.allows(path, right), "{right} {path}");
            }
        }
        for (at, grant) in native.iter().enumerate() {
            let above: Vec<&PathBuf> = native[..at].iter().filter(|other| grant.path.starts_with(&other.path)
                && other.access.contains(grant.access)).map(|other| &other.path).collect();
            prop_assert!(above.is_empty(), "{} repeats {above:?}", grant.path.display());
        }
    }

    #[test]
    fn trees_without_denials_are_the_kernels_alone(rules in sketches()) {
        let (world, paths) = tree();
        let rules: Vec<Sketch> = rules.into_iter().filter(|rule| !rule.denies() && !rule.is_glob()).collect();
        let ruleset = compiled(&[policy(&rules)], &world);
        for path in paths.iter().filter(|path| world.exists(path)) {
            for right in RIGHTS {
                if let Verdict::Allow(allowed) = ruleset.decide(&Subject::named(Path::new(path)), right) {
                    prop_assert_eq!(allowed.mechanism, Mechanism::Landlock, "{} {}", right, path);
                }
            }
        }
    }

    #[test]
    fn what_is_left_to_the_supervisor_is_said(a in sketches(), b in sketches(), stacked in any::<bool>()) {
        let (world, paths) = tree();
        let layers = if stacked { vec![a, b] } else { vec![a] };
        let ruleset = compiled(&layers.iter().map(|rules| policy(rules)).collect::<Vec<_>>(), &world);
        let brokered = ruleset.brokered();
        for path in paths.iter().filter(|path| world.exists(path)) {
            for (right, is_said) in [(Access::READ, brokered.read), (Access::WRITE, brokered.write)] {
                if let Verdict::Allow(allowed) = ruleset.decide(&Subject::named(Path::new(path)), right) {
                    prop_assert!(allowed.mechanism == Mechanism::Landlock || is_said, "{right} {path}");
                }
            }
        }
        // And nothing is said without a cause.
        let mut rules = layers.iter().flatten();
        let cause = |right| move |rule: &Sketch| (rule.denies() || rule.is_glob()) && rule.rights().contains(right);
        prop_assert!(!brokered.write || rules.clone().any(cause(Access::WRITE)));
        prop_assert!(!brokered.read || rules.clone().any(cause(Access::READ)));
        prop_assert!(!brokered.closed || rules.any(|rule| rule.key == "deny" && rule.is_glob()));
        prop_assert!(!brokered.closed || brokered.read, "what is executed there is read, too");
    }

    #[test]
    fn a_narrower_policy_never_allows_more(a in sketches(), b in sketches(), c in sketches()) {
        let (world, paths) = tree();
        let (a, b, c) = (policy(&a), policy(&b), policy(&c));
        let stacks = [
            compiled(std::slice::from_ref(&a), &world),
            compiled(std::slice::from_ref(&b), &world),
            compiled(&[a.clone(), b.clone()], &world),
            compiled(&[a, b, c], &world),
        ];
        let [first, second, both, all] = stacks;
        for path in &paths {
            for right in RIGHTS {
                let subject = Subject::named(Path::new(path));
                let may = |ruleset: &Ruleset| ruleset.decide(&subject, right).is_allowed();
                prop_assert_eq!(may(&both), may(&first) && may(&second), "{} {}", right, path);
                prop_assert!(!may(&all) || may(&both), "{right} {path}");
            }
        }
    }

    #[test]
    fn patterns_are_those_of_globset(pattern in pattern(), parts in prop::collection::vec("[abfx][abfx.]{0,2}", 0..4)) {
        let path = parts.iter().fold("/t".to_owned(), |path, part| format!("{path}/{part}"));
        let rule = Sketch { key: "read", path: pattern };
        let ruleset = compiled(&[policy(std::slice::from_ref(&rule))], &Memory::new(&["/t/"]));
        let decided = ruleset.decide(&Subject::named(Path::new(&path)), Access::READ).is_allowed();
        prop_assert_eq!(decided, Oracle::new(std::slice::from_ref(&rule)).allows(&path, Access::READ), "{} {}", rule.path, path);
    }

    #[test]
    fn no_text_is_too_strange(at in 0usize..4000, cut in 0usize..40, put in ".{0,12}", preset in 0usize..8) {
        let presets: Vec<super::Preset> = super::Preset::ALL.into_iter().chain([super::Preset::BUILT_IN]).collect();
        let text = presets[preset].text;
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (at..=(at + cut).min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(at);
        let text = format!("{}{put}{}", &text[..at], &text[end..]);
        let (world, _) = tree();
        let outcome = Policy::parse("strange.toml", &text, &mut NoFiles)
            .and_then(|policy| Ruleset::compile(&[policy], &facts(), &world, &[]));
        if let Err(error) = outcome {
            let shown = error.to_string();
            prop_assert!(shown.lines().count() <= 8, "{shown}");
            prop_assert!(shown.chars().all(|shown| shown == '\n' || !shown.is_control()), "{shown:?}");
        }
    }
}
