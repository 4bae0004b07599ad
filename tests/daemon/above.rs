//! A daemon below somebody who listens already, as in a container whose runtime does: its workers have no listener of their own.

use crate::harness::run::{eventually, eventually_reads};
use crate::harness::{built, feature, require};
use crate::house::{House, POOL};
use std::fs;
use sys::seccomp;

/// Lets every call happen.
const ALL: seccomp::Instruction = seccomp::Instruction {
    code: (libc::BPF_RET | libc::BPF_K) as u16,
    jt: 0,
    jf: 0,
    k: libc::SECCOMP_RET_ALLOW,
};

/// Starts the daemon, and listens above it.
fn open_below(house: &mut House) -> seccomp::Listener {
    std::thread::scope(|scope| {
        let confined = scope.spawn(|| {
            seccomp::set_no_new_privs().expect("new privileges can be given up");
            let listener = seccomp::install(&[ALL], seccomp::NEW_LISTENER);
            house.open();
            let listener = listener.expect("the filter can be installed");
            listener.expect("there is one")
        });
        confined.join().expect("the daemon was started")
    })
}

/// A worker that says again and again what it may read, and a pattern that keeps the kernel from giving it what it may.
const READER: &str = r#"
[[worker]]
name = "reader"
command = ["sh", "-c", "while :; do for f in given other; do cat FILES/$f >/dev/null 2>&1 && echo $f >> new || echo no $f >> new; done; mv new said; sleep 0.05; done"]
policy = "reader.toml"
speaks = "nothing"
on_supervisor_exit = "survive"
"#;

/// Its files, and no policy yet.
fn reader() -> House {
    let house = House::empty(READER);
    let files = house.workspace.make_dir("files");
    for name in ["given", "other"] {
        fs::write(files.join(name), "content").expect("a file");
    }
    let pool = house.workspace.join("workers.toml");
    let text = fs::read_to_string(&pool).expect("ours");
    fs::write(pool, text.replace("FILES", &files.display().to_string())).expect("ours");
    house
}

fn policy(house: &House, door: &str) -> String {
    let files = house.workspace.join("files");
    let files = files.display();
    format!(
        "version = 1\nextends = [\"base\"]\ntmp = \"none\"\n[fs]\nread = [\"/usr\", \"/etc\", \"{files}\"]\nexec = [\"/usr\"]\ndeny = [\"{files}/oth*\"]\n[broker]\ntransparent = \"{door}\"\n"
    )
}

#[test]
fn where_somebody_listens_above_the_daemon_workers_start_with_the_library_and_are_said_to_be_degraded()
 {
    require!(feature::listener());
    built::preload();
    let mut house = reader();
    let law = policy(&house, "auto");
    house.workspace.write("reader.toml", law);
    let directory = house.workspace.join("data/supervise/workers/reader-1");
    let _listener = open_below(&mut house);
    let said = directory.join("said");
    let says = || {
        eventually("one is given and one is not", || {
            eventually_reads(&said) == "given\nno other\n"
        });
    };
    says();
    let is_degraded = |house: &House| {
        let worker = house.worker("reader-1");
        let why = worker["degraded"].as_str().unwrap_or_default();
        assert!(why.contains("a library that it preloads"), "{worker}");
        worker["pid"].clone()
    };
    let pid = is_degraded(&house);
    let record = house
        .workspace
        .join("state/supervise/daemon/audit/reader-1.jsonl");
    let record = fs::read_to_string(record).expect("a record");
    let starts: Vec<&str> = record
        .lines()
        .filter(|line| line.contains("\"event\":\"start\""))
        .collect();
    assert!(
        starts
            .last()
            .is_some_and(|start| start.contains("preloaded")),
        "{starts:?}"
    );
    // And so it is for the next daemon.
    house.kill_daemon();
    assert_eq!(is_degraded(&house), pid);
    fs::remove_file(&said).expect("it was said");
    says();
    house.ask(&["restart"]).expect_code(0);
    fs::remove_file(&said).expect("it was said");
    says();
    assert_ne!(is_degraded(&house), pid);
    house.has_no_orphan();
}

#[test]
fn where_somebody_listens_above_the_daemon_workers_do_jobs_and_one_that_insists_is_said_not_to_start()
 {
    require!(feature::listener());
    require!(feature::program("python3"));
    let mut house = House::empty(POOL);
    let pool = house.workspace.join("workers.toml");
    house.workspace.make_dir("files");
    let law = policy(&house, "notify");
    house.workspace.write("reader.toml", law);
    let _listener = open_below(&mut house);
    let done = house.ask(&["job", "run", "py", "--input", "[1]"]);
    assert_eq!(done.expect_code(0).stdout, "[1]\n");
    let text = fs::read_to_string(&pool).expect("ours") + READER;
    fs::write(&pool, text).expect("ours");
    house.ask(&["reload"]).expect_code(0);
    let blocked = house.until("reader-1", "was given up", |worker| {
        worker["state"] == "blocked"
    });
    let why = blocked["detail"].as_str().unwrap_or_default();
    assert!(why.contains("notify"), "{blocked}");
    house.has_no_orphan();
}
