//! What comes just before a job begins, or in such numbers that not all of it is looked at before: somebody answers it beside the job.

use std::io::Write as _;

use nix::sys::signal::Signal;
use protocol::json;

use crate::harness::worker::{Peer, Worker};
use crate::workers::{Language, ask, code, hear};

const HANDSHAKE: &str = r#"{"id":1,"req":{"handshake":{"version":1}}}"#;

fn a_job_that_waits(worker: &Worker, name: &str) -> String {
    let path = worker.file(name);
    json!({"id": 2, "req": {"run": {"job": format!("wait {}", path.display())}}}).to_string()
}

fn is_told_to_end(worker: &Worker, name: &str, client: &mut Peer) {
    std::fs::write(worker.file(name), "").expect("written");
    assert_eq!(hear(client)["data"]["output"], "it is there");
}

#[test]
fn whoever_asks_in_the_moment_a_job_begins_is_answered_while_it_runs() {
    let worker = Language::Rust.start();
    let mut client = worker.client();
    let mut others = [worker.client(), worker.client()];
    for round in 0..200_u32 {
        let name = format!("there-{round}");
        let job = a_job_that_waits(&worker, &name);
        let status = r#"{"id":3,"req":{"status":{}}}"#;
        let [before, after] = &mut others;
        before.say(status);
        client.say(&job);
        after.say(status);
        assert_eq!(hear(before)["ok"], true);
        let state = &hear(after)["data"]["state"];
        assert!(state == "running" || state == "idle", "{state}");
        before.say(r#"{"id":4,"req":{"run":{"job":1}}}"#);
        assert_eq!(code(&hear(before)), "busy");
        is_told_to_end(&worker, &name, &mut client);
    }
}

#[test]
fn what_did_not_fit_with_the_job_is_answered_while_it_runs() {
    let worker = Language::Rust.start();
    let mut client = worker.client();
    for round in 0..20_u32 {
        let name = format!("there-{round}");
        let mut text = a_job_that_waits(&worker, &name);
        for id in 3..503 {
            text.push_str(&format!("\n{{\"id\":{id},\"req\":{{\"status\":{{}}}}}}"));
        }
        text.push('\n');
        client.stream().write_all(text.as_bytes()).expect("said");
        for id in 3..503 {
            let status = hear(&mut client);
            let told = (&status["id"], &status["data"]["state"]);
            assert_eq!(told, (&json!(id), &json!("running")));
        }
        is_told_to_end(&worker, &name, &mut client);
        // Those that are alone, too.
        let done = ask(&mut client, 600, json!({"run": {"job": "one"}}));
        assert_eq!(done["data"]["output"], "one");
    }
}

#[test]
fn those_who_came_with_the_job_are_let_in_while_it_runs() {
    let worker = Language::Rust.start();
    worker.signal(Signal::SIGSTOP);
    let mut clients: Vec<Peer> = (0..50).map(|_| worker.connect()).collect();
    for client in &mut clients {
        client.say(HANDSHAKE);
    }
    clients[0].say(&a_job_that_waits(&worker, "there"));
    worker.signal(Signal::SIGCONT);
    for client in &mut clients {
        assert_eq!(hear(client)["ok"], true);
    }
    is_told_to_end(&worker, "there", &mut clients[0]);
}
