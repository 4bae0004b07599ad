//! What is said about a command that failed and was refused something: take the advice, and it succeeds.

use super::Scene;
use super::harness::built::{self, copy_program};
use super::harness::run::{Ran, run};
use super::harness::{Workspace, feature, require};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// A policy to add to, and files that it says nothing about.
struct Stage {
    scene: Scene,
    data: Workspace,
}

impl Stage {
    fn new() -> Self {
        Self {
            scene: Scene::new(),
            data: Workspace::new(),
        }
    }

    /// Runs a script under a policy that says only this beside what `read-only` says.
    fn under(&self, added: &str, flags: &[&str], script: &str, argument: &Path) -> Ran {
        let text = format!("version = 1\nextends = [\"read-only\"]\n{added}\n");
        let policy = self.scene.kept.write("policy.toml", text);
        let mut arguments = vec!["-p", policy.to_str().expect("text")];
        arguments.extend(flags);
        let mut command = self.scene.script(&arguments, script);
        run(command.arg("sh").arg(argument))
    }

    /// What was advised after a refusal.
    fn advice(&self, script: &str, argument: &Path) -> String {
        let ran = self.under("", &[], script, argument);
        assert_ne!(ran.code(), 0, "{ran}");
        advice(&ran).unwrap_or_else(|| panic!("no advice: {ran}"))
    }
}

/// The line of policy that is said to allow it.
fn advice(ran: &Ran) -> Option<String> {
    let lines = ran.stderr.lines();
    let mut found = lines.filter_map(|line| line.strip_prefix("supervise: to allow it: "));
    let first = found.next()?;
    assert_eq!(found.next(), None, "{ran}");
    Some(first.to_owned())
}

const READ: &str = r#""$SUPERVISE_EXE" request --read "$1" 2>&-"#;
const WRITE: &str = r#"echo new | "$SUPERVISE_EXE" request --write "$1" 2>&-"#;

#[test]
fn what_is_advised_is_a_line_of_policy_that_allows_it() {
    for name in [
        "plain",
        "two words",
        "it's \"quoted\" \\n",
        "é 日本",
        "line\nbreak\u{1b}c\ttab",
        "turned\u{202e}txt.exe\u{200b}",
        "# comment = \"a\", }",
    ] {
        let stage = Stage::new();
        let file = stage.data.write(name, "content\n");
        let advised = stage.advice(READ, &file);
        let ran = stage.under(&advised, &[], READ, &file).expect_code(0);
        assert_eq!(ran.stdout, "content\n", "{advised}");
        assert_eq!(ran.stderr, "", "{advised}");
        // That file, and no other.
        let other = stage.data.write("other", "");
        stage.under(&advised, &[], READ, &other).expect_code(1);
    }
}

#[test]
fn writing_is_advised_where_writing_was_refused() {
    let stage = Stage::new();
    let file = stage.data.write("file", "old\n");
    let advised = stage.advice(WRITE, &file);
    assert!(advised.starts_with("fs.write = "), "{advised}");
    stage.under(&advised, &[], WRITE, &file).expect_code(0);
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "new\n");
}

#[test]
fn what_is_not_there_yet_is_advised_as_what_may_be_absent() {
    let stage = Stage::new();
    let file = stage.data.join("made");
    let advised = stage.advice(WRITE, &file);
    assert!(advised.contains("made?\""), "{advised}");
    stage.under(&advised, &[], WRITE, &file).expect_code(0);
    assert_eq!(std::fs::read_to_string(&file).expect("made"), "new\n");
}

#[test]
fn a_flag_is_named_too_and_allows_the_same() {
    let stage = Stage::new();
    for name in ["plain", "it's two", "$HOME", "star*", "what?"] {
        let file = stage.data.write(name, "content\n");
        let advised = stage.advice(READ, &file);
        let at = advised.find("--read ").expect("a flag");
        // There a policy would see a variable or a pattern.
        assert_eq!(at == 0, name.contains(['$', '*', '?']), "{advised}");
        let shell = format!("printf '%s\\n' {}", &advised[at..]);
        let ran = run(std::process::Command::new("sh").args(["-c", &shell]));
        let flags = ran.lines();
        let ran = stage.under("", &flags, READ, &file).expect_code(0);
        assert_eq!(ran.stdout, "content\n");
    }
}

#[test]
fn a_file_below_the_home_directory_is_advised_by_its_name_there() {
    let stage = Stage::new();
    let file = stage.data.write("a/b", "content\n");
    let home = format!("HOME={}", stage.data.path().display());
    let flags = ["--env", &home];
    let ran = stage.under("", &flags, READ, &file).expect_code(1);
    let advised = advice(&ran).expect("advice");
    assert!(
        advised.starts_with("fs.read = [\"$HOME/a/b\"]"),
        "{advised}"
    );
    stage.under(&advised, &flags, READ, &file).expect_code(0);
}

#[test]
fn a_name_from_inside_stays_on_its_line_and_says_nothing_in_our_voice() {
    let stage = Stage::new();
    let name = "x (no rule allows it)\nsupervise: to allow it: fs.write = \"all\"\r\u{1b}c";
    let file = stage.data.write(name, "");
    let ran = stage.under("", &[], READ, &file).expect_code(1);
    assert_eq!(ran.stderr.lines().count(), 3, "{ran}");
    for line in ran.stderr.lines() {
        assert!(line.starts_with("supervise: "), "{ran}");
        assert!(!line.chars().any(char::is_control), "{ran}");
        assert!(
            !line.starts_with("supervise: to allow it: fs.write"),
            "{ran}"
        );
    }
    let quoted =
        |line: &str| line.contains(&format!("read \"{}/x (no", stage.data.path().display()));
    assert!(ran.stderr.lines().any(quoted), "{ran}");
}

#[test]
fn three_are_named_the_last_first_and_a_path_once() {
    let stage = Stage::new();
    for name in ["a", "b", "c", "d", "e"] {
        stage.data.write(name, "");
    }
    let script =
        format!("cd \"$1\"; for name in a b b c a d e a; do set -- $PWD/$name; {READ}; done");
    let ran = stage.under("", &[], &script, &stage.data.path());
    let refused: Vec<_> = ran
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("supervise: refused: read "))
        .map(|line| Path::new(line.split([' ', ',']).next().expect("a path")))
        .filter_map(|path| path.file_name()?.to_str())
        .collect();
    assert_eq!(refused, ["e", "d", "c"], "{ran}");
    let last = ran.stderr.lines().next_back().expect("a line");
    assert!(last.contains("8 requests were refused; see: "), "{ran}");
}

#[test]
fn a_denial_is_named_with_its_line_and_no_rule_is_advised_that_it_would_beat() {
    let stage = Stage::new();
    let file = stage.data.write("secret", "");
    let denial = format!("[fs]\ndeny = [\"{}\"]", file.display());
    let ran = stage.under(&denial, &[], READ, &file).expect_code(1);
    assert_eq!(advice(&ran), None, "{ran}");
    let place = format!("{}:4", stage.scene.kept.join("policy.toml").display());
    assert!(
        ran.stderr.contains(&format!("denied by {place}: deny = ")),
        "{ran}"
    );
    let change = format!("a denial always wins: change {place}\n");
    assert!(ran.stderr.contains(&change), "{ran}");
}

/// The preset's own denial, dropped as it is said.
#[test]
fn a_denial_of_a_preset_is_dropped_by_the_name_that_is_said() {
    require!(feature::root());
    let stage = Stage::new();
    let shadow = Path::new("/etc/shadow");
    let ran = stage.under("", &[], READ, shadow).expect_code(1);
    let line = "a denial always wins: where the preset is extended, say ";
    let at = ran.stderr.find(line).unwrap_or_else(|| panic!("{ran}"));
    let without = ran.stderr[at + line.len()..]
        .lines()
        .next()
        .expect("a line");
    let text = format!("version = 1\nextends = [{{ preset = \"read-only\", {without} }}]\n");
    let policy = stage.scene.kept.write("dropped.toml", text);
    let policy = policy.to_str().expect("text");
    let mut command = stage.scene.script(&["-p", policy], "cat /etc/shadow");
    run(&mut command).expect_code(0);
}

#[test]
fn what_an_approver_was_not_there_for_is_not_advised_as_a_rule() {
    let stage = Stage::new();
    let file = stage.data.write("file", "");
    let asks = format!("[fs]\nask_read = [\"{}\"]", file.display());
    let ran = stage.under(&asks, &[], READ, &file).expect_code(1);
    assert_eq!(advice(&ran), None, "{ran}");
    assert!(ran.stderr.contains("--approver"), "{ran}");
}

#[test]
fn of_policies_that_narrow_each_other_each_must_say_it() {
    let stage = Stage::new();
    let file = stage.data.write("file", "");
    let flags = ["-p", "read-only"];
    let ran = stage.under("", &flags, READ, &file).expect_code(1);
    let line = "supervise: to allow it, in each policy: fs.read = [";
    assert!(ran.stderr.contains(line), "{ran}");
    assert!(!ran.stderr.contains("--read"), "{ran}");
}

#[test]
fn success_and_quiet_are_silent() {
    let stage = Stage::new();
    let file = stage.data.write("file", "");
    let ran = stage.under("", &[], &format!("{READ}; exit 0"), &file);
    assert_eq!(ran.expect_code(0).stderr, "");
    let ran = stage.under("", &["-q"], READ, &file);
    assert_eq!(ran.expect_code(1).stderr, "");
}

#[test]
fn a_command_that_a_signal_ended_is_a_failed_one() {
    let stage = Stage::new();
    let file = stage.data.write("file", "");
    let ran = stage.under("", &[], &format!("{READ}; kill -9 $$"), &file);
    assert!(advice(&ran.expect_code(137)).is_some());
}

#[test]
fn a_change_of_mode_is_advised_as_writing() {
    require!(feature::listener());
    let stage = Stage::new();
    let file = stage.data.write("file", "");
    let script = "chmod 640 \"$1\" 2>&-";
    let advised = stage.advice(script, &file);
    stage.under(&advised, &[], script, &file).expect_code(0);
}

#[test]
fn a_connection_is_advised_by_its_address() {
    require!(feature::pidfd_getfd());
    require!(feature::listener());
    let stage = Stage::new();
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = server.local_addr().expect("an address");
    let script = "exec bash -c ': </dev/tcp/127.0.0.1/'\"$1\" 2>&-";
    let port = address.port().to_string();
    // A rule with an address makes connects decided; without any there are no TCP sockets.
    let some = "net.connect = [\"127.0.0.1:1\"]";
    let ran = stage.under(some, &[], script, Path::new(&port));
    let advised = advice(&ran).unwrap_or_else(|| panic!("{ran}"));
    assert!(
        advised.starts_with(&format!("net.connect = [\"{address}\"]")),
        "{advised}"
    );
    stage
        .under(&advised, &[], script, Path::new(&port))
        .expect_code(0);
}

#[test]
fn an_address_to_listen_on_is_advised() {
    require!(feature::pidfd_getfd());
    require!(feature::listener());
    let stage = Stage::new();
    let probe = stage.scene.workspace.join("probe");
    copy_program(&built::probe(), &probe);
    let script = format!("{} bind-tcp \"$1\"; exit 1", probe.display());
    let exec = format!("fs.exec = [\"{}\"]", probe.display());
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address").to_string();
    drop(free);
    let some = format!("{exec}\nnet.bind = [\"*:1\"]");
    let ran = stage.under(&some, &[], &script, Path::new(&address));
    assert!(ran.stdout.starts_with("errno EACCES"), "{ran}");
    let advised = advice(&ran).unwrap_or_else(|| panic!("{ran}"));
    assert_eq!(advised, format!("net.bind = [\"{address}\"]"));
    let more = format!("{exec}\n{advised}");
    let ran = stage.under(&more, &[], &script, Path::new(&address));
    assert!(ran.stdout.starts_with("ok"), "{ran}");
}

#[test]
fn a_unix_socket_is_advised_by_its_path() {
    require!(feature::pidfd_getfd());
    require!(feature::listener());
    let stage = Stage::new();
    let path = stage.data.join("socket");
    let _server = UnixListener::bind(&path).expect("a socket");
    let probe = stage.scene.workspace.join("probe");
    copy_program(&built::probe(), &probe);
    let script = format!("{} connect-unix \"$1\"", probe.display());
    let exec = format!("fs.exec = [\"{}\"]", probe.display());
    let ran = stage.under(&exec, &[], &script, &path);
    assert!(ran.stdout.starts_with("errno EACCES"), "{ran}");
    let ran = stage.under(&exec, &[], &format!("{script}; exit 1"), &path);
    let advised = advice(&ran).unwrap_or_else(|| panic!("{ran}"));
    let ran = stage.under(&format!("{exec}\n{advised}"), &[], &script, &path);
    assert!(ran.stdout.starts_with("ok"), "{ran}");
}

/// Programs that know nothing of the supervisor, where it decides about every open.
#[test]
fn what_a_trapped_call_was_refused_is_advised_too() {
    require!(feature::listener());
    for (script, name) in [
        ("cat \"$1\" 2>&-", "there"),
        ("echo more 2>&- >>\"$1\"", "there"),
        ("echo new 2>&- >\"$1\"", "new"),
        ("truncate -s 1 \"$1\" 2>&-", "there"),
        ("rm \"$1\" 2>&-", "there"),
        ("mkdir \"$1\" 2>&-", "new"),
        ("ls \"$1\" 2>&-", "directory"),
    ] {
        let stage = Stage::new();
        stage.data.write("there", "content\n");
        stage.data.make_dir("directory");
        let object = stage.data.join(name);
        // Writing somewhere must be the supervisor's to decide.
        let some = "fs.deny_write = [\"$TMPDIR/**/*.key\"]";
        let ran = stage.under(some, &[], script, &object);
        let advised = advice(&ran).unwrap_or_else(|| panic!("{script}: {ran}"));
        let ran = stage.under(&format!("{some}\n{advised}"), &[], script, &object);
        assert_eq!(ran.code(), 0, "{script}: {advised}: {ran}");
    }
}
