//! What of a log is reported, and how far it can be believed.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_whole_record_is_said_to_be_whole_in_every_format() {
    let scene = Scene::new();
    scene.ran("one", &[granted("/a")]);
    for format in FORMATS {
        let ran = scene.as_format(format).expect_code(0);
        assert_eq!(ran.stderr, "", "{format}");
        assert!(!ran.stdout.contains("no end"), "{format}: {ran}");
    }
}

#[test]
fn a_record_that_was_changed_says_so_first_and_fails() {
    let scene = Scene::new();
    scene.ran("one", &[refused(b"/alpha"), refused(b"/beta")]);
    let changed = text(&scene.log()).replace("\"/beta\"", "\"/gamma\"");
    std::fs::write(scene.log(), changed).expect("it can be written");
    for format in FORMATS {
        let ran = scene.as_format(format).expect_code(1);
        assert!(
            ran.stdout.contains("line 3 is not as it was written"),
            "{format}: {ran}"
        );
        assert!(!ran.stdout.contains("gamma"), "{format}: {ran}");
    }
    let said = scene.as_format("text").stdout;
    let first = said.lines().next().expect("a line");
    assert!(first.contains("not as it was written"), "{said}");
    let page = scene.as_format("html").stdout;
    assert!(page.contains("class=\"record changed\""), "{page}");
}

#[test]
fn lines_that_are_gone_are_noticed() {
    let scene = Scene::new();
    scene.ran("one", &[refused(b"/alpha"), refused(b"/beta")]);
    let whole = text(&scene.log());
    let without: Vec<&str> = whole.split_inclusive('\n').collect();
    std::fs::write(scene.log(), [without[0], without[2], without[3]].concat())
        .expect("it can be written");
    let ran = scene.as_format("json").expect_code(1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["record"]["state"], "changed");
    assert_eq!(report["record"]["line"], 2);
    assert_eq!(report["runs"][0]["decisions"], serde_json::json!([]));
}

#[test]
fn a_run_without_its_end_is_reported_and_said_to_have_none() {
    let scene = Scene::new();
    drop(scene.begun("one", &[refused(b"/a")]));
    for format in FORMATS {
        let ran = scene.as_format(format).expect_code(2);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("no end"), "{format}: {ran}");
    }
    // Cut in the middle of a line.
    let whole = text(&scene.log());
    std::fs::write(scene.log(), &whole[..whole.len() - 20]).expect("it can be written");
    scene.as_format("html").expect_code(2);
}

#[test]
fn what_a_later_run_finds_cut_off_is_two_runs_of_which_one_has_no_end() {
    let scene = Scene::new();
    drop(scene.begun("killed", &[refused(b"/a")]));
    let mut torn = text(&scene.log());
    torn.push_str("{\"seq\":2,\"prev\":\"");
    std::fs::write(scene.log(), torn).expect("it can be written");
    scene.ran("after", &[]);
    let all = scene.as_format("json").expect_code(2);
    let report: serde_json::Value = serde_json::from_str(&all.stdout).expect("JSON");
    assert_eq!(report["runs"][0]["breaks"], 1);
    assert_eq!(report["runs"][0]["end"], serde_json::Value::Null);
    assert_eq!(report["runs"][1]["session"], "after");
    let log = scene.log();
    let log = log.to_str().expect("a name of ours");
    scene.report(&[log, "--last"]).expect_code(0);
    scene.report(&[log, "--session", "killed"]).expect_code(2);
}

#[test]
fn one_run_of_several_is_reported_and_an_unknown_one_is_an_error() {
    let scene = Scene::new();
    scene.ran("one", &[refused(b"/alpha")]);
    scene.ran("two", &[refused(b"/beta")]);
    let log = scene.log();
    let log = log.to_str().expect("a name of ours");
    let one = scene.report(&[log, "--session", "one"]).expect_code(0);
    assert!(
        one.stdout.contains("/alpha") && !one.stdout.contains("/beta"),
        "{one}"
    );
    let last = scene.report(&[log, "--last"]).expect_code(0);
    assert!(
        !last.stdout.contains("/alpha") && last.stdout.contains("/beta"),
        "{last}"
    );
    let none = scene.report(&[log, "--session", "three"]).expect_code(125);
    assert!(none.stderr.contains("no run three"), "{none}");
}

#[test]
fn the_log_that_was_written_last_is_reported_and_any_is_looked_through_for_a_name() {
    let scene = Scene::new();
    scene.report(&[]).expect_code(125);
    scene.ran("early", &[]);
    let state = scene.kept.make_dir("state").join("supervise");
    std::fs::create_dir(&state).expect("it can be made");
    std::fs::rename(scene.log(), state.join("audit.jsonl")).expect("it can be moved");
    scene.ran("late", &[]);
    std::fs::rename(scene.log(), state.join("audit.1.jsonl")).expect("it can be moved");
    let late = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options()
        .write(true)
        .open(state.join("audit.1.jsonl"))
        .and_then(|file| file.set_modified(late))
        .expect("its time can be set");
    let last = scene.report(&[]).expect_code(0);
    assert!(last.stdout.contains("session late"), "{last}");
    let named = scene.report(&["--session", "early"]).expect_code(0);
    assert!(named.stdout.contains("session early"), "{named}");
}

#[test]
fn who_asks_for_it_is_told_of_refusals_by_the_exit_status() {
    let scene = Scene::new();
    scene.ran("one", &[granted("/a")]);
    let log = scene.log();
    let log = log.to_str().expect("a name of ours").to_owned();
    scene.report(&[&log, "--fail-on-refusals"]).expect_code(0);
    scene.ran("two", &[refused(b"/a")]);
    scene.report(&[&log, "--fail-on-refusals"]).expect_code(3);
    scene.report(&[&log]).expect_code(0);
}

#[test]
fn a_file_is_replaced_and_what_a_link_leads_to_is_not() {
    let scene = Scene::new();
    scene.ran("one", &[]);
    let log = scene.log();
    let log = log.to_str().expect("a name of ours");
    let write = |name: &str| scene.report(&[log, "-o", name]);
    write("report.txt").expect_code(0);
    let first = text(&scene.kept.join("report.txt"));
    assert!(first.contains("session one"), "{first}");
    write("report.txt").expect_code(0);
    let victim = scene.kept.write("victim", "kept");
    symlink(&victim, scene.kept.join("link")).expect("a link can be made");
    write("link").expect_code(125);
    assert_eq!(text(&victim), "kept");
    write("/dev/null").expect_code(125);
    write(".").expect_code(125);
    let left = std::fs::read_dir(scene.kept.path()).expect("it can be listed");
    let left: Vec<_> = left
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
