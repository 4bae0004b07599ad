//! What may be moved and linked, against all the names that it could have below it.

use std::path::Path;

use proptest::prelude::*;

use super::super::moves::reluctance;
use super::super::{Kind, Mechanism, NoFiles, Policy, Ruleset, Subject, Verdict};
use super::{Access, Oracle, Sketch, compiled, facts, policy, sketches, text, tree};

/// Names below a directory, up to three deep, of all that patterns and rules here speak of, and of what they do not.
fn below() -> Vec<String> {
    let names = ["a", "b", "f.x", "other"];
    let mut found = vec![String::new()];
    let mut last = found.clone();
    for _ in 0..3 {
        last = last
            .iter()
            .flat_map(|path| names.map(|name| format!("{path}/{name}")))
            .collect();
        found.extend(last.clone());
    }
    found
}

fn place() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", "f", "f.x", "new"]);
    prop::collection::vec(part, 1..4).prop_map(|parts| format!("/t/{}", parts.join("/")))
}

/// Rules under which there is something to move.
fn writing() -> impl Strategy<Value = Vec<Sketch>> {
    let write = |path: &str| Sketch {
        key: "write",
        path: path.to_owned(),
    };
    let place = prop::sample::subsequence(vec!["/t", "/t/a", "/t/b", "/t/*", "/t/*/*"], 1..4);
    (sketches(), place).prop_map(move |(mut rules, paths)| {
        rules.extend(paths.into_iter().map(write));
        rules
    })
}

/// Rules of which some ask: about whole trees, and about less than that below them.
fn asking() -> impl Strategy<Value = (Vec<Sketch>, Vec<&'static str>)> {
    let write = |path: &str| Sketch {
        key: "write",
        path: path.to_owned(),
    };
    let places = vec!["/t/a/b", "/t/b/a", "/t/c/new", "/t/a/*", "/t/b/new/f.x"];
    let places = prop::sample::subsequence(places, 0..3);
    let asked = vec!["/t", "/t/a", "/t/b", "/t/c/a", "/t/*/f.x"];
    let asked = prop::sample::subsequence(asked, 1..4);
    (sketches(), places, asked).prop_map(move |(mut rules, places, asked)| {
        rules.retain(Sketch::denies);
        rules.extend(places.into_iter().map(write));
        (rules, asked)
    })
}

fn subject(path: &str) -> Subject<'_> {
    Subject::named(Path::new(path))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_moved_directory_has_below_it_what_it_had(layers in prop::collection::vec(writing(), 1..3), from in place(), to in place()) {
        let (world, _) = tree();
        let ruleset = compiled(&layers.iter().map(|rules| policy(rules)).collect::<Vec<_>>(), &world);
        let oracles: Vec<Oracle> = layers.iter().map(|rules| Oracle::new(rules)).collect();
        let verdict = ruleset.decide_move(&subject(&from), &subject(&to), Kind::Directory);
        let Verdict::Allow(allowed) = verdict else {
            return Ok(());
        };
        for oracle in &oracles {
            for rest in below() {
                let (old, new) = (format!("{from}{rest}"), format!("{to}{rest}"));
                for right in [Access::READ, Access::WRITE] {
                    prop_assert!(!oracle.allows(&new, right) || oracle.allows(&old, right), "{right} {old} gained as {new}");
                    prop_assert_eq!(oracle.denies(&old, right), oracle.denies(&new, right), "{} {} {}", right, old, new);
                }
            }
        }
        // What the kernel does alone, it was told of for the directories that both stand in; and what it was told of that stands in
        // what is moved is right in its new place.
        for (layer, oracle) in ruleset.native_layers().zip(&oracles) {
            let told = |path: &str| layer.iter().any(|grant| grant.access.contains(Access::WRITE)
                && Path::new(path).parent().is_some_and(|directory| directory.starts_with(&grant.path)));
            prop_assert!(allowed.mechanism != Mechanism::Landlock || (told(&from) && told(&to)));
            for grant in layer.iter().filter(|grant| grant.is_dir) {
                let Ok(rest) = grant.path.strip_prefix(&from) else {
                    continue;
                };
                let moved = Path::new(&to).join(rest).display().to_string();
                for right in grant.access.iter() {
                    prop_assert!(oracle.allows(moved.trim_end_matches('/'), right), "{right} of {:?}", grant.path);
                }
            }
        }
    }

    #[test]
    fn below_a_moved_directory_nothing_is_easier_to_get((rules, asked) in asking(), from in place(), to in place()) {
        let (world, _) = tree();
        let asked: Vec<String> = asked.iter().map(|path| format!("\"{path}?\"")).collect();
        let text = format!("{}ask_write = [{}]\n", text(&rules), asked.join(", "));
        let policy = Policy::parse("random.toml", &text, &mut NoFiles).expect("a good policy");
        // Who allows a place cannot ask about it.
        let Ok(ruleset) = Ruleset::compile(&[policy], &facts(), &world, &[]) else {
            return Ok(());
        };
        if let Verdict::Deny(_) = ruleset.decide_move(&subject(&from), &subject(&to), Kind::Directory) {
            return Ok(());
        }
        for rest in below() {
            let (old, new) = (format!("{from}{rest}"), format!("{to}{rest}"));
            for right in [Access::READ, Access::WRITE] {
                let reluctance = |path: &str| reluctance(&ruleset.decide(&subject(path), right));
                prop_assert!(reluctance(&new) >= reluctance(&old), "{right} {old} gained as {new}");
            }
        }
    }

    #[test]
    fn what_is_taken_away_or_becomes_a_link_leads_to_no_denied_name(rules in writing(), path in place()) {
        let (world, _) = tree();
        let ruleset = compiled(&[policy(&rules)], &world);
        let oracle = Oracle::new(&rules);
        let is_written = oracle.allows(&path, Access::WRITE);
        let leads = rules.iter().any(|rule| rule.denies() && !rule.is_glob()
            && Path::new(&rule.path).starts_with(&path) && rule.path != path);
        let directory = Path::new(&path).parent().expect("a directory").display().to_string();
        let stands_there = oracle.allows(&directory, Access::WRITE);
        prop_assert_eq!(ruleset.decide_replace(&subject(&path)).is_allowed(), is_written && stands_there && !leads);
        prop_assert_eq!(ruleset.decide_make(&subject(&path), Kind::Directory).is_allowed(), is_written);
        let made = |kind| ruleset.decide_make(&subject(&path), kind).is_allowed();
        prop_assert!(!(made(Kind::Link) || made(Kind::File)) || (is_written && !leads));
        prop_assert!(!made(Kind::Link) || made(Kind::File), "a link is the harder thing to make");
        for access in [Access::READ, Access::WRITE, Access::READ | Access::WRITE] {
            let may = ruleset.decide(&subject(&path), access).is_allowed();
            let expected = may && (!access.contains(Access::WRITE) || made(Kind::File));
            prop_assert_eq!(ruleset.decide_open(&subject(&path), access).is_allowed(), expected);
        }
        // Were it a link, no name below it that is denied would be one that another name in its place is not denied below.
        if made(Kind::Link) {
            for rest in below() {
                let (here, beside) = (format!("{path}{rest}"), format!("{directory}/something{rest}"));
                prop_assert!(!oracle.denies(&here, Access::WRITE) || oracle.denies(&beside, Access::WRITE), "{here}");
            }
        }
    }

    #[test]
    fn another_name_of_a_file_gives_nothing_that_it_did_not_have(layers in prop::collection::vec(writing(), 1..3), from in place(), to in place()) {
        let (world, _) = tree();
        let ruleset = compiled(&layers.iter().map(|rules| policy(rules)).collect::<Vec<_>>(), &world);
        let linked = ruleset.decide_link(&subject(&from), &subject(&to)).is_allowed();
        let may = |path: &str, right| ruleset.decide(&subject(path), right).is_allowed();
        let gains = [Access::READ, Access::WRITE, Access::EXEC].into_iter().any(|right| may(&to, right) && !may(&from, right));
        let made = ruleset.decide_make(&subject(&to), Kind::Link).is_allowed();
        prop_assert_eq!(linked, made && !gains);
        prop_assert!(!linked || may(&to, Access::WRITE));
    }
}
