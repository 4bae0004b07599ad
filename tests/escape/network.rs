//! The network: what is connected to, sent to or listened on past the policy, by any family, protocol, flag or spelling.

use crate::harness::run::{eventually, run};
use crate::harness::{feature, require, skip};
use crate::scene::{POLICY, Scene, answered_otherwise_inside};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Two servers of the outside, of which a policy allows the first.
struct Servers {
    allowed: TcpListener,
    denied: TcpListener,
}

impl Servers {
    fn new() -> Self {
        // On every address, so that every spelling of this machine leads there.
        let listen = || {
            let listener = TcpListener::bind("[::]:0")
                .or_else(|_| TcpListener::bind("0.0.0.0:0"))
                .expect("a port");
            listener
                .set_nonblocking(true)
                .expect("a listener need not wait");
            listener
        };
        Self {
            allowed: listen(),
            denied: listen(),
        }
    }

    fn port(listener: &TcpListener) -> u16 {
        listener.local_addr().expect("an address").port()
    }

    fn scene(&self, rule: &str) -> Scene {
        let rule = rule.replace("ALLOWED", &Self::port(&self.allowed).to_string());
        Scene::under(&format!("{POLICY}[net]\nconnect = [\"{rule}\"]\n"))
    }

    fn text(&self, act: &str) -> String {
        act.replace("ALLOWED", &Self::port(&self.allowed).to_string())
            .replace("DENIED", &Self::port(&self.denied).to_string())
    }

    /// How many came to the second server.
    fn callers(&self) -> usize {
        std::iter::from_fn(|| self.denied.accept().ok()).count()
    }

    /// Each act fails inside, with one of the errnos, and nobody comes to the server that is denied, although the same act outside
    /// succeeds.
    #[track_caller]
    fn refuse(&self, scene: &Scene, errnos: &[&str], acts: &[&str]) -> crate::scene::Performed {
        let acts: Vec<String> = acts.iter().map(|act| self.text(act)).collect();
        let performed = scene.perform(&acts.join(" -- "));
        assert_eq!(performed.answers().len(), acts.len(), "{}", performed.ran);
        for (act, answer) in acts.iter().zip(performed.answers()) {
            let errno = answer.strip_prefix("errno ").unwrap_or(answer);
            assert!(errnos.contains(&errno), "{act}: {answer}");
        }
        assert_eq!(self.callers(), 0, "nobody came");
        for act in &acts {
            let outside = run(&mut scene.unconfined(act)).stdout;
            if !outside.starts_with("ok") {
                skip(
                    &format!("escape: `{act}`"),
                    &format!("it gives {} anyway", outside.trim_end()),
                );
            }
        }
        performed
    }
}

/// Every spelling of this machine, at a port that no rule allows.
const SPELLINGS: [&str; 7] = [
    "connect-tcp 127.0.0.1:DENIED",
    "connect-tcp 127.0.0.2:DENIED",
    "connect-tcp 0.0.0.0:DENIED",
    "connect-tcp [::1]:DENIED",
    "connect-tcp [::]:DENIED",
    "connect-tcp [::ffff:127.0.0.1]:DENIED",
    "connect-tcp [::ffff:0.0.0.0]:DENIED",
];

#[test]
fn no_spelling_of_an_address_reaches_a_port_that_is_denied() {
    require!(feature::pidfd_getfd());
    for rule in ["127.0.0.1:ALLOWED", "*:ALLOWED", "127.0.0.0/8:ALLOWED"] {
        let servers = Servers::new();
        let scene = servers.scene(rule);
        let performed = servers.refuse(&scene, &["EACCES"], &SPELLINGS);
        let refusals = performed.refusals("connect");
        assert_eq!(
            refusals.len(),
            SPELLINGS.len(),
            "one record each: {refusals:#?}"
        );
        for record in refusals {
            assert_eq!(record["errno"], "EACCES", "{record}");
            assert!(
                record["address"]
                    .as_str()
                    .expect("an address")
                    .ends_with(&servers.text(":DENIED")),
                "{record}"
            );
        }
        eventually("those came who were not confined", || servers.callers() > 0);
    }
}

#[test]
fn a_rule_about_an_address_is_for_no_other() {
    require!(feature::pidfd_getfd());
    let servers = Servers::new();
    let scene = servers.scene("127.0.0.1:ALLOWED");
    servers.refuse(
        &scene,
        &["EACCES"],
        &[
            "connect-tcp 127.0.0.2:ALLOWED",
            "connect-tcp [::1]:ALLOWED",
            "connect-tcp [::ffff:127.0.0.2]:ALLOWED",
        ],
    );
}

#[test]
fn what_is_allowed_is_reached_and_recorded_also_as_a_mapped_address() {
    require!(feature::pidfd_getfd());
    let servers = Servers::new();
    let scene = servers.scene("127.0.0.1:ALLOWED");
    let acts = servers.text(
        "connect-tcp 127.0.0.1:ALLOWED -- connect-tcp [::ffff:127.0.0.1]:ALLOWED -- connect-tcp-nonblocking 127.0.0.1:ALLOWED",
    );
    let performed = scene.perform(&acts);
    assert!(
        performed
            .answers()
            .iter()
            .all(|answer| answer.starts_with("ok")),
        "{}",
        performed.ran
    );
    assert_eq!(performed.records.len(), 3);
    assert!(
        performed
            .records
            .iter()
            .all(|record| record["answer"] == "granted")
    );
}

#[test]
fn a_connection_is_not_made_past_connect() {
    let servers = Servers::new();
    let scene = servers.scene("*:ALLOWED");
    servers.refuse(
        &scene,
        &["EPERM"],
        &[
            "fastopen 127.0.0.1:DENIED",
            "fastopen-sendmsg 127.0.0.1:DENIED",
            "fastopen-sendmmsg 127.0.0.1:DENIED",
            "fastopen-connect 127.0.0.1:DENIED",
            "fastopen 127.0.0.1:ALLOWED",
        ],
    );
}

#[test]
fn a_second_connect_is_looked_at_like_the_first() {
    let servers = Servers::new();
    let scene = servers.scene("*:ALLOWED");
    let act = "connect-twice 127.0.0.1:ALLOWED 127.0.0.1:DENIED";
    servers.refuse(&scene, &["EACCES", "EAFNOSUPPORT"], &[act]);
}

#[test]
fn an_address_that_is_rewritten_while_it_is_looked_at_reaches_nobody_else() {
    require!(feature::pidfd_getfd());
    let servers = Servers::new();
    let scene = servers.scene("127.0.0.1:ALLOWED");
    // Both take whoever comes, or the race would wait for them.
    let denied = counted(&servers.denied);
    counted(&servers.allowed);
    let act = servers.text("race-connect-tcp ALLOWED DENIED");
    eventually("the race is won where nothing confines it", || {
        run(&mut scene.unconfined(&format!("{act} 500")));
        denied.load(Ordering::SeqCst) > 0
    });
    // All that it sent have come once one more has.
    let before = || {
        let seen = denied.load(Ordering::SeqCst);
        run(&mut scene.unconfined(&servers.text("connect-tcp 127.0.0.1:DENIED")));
        eventually("one more came", || denied.load(Ordering::SeqCst) > seen);
        denied.load(Ordering::SeqCst)
    };
    before();
    let before = before();
    let performed = scene.perform(&format!("{act} 3000"));
    let answer = performed.answers()[0];
    assert!(
        answer.starts_with("ok succeeded=") && answer != "ok succeeded=0",
        "{answer}"
    );
    run(&mut scene.unconfined(&servers.text("connect-tcp 127.0.0.1:DENIED")));
    eventually("the last came", || denied.load(Ordering::SeqCst) > before);
    assert_eq!(
        denied.load(Ordering::SeqCst),
        before + 1,
        "nobody else came"
    );
}

/// How many came, counted as they come.
fn counted(listener: &TcpListener) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let listener = listener.try_clone().expect("a descriptor");
    listener.set_nonblocking(false).expect("it may wait");
    let counter = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    count
}

#[test]
fn short_and_odd_addresses_reach_nobody() {
    let servers = Servers::new();
    let scene = servers.scene("*:ALLOWED");
    let acts: Vec<String> = [0, 1, 2, 4, 7, 8, 15]
        .iter()
        .map(|length| servers.text(&format!("connect-short 127.0.0.1:DENIED {length}")))
        .chain([
            "connect-unspec".to_owned(),
            servers.text("connect-short [::1]:DENIED 24"),
        ])
        .collect();
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        let outside = run(&mut scene.unconfined(act)).stdout;
        // Never further than natively, where most are no addresses.
        assert!(
            answer.starts_with("errno ") || answer == outside.trim_end(),
            "{act}: {answer}"
        );
    }
    assert_eq!(performed.answers().len(), acts.len());
    assert_eq!(
        scene
            .records()
            .iter()
            .filter(|record| record["answer"] == "granted")
            .count(),
        0
    );
}

#[test]
fn other_protocols_and_families_are_not_spoken() {
    let servers = Servers::new();
    let scene = servers.scene("*:ALLOWED");
    let acts = [
        "socket inet stream mptcp",
        "socket inet6 stream mptcp",
        "socket inet stream sctp",
        "socket inet seqpacket sctp",
        "socket inet dccp dccp",
        "socket inet dgram udplite",
        "socket inet dgram udp",
        "socket inet dgram",
        "socket inet6 dgram",
        "socket inet dgram icmp",
        "socket inet raw icmp",
        "socket inet raw 255",
        "socket inet6 raw 58",
        "socket inet stream smc",
        "socket smc stream",
        "socket packet raw",
        "socket packet dgram",
        "socket inet packet",
        "socket netlink raw",
        "socket netlink raw 6",
        "socket netlink raw 9",
        "socket netlink raw 12",
        "socket netlink raw 15",
        "socket vsock stream",
        "socket vsock dgram",
        "socket alg seqpacket",
        "socket bluetooth raw",
        "socket can raw 1",
        "socket tipc stream",
        "socket rds seqpacket",
        "socket kcm dgram",
        "socket qipcrtr dgram",
        "socket xdp raw",
        "socket unix dgram",
        "socketpair unix dgram",
        "socket inet dgram,nonblock",
        "socket inet 0x100000002",
    ];
    let performed = scene.perform(&acts.join(" -- "));
    assert_eq!(performed.answers().len(), acts.len(), "{}", performed.ran);
    let mut proven = 0;
    for (act, answer) in acts.iter().zip(performed.answers()) {
        let errno = answer
            .strip_prefix("errno ")
            .unwrap_or_else(|| panic!("{act}: {answer}"));
        assert!(
            [
                "EAFNOSUPPORT",
                "EPROTONOSUPPORT",
                "ESOCKTNOSUPPORT",
                "EPERM",
                "EACCES"
            ]
            .contains(&errno),
            "{act}: {answer}"
        );
        proven += usize::from(run(&mut scene.unconfined(act)).stdout.starts_with("ok"));
    }
    // The kernel here need not have all of them.
    assert!(proven >= 4, "{proven}");
}

#[test]
fn datagrams_leave_nowhere() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    receiver
        .set_nonblocking(true)
        .expect("a socket need not wait");
    let port = receiver.local_addr().expect("an address").port();
    let scene = Scene::new();
    let act = format!("udp 127.0.0.1:{port}");
    let performed = scene.perform(&act);
    assert!(
        performed.answers()[0].starts_with("errno "),
        "{}",
        performed.ran
    );
    assert!(receiver.recv(&mut [0; 8]).is_err(), "nothing was sent");
    assert_eq!(run(&mut scene.unconfined(&act)).stdout, "ok\n");
    eventually("it arrives from outside", || {
        receiver.recv(&mut [0; 8]).is_ok()
    });
}

#[test]
fn nobody_listens_without_leave() {
    require!(feature::pidfd_getfd());
    let scene = Scene::new();
    let acts = [
        "listen-unbound",
        "bind-tcp 127.0.0.1:0",
        "listen-tcp 127.0.0.1:0",
        "bind-tcp 0.0.0.0:4",
        "listen-tcp [::1]:0",
    ];
    let performed = scene.perform(&acts.join(" -- "));
    assert_eq!(performed.answers().len(), acts.len());
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert!(answer.starts_with("errno EA"), "{act}: {answer}");
        let outside = run(&mut scene.unconfined(act)).stdout;
        if !outside.starts_with("ok") {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {} anyway", outside.trim_end()),
            );
        }
    }
    // Where one port may be bound, a listener on a port of the kernel's choice is another.
    let scene = Scene::under(&format!(
        "{POLICY}[net]\nconnect = [\"*:443\"]\nbind = [\"*:65533\"]\n"
    ));
    let performed =
        scene.perform("listen-unbound -- bind-tcp 127.0.0.1:65532 -- bind-tcp 127.0.0.1:65533");
    assert_eq!(
        performed.answers(),
        ["errno EACCES", "errno EACCES", "ok"],
        "{}",
        performed.ran
    );
}

#[test]
fn packets_take_no_other_way_than_the_routes() {
    let servers = Servers::new();
    let _scene = servers.scene("*:ALLOWED");
    let option =
        |level: i32, name: i32| format!("raw {} -1 {level} {name} 0 0", libc::SYS_setsockopt);
    let acts: Vec<String> = [
        option(libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        option(libc::SOL_SOCKET, libc::SO_MARK),
        option(libc::SOL_SOCKET, 62), // SO_BINDTOIFINDEX
        option(libc::SOL_IP, libc::IP_OPTIONS),
        option(libc::SOL_IPV6, 57), // IPV6_RTHDR
        option(132, 110),           // SCTP_SOCKOPT_CONNECTX
        option(libc::SOL_TCP, 30),  // TCP_FASTOPEN_CONNECT
        option(libc::SOL_TCP, 31),  // TCP_ULP
    ]
    .to_vec();
    answered_otherwise_inside(
        "EPERM",
        &acts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn a_thousand_permitted_connects_and_opens_in_a_row_all_succeed() {
    require!(feature::pidfd_getfd());
    let servers = Servers::new();
    let port = Servers::port(&servers.allowed);
    let unix = |scene: &Scene| {
        std::os::unix::net::UnixListener::bind(scene.work().join("ok.sock")).expect("a socket")
    };
    let scene = Scene::under(&format!(
        "{POLICY}[net]\nconnect = [\"127.0.0.1:{port}\"]\nunix = [\"{{W}}/ok.sock\"]\n[[request]]\npath = \"{{O}}/file\"\naccess = [\"read\"]\ndecision = \"allow\"\n"
    ));
    let listener = unix(&scene);
    let tcp = servers.allowed.try_clone().expect("a descriptor");
    tcp.set_nonblocking(false).expect("it may wait");
    let accept_unix =
        std::thread::spawn(move || listener.incoming().take(1000).filter(Result::is_ok).count());
    let accept_tcp =
        std::thread::spawn(move || tcp.incoming().take(1000).filter(Result::is_ok).count());
    let performed = scene.perform(&format!(
        "connect-tcp-many 127.0.0.1:{port} 1000 -- connect-unix-many {{W}}/ok.sock 1000 -- ask-many {{O}}/file 1000"
    ));
    assert_eq!(
        performed.answers(),
        ["ok 1000", "ok 1000", "ok 1000"],
        "{}",
        performed.ran
    );
    assert_eq!(accept_unix.join().expect("a thread"), 1000);
    assert_eq!(accept_tcp.join().expect("a thread"), 1000);
}
