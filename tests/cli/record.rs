//! The record of runs, shown and checked by its default name.

use super::Scene;
use super::harness::run::run;

#[test]
fn the_log_written_last_is_the_one_that_is_shown_and_checked() {
    let scene = Scene::new();
    run(&mut scene.script(&[], "exit 3")).expect_code(3);
    run(&mut scene.supervise(&["audit", "verify"])).expect_code(0);
    let shown = run(&mut scene.supervise(&["audit", "show"]));
    assert_eq!(shown.lines().len(), 2, "{shown}");
    assert!(shown.stdout.contains("exited 3"), "{shown}");
}

#[test]
fn without_a_log_there_is_nothing_to_show() {
    let scene = Scene::new();
    let ran = run(&mut scene.supervise(&["audit", "show"])).expect_code(125);
    assert!(ran.stderr.contains("no audit log"), "{ran}");
}

#[test]
fn one_run_of_several_can_be_shown() {
    let scene = Scene::new();
    for code in ["3", "4"] {
        run(&mut scene.script(&[], &format!("exit {code}")));
    }
    let all = run(&mut scene.supervise(&["audit", "show", "--json"]));
    let starts: Vec<String> = all
        .lines()
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter_map(|record| record["session"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(starts.len(), 2, "{all}");
    let shown = run(&mut scene.supervise(&["audit", "show", "--session", &starts[1]]));
    assert!(
        shown.stdout.contains("exited 4") && !shown.stdout.contains("exited 3"),
        "{shown}"
    );
    assert_eq!(
        run(&mut scene.supervise(&["audit", "show", "--refused"])).stdout,
        ""
    );
}
