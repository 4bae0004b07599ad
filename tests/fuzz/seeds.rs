//! Real inputs of each kind: as they are written by this program, or stand in its tree.

use protocol::control::ControlRequest;
use protocol::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use supervisor::workers::desired::{Desired, DesiredFile, DesiredOf};
use supervisor::workers::identity::{DaemonProcess, Endpoint, Here};
use supervisor::workers::jobs::Ledger;
use supervisor::workers::manifest::{Manifest, State};

/// Inputs of that kind.
pub fn of(name: &str) -> Vec<Vec<u8>> {
    match name {
        "frames" => frames(),
        "lines" => lines(),
        "control" => control(),
        "jobs" => jobs(),
        "probe" => probe(),
        "manifest" | "registry" => manifests(),
        "desired" => desired(),
        "pool_file" => pool_files(),
        "policy" => policies(),
        "kernel_audit" => kernel_audit(),
        other => panic!("{other}"),
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let bodies = [
        r#"{"v":1,"id":7,"kind":"open","path":"/data/a","access":["read"],"create":"new","mode":420,"why":"because"}"#,
        r#"{"v":1,"id":8,"kind":"open","path_b64":"L2RhdGEv/w==","access":["read","write"]}"#,
        r#"{"v":1,"id":9,"kind":"hello","client":"test"}"#,
        r#"{"kind":"fd","fds":1}"#,
        r#"{"id":7,"decision":"granted","fds":1,"expires_ms":600000}"#,
        r#"{"id":7,"decision":"refused","code":"denied","errno":13,"rule":"p.toml:12"}"#,
    ];
    let framed = |body: &&str| {
        let mut frame = u32::try_from(body.len())
            .expect("short")
            .to_be_bytes()
            .to_vec();
        frame.extend_from_slice(body.as_bytes());
        frame
    };
    let mut all: Vec<Vec<u8>> = bodies.iter().map(framed).collect();
    all.push(all.concat());
    all
}

fn control() -> Vec<Vec<u8>> {
    let requests = ControlRequest::VERBS.iter().enumerate().map(|(id, verb)| {
        let fields = json!({
            "version": 1, "client": "supervise 1", "worker": "a-1", "env": {"A": "b"}, "deadline_ms": 5, "grace_ms": 6,
            "job": {"x": [1, "y"]}, "queue_ms": 7, "sid": "0".repeat(32), "input": null, "after": null,
            "config": {"burst": 3, "within_ms": 4}, "question": 9, "remember_ms": 1, "for_session": true,
            "scope": "subtree", "grant": 9, "path": "/x", "all": true, "ask_again": true,
            "executable": "/x", "keep_workers": true, "stream": "output", "lines": 3, "include_history": true,
        });
        json!({"id": id, "req": { (*verb): fields }}).to_string().into_bytes()
    });
    let mut all: Vec<Vec<u8>> = requests.collect();
    all.extend(texts(&[
        r#"{"id":1,"ok":true,"data":{"version":1,"server":"supervise","daemon":"1-2"}}"#,
        r#"{"id":2,"ok":false,"error":{"code":"version_mismatch","message":"no","client":1,"server":2}}"#,
        r#"{"id":null,"ok":false,"error":{"code":"bad_request","message":"what"}}"#,
        r#"{"event":{"started":{"worker":"a-1","pid":5,"reattached":true}},"seq":1}"#,
        r#"{"event":{"stopped":{"worker":"a-1","reason":"os_restart"}},"seq":2}"#,
        r#"{"event":{"worker_exited":{"worker":"a-1","pid":5,"signal":9}},"seq":3}"#,
        r#"{"event":{"state":{"worker":"a-1","state":"recovery_pending","restart_attempt":2}},"seq":4}"#,
        r#"{"event":{"refused":{"worker":"a-1","access":"read","object":"/x","rule":"p:1"}},"seq":5}"#,
        r#"{"event":{"revoked":{"worker":"a-1","access":"read","object":"/x"}},"seq":6}"#,
        r#"{"event":{"lagged":{"missed":7}},"seq":12}"#,
        r#"{"event":{"tomorrow":{"x":[]}},"seq":13}"#,
    ]));
    all
}

fn jobs() -> Vec<Vec<u8>> {
    let sid = "ab".repeat(16);
    let mut all = texts(&[
        r#"{"id":1,"req":{"handshake":{"version":1}}}"#,
        r#"{"id":2,"req":{"run":{"job":{"x":1.5e3},"deadline_ms":5,"queue_ms":6}}}"#,
        r#"{"id":4,"req":{"status":{"include_history":true}}}"#,
        r#"{"id":5,"req":{"shutdown":{}}}"#,
        r#"{"id":3,"ok":false,"error":{"code":"session_not_found","message":"none","sid":"x"}}"#,
    ]);
    for text in [
        format!(r#"{{"id":3,"req":{{"continue":{{"sid":"{sid}","input":"Ada"}}}}}}"#),
        format!(r#"{{"id":2,"ok":true,"data":{{"sid":"{sid}","state":"done","output":[]}}}}"#),
    ] {
        all.push(text.into_bytes());
    }
    all
}

fn lines() -> Vec<Vec<u8>> {
    let mut stream = vec![3];
    for line in jobs() {
        stream.extend(line);
        stream.push(b'\n');
    }
    let long = [
        vec![200],
        vec![b'x'; protocol::lines::MAX],
        b"\nx\n".to_vec(),
    ]
    .concat();
    let longer = [
        vec![255],
        vec![b'x'; protocol::lines::MAX + 1],
        b"\nx\n".to_vec(),
    ]
    .concat();
    vec![stream, long, longer, vec![0, b'\n', b'\n']]
}

fn probe() -> Vec<Vec<u8>> {
    let (nonce, mac) = ("01".repeat(32), "fe".repeat(32));
    let instance = "7".repeat(32);
    [
        format!(r#"{{"probe":{{"v":1,"nonce":"{nonce}"}}}}"#),
        format!(
            r#"{{"proof":{{"v":1,"nonce":"{nonce}","service":"a","version":"1","instance":"{instance}","pidfs":7,"mac":"{mac}"}}}}"#
        ),
        format!(r#"{{"confirm":{{"mac":"{mac}"}}}}"#),
        r#"{"ready":{}}"#.to_owned(),
        format!(
            r#"{{"v":1,"secret":"{nonce}","instance":"{instance}","boot_id":"b","endpoint":"/run/a","service":"a","version":"1"}}"#
        ),
    ]
    .map(String::into_bytes)
    .into()
}

fn manifests() -> Vec<Vec<u8>> {
    let here = Here::now().expect("here");
    let mut manifest = Manifest::new("bad-1", "bad", "1", &here);
    let mut all = vec![manifest.encode().expect("a manifest")];
    let endpoint = Endpoint {
        namespace_id: "test".to_owned(),
        path: PathBuf::from("/run/w"),
    };
    let process = DaemonProcess::current_process(endpoint, None);
    manifest.process = Some(process.expect("this process"));
    manifest.state = State::Ready;
    manifest.extra = json!({"tag": "1", "policy": ["a"], "env": [["A", "b"]]});
    all.push(manifest.encode().expect("a manifest"));
    all
}

fn desired() -> Vec<Vec<u8>> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = DesiredFile::in_directory(directory.path()).expect("ours");
    let mut wanted = DesiredOf::new();
    for (worker, running) in [("a-1", true), ("a-2", false)] {
        let one = Desired {
            running,
            reason: Some(protocol::control::StopReason::User),
            since_unix_ms: 1_700_000_000_000,
            ..Desired::UNSAID
        };
        wanted.insert(worker.to_owned(), one);
    }
    file.write(&wanted).expect("there is room");
    let path = directory.path().join("jobs");
    let mut ledger = Ledger::open(&path).expect("ours");
    for sid in ["a".repeat(32), "b".repeat(32)] {
        ledger.given(&sid, "a-1", "instance").expect("written");
        ledger.answered(&sid).expect("written");
    }
    ledger.forgotten(&"a".repeat(32)).expect("written");
    drop(ledger);
    [file.path(), &path]
        .map(|path| std::fs::read(path).expect("written"))
        .into()
}

fn pool_files() -> Vec<Vec<u8>> {
    let whole = r#"version = 1

[daemon]
control_group = "ops"
runtime = "/run/here"

[[worker]]
name = "index"
command = ["/usr/bin/python3", "$WORKER_DIR/index.py", "$WORKER_ID"]
policy = ["worker", "own.toml"]
count = 3
directory = "$WORKER_DIR"
env = { LANG = "C", NAME = "$WORKER_ID" }
idle_timeout = "0"
stop_timeout = "3s"
restart = "always"
restart_burst = 5
restart_window = "1m"
backoff = "100ms"
backoff_max = "10s"
on_supervisor_exit = "survive"
recycle_after_jobs = 100
recycle_after_bytes = 1000000
speaks = "pool"
log_size = "1MiB"
log_count = 3
exe_check = "prefer"

[[worker]]
name = "other"
command = ["/bin/true"]
"#;
    texts(&[whole, "version = 1\n"])
}

fn policies() -> Vec<Vec<u8>> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(tree).expect("policies are there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let text = std::fs::read(&path).expect("it can be read");
            found.insert(path, text);
        }
    }
    found.into_values().collect()
}

fn kernel_audit() -> Vec<Vec<u8>> {
    texts(&[
        r#"audit(1795325355.309:578): domain=1f1822b75 blockers=fs.write_file,fs.read_file path="/dev/tty" dev="devtmpfs" ino=9"#,
        r#"audit(1795325355.325:579): domain=1f1822b75 blockers=fs.read_file path=2F746D702F642069722F66 dev="vda" ino=10330555"#,
        r#"audit(1795325355.361:590): domain=1f1822b75 blockers=scope.signal opid=1 ocomm="init""#,
        r#"audit(1795325355.361:591): domain=1f1822b75 blockers=net.connect_tcp daddr=127.0.0.1 dest=99"#,
        r#"audit(1795325355.309:578): domain=1f1822b75 status=allocated mode=enforcing pid=13619 uid=0 exe="/usr/bin/a" comm="a""#,
        r#"audit(1795325355.477:597): domain=1f1822b75 status=deallocated denials=20"#,
        r#"audit(1795325355.337:583): arch=c000003e syscall=59 success=no exit=-13 a0=5 items=0 ppid=13619 pid=13668 uid=0 comm="bash" exe="/usr/bin/bash" key=(null)"#,
        "audit(1795325355.337:583): ",
        r#"audit(1795327187.813:817): pid=26881 uid=0 ses=1 comm="a" exe="/usr/bin/a" nl-mcgrp=1 op=disconnect res=1"#,
    ])
}
