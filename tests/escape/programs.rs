//! Everyday programs that speak over the network, where there is none.

use crate::harness::run::{Ran, eventually, run};
use crate::harness::{feature, skip};
use crate::scene::Scene;
use std::net::TcpListener;
use std::process::Command;

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

/// Answers each who comes with nothing, and says how many came.
fn server() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let count = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(stream);
        }
    });
    (port, count)
}

#[test]
fn everyday_programs_have_no_network() {
    let (port, count) = server();
    let came = || count.load(std::sync::atomic::Ordering::SeqCst);
    let scene = Scene::new();
    let mut tried = 0;
    for (program, script) in TRIES {
        if let Err(why) = feature::program(program) {
            skip(&format!("escape: `{program}`"), &why);
            continue;
        }
        let script = script.replace("PORT", &port.to_string());
        let shell = if program == "bash" { "bash" } else { "sh" };
        let before = came();
        let inside: Ran = run(&mut scene.supervise(&[shell, "-c", &script]));
        assert_ne!(inside.code(), 0, "{script}: {inside}");
        // Whoever came before this one was seen before it.
        let flush = std::net::TcpStream::connect(("127.0.0.1", port));
        drop(flush.expect("the test's own server listens"));
        eventually("our own connection was seen", || came() > before);
        assert_eq!(came(), before + 1, "{script}: {inside}");
        tried += 1;
        // Outside it gets as far as somewhere; the server says nothing, so most fail all the same.
        let speaks_tcp = !["ping", "getent"].contains(&program) && !script.contains("/udp/");
        if speaks_tcp {
            let before = came();
            run(Command::new(shell).args(["-c", &script]));
            eventually(&format!("`{script}` came from outside"), || came() > before);
        }
    }
    assert!(tried > 0, "nothing was tried");
}
