//! Addresses, ports and Unix sockets.

use super::{Memory, compile, compile_in};
use crate::policy::{PortRules, Reason, Ruleset, Subject, Verdict};
use std::path::Path;

#[test]
fn addresses_are_decided_and_never_told_to_the_kernel() {
    let ruleset = compile(
        "[net]\nconnect = [\"127.0.0.1:5432\", \"*:443\", \"10.0.0.0/8:*\", \"[fd00::/8]:22\"]",
    );
    assert!(ruleset.needs_connect_door());
    assert_eq!(ruleset.tcp_connect(), &PortRules::Ports([443].into()));
    for (address, expected) in [
        ("127.0.0.1:5432", true),
        ("[::ffff:127.0.0.1]:5432", true),
        ("0.0.0.0:5432", true),
        ("127.0.0.2:5432", false),
        ("192.0.2.1:443", true),
        ("[2001:db8::1]:443", true),
        ("10.200.0.1:9", true),
        ("11.0.0.1:9", false),
        ("[fd12::1]:22", true),
        ("[fe80::1]:22", false),
    ] {
        let verdict = ruleset.decide_connect(
            address.parse().expect("an address"),
            crate::policy::Peer::Anybody,
        );
        assert_eq!(verdict.is_allowed(), expected, "{address}");
    }
    let ports = compile("[net]\nconnect = [\"*:443\"]");
    assert!(!ports.needs_connect_door());
    assert_eq!(
        compile("[net]\nconnect = [\"*:*\"]").tcp_connect(),
        &PortRules::Any
    );
    assert_eq!(compile("").tcp_connect(), &PortRules::none());
}

#[test]
fn a_session_reaches_itself_and_whom_a_rule_names() {
    use crate::policy::Peer::{Anybody, Session};
    let own = compile(
        "[net]\nconnect = [\"*:443\", \"127.0.0.1:5432\", \"0.0.0.0/0:9\"]\nloopback = \"own\"",
    );
    assert!(own.needs_connect_door() && own.reaches_itself());
    assert_eq!(own.tcp_connect(), &PortRules::none());
    let connect = |address: &str, peer| {
        let verdict = own.decide_connect(address.parse().expect("an address"), peer);
        verdict.is_allowed()
    };
    for (address, anybody) in [
        ("127.0.0.1:5432", true),
        ("127.0.0.1:443", false),
        ("127.0.0.1:9", false),
        ("[::1]:8080", false),
        ("[::ffff:127.0.0.1]:8080", false),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("127.1.2.3:1", false),
    ] {
        assert_eq!(connect(address, Anybody), anybody, "{address}");
        assert!(connect(address, Session), "{address}");
    }
    for (address, both) in [("192.0.2.1:443", true), ("192.0.2.1:8080", false)] {
        assert_eq!(connect(address, Anybody), both, "{address}");
        assert_eq!(connect(address, Session), both, "{address}");
    }
    let refused = own.decide_connect("127.0.0.1:80".parse().expect("an address"), Anybody);
    assert!(matches!(refused, Verdict::Deny(denial) if denial.reason == Reason::NotOwn));
    // To listen there costs nobody else anything, but for low ports.
    let binds = |ruleset: &Ruleset, address: &str| {
        let address = address.parse().expect("an address");
        ruleset.decide_bind(address).is_allowed()
    };
    for (address, may) in [
        ("127.0.0.1:0", true),
        ("127.0.0.1:1024", true),
        ("[::1]:65535", true),
        ("[::ffff:127.0.0.1]:8080", true),
        ("127.0.0.1:1023", false),
        ("0.0.0.0:0", false),
        ("[::]:8080", false),
        ("[::ffff:0.0.0.0]:0", false),
        ("192.0.2.1:8080", false),
    ] {
        assert_eq!(binds(&own, address), may, "{address}");
    }
    let ports = compile("[net]\nbind = [\"*:8080\"]\nloopback = \"any\"");
    assert!(!ports.reaches_itself());
    assert!(binds(&ports, "0.0.0.0:8080") && binds(&ports, "[::1]:8080"));
    assert!(!binds(&ports, "127.0.0.1:0") && !binds(&ports, "127.0.0.1:8081"));
    // A further policy only narrows.
    let world = Memory::new(&[]);
    let texts = [
        "[net]\nloopback = \"own\"",
        "[net]\nloopback = \"any\"\nbind = [\"*:1\"]",
    ];
    let narrowed = compile_in(&world, &texts).expect("good");
    let local = "127.0.0.1:8080".parse().expect("an address");
    assert!(!narrowed.decide_connect(local, Anybody).is_allowed());
    assert!(narrowed.decide_connect(local, Session).is_allowed());
    assert!(!binds(&narrowed, "127.0.0.1:0"));
}

#[test]
fn what_may_be_bound_is_an_address_and_never_more_than_it() {
    let ruleset = compile(
        "[net]\nbind = [\"127.0.0.1:8080\", \"10.0.0.0/8:*\", \"[fd00::/8]:22\", \"*:443\", \"[::/0]:5\", \"0.0.0.0/8:6\"]",
    );
    assert!(ruleset.needs_connect_door());
    assert_eq!(ruleset.tcp_bind(), &PortRules::Ports([443].into()));
    let binds = |ruleset: &Ruleset, address: &str| {
        let address = address.parse().expect("an address");
        ruleset.decide_bind(address).is_allowed()
    };
    for (address, may) in [
        ("127.0.0.1:8080", true),
        ("[::ffff:127.0.0.1]:8080", true),
        ("127.0.0.1:8081", false),
        ("127.0.0.1:0", false),
        ("127.0.0.2:8080", false),
        ("[::1]:8080", false),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("[::ffff:0.0.0.0]:8080", false),
        ("10.1.2.3:0", true),
        ("0.0.0.0:0", false),
        ("[fd12::1]:22", true),
        ("[::]:22", false),
        ("0.0.0.0:443", true),
        ("[::]:443", true),
        ("[2001:db8::1]:5", true),
        ("[::]:5", false),
        ("0.0.0.0:6", false),
    ] {
        assert_eq!(binds(&ruleset, address), may, "{address}");
    }
    // The unspecified address is all of them.
    let all = compile("[net]\nbind = [\"0.0.0.0:1\", \"[::]:2\"]");
    for (address, may) in [
        ("0.0.0.0:1", true),
        ("192.0.2.1:1", true),
        ("[::ffff:0.0.0.0]:1", true),
        ("[::]:1", false),
        ("[::1]:1", false),
        ("[::]:2", true),
        ("0.0.0.0:2", true),
        ("[2001:db8::1]:2", true),
    ] {
        assert_eq!(binds(&all, address), may, "{address}");
    }
    assert_eq!(all.tcp_bind(), &PortRules::Ports([2].into()));
    // A further policy only narrows, and the kernel is told of no port that is not for every address.
    let world = Memory::new(&[]);
    let texts = [
        "[net]\nbind = [\"*:8080\"]",
        "[net]\nbind = [\"127.0.0.0/8:*\"]",
    ];
    let narrowed = compile_in(&world, &texts).expect("good");
    assert_eq!(narrowed.tcp_bind(), &PortRules::none());
    assert!(binds(&narrowed, "127.0.0.1:8080"));
    assert!(!binds(&narrowed, "0.0.0.0:8080") && !binds(&narrowed, "127.0.0.1:8081"));
}

#[test]
fn loopback_is_given_or_taken_as_a_whole() {
    let given = compile("[net]\nloopback = \"any\"");
    let local = "127.9.9.9:1".parse().expect("an address");
    assert!(
        given.needs_connect_door()
            && given
                .decide_connect(local, crate::policy::Peer::Anybody)
                .is_allowed()
    );
    let taken = compile("[net]\nconnect = [\"*:443\"]\nloopback = \"none\"");
    assert!(
        taken.needs_connect_door(),
        "the kernel cannot tell addresses apart"
    );
    assert_eq!(taken.tcp_connect(), &PortRules::none());
    assert!(
        !taken
            .decide_connect(
                "[::1]:443".parse().expect("an address"),
                crate::policy::Peer::Anybody
            )
            .is_allowed()
    );
    assert!(
        taken
            .decide_connect(
                "192.0.2.1:443".parse().expect("an address"),
                crate::policy::Peer::Anybody
            )
            .is_allowed()
    );
    assert!(!compile("").needs_connect_door());
}

#[test]
fn sockets_are_listed_or_lie_where_the_child_writes() {
    let world = Memory::new(&[
        "/run/db/sock",
        "/repo/out/",
        "/run/docker.sock",
        "/run/user/1000/bus",
    ]);
    let text = "[fs]\nwrite = [\"/run/user\", \"$PWD/out\"]\n[net]\nunix = [\"/run/db/sock\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let may = |ruleset: &Ruleset, path: &str| {
        ruleset
            .decide_unix(&Subject::named(Path::new(path)))
            .is_allowed()
    };
    assert!(may(&ruleset, "/run/db/sock") && may(&ruleset, "/repo/out/mine"));
    assert!(!may(&ruleset, "/repo/elsewhere"));
    assert!(!may(&ruleset, "/run/user/1000/bus"), "it starts programs");
    let named = compile_in(&world, &["[net]\nunix = [\"/run/docker.sock\"]"])
        .expect_err("refused")
        .to_string();
    assert!(named.contains("unconfined_peer = true"), "{named}");
    let meant = "[net]\nunix = [{ path = \"/run/docker.sock\", unconfined_peer = true }]";
    assert!(may(
        &compile_in(&world, &[meant]).expect("good"),
        "/run/docker.sock"
    ));
}
