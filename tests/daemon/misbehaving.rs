//! Workers that do not do what workers do: the others are served, and those who ask are answered.

use crate::guest::Guest;
use crate::harness::process::stop;
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::{House, POOL};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What a person waits for an answer, on a machine that does ten other things.
const SOON: Duration = Duration::from_secs(5);

/// The daemon answers, many times, and soon.
#[track_caller]
fn answers_soon(house: &House) {
    let mut guest = Guest::new(house);
    for _ in 0..20 {
        let asked = Instant::now();
        assert_eq!(guest.asks(json!({"status": {}}))["ok"], true);
        assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    }
}

/// Workers in Python that do `text`, with the names of a worker's environment at hand.
fn doing(text: &str, more: &str) -> House {
    let pool = format!(
        "[[worker]]\nname = \"odd\"\ncommand = [\"python3\", \"WORKER\"]\npolicy = \"policy.toml\"\nstop_timeout = \"200ms\"\non_supervisor_exit = \"survive\"\n{more}\n"
    );
    let house = House::empty(&pool);
    house.workspace.write("worker.py", text);
    house
}

/// The probe and the handshake as any worker does them; then `rest` with the connection `c`, of which `f` are the lines.
fn greeting(rest: &str) -> String {
    let path = crate::harness::built::tree().join("child-shim/examples/worker.py");
    let text = std::fs::read_to_string(path).expect("it is there");
    let text = text
        .split("if __name__")
        .next()
        .expect("a first part")
        .to_owned();
    format!(
        r#"{text}
endpoint = socket.socket(fileno=int(os.environ["SUPERVISE_WORKER_FD"]))
commission = Commission()
endpoint.listen(8)
def served(c):
    f = c.makefile("rb")
    client = bytes.fromhex(json.loads(f.readline())["probe"]["nonce"])
    c.sendall(json.dumps(commission.proof(client, secrets.token_bytes(32))).encode() + b"\n")
    f.readline()
    c.sendall(b'{{"ready":{{}}}}\n')
    while True:
        line = f.readline()
        if not line:
            return
        asked = json.loads(line)
        verb = next(iter(asked["req"]))
        if verb == "handshake":
            c.sendall(json.dumps({{"id": asked["id"], "ok": True, "data": {{"version": 1, "service": "odd", "service_version": "1"}}}}).encode() + b"\n")
        elif verb == "status":
            c.sendall(json.dumps({{"id": asked["id"], "ok": True, "data": {{"state": "idle", "waiting": [], "history": []}}}}).encode() + b"\n")
        else:
            rest(c, f, asked)
def rest(c, f, asked):
{rest}
while True:
    c, _ = endpoint.accept()
    try:
        served(c)
    except (OSError, ValueError, KeyError):
        pass
"#
    )
}

#[test]
fn a_worker_that_is_stopped_delays_nobody_and_can_be_ended() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(&POOL.replace("count = 2", "count = 2\nstop_timeout = \"200ms\""));
    let pids = house.pids();
    let stopped = Pid::from_raw(pids[0].1);
    stop(stopped.as_raw());
    let mut guest = Guest::new(&house);
    // One of the two is given to it, and is given up in time.
    let mut outcomes = Vec::new();
    for number in 0..2 {
        let run = json!({"run": {"job": number, "deadline_ms": 300, "queue_ms": 1000}});
        let answer = guest.asks(run);
        let code = answer["error"]["code"]
            .as_str()
            .unwrap_or("done")
            .to_owned();
        outcomes.push(code);
    }
    outcomes.sort();
    assert_eq!(outcomes, ["deadline", "done"]);
    answers_soon(&house);
    house.kill_daemon();
    assert_eq!(house.pids(), pids, "it is taken over as it is");
    answers_soon(&house);
    house.ask(&["restart", "py-1"]).expect_code(0);
    house.until("py-1", "took jobs", |worker| worker["speaks"] == true);
    assert_ne!(house.pids()[0], pids[0]);
    house.has_no_orphan();
}

#[test]
fn a_worker_that_never_accepts_is_shown_and_its_jobs_are_refused() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let mut house = doing(
        "import os, socket, time\nendpoint = socket.socket(fileno=int(os.environ['SUPERVISE_WORKER_FD']))\nendpoint.listen(1)\nwhile True:\n    time.sleep(1)\n",
        "",
    );
    house.reopen();
    let deaf = house.until("odd-1", "was found to be deaf", |worker| {
        worker["detail"].is_string()
    });
    let why = deaf["detail"].as_str().unwrap_or_default();
    assert!(why.contains("does not answer on its endpoint"), "{deaf}");
    assert_eq!(deaf["speaks"], false);
    let answer = Guest::new(&house).asks(json!({"run": {"job": 1, "queue_ms": 200}}));
    assert_eq!(answer["error"]["code"], "busy", "{answer}");
    answers_soon(&house);
    house.ask(&["stop"]).expect_code(0);
    house.has_no_orphan();
}

#[test]
fn a_worker_that_reads_nothing_more_costs_its_own_jobs_and_little_memory() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let mut house = doing(&greeting("    time.sleep(1000)"), "");
    house.open();
    house.until("odd-1", "took jobs", |worker| worker["speaks"] == true);
    let memory = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .map(str::trim);
        let kilobytes = line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
        kilobytes.expect("it has memory")
    };
    let daemon = house.pid();
    let before = memory(daemon);
    let mut guest = Guest::new(&house);
    let large = "x".repeat(60_000);
    for _ in 0..40 {
        let run = json!({"run": {"job": large, "deadline_ms": 20, "queue_ms": 20}});
        let answer = guest.asks(run);
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert!(matches!(code, "deadline" | "busy"), "{answer}");
    }
    answers_soon(&house);
    let more = memory(daemon).saturating_sub(before);
    assert!(more < 8192, "{more} KiB more");
    house.ask(&["stop"]).expect_code(0);
    house.has_no_orphan();
}

#[test]
fn a_worker_that_says_too_much_on_its_endpoint_is_not_listened_to_and_delays_nobody() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let answers =
        "    while True:\n        c.sendall(b'{\"id\":9,\"ok\":true,\"data\":{}}\\n' * 1000)";
    let lines = "    while True:\n        c.sendall(b'x' * 65536)";
    for flood in [answers, lines] {
        let mut house = doing(&greeting(flood), "");
        house.open();
        house.until("odd-1", "took jobs", |worker| worker["speaks"] == true);
        let mut guest = Guest::new(&house);
        let answer = guest.asks(json!({"run": {"job": 1, "deadline_ms": 500}}));
        assert_eq!(answer["ok"], false, "{answer}");
        answers_soon(&house);
        house.ask(&["stop"]).expect_code(0);
        house.has_no_orphan();
    }
}

#[test]
fn a_worker_that_writes_without_end_fills_its_own_logs_and_no_more() {
    require!(feature::landlock(1));
    let house = House::new(
        r#"
[[worker]]
name = "loud"
command = ["sh", "-c", "yes and so on & yes loudly >&2"]
policy = "worker"
speaks = "nothing"
log_size = "64KiB"
log_count = 3
stop_timeout = "200ms"
"#,
    );
    let logs = house.workspace.join("state/supervise/daemon/logs");
    let size = || -> u64 {
        let files = walk(&logs);
        files
            .iter()
            .filter_map(|path| Some(path.metadata().ok()?.len()))
            .sum()
    };
    eventually("its logs were full", || size() > 64 << 10);
    answers_soon(&house);
    // Two streams, each with so many files of that size, and what is under way.
    let most = 2 * 4 * (64 << 10) + (256 << 10);
    assert!(size() < most, "{} bytes", size());
    // Among the last lines are those that say how much is missing.
    let ran = house.ask(&["logs", "-n", "100", "loud-1"]).expect_code(0);
    assert!(ran.stdout.contains("and so on"), "{ran}");
    house.ask(&["stop"]).expect_code(0);
    house.has_no_orphan();
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn a_worker_that_floods_its_supervisors_socket_delays_nobody_else() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let requests = r#"b''.join((len(b).to_bytes(4, "big") + b) for b in [json.dumps({"v": 1, "id": n, "kind": "open", "path": "/etc/shadow", "access": ["read"]}).encode() for n in range(1, 500)])"#;
    for flood in [requests, "b'\\xff' * 65536", "b'\\0' * 65536"] {
        let text = format!(
            "import os, json, socket\ns = socket.socket(fileno=os.dup(int(os.environ['SUPERVISE_FD'])))\nflood = {flood}\nwhile True:\n    try:\n        s.sendall(flood)\n    except OSError:\n        pass\n"
        );
        let mut house = doing(&text, "count = 3\nspeaks = \"nothing\"");
        house.open();
        answers_soon(&house);
        let daemon = house.pid();
        house.ask(&["stop"]).expect_code(0);
        assert_eq!(house.pid(), daemon, "the same daemon");
        let answers: Value = house.status();
        assert_eq!(answers["workers"][0]["state"], "stopped");
        house.has_no_orphan();
    }
}
