//! Refusals that the supervisor made.

use super::harness::run::run;
use super::harness::{feature, require};
use super::house::House;
use std::path::Path;

#[test]
fn a_refusal_is_explained_with_what_was_asked_by_whom_and_what_would_allow_it() {
    require!(feature::listener());
    let house = House::new();
    let file = house.data.write("in", "content\n");
    let script = format!("cd {}; cat in; cat in 2>&1", house.data.path().display());
    house.run("", &script).expect_code(1);
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    let file = file.display();
    for line in [
        format!("1. read {file}  (2 times)"),
        "   call: openat with O_RDONLY, asked for as in; answered EACCES".to_owned(),
        "   refused by: the supervisor".to_owned(),
        "   because: nothing allows it".to_owned(),
        format!("   to allow it: fs.read = [\"{file}\"]  # or: --read {file}"),
        "   which opens: nothing else".to_owned(),
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert!(
        said.contains("\n   by: ") && said.contains("/cat\n"),
        "{said}"
    );
    assert!(!said.contains("2. "), "{said}");
}

#[test]
fn what_was_allowed_and_could_not_be_had_is_explained_by_what_the_kernel_answered() {
    require!(feature::asking_by_name());
    let house = House::new();
    let (absent, file) = (house.data.join("absent"), house.data.write("file", ""));
    let allowed = format!(
        "[[request]]\npath = \"{}\"\naccess = [\"read\"]\ndecision = \"allow\"",
        house.data.path().display()
    );
    let ask = |path: String| format!("\"$SUPERVISE_EXE\" request {path} --read");
    for (path, errno) in [
        (absent.display().to_string(), "ENOENT"),
        (format!("{}/below", file.display()), "ENOTDIR"),
    ] {
        house.run(&allowed, &ask(path)).expect_code(1);
        let said = house.explain(&["--last"]).expect_code(0).stdout;
        let because = format!("   because: the kernel answers {errno}");
        assert!(said.lines().any(|said| said == because), "{said}");
        assert!(!said.contains("because: \n"), "{said}");
    }
}

#[test]
fn the_change_that_is_said_allows_it_and_nothing_beside() {
    require!(feature::listener());
    for (script, name) in [
        ("cat in", "in"),
        ("echo more >>in", "in"),
        ("cat 'two words'", "two words"),
        ("ls directory", "directory"),
        ("mkdir new", "new"),
    ] {
        let house = House::new();
        for name in ["in", "two words", "directory/below", "canary"] {
            house.data.write(name, "content\n");
        }
        let script = format!("cd {}; {script}", house.data.path().display());
        assert_ne!(house.run("", &script).code(), 0, "{script}");
        let explained = house.explained();
        let refusal = &explained["refusals"][0];
        let object = Path::new(refusal["object"].as_str().expect("an object"));
        assert_eq!(object, house.data.join(name));
        let change = refusal["remedy"]["toml"].as_str().expect("a line");
        house.run(change, &script).expect_code(0);
        let canary = house.data.join("canary").display().to_string();
        let ran = house.run(change, &format!("cat {canary} || ! : 2>&- >>{canary}"));
        assert_ne!(ran.code(), 0, "{change}");
    }
}

#[test]
fn what_a_tree_would_open_is_counted_and_what_is_sensitive_in_it_named() {
    require!(feature::listener());
    let house = House::new();
    for name in [".ssh/id", "a/b", "a/c"] {
        house.data.write(name, "");
    }
    let home = house.data.path();
    let policy = house.policy(super::house::DECIDED);
    let script = format!("ls {}; exit 1", home.display());
    let run_args = ["-q", "-p", &policy, "--", "sh", "-c", &script];
    run(&mut house.supervise(&run_args)).expect_code(1);
    let home = format!("HOME={}", home.display());
    let said = house
        .explain(&["--last", "--env", &home])
        .expect_code(0)
        .stdout;
    assert!(
        said.contains("everything below it (5 entries today)"),
        "{said}"
    );
    let ssh = house.data.join(".ssh").display().to_string();
    assert!(said.contains(&format!("among that {ssh} (keys")), "{said}");
    assert!(!said.contains(".gnupg"), "{said}");
}

#[test]
fn a_denial_is_explained_by_its_line_and_lifted_as_it_is_said() {
    require!(feature::root());
    require!(feature::listener());
    let house = House::new();
    let script = "cat /etc/shadow";
    house.run("", script).expect_code(1);
    let explained = house.explained();
    let refusal = &explained["refusals"][0];
    assert_eq!(refusal["reason"], "rule");
    assert!(
        refusal["rule"]
            .as_str()
            .expect("a rule")
            .starts_with("preset ")
    );
    let place = refusal["remedy"]["place"].as_str().expect("a place");
    let without = place
        .strip_prefix("where the preset is extended, say ")
        .expect(place);
    let text = format!("version = 1\nextends = [{{ preset = \"read-only\", {without} }}]\n");
    let policy = house.kept.write("dropped.toml", text);
    let policy = policy.to_str().expect("text");
    run(&mut house.supervise(&["-p", policy, "--", "sh", "-c", script])).expect_code(0);
}

#[test]
fn other_refusals_that_the_same_change_ends_are_counted() {
    require!(feature::listener());
    let house = House::new();
    for name in ["a/b", "a/c/d"] {
        house.data.write(name, "");
    }
    let a = house.data.join("a").display().to_string();
    let script = format!("cat {a}/b; cat {a}/c/d; (: >>{a}/b); ls {a}");
    house.run("", &script);
    let explained = house.explained();
    let refusals = explained["refusals"].as_array().expect("refusals");
    let listing = refusals
        .iter()
        .find(|refusal| refusal["object"] == a.as_str());
    let listing = listing.expect("the listing");
    // What is also written is not ended by reading.
    assert_eq!(listing["remedy"]["ends_others"], 1, "{explained:#}");
}

#[test]
fn a_run_is_found_by_its_name_and_the_last_without() {
    require!(feature::listener());
    let house = House::new();
    let names = ["first", "second"];
    let sessions: Vec<String> = names
        .iter()
        .map(|name| {
            let file = house.data.write(name, "");
            house.run("", &format!("cat {}", file.display()));
            let explained = house.explained();
            let object = explained["refusals"][0]["object"].as_str().expect("one");
            assert_eq!(Path::new(object), file);
            explained["session"].as_str().expect("a name").to_owned()
        })
        .collect();
    let said = house.explain(&["--session", &sessions[0]]).expect_code(0);
    assert!(said.stdout.contains("/first"), "{said}");
    assert!(!said.stdout.contains("/second"), "{said}");
    let log = house.log();
    let log = log.to_str().expect("text");
    let said = house.explain(&["--audit", log]).expect_code(0);
    assert!(said.stdout.contains("/second"), "{said}");
    let said = house.explain(&["--session", "nobody"]).expect_code(125);
    assert!(said.stderr.contains("no audit log knows a run"), "{said}");
}

#[test]
fn where_nothing_was_refused_it_is_said_what_would_not_be_known() {
    let house = House::new();
    run(&mut house.supervise(&["--", "true"])).expect_code(0);
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    assert!(said.contains("nothing was refused"), "{said}");
    assert!(said.contains("supervise run --trace"), "{said}");
    let never = House::new();
    let said = never.explain(&["--last"]).expect_code(125);
    assert!(said.stderr.contains("there is no audit log"), "{said}");
}

#[test]
fn a_policy_that_was_changed_since_is_said_to_be() {
    let house = House::new();
    house.run("", "true").expect_code(0);
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    assert!(!said.contains("has changed since"), "{said}");
    house.policy("# another");
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    assert!(said.contains("policy.toml has changed since"), "{said}");
}

#[test]
fn a_record_that_was_changed_is_explained_no_further_than_it_is_good() {
    require!(feature::listener());
    let house = House::new();
    let [one, two] = ["one", "two"].map(|name| house.data.write(name, ""));
    house.run("", &format!("cat {}; cat {}", one.display(), two.display()));
    let text = std::fs::read_to_string(house.log()).expect("a log");
    let changed = house.kept.write(
        "changed.jsonl",
        text.replace("/two\",\"access", "/six\",\"access"),
    );
    let ran = house.explain(&["--audit", changed.to_str().expect("text")]);
    assert_eq!(ran.code(), 1, "{ran}");
    assert!(ran.stderr.contains("is not as it was written"), "{ran}");
    assert!(ran.stdout.contains("/one"), "{ran}");
    assert!(!ran.stdout.contains("/six"), "{ran}");
}

#[test]
fn a_name_from_inside_stays_on_its_line() {
    require!(feature::listener());
    let house = House::new();
    let name = "x\n   to allow it: fs.write = \"all\"\r\u{1b}c\u{202e}";
    let file = house.data.write(name, "");
    let policy = house.policy(super::house::DECIDED);
    let script = "cat \"$1\" 2>&-";
    let mut command = house.supervise(&["-q", "-p", &policy, "--", "sh", "-c", script, "sh"]);
    run(command.arg(&file)).expect_code(1);
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    for line in said.lines() {
        assert!(!line.chars().any(char::is_control), "{said}");
        assert!(
            !line.starts_with("   to allow it: fs.write = \"all"),
            "{said}"
        );
    }
    assert!(said.contains("1. read \"/"), "{said}");
}
