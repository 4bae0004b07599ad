//! Names of sockets: files where the child may write, addresses that it may listen on, and nothing else.

use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, probe, probe_outside};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket())
}

#[test]
fn a_socket_file_is_made_and_says_what_it_was_called() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    symlink(&inside, workspace.join("link")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let absolute = inside.join("socket").display().to_string();
    for spelled in [
        "socket",
        "./socket",
        "../inside//socket",
        "../link/socket",
        &absolute,
    ] {
        let said = supervised.probe(&inside, &["bound-name", spelled]);
        assert_eq!(said, [format!("ok {spelled}")]);
        assert!(is_socket(&inside.join("socket")), "{spelled}");
        std::fs::remove_file(inside.join("socket")).unwrap();
    }
    // What means something else to everybody who asks is walked for the child, and bound by its last name.
    let said = supervised.probe(&inside, &["bound-name", "/proc/self/cwd/socket"]);
    assert_eq!(said, ["ok socket"]);
    assert!(is_socket(&inside.join("socket")));
}

#[test]
fn what_landlock_was_not_told_of_is_made_where_it_was_located() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside/below");
    let supervised = Supervised::new(Lists {
        is_brokered: true,
        ..Lists::writing(&inside)
    });
    let absolute = inside.join("socket").display().to_string();
    for (spelled, shown) in [
        ("socket", "socket"),
        ("./socket", "./socket"),
        (".//./socket", ".//./socket"),
        ("../below/socket", "socket"),
        (&absolute, "socket"),
    ] {
        let said = supervised.probe(&inside, &["bound-name", spelled]);
        assert_eq!(said, [format!("ok {shown}")], "{spelled}");
        assert!(is_socket(&inside.join("socket")), "{spelled}");
        std::fs::remove_file(inside.join("socket")).unwrap();
    }
}

#[test]
fn a_socket_file_has_the_mode_that_its_maker_gives_it() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::program("sh"));
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let supervised = Supervised::new(Lists::writing(&inside));
    for umask in [0o027, 0o177, 0o000] {
        let mut command = Command::new("sh");
        let script = format!("umask {umask:o}; exec \"$0\" bind-unix socket");
        command.args(["-c", &script]);
        command
            .arg(crate::harness::built::probe())
            .current_dir(&inside);
        let ran = supervised.inside(move || run::run(&mut command));
        assert_eq!(ran.lines(), ["ok"], "{ran}");
        let mode = inside.join("socket").metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o777 & !umask);
        std::fs::remove_file(inside.join("socket")).unwrap();
    }
}

#[test]
fn what_cannot_be_bound_fails_as_without_us() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("inside/file", "x");
    workspace.make_dir("inside/directory");
    symlink("nowhere", inside.join("dangling")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let long = "x".repeat(109);
    // The kernel takes 108 bytes, and no NUL behind them.
    let longest = format!("{}/socket", "/.".repeat(50));
    for spelled in [
        "file",
        "directory",
        "directory/",
        "dangling",
        "loop",
        "loop/x",
        ".",
        "..",
        "/",
        "directory/.",
        "absent/x",
        "absent/",
        "absent/..",
        "file/x",
        "file/",
        "new/",
        &long,
        &longest,
    ] {
        let act = ["bound-name", spelled];
        assert_eq!(
            supervised.probe(&inside, &act),
            probe_outside(&inside, &act),
            "{spelled}"
        );
        let _absent = std::fs::remove_file(inside.join("socket"));
    }
    let left: Vec<_> = std::fs::read_dir(&inside).unwrap().collect();
    assert_eq!(left.len(), 4, "{left:?}");
    // A socket has one name, and what was made for a second is gone again.
    let act = ["bind-twice", "first", "second"];
    assert_eq!(supervised.probe(&inside, &act), ["errno EINVAL"]);
    assert!(is_socket(&inside.join("first")) && !inside.join("second").exists());
}

#[test]
fn nothing_is_made_elsewhere_by_any_spelling() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("taken", "x");
    symlink(workspace.path(), inside.join("up")).unwrap();
    let absolute = workspace.join("socket").display().to_string();
    let through_proc = format!("/proc/self/root{absolute}");
    for is_brokered in [false, true] {
        let supervised = Supervised::new(Lists {
            is_brokered,
            ..Lists::writing(&inside)
        });
        for spelled in [&absolute, "../socket", "up/socket", &through_proc] {
            let said = supervised.probe(&inside, &["bind-unix", spelled]);
            assert_eq!(said, ["errno EACCES"], "{spelled}");
            let refused = format!("Refused bind {absolute} EACCES");
            assert_eq!(supervised.lines.all().pop(), Some(refused));
        }
        // What the kernel says before it asks anybody.
        let before = supervised.lines.all().len();
        for (spelled, errno) in [("../taken", "EADDRINUSE"), ("../new/", "ENOENT")] {
            let said = supervised.probe(&inside, &["bind-unix", spelled]);
            assert_eq!(said, [format!("errno {errno}")]);
        }
        assert_eq!(supervised.lines.all().len(), before);
    }
    assert!(!workspace.join("socket").exists() && !workspace.join("new").exists());
}

#[test]
fn names_that_are_no_files_are_bound_by_nobody() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.path()));
    for act in [
        &["bind-abstract", "name"][..],
        &["bind-abstract", ""],
        &["autobind"],
    ] {
        let said = supervised.probe(&workspace.path(), act);
        assert_eq!(said, ["errno EACCES"], "{act:?}");
        let refused = "Refused bind  EACCES".to_owned();
        assert_eq!(supervised.lines.all().pop(), Some(refused));
    }
}

/// `struct sockaddr_in` in hexadecimal.
fn inet(family: u16, port: u16, address: [u8; 4]) -> String {
    let mut bytes = family.to_ne_bytes().to_vec();
    bytes.extend(port.to_be_bytes());
    bytes.extend(address);
    bytes.extend([0; 8]);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn tcp_is_bound_where_it_may_be() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists {
        bind: vec!["127.0.0.1:0".parse().expect("an address")],
        ..Lists::default()
    });
    let probe = |words: &[&str]| supervised.probe(&workspace.path(), words).join("\n");
    assert_eq!(probe(&["listen-tcp", "127.0.0.1:0"]), "ok");
    assert_eq!(supervised.lines.all(), ["Granted bind 127.0.0.1:0"]);
    assert_eq!(probe(&["bind-tcp", "[::ffff:127.0.0.1]:0"]), "ok");
    for address in ["0.0.0.0:0", "127.0.0.2:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
        assert_eq!(probe(&["bind-tcp", address]), "errno EACCES", "{address}");
        let refused = format!("Refused bind {address} EACCES");
        assert_eq!(supervised.lines.all().pop(), Some(refused));
    }
    // What has no family is the unspecified address, or nothing.
    let any = inet(libc::AF_UNSPEC as u16, 0, [0; 4]);
    assert_eq!(probe(&["bind-bytes", "2", &any]), "errno EACCES");
}

#[test]
fn an_address_is_bound_where_the_kernel_was_told_of_no_port() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::landlock(4));
    let workspace = Workspace::new();
    // Loopback addresses of this test's own: nobody else has their ports.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = format!("127.{}.{middle}.{low}", 64 + high % 64);
    let policy = "[fs]\nexec = [\"PROGRAMS\"]\n[net]\nbind = [\"OWN:8080\", \"127.8.0.0/16:*\", \"[::1]:8080\"]";
    let policy = policy.replace("OWN", &own);
    let supervised = Supervised::ruled(&policy, &workspace.path());
    let probe = |words: &[&str]| supervised.probe(&workspace.path(), words).join("\n");
    let at = |port: u16| format!("{own}:{port}");
    assert_eq!(probe(&["listen-tcp", &at(8080)]), "ok");
    let granted = format!("Granted bind {}", at(8080));
    assert_eq!(supervised.lines.all(), [granted]);
    assert_eq!(probe(&["bind-duplicate", &at(8080)]), "ok 8080");
    let mapped = format!("[::ffff:{own}]:8080");
    assert_eq!(probe(&["bind-tcp", &mapped]), "ok");
    let any = probe(&["bind-duplicate", "127.8.1.2:0"]);
    let port = any.strip_prefix("ok ").and_then(|port| port.parse().ok());
    assert!(port.is_some_and(|port: u16| port > 0), "{any}");
    for address in [
        at(8081),
        at(0),
        "127.9.0.1:8080".into(),
        "127.9.0.1:0".into(),
        "0.0.0.0:8080".into(),
        "[::]:8080".into(),
        "[::ffff:0.0.0.0]:8080".into(),
        "[::ffff:127.9.0.1]:8080".into(),
    ] {
        assert_eq!(probe(&["bind-tcp", &address]), "errno EACCES", "{address}");
        let refused = format!("Refused bind {address} EACCES");
        assert_eq!(supervised.lines.all().pop(), Some(refused));
    }
    // A port that nobody chose is on every address.
    assert_eq!(probe(&["listen-unbound"]), "errno EACCES");
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let said = probe(&["bind-tcp", "[::1]:8080"]);
        assert!(
            ["ok", "errno EADDRINUSE"].contains(&said.as_str()),
            "{said}"
        );
        assert_eq!(probe(&["bind-tcp", "[::1]:8081"]), "errno EACCES");
    }
}

#[test]
fn odd_addresses_are_as_odd_as_without_us() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let all = [
        "0.0.0.0:0",
        "127.0.0.1:0",
        "[::]:0",
        "[::1]:0",
        "192.0.2.1:0",
    ];
    let supervised = Supervised::new(Lists {
        bind: all
            .map(|address| address.parse().expect("an address"))
            .into(),
        ..Lists::default()
    });
    let (inet4, unspec) = (libc::AF_INET as u16, libc::AF_UNSPEC as u16);
    let loopback = inet(inet4, 0, [127, 0, 0, 1]);
    let mut odd = vec![
        ("2", inet(unspec, 0, [0; 4])),
        ("2", inet(unspec, 0, [127, 0, 0, 1])),
        ("2", inet(inet4, 0, [192, 0, 2, 1])),
        ("2", inet(libc::AF_INET6 as u16, 0, [0; 4])),
        ("2", format!("{loopback}{}", "00".repeat(112))),
        ("2", format!("{loopback}{}", "00".repeat(113))),
        ("10", inet(unspec, 0, [0; 4]) + &"00".repeat(12)),
        (
            "10",
            inet(libc::AF_INET6 as u16, 0, [0; 4]) + &"00".repeat(8),
        ),
        (
            "10",
            inet(libc::AF_INET6 as u16, 0, [0; 4]) + &"00".repeat(7),
        ),
        ("10", loopback.clone()),
        ("1", loopback.clone()),
        ("2", String::new()),
    ];
    odd.extend((1..16).map(|bytes| ("2", loopback[..2 * bytes].to_owned())));
    for (family, bytes) in odd {
        let act = ["bind-bytes", family, &bytes];
        assert_eq!(
            supervised.probe(&workspace.path(), &act),
            probe_outside(&workspace.path(), &act),
            "{family} {bytes}"
        );
    }
}

#[test]
fn who_connects_sees_nobody_from_outside_the_session_listen() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let supervised = Supervised::new(Lists::writing(&inside));
    let mut command = probe(&inside, &["listen-unix", "socket"]);
    let mut listening = supervised.inside(move || run::start(&mut command));
    listening.until_it_says("listening");
    let stream = UnixStream::connect(inside.join("socket")).unwrap();
    let credentials = nix::sys::socket::sockopt::PeerCredentials;
    let peer = nix::sys::socket::getsockopt(&stream, credentials).unwrap();
    assert_ne!(peer.pid(), std::process::id() as i32);
    assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
}

#[test]
fn a_number_that_changes_its_meaning_gets_no_port() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::processors(2));
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let supervised = Supervised::new(Lists::writing(&inside));
    let said = supervised
        .probe(&inside, &["race-listen", "10000"])
        .join("\n");
    assert!(
        said.starts_with("ok succeeded=") && said.ends_with(" port=0"),
        "{said}"
    );
    assert!(!said.contains("succeeded=0 "), "{said}");
    // Both sides were met.
    assert!(!supervised.lines.all().is_empty());
    run::eventually("the race is lost where nobody watches", || {
        let said = probe_outside(&workspace.path(), &["race-listen", "10000"]).join("\n");
        !said.ends_with(" port=0")
    });
}
