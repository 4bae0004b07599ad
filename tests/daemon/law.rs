//! Under which law a worker goes on when its daemon is killed.

use crate::guest::Guest;
use crate::harness::run::{eventually, eventually_reads};
use crate::harness::{feature, require};
use crate::house::{House, IDLE};
use serde_json::json;
use std::fs;

/// A worker that says again and again what it may read.
const READER: &str = r#"
[[worker]]
name = "reader"
command = ["sh", "-c", "while :; do for f in given other; do cat $f >/dev/null 2>&1 && echo $f >> new || echo no $f >> new; done; mv new said; sleep 0.05; done"]
policy = "reader.toml"
speaks = "nothing"
on_supervisor_exit = "survive"
"#;

/// A pattern beside it keeps the kernel from giving what is given: the daemon does.
fn policy(files: &str) -> String {
    format!(
        "version = 1\nextends = [\"base\"]\ntmp = \"none\"\n[fs]\nread = [\"/usr\", \"/etc\"]\nexec = [\"/usr\"]\nwrite = [\"$WORKER_DIR\"]\ndeny = [{files}]\n"
    )
}

#[test]
fn a_worker_keeps_the_law_that_it_was_started_under_whatever_becomes_of_the_files() {
    require!(feature::listener());
    let mut house = House::empty(READER);
    let file = house.workspace.join("reader.toml");
    let denied = r#""$WORKER_DIR/oth*""#;
    fs::write(&file, policy(denied)).expect("a policy");
    house.open();
    let directory = house.workspace.join("data/supervise/workers/reader-1");
    for name in ["given", "other"] {
        fs::write(directory.join(name), "content").expect("a file");
    }
    let said = directory.join("said");
    let says = |what: &str| eventually(what, || eventually_reads(&said) == "given\nno other\n");
    says("one is given and one is not");
    let before = house.worker("reader-1")["pid"].clone();
    // Wider, gone, and a pool file that nobody can read.
    for (law, pool) in [
        (Some(policy("")), None),
        (None, None),
        (None, Some("version = 1\n[[worker]]\nname = ")),
    ] {
        match law {
            Some(law) => fs::write(&file, law).expect("a policy"),
            // Its number stays its own: a file that got it would be taken for it, and refused.
            None => drop(fs::rename(&file, file.with_extension("away"))),
        }
        if let Some(pool) = pool {
            house.workspace.write("workers.toml", pool);
        }
        house.kill_daemon();
        fs::remove_file(&said).expect("it was said");
        says("it is as it was");
        assert_eq!(house.worker("reader-1")["pid"], before);
    }
    // Whoever starts now starts under the law of now.
    fs::write(&file, policy("")).expect("a policy");
    house.ask(&["restart", "reader-1"]).expect_code(0);
    eventually("both are given", || {
        eventually_reads(&said) == "given\nother\n"
    });
}

#[test]
fn a_pool_file_that_breaks_after_it_was_read_again_is_used_as_it_was_read_last() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let file = house.workspace.join("workers.toml");
    let text = fs::read_to_string(&file).expect("it is ours");
    fs::write(&file, text.replace("speaks", "count = 2\nspeaks")).expect("it is ours");
    let again = Guest::new(&house).asks(json!({"reload": {}}));
    assert_eq!(again["ok"], true, "{again}");
    let before = house.pids();
    assert_eq!(before.len(), 2);
    fs::write(&file, "version = 1\n[[worker]]\nname = ").expect("it is ours");
    house.kill_daemon();
    assert_eq!(house.pids(), before);
    let again = Guest::new(&house).asks(json!({"reload": {}}));
    assert_eq!(again["ok"], false, "{again}");
    assert_eq!(house.pids(), before);
}

#[test]
fn a_pool_file_that_names_other_directories_is_not_read_again_and_the_next_daemon_keeps_its_own() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let before = house.pids();
    let file = house.workspace.join("workers.toml");
    let text = fs::read_to_string(&file).expect("it is ours");
    let elsewhere = format!("[daemon]\nruntime = \"elsewhere\"\n{text}");
    let elsewhere = elsewhere.replace("version = 1\n", "");
    fs::write(&file, format!("version = 1\n{elsewhere}")).expect("it is ours");
    let refused = house.ask(&["reload"]).expect_code(125);
    assert!(refused.stderr.contains("other directories"), "{refused}");
    house.kill_daemon();
    assert_eq!(house.pids(), before);
    assert!(!house.workspace.join("elsewhere").exists());
}
