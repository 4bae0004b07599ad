//! The tools of the other tests, tried without any sandbox: an act that never succeeds would prove nothing when it is refused.

#[path = "../harness/mod.rs"]
mod harness;

use harness::built::{installed, probe};
use harness::feature;
use harness::process::{NOBODY, as_uid, eventually_gone, is_alive, marked, parent};
use harness::run::{eventually, eventually_reads, run, run_with_input, start};
use harness::{Workspace, require};
use std::ffi::OsStr;
use std::process::Command;

fn acts<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Vec<String> {
    let ran = run(Command::new(probe()).args(words));
    ran.lines().into_iter().map(str::to_owned).collect()
}

/// One act whose words have no blanks in them; `W` is the workspace.
fn act(workspace: &Workspace, words: &str) -> String {
    let path = workspace.path().to_str().expect("UTF-8").to_owned();
    let words = words.split(' ').map(|word| word.replace('W', &path));
    acts(words).join("\n")
}

#[test]
fn acts_are_answered_in_order() {
    let workspace = Workspace::new();
    let answers = act(
        &workspace,
        "write W/a hello -- read W/a -- read W/b -- stat W/a -- list W",
    );
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers[..3], ["ok", "ok hello", "errno ENOENT"]);
    assert!(
        answers[3].starts_with("ok mode=100") && answers[3].ends_with("size=5"),
        "{answers:?}"
    );
    assert_eq!(answers[4], "ok a");
}

#[test]
fn a_wrong_use_is_not_an_answer() {
    for words in [
        &["no-such-act"][..],
        &["open", "/x"],
        &["pid", "left over"],
        &["open", "/x", "sideways"],
    ] {
        run(Command::new(probe()).args(words)).expect_code(64);
    }
}

#[test]
fn every_change_of_metadata_takes_effect_outside() {
    let workspace = Workspace::new();
    let own = nix::unistd::geteuid().as_raw();
    workspace.write("f", "x");
    for change in [
        "fchmodat W/f 640",
        "fchmod W/f 641",
        "chmod-magic W/f 642",
        "fchmodat2 W/f 643",
    ] {
        let mode = &change[change.len() - 3..];
        assert_eq!(act(&workspace, change), "ok", "{change}");
        assert!(
            act(&workspace, "stat W/f").contains(&format!("mode=100{mode} ")),
            "{change}"
        );
    }
    for change in ["utimensat W/f", "futimens W/f"] {
        workspace.write("f", "x");
        assert_eq!(act(&workspace, change), "ok");
        assert_eq!(act(&workspace, "mtime W/f"), "ok 1000000000", "{change}");
    }
    for change in ["fchownat W/f UID UID", "fchown W/f UID UID"] {
        assert_eq!(
            act(&workspace, &change.replace("UID", &own.to_string())),
            "ok",
            "{change}"
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_calls_of_old_do_what_the_new_ones_do() {
    let workspace = Workspace::new();
    workspace.write("f", "x");
    let all = "open-legacy W/f r -- creat W/g -- mkdir-legacy W/d -- rename-legacy W/g W/h -- link-legacy W/h W/i \
               -- symlink-legacy W/f W/l -- unlink-legacy W/i -- rmdir-legacy W/d -- mknod-legacy W/p fifo -- chmod W/f 600 \
               -- utime W/f -- utimes W/f -- futimesat W/f -- access-legacy W/f 4 -- stat-legacy W/f";
    let answers = act(&workspace, all);
    assert!(answers.lines().all(|line| line == "ok"), "{answers}");
    assert_eq!(act(&workspace, "list W"), "ok f h l p");
}

#[test]
fn names_are_made_moved_and_removed() {
    let workspace = Workspace::new();
    workspace.write("a", "A");
    workspace.write("b", "B");
    assert_eq!(act(&workspace, "rename W/a W/b noreplace"), "errno EEXIST");
    assert_eq!(
        act(&workspace, "rename W/a W/b exchange -- read W/a"),
        "ok\nok B"
    );
    assert_eq!(
        act(
            &workspace,
            "mkdir W/d -- mknod W/d/p fifo -- link W/a W/d/a -- symlink W/a W/d/s"
        ),
        "ok\nok\nok\nok"
    );
    assert_eq!(
        act(&workspace, "list W/d -- readlink W/d/s"),
        format!("ok a p s\nok {}", workspace.join("a").display())
    );
    assert_eq!(
        act(&workspace, "link-magic W/a W/d/m -- unlink W/d/m"),
        "ok\nok"
    );
}

#[test]
fn sockets_reach_what_listens() {
    use std::io::Write;
    let workspace = Workspace::new();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = tcp.local_addr().expect("an address").to_string();
    let unix = std::os::unix::net::UnixListener::bind(workspace.join("sock")).expect("a socket");
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            stream
                .and_then(|mut stream| stream.write_all(b"tcp"))
                .expect("a client");
        }
    });
    std::thread::spawn(move || {
        for stream in unix.incoming() {
            stream
                .and_then(|mut stream| stream.write_all(b"unix"))
                .expect("a client");
        }
    });
    assert_eq!(acts(["hear-tcp", &address]), ["ok tcp"]);
    assert_eq!(
        act(&workspace, "hear-unix W/sock -- connect-unix W/none"),
        "ok unix\nerrno ENOENT"
    );
    assert!(acts(["connect-tcp-nonblocking", &address])[0].starts_with("ok"));
    assert_eq!(acts(["connect-tcp", "127.0.0.1:1"]), ["errno ECONNREFUSED"]);
    assert_eq!(
        act(
            &workspace,
            "bind-unix W/new -- bind-abstract supervise-test-probe -- autobind"
        ),
        "ok\nok\nok"
    );
    assert_eq!(
        acts(["socketpair", "unix", "dgram", "--", "udp", "127.0.0.1:9"]),
        ["ok", "ok"]
    );
}

#[test]
fn a_program_takes_the_place_of_the_probe() {
    for way in ["exec", "exec-fd", "exec-magic", "exec-memfd"] {
        let probe = probe();
        let probe = probe.to_str().expect("UTF-8");
        assert_eq!(acts([way, probe, "args", "a", "b"]), ["ok a b"], "{way}");
    }
    assert_eq!(acts(["exec", "/nowhere"]), ["errno ENOENT"]);
}

#[test]
fn a_daemon_outlives_its_starter_and_can_be_found() {
    let workspace = Workspace::new();
    let file = workspace.join("pid");
    assert_eq!(acts([OsStr::new("daemonize"), file.as_os_str()]), ["ok"]);
    let pid: i32 = eventually_reads(&file).parse().expect("a pid");
    assert!(is_alive(pid));
    assert_eq!(marked(file.to_str().expect("UTF-8")), [pid]);
    assert_ne!(parent(pid), Some(std::process::id() as i32));
    for (signal, survives) in [
        (nix::sys::signal::SIGTERM, true),
        (nix::sys::signal::SIGKILL, false),
    ] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)
            .expect("the daemon is ours");
        assert!(!survives || is_alive(pid));
    }
    eventually_gone(&[pid]);
}

#[test]
fn a_running_program_can_be_watched_and_signalled() {
    let mut running = start(Command::new(probe()).args(["pid", "--", "linger"]));
    running.until_it_says(&format!("ok {}", running.pid()));
    running.signal(nix::sys::signal::SIGTERM);
    assert_eq!(running.wait().code(), 128 + 15);
}

#[test]
fn input_is_read_and_output_kept_apart() {
    let ran = run_with_input(Command::new(probe()).args(["read-fd", "0"]), b"given");
    assert_eq!(ran.lines(), ["ok given"]);
    let ran = run(Command::new(probe()).args(["write-fd", "2", "aside"]));
    assert_eq!((ran.lines(), ran.stderr.as_str()), (vec!["ok 5"], "aside"));
}

#[test]
fn another_user_runs_the_copies() {
    require!(feature::root());
    let installed = installed();
    let ran = run(as_uid(
        Command::new(&installed.probe).args(["ids", "--", "caps"]),
        NOBODY,
    ));
    let lines = ran.lines();
    assert_eq!(lines[0], "ok uid=65534,65534,65534 gid=65534,65534,65534");
    assert!(lines[1].starts_with("ok effective=0 permitted=0 "), "{ran}");
    let copied = run(as_uid(
        Command::new(&installed.supervise).arg("--version"),
        NOBODY,
    ));
    assert_ne!(copied.code(), 126, "{copied}");
}

#[test]
fn a_race_that_is_won_is_seen() {
    let workspace = Workspace::new();
    workspace.write("good/f", "fine");
    workspace.write("evil/f", "HIT");
    // All tries of a run may fall into a single time slice of the thread that opens.
    for race in [
        "race-swap W/good W/evil W/good/f 2000",
        "race-name W/good/f W/evil/f 20000",
    ] {
        eventually("the other file was opened", || {
            let answer = act(&workspace, race);
            answer.starts_with("ok hit=") && !answer.starts_with("ok hit=0 ")
        });
    }
}

#[test]
fn limits_capabilities_and_descriptors_are_told() {
    let answers = acts(["limits", "--", "caps", "--", "fds", "--", "signals"]);
    assert!(
        answers[0].contains(" nofile=") && answers[0].contains(" rttime="),
        "{answers:?}"
    );
    // Whoever started the tests may have given it up.
    assert!(answers[1].contains(" no_new_privs="), "{answers:?}");
    // Whoever started the tests may have left more of them open.
    assert!(answers[2].starts_with("ok 0 1 2"), "{answers:?}");
    assert!(answers[3].starts_with("ok blocked=0 "), "{answers:?}");
}

#[test]
fn the_old_abi_answers_where_the_kernel_has_it() {
    require!(feature::int80());
    let workspace = Workspace::new();
    workspace.write("f", "x");
    // open(2) of i386, read-only.
    assert!(act(&workspace, "int80-path 5 W/f").starts_with("ok "));
    assert_eq!(act(&workspace, "int80-path 5 W/none"), "errno ENOENT");
}

#[test]
fn a_filter_of_its_own_can_be_installed_once_as_listener() {
    require!(feature::listener());
    assert_eq!(
        acts(["seccomp-listener", "--", "seccomp-listener"]),
        ["ok", "errno EBUSY"]
    );
}

#[test]
#[should_panic(expected = "must work here")]
fn a_skip_is_a_failure_where_everything_must_work() {
    // In a process of its own, since the environment belongs to all tests of this one.
    let own = std::env::current_exe().expect("a test knows its own file");
    let mut again = Command::new(own);
    again
        .args(["--exact", "a_test_that_is_skipped", "--ignored"])
        .env("SUPERVISE_MUST_WORK", "1");
    let ran = run(&mut again);
    assert_eq!(ran.code(), 0, "{ran}");
}

#[test]
#[ignore = "run by the tests of skipping"]
fn a_test_that_is_skipped() {
    require!(Err::<(), String>("nothing will do".to_owned()));
    panic!("a skipped test goes no further");
}

#[test]
fn a_skip_is_said_past_the_runner_and_counted() {
    let workspace = Workspace::new();
    let skips = workspace.join("skips");
    let own = std::env::current_exe().expect("a test knows its own file");
    let mut again = Command::new(own);
    again.args(["--exact", "a_test_that_is_skipped", "--ignored"]);
    again
        .env("SUPERVISE_SKIPS", &skips)
        .env_remove("SUPERVISE_MUST_WORK");
    let ran = run(&mut again).expect_code(0);
    let line = "SKIP probe_itself::a_test_that_is_skipped: nothing will do\n";
    assert!(ran.stderr.contains(line), "{ran}");
    assert_eq!(
        std::fs::read_to_string(skips).expect("the file was written"),
        line
    );
}
