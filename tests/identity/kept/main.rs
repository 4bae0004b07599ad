//! The worker of the tests: inherits a bound socket and a commission, listens, and answers as it is told to, well or badly.
//!
//! `kept HOW` with `SUPERVISE_WORKER_FD` and `SUPERVISE_WORKER_SECRET_FD`; `kept squat PATH MANIFEST` takes a socket's place and answers with
//! what it stole.

use child_shim::worker::{Commission, Probe, answer, commission};
use protocol::probe::{Confirm, Instance, MAX_LINE, Nonce, Proof, Ready, Secret, Side};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["squat", path, manifest] => squat(path, manifest),
        ["wait"] => loop {
            std::thread::park();
        },
        [how] => work(how),
        _ => panic!("how shall it behave?"),
    }
}

fn work(how: &str) {
    if how == "hide" {
        nix::sys::prctl::set_dumpable(false).expect("memory can be hidden");
    }
    let commission = commission().expect("a worker is commissioned");
    let number = std::env::var("SUPERVISE_WORKER_FD").expect("a worker has a socket");
    let socket = sys::fds::duplicate_number(number.parse().expect("a number"));
    let socket = socket.expect("the socket is inherited");
    nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::MAXCONN).expect("it is bound");
    serve(UnixListener::from(socket), commission, how);
}

fn serve(listener: UnixListener, commission: Commission, how: &str) {
    for connection in listener.incoming() {
        let connection = connection.expect("a connection");
        let commission = commission.clone();
        let how = how.to_owned();
        std::thread::spawn(move || converse(&connection, &commission, &how));
    }
}

fn converse(connection: &UnixStream, commission: &Commission, how: &str) {
    let mut input = BufReader::new(connection);
    let mut first = Vec::new();
    let came = input.read_until(b'\n', &mut first);
    if !came.is_ok_and(|count| count > 0) || !Probe::begins(&first) {
        return;
    }
    match how {
        "serve" | "hide" => {
            if answer(commission, &first, &mut input, &mut &*connection).is_ok() {
                obey(&mut input, connection);
            }
        }
        _ => misbehave(connection, &mut input, commission, &first, how),
    }
}

/// What a pool would say to it. Told to end, it ends with the status that `KEPT_STATUS` says.
fn obey(input: &mut impl BufRead, mut connection: &UnixStream) {
    for line in input.lines() {
        let Ok(line) = line else { return };
        if line.contains("\"shutdown\"") {
            let status = std::env::var("KEPT_STATUS").ok();
            std::process::exit(status.map_or(0, |status| status.parse().expect("a number")));
        }
        let echoed = connection.write_all(format!("{line}\n").as_bytes());
        if echoed.is_err() {
            return;
        }
    }
}

/// A proof as whoever knows all of this would make it.
fn proof(commission: &Commission, client: Nonce, worker: Nonce, pidfs: u64) -> Proof {
    let context = commission.context(client, worker, pidfs);
    Proof {
        nonce: worker,
        service: commission.service.clone(),
        version: commission.version.clone(),
        instance: commission.instance,
        pidfs,
        mac: commission.secret.mac(Side::Worker, &context),
    }
}

fn nonce() -> Nonce {
    let mut bytes = [0; 32];
    sys::random::fill(&mut bytes).expect("random numbers");
    Nonce::from(bytes)
}

/// What the first client of a replaying worker was told.
static TOLD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

fn misbehave(
    mut connection: &UnixStream,
    input: &mut impl Read,
    commission: &Commission,
    first: &[u8],
    how: &str,
) {
    let client = Probe::decode(first).expect("a probe").nonce;
    let own = sys::pidfs::own_inode();
    let right = proof(commission, client, nonce(), own).encode();
    let mut changed = commission.clone();
    let line = match how {
        "silent" => Vec::new(),
        "close" => return,
        "short" => {
            let _sent = connection.write_all(&right[..right.len() / 2]);
            return;
        }
        "oversized" => vec![b'x'; 4 * MAX_LINE],
        "garbage" => b"{\"hello\":\"world\"}\n".to_vec(),
        "later" => String::from_utf8(right)
            .expect("text")
            .replace("\"v\":1", "\"v\":2")
            .into_bytes(),
        "surplus" => [right, Ready.encode()].concat(),
        "reflect" => proof(commission, client, client, own).encode(),
        "replay" => TOLD
            .lock()
            .expect("nobody panicked")
            .get_or_insert(right)
            .clone(),
        "secretless" => {
            changed.secret = Secret::from([0; 32]);
            proof(&changed, client, nonce(), own).encode()
        }
        "elsewhere" => {
            changed.endpoint.push('x');
            proof(&changed, client, nonce(), own).encode()
        }
        "other-life" => {
            changed.instance = Instance::from([0; 16]);
            proof(&changed, client, nonce(), own).encode()
        }
        "other-inode" => proof(commission, client, nonce(), own + 1).encode(),
        "no-inode" | "never-ready" => proof(commission, client, nonce(), 0).encode(),
        "drip" => {
            for byte in right.iter().cycle().filter(|byte| **byte != b'\n') {
                if connection.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            return;
        }
        _ => panic!("it cannot behave like {how}"),
    };
    if connection.write_all(&line).is_err() {
        return;
    }
    let mut answer = [0; 512];
    let said = input.read(&mut answer).unwrap_or(0);
    if ["no-inode", "replay"].contains(&how) && Confirm::decode(&answer[..said]).is_ok() {
        let _sent = connection.write_all(&Ready.encode());
    }
    // Until the other side has had enough.
    let _end = input.read(&mut answer);
}

/// Binds the path anew, and answers with the secret, the instance and the inode of the worker that was there.
fn squat(path: &str, manifest: &str) {
    let text = std::fs::read_to_string(manifest).expect("a manifest to steal");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("a manifest");
    let process = &manifest["process"];
    let said = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let stolen = Commission {
        secret: Secret::parse(&said(&process["secret"])).expect("a secret"),
        instance: Instance::parse(&said(&process["instance"])).expect("an instance"),
        boot_id: said(&process["boot_id"]),
        endpoint: said(&process["endpoint"]["path"]),
        service: said(&manifest["service_name"]),
        version: said(&manifest["service_version"]),
    };
    let inode = process["pidfs_inode"].as_u64().unwrap_or(0);
    std::fs::remove_file(path).expect("a socket to take the place of");
    let listener = UnixListener::bind(path).expect("its place");
    println!("squatting");
    for connection in listener.incoming() {
        let mut connection = connection.expect("a connection");
        let mut first = Vec::new();
        let mut input = BufReader::new(connection.try_clone().expect("a descriptor"));
        if input.read_until(b'\n', &mut first).is_err() {
            continue;
        }
        let Ok(probe) = Probe::decode(&first) else {
            continue;
        };
        let proof = proof(&stolen, probe.nonce, nonce(), inode);
        let _sent = connection.write_all(&proof.encode());
        let mut confirm = Vec::new();
        let _came = input.read_until(b'\n', &mut confirm);
        let _sent = connection.write_all(&Ready.encode());
    }
}
