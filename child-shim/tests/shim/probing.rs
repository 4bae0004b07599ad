//! The probe, and the handshake that follows on the same connection, whatever the worker is written in.

use protocol::json;
use protocol::probe::{Confirm, Context, Nonce, Probe, Proof, Ready, Secret, Side};

use crate::harness::worker::{Peer, SECRET, Worker};
use crate::workers::{Language, ask, in_every_language};

in_every_language!(
    a_worker_proves_who_it_is_and_serves_on,
    whoever_does_not_know_the_secret_is_told_nothing_more,
    the_probe_comes_first_or_not_at_all,
);

/// Sends a probe, and what there is to be said to the proof.
fn begin(worker: &Worker, peer: &mut Peer) -> (Proof, [protocol::probe::Code; 2]) {
    let nonce = Nonce::from([9; 32]);
    let probe = String::from_utf8(Probe::new(nonce).encode()).expect("text");
    let proof = peer.ask(probe.trim_end());
    let proof = Proof::decode(proof.as_bytes()).expect("a proof");
    let secret = Secret::parse(SECRET).expect("a secret");
    let endpoint = worker.endpoint.to_str().expect("text");
    let context = Context {
        client: nonce,
        worker: proof.nonce,
        instance: proof.instance,
        boot_id: "boot",
        endpoint: endpoint.as_bytes(),
        pidfs: proof.pidfs,
    };
    assert!(secret.verifies(Side::Worker, &context, &proof.mac));
    let codes = [Side::Client, Side::Worker].map(|side| secret.mac(side, &context));
    (proof, codes)
}

fn confirm(mac: protocol::probe::Code) -> String {
    let text = String::from_utf8(Confirm { mac }.encode()).expect("text");
    text.trim_end().to_owned()
}

fn a_worker_proves_who_it_is_and_serves_on(language: Language) {
    let worker = language.start();
    let mut peer = worker.connect();
    let (proof, [right, _]) = begin(&worker, &mut peer);
    assert_eq!((&*proof.service, &*proof.version), ("test", "7"));
    let own = sys::pidfd::Pidfd::open(worker.pid()).expect("it lives");
    let inode = sys::pidfs::inode(std::os::fd::AsFd::as_fd(&own)).expect("told");
    assert_eq!(proof.pidfs, inode.unwrap_or(0));
    let ready = peer.ask(&confirm(right));
    assert_eq!(Ready::decode(ready.as_bytes()), Ok(Ready));
    let welcome = ask(&mut peer, 1, json!({"handshake": {"version": 1}}));
    assert_eq!(welcome["data"]["service"], "test");
    assert_eq!(welcome["data"]["service_version"], "7");
    let done = ask(&mut peer, 2, json!({"run": {"job": "x"}}));
    assert_eq!(done["data"]["output"], "x");
}

fn whoever_does_not_know_the_secret_is_told_nothing_more(language: Language) {
    let worker = language.start();
    let mut peer = worker.connect();
    let (_, [_, reflected]) = begin(&worker, &mut peer);
    peer.say(&confirm(reflected));
    assert_eq!(peer.heard(), None);
    let mut peer = worker.connect();
    begin(&worker, &mut peer);
    peer.say(r#"{"id":1,"req":{"handshake":{"version":1}}}"#);
    assert_eq!(peer.heard(), None);
    let mut peer = worker.connect();
    peer.say(r#"{"probe":{"v":1,"nonce":"00"}}"#);
    assert_eq!(peer.heard(), None);
    worker.client();
}

fn the_probe_comes_first_or_not_at_all(language: Language) {
    let worker = language.start();
    let mut peer = worker.client();
    let nonce = "0".repeat(64);
    peer.say(&json!({"probe": {"v": 1, "nonce": nonce}}).to_string());
    assert!(peer.hear().contains("bad_request"));
    let mut peer = worker.connect();
    let (_, [right, _]) = begin(&worker, &mut peer);
    peer.ask(&confirm(right));
    let again = peer.ask(&json!({"probe": {"v": 1, "nonce": nonce}}).to_string());
    assert!(again.contains("handshake_required"), "{again}");
    assert_eq!(peer.heard(), None);
}
