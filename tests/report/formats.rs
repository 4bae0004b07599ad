//! Each format as who reads it wants it.

use super::*;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A run with one of everything.
fn everything() -> Scene {
    let scene = Scene::new();
    let rule = line_seven();
    let address: SocketAddr = "10.0.0.1:443".parse().expect("an address");
    let connect = Decision {
        call: "connect",
        path: None,
        access: None,
        address: Some(address),
        ..refused(b"/")
    };
    let asked = Decision {
        answer: Answer::Asked,
        why: Some(Bytes(b"to test")),
        ..granted("/etc/hosts")
    };
    let decisions = [
        denied("/home/u/project/key", &rule),
        refused(b"/etc/shadow"),
        refused(b"/etc/shadow"),
        connect,
        asked,
        granted("/etc/hosts"),
    ];
    scene.ran("one", &decisions);
    scene
}

fn parsed(scene: &Scene, format: &str) -> Value {
    let ran = scene.as_format(format).expect_code(0);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn text_names_each_refusal_once_with_what_would_allow_it() {
    let said = everything().as_format("text").expect_code(0).stdout;
    let shadow = said
        .lines()
        .filter(|line| line.contains("read /etc/shadow"));
    let shadow: Vec<&str> = shadow.collect();
    assert_eq!(
        shadow,
        ["    read /etc/shadow  (no rule allows it), cat, 2 times"]
    );
    assert!(
        said.contains("to allow it: fs.read = [\"/etc/shadow?\"]"),
        "{said}"
    );
    assert!(
        said.contains("to allow it: change ./policy.toml:7"),
        "{said}"
    );
    assert!(said.contains("weaker     scope missing"), "{said}");
    assert!(said.contains("1 granted, 4 refused, 1 asked"), "{said}");
}

#[test]
fn json_has_its_schema_and_the_records_themselves() {
    let report = parsed(&everything(), "json");
    assert_eq!(
        (&report["schema"], &report["refused"]),
        (&json!(1), &json!(4))
    );
    let run = &report["runs"][0];
    assert_eq!(run["start"]["argv"], json!(["sh", "-c", "make <all>"]));
    assert_eq!(run["end"]["status"], json!({ "exited": 3 }));
    assert_eq!(
        (&run["granted"], &run["refused"], &run["asked"]),
        (&json!(1), &json!(4), &json!(1))
    );
    let refusals = run["refusals"].as_array().expect("a list");
    assert_eq!(refusals.len(), 3);
    assert_eq!(
        refusals[0]["rule"],
        json!({ "file": "./policy.toml", "line": 7 })
    );
    assert_eq!(refusals[1]["times"], 2);
    assert_eq!(refusals[2]["change"], "net.connect = [\"10.0.0.1:443\"]");
    let decisions = run["decisions"].as_array().expect("a list");
    assert_eq!(decisions.len(), 6);
    assert_eq!(decisions[4]["why"], "to test");
    assert_eq!(decisions[0]["hash"], Value::Null);
}

#[test]
fn sarif_points_to_the_line_of_the_policy() {
    let log = parsed(&everything(), "sarif");
    let [result, shadow, connect] = log["runs"][0]["results"]
        .as_array()
        .expect("a list")
        .as_slice()
    else {
        panic!("{log}");
    };
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        place["artifactLocation"],
        json!({ "uri": "policy.toml", "uriBaseId": "%SRCROOT%" })
    );
    assert_eq!(place["region"]["startLine"], 7);
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&json!("Denied"), &json!("error"))
    );
    // What nothing allows could be added to the file.
    let place = &shadow["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "policy.toml");
    assert_eq!(
        (&shadow["ruleId"], &shadow["level"]),
        (&json!("NotAllowed"), &json!("warning"))
    );
    assert_eq!(shadow["occurrenceCount"], 2);
    assert_ne!(
        shadow["partialFingerprints"],
        connect["partialFingerprints"]
    );
}

/// What the published schema of SARIF 2.1.0 demands of the objects that we write, and which properties it knows there.
#[test]
fn sarif_has_what_its_schema_demands_and_nothing_that_it_does_not_know() {
    let log = parsed(&everything(), "sarif");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let check = |object: &Value, needed: &[&str], known: &[&str]| {
        let fields = object.as_object().unwrap_or_else(|| panic!("{object}"));
        for name in needed {
            assert!(fields.contains_key(*name), "{name} is missing: {object}");
        }
        for name in fields.keys() {
            assert!(
                needed.contains(&&**name) || known.contains(&&**name),
                "{name} is not known: {object}"
            );
        }
    };
    check(&log, &["version", "runs"], &["$schema"]);
    check(run, &["tool"], &["columnKind", "invocations", "results"]);
    assert_eq!(run["columnKind"], "unicodeCodePoints");
    let driver = &run["tool"]["driver"];
    check(driver, &["name"], &["version", "semanticVersion", "rules"]);
    let rules = driver["rules"].as_array().expect("a list");
    for rule in rules {
        check(rule, &["id"], &["shortDescription"]);
        check(&rule["shortDescription"], &["text"], &[]);
    }
    for invocation in run["invocations"].as_array().expect("a list") {
        check(
            invocation,
            &["executionSuccessful"],
            &[
                "commandLine",
                "startTimeUtc",
                "endTimeUtc",
                "exitCode",
                "exitSignalNumber",
                "workingDirectory",
                "toolExecutionNotifications",
                "properties",
            ],
        );
    }
    for result in run["results"].as_array().expect("a list") {
        check(
            result,
            &["message"],
            &[
                "ruleId",
                "ruleIndex",
                "level",
                "locations",
                "partialFingerprints",
                "occurrenceCount",
                "properties",
            ],
        );
        check(&result["message"], &["text"], &[]);
        assert!(
            ["none", "note", "warning", "error"].contains(&result["level"].as_str().expect("text"))
        );
        let index = result["ruleIndex"].as_u64().expect("a number") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
        for location in result["locations"].as_array().expect("a list") {
            check(location, &[], &["physicalLocation", "logicalLocations"]);
            let place = &location["physicalLocation"];
            check(place, &[], &["artifactLocation", "region"]);
            assert!(place["region"]["startLine"].as_u64() >= Some(1));
        }
        let prints = result["partialFingerprints"].as_object().expect("a table");
        assert!(prints.values().all(Value::is_string));
    }
}

#[test]
fn junit_counts_what_it_lists() {
    let said = everything().as_format("junit").expect_code(0).stdout;
    let count = |what: &str| said.matches(what).count();
    assert_eq!(count("<testcase "), 4, "{said}");
    assert_eq!(count("<failure "), 3, "{said}");
    assert!(
        said.contains("<testsuites name=\"supervise\" tests=\"4\" failures=\"3\" errors=\"0\">"),
        "{said}"
    );
    assert!(
        said.contains(
            "<testsuite name=\"sh -c &#39;make &lt;all&gt;&#39;\" tests=\"3\" failures=\"3\""
        ),
        "{said}"
    );
    assert_eq!(count("<testsuite "), count("</testsuite>"), "{said}");
    let quiet = Scene::new();
    quiet.ran("one", &[]);
    let said = quiet.as_format("junit").expect_code(0).stdout;
    assert!(said.contains("name=\"nothing was refused\""), "{said}");
}

#[test]
fn annotations_point_to_the_line_and_are_as_many_as_are_shown() {
    let said = everything().as_format("github").expect_code(0).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[0],
        "::error title=refused,file=policy.toml,line=7::read /home/u/project/key (denied by ./policy.toml:7), cat\
         %0Ato allow it: change ./policy.toml:7"
    );
    assert!(
        lines[1].starts_with("::warning title=refused::read /etc/shadow"),
        "{said}"
    );
    let many = Scene::new();
    let names: Vec<String> = (0..30).map(|number| format!("/f{number}")).collect();
    let decisions: Vec<_> = names.iter().map(|name| refused(name.as_bytes())).collect();
    many.ran("one", &decisions);
    let said = many.as_format("github").expect_code(0).stdout;
    assert_eq!(said.lines().count(), 11, "{said}");
    assert!(said.contains("20 kinds of them are not shown"), "{said}");
}

#[test]
fn markdown_is_a_table_that_fits_into_a_summary() {
    let said = everything().as_format("markdown").expect_code(0).stdout;
    let rows = said.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.collect();
    assert_eq!(rows.len(), 4, "{said}");
    assert!(
        rows.iter().all(|row| row.matches('|').count() == 6),
        "{said}"
    );
    let many = Scene::new();
    let names: Vec<String> = (0..2000)
        .map(|n| format!("/{n}{}", "'".repeat(4000)))
        .collect();
    let decisions: Vec<_> = names.iter().map(|name| refused(name.as_bytes())).collect();
    many.ran("one", &decisions);
    let said = many.as_format("markdown").expect_code(0).stdout;
    assert!(said.len() < 1 << 20, "{}", said.len());
    assert!(
        said.contains("1800 more are not shown here"),
        "{}",
        &said[said.len() - 200..]
    );
}
