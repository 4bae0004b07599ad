//! Sockets, and connections made without connect(2).

use crate::{answer, let_through, raw, refused, strictest};
use supervisor::sandbox::filter::{Answer, FilterSpec, Socket};

fn with(sockets: &[Socket]) -> FilterSpec {
    FilterSpec {
        sockets: sockets.to_vec(),
        ..strictest()
    }
}

fn socket(family: i32, kind: i32, protocol: i32) -> String {
    raw(libc::SYS_socket, &format!("{family} {kind} {protocol}"))
}

const NONBLOCKING: i32 = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
const SMC: i32 = 256;

#[test]
fn no_socket_where_none_was_named() {
    // All families that there are, and some that there will be.
    let families: Vec<String> = (0..=64)
        .chain([-1, 255])
        .map(|family| socket(family, libc::SOCK_STREAM, 0))
        .collect();
    for act in &families {
        assert_eq!(
            answer(Some(&strictest()), act),
            "errno EAFNOSUPPORT",
            "{act}"
        );
    }
    refused(
        &strictest(),
        "EAFNOSUPPORT",
        &[
            "socket inet stream",
            "socket inet6 stream",
            "socket unix stream",
        ],
    );
}

#[test]
fn tcp_and_nothing_beside_it() {
    let spec = with(&[Socket::Tcp]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_STREAM | NONBLOCKING] {
            for protocol in [0, libc::IPPROTO_TCP] {
                let_through(&spec, &[socket(family, kind, protocol)]);
            }
            let others =
                [libc::IPPROTO_MPTCP, SMC, SMC + 1].map(|protocol| socket(family, kind, protocol));
            for act in &others {
                assert_eq!(answer(Some(&spec), act), "errno EPROTONOSUPPORT", "{act}");
            }
        }
        // SCTP and DCCP are of families allowed here, too.
        for (kind, protocol) in [
            (libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP),
            (libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        ] {
            assert_eq!(
                answer(Some(&spec), &socket(family, kind, protocol)),
                "errno EPERM"
            );
        }
        refused(
            &spec,
            "EPERM",
            &[
                socket(family, libc::SOCK_DGRAM, 0),
                socket(family, libc::SOCK_DGRAM | NONBLOCKING, libc::IPPROTO_UDP),
                socket(family, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
                socket(family, libc::SOCK_RAW, libc::IPPROTO_TCP),
                socket(family, libc::SOCK_RAW | NONBLOCKING, libc::IPPROTO_RAW),
            ],
        );
    }
    refused(
        &spec,
        "EPERM",
        &[socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)],
    );
    refused(
        &spec,
        "EAFNOSUPPORT",
        &[
            "socket unix stream".to_owned(),
            socket(libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ],
    );
    // An old name for packet sockets.
    assert_eq!(
        answer(Some(&spec), &socket(libc::AF_INET, 10, 0x300)),
        "errno EPERM"
    );
}

#[test]
fn mptcp_is_refused_where_the_kernel_has_it() {
    refused(
        &with(&[Socket::Tcp]),
        "EPROTONOSUPPORT",
        &[socket(
            libc::AF_INET,
            libc::SOCK_STREAM,
            libc::IPPROTO_MPTCP,
        )],
    );
}

#[test]
fn udp_and_not_its_relatives() {
    let spec = with(&[Socket::Udp]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        let_through(
            &spec,
            &[
                socket(family, libc::SOCK_DGRAM, 0),
                socket(family, libc::SOCK_DGRAM | NONBLOCKING, libc::IPPROTO_UDP),
            ],
        );
        refused(
            &spec,
            "EPERM",
            &[
                socket(family, libc::SOCK_STREAM, 0),
                socket(family, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
                socket(family, libc::SOCK_RAW, libc::IPPROTO_UDP),
            ],
        );
    }
}

#[test]
fn unix_sockets_that_only_connect_and_pairs_that_only_meet_each_other() {
    let spec = with(&[Socket::UnixStream]);
    let_through(&spec, &["socket unix stream", "socket unix seqpacket"]);
    refused(
        &spec,
        "EPERM",
        &[
            "socket unix dgram",
            "socket unix raw",
            "unix-dgram /nonexistent",
        ],
    );
    refused(&spec, "EAFNOSUPPORT", &["socket inet stream"]);
    for spec in [spec, strictest()] {
        let_through(
            &spec,
            &["socketpair unix stream", "socketpair unix seqpacket"],
        );
        refused(
            &spec,
            "EPERM",
            &[
                "socketpair unix dgram",
                "socketpair unix raw",
                "pair-sendto dgram /nonexistent",
                "pair-sendto raw /nonexistent",
            ],
        );
        refused(
            &spec,
            "EAFNOSUPPORT",
            &[raw(libc::SYS_socketpair, "2 1 0 0")],
        );
    }
}

#[test]
fn netlink_lists_interfaces_and_does_nothing_else() {
    let spec = with(&[Socket::NetlinkRoute]);
    let_through(
        &spec,
        &[
            socket(libc::AF_NETLINK, libc::SOCK_RAW | NONBLOCKING, 0),
            socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 0),
        ],
    );
    let others = [
        libc::NETLINK_AUDIT,
        libc::NETLINK_KOBJECT_UEVENT,
        libc::NETLINK_GENERIC,
    ]
    .map(|protocol| socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol));
    for act in &others {
        assert_eq!(answer(Some(&spec), act), "errno EPROTONOSUPPORT", "{act}");
    }
    refused(
        &spec,
        "EPROTONOSUPPORT",
        &[socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_KOBJECT_UEVENT,
        )],
    );
}

#[test]
fn high_bits_do_not_make_another_socket() {
    let spec = with(&[Socket::Tcp]);
    let act = raw(libc::SYS_socket, "0xdead00000001 1 0");
    refused(&spec, "EAFNOSUPPORT", &[act]);
    let_through(
        &spec,
        &[raw(
            libc::SYS_socket,
            "0xdead00000002 0xbeef00000001 0xf00000006",
        )],
    );
}

#[test]
fn fast_open_connects_nothing() {
    let fastopen = "0x20000000";
    refused(
        &strictest(),
        "EPERM",
        &[
            raw(libc::SYS_sendto, &format!("-1 0 0 {fastopen} 0 0")),
            raw(libc::SYS_sendto, "-1 0 0 0xdead000020004000 0 0"),
            raw(libc::SYS_sendmsg, &format!("-1 0 {fastopen}")),
            raw(libc::SYS_sendmmsg, &format!("-1 0 0 {fastopen}")),
        ],
    );
    let_through(
        &strictest(),
        &[
            raw(libc::SYS_sendto, "-1 0 0 0x4000 0 0"),
            raw(libc::SYS_sendmsg, "-1 0 0"),
            raw(libc::SYS_sendmmsg, "-1 0 0 0x4040"),
        ],
    );
}

#[test]
fn socket_options_do_not_connect_or_choose_another_way() {
    let options = [
        (libc::IPPROTO_TCP, 30), // TCP_FASTOPEN_CONNECT
        (libc::IPPROTO_TCP, 31), // TCP_ULP
        (libc::SOL_SOCKET, libc::SO_BINDTODEVICE),
        (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX),
        (libc::SOL_SOCKET, libc::SO_MARK),
        (libc::IPPROTO_IP, libc::IP_OPTIONS),
        (libc::IPPROTO_IPV6, libc::IPV6_RTHDR),
        (libc::IPPROTO_IPV6, libc::IPV6_2292RTHDR),
        (libc::IPPROTO_IPV6, libc::IPV6_RTHDRDSTOPTS),
        (libc::IPPROTO_IPV6, libc::IPV6_2292PKTOPTIONS),
        (libc::IPPROTO_SCTP, 110), // SCTP_SOCKOPT_CONNECTX
        (libc::IPPROTO_SCTP, 107), // SCTP_SOCKOPT_CONNECTX_OLD
    ];
    for (level, option) in options {
        let garbage = 0x1_0000_0000 * 0xbeef_i64;
        refused(
            &strictest(),
            "EPERM",
            &[
                raw(libc::SYS_setsockopt, &format!("-1 {level} {option} 0 0")),
                raw(
                    libc::SYS_setsockopt,
                    &format!(
                        "-1 {} {} 0 0",
                        garbage + i64::from(level),
                        garbage + i64::from(option)
                    ),
                ),
            ],
        );
    }
    // SCTP_SOCKOPT_CONNECTX3
    refused(
        &strictest(),
        "EPERM",
        &[raw(libc::SYS_getsockopt, "-1 132 111 0 0")],
    );
    let_through(
        &strictest(),
        &[
            raw(
                libc::SYS_setsockopt,
                &format!("-1 {} {} 0 0", libc::SOL_SOCKET, libc::SO_REUSEADDR),
            ),
            raw(
                libc::SYS_setsockopt,
                &format!("-1 {} {} 0 0", libc::IPPROTO_TCP, libc::TCP_NODELAY),
            ),
            raw(
                libc::SYS_setsockopt,
                &format!("-1 {} {} 0 0", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
            ),
            raw(
                libc::SYS_getsockopt,
                &format!("-1 {} {} 0 0", libc::SOL_SOCKET, libc::SO_ERROR),
            ),
        ],
    );
}

#[test]
fn where_nobody_decides_nothing_is_connected_bound_or_listened_on() {
    let acts = [
        raw(libc::SYS_connect, "-1 0 0"),
        raw(libc::SYS_bind, "-1 0 0"),
        raw(libc::SYS_listen, "-1 0"),
    ];
    refused(&strictest(), "EACCES", &acts);
    let mut spec = strictest();
    spec.answers.connect = Answer::Allow;
    spec.answers.bind = Answer::Allow;
    spec.answers.listen = Answer::Allow;
    let_through(&spec, &acts);
}
