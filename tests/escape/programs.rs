//! Everyday programs that speak over the network, where there is none.

use crate::harness::run::{Ran, eventually, run};
use crate::harness::{feature, skip};
use crate::scene::Scene;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What is there of these is tried. `PORT` is of a server that answers nothing, `HOST` this machine.
const TRIES: [(&str, &str); 16] = [
    ("bash", "exec 3<>/dev/tcp/127.0.0.1/PORT && echo GET / >&3"),
    ("bash", "exec 3<>/dev/tcp/localhost/PORT && echo GET / >&3"),
    ("bash", "exec 3<>/dev/udp/127.0.0.1/PORT && echo x >&3"),
    ("getent", "getent ahosts example.com"),
    ("curl", "curl -sS -m 5 --noproxy '*' http://127.0.0.1:PORT/"),
    (
        "wget",
        "wget --no-proxy -t 1 -T 5 -q -O- http://127.0.0.1:PORT/",
    ),
    ("nc", "nc -w 5 127.0.0.1 PORT </dev/null"),
    ("socat", "socat -T 5 - TCP:127.0.0.1:PORT </dev/null"),
    (
        "ssh",
        "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o ConnectTimeout=5 -F none -p PORT 127.0.0.1 true",
    ),
    (
        "scp",
        "scp -B -o StrictHostKeyChecking=no -o ConnectTimeout=5 -F none -P PORT 127.0.0.1:/x /dev/null",
    ),
    (
        "git",
        "git -c core.sshCommand=false ls-remote http://127.0.0.1:PORT/x",
    ),
    (
        "openssl",
        "openssl s_client -connect 127.0.0.1:PORT </dev/null",
    ),
    (
        "python3",
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", PORT), 5)'",
    ),
    (
        "perl",
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(q(127.0.0.1:PORT)) or die $@'",
    ),
    ("ping", "ping -c 1 -W 1 127.0.0.1"),
    ("busybox", "busybox wget -T 5 -q -O- http://127.0.0.1:PORT/"),
];

/// Answers each who comes with nothing, and says from which ports they came, in order.
fn server() -> (u16, Arc<Mutex<Vec<u16>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let guests = Arc::<Mutex<Vec<u16>>>::default();
    let seen = guests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let guest = stream.expect("somebody came").peer_addr();
            let port = guest.expect("it has an address").port();
            seen.lock().expect("nobody panicked").push(port);
        }
    });
    (port, guests)
}

#[test]
fn everyday_programs_have_no_network() {
    let (port, guests) = server();
    let guests = || guests.lock().expect("nobody panicked").clone();
    let scene = Scene::new();
    let mut tried = 0;
    for (program, script) in TRIES {
        if let Err(why) = feature::program(program) {
            skip(&format!("escape: `{program}`"), &why);
            continue;
        }
        let script = script.replace("PORT", &port.to_string());
        let shell = if program == "bash" { "bash" } else { "sh" };
        let arrives = |command: &mut Command| {
            let before = guests().len();
            let ran: Ran = run(command);
            // Whoever came before this one was seen before it.
            let last = TcpStream::connect(("127.0.0.1", port));
            let last = last.expect("the test's own server listens").local_addr();
            let last = last.expect("it has an address").port();
            eventually("our own connection was seen", || {
                guests()[before..].contains(&last)
            });
            (guests()[before] != last, ran)
        };
        // Outside it gets as far as somewhere; the server says nothing, so most fail all the same.
        let speaks_tcp = !["ping", "getent"].contains(&program) && !script.contains("/udp/");
        if speaks_tcp {
            let (arrived, ran) = arrives(Command::new(shell).args(["-c", &script]));
            if !arrived {
                let why = format!("`{script}` gets nowhere outside either: {}", ran.status);
                skip(&format!("escape: `{program}`"), &why);
                continue;
            }
        }
        let (arrived, inside) = arrives(&mut scene.supervise(&[shell, "-c", &script]));
        assert_ne!(inside.code(), 0, "{script}: {inside}");
        assert!(!arrived, "{script}: {inside}");
        tried += 1;
    }
    assert!(tried > 0, "nothing was tried");
}
