//! What the commands that explain a policy print. The machine's own files are not in it: the policies here leave out the base.

use crate::harness::Workspace;
use crate::harness::built::supervise;
use snapbox::{assert_data_eq, str};
use std::process::{Command, Output};

const POLICY: &str = r#"version = 1
base = false
tmp = "none"

[fs]
read = ["$PWD"]
write = ["$PWD/out", "$PWD/later?"]
exec = ["$PWD/bin"]
deny = ["$PWD/secret", "$PWD/out/**/.env"]
ask_read = ["$PWD/../data"]

[net]
connect = ["127.0.0.1:5432", "*:443"]
unix = ["$PWD/db.sock"]

[limits]
wall = "10m"

[env]
pass = ["LANG"]
set = { CI = "1" }
"#;

/// A directory with a few things in it, and the command that looks at policies there.
struct Place(Workspace);

impl Place {
    fn new() -> Self {
        let place = Workspace::new();
        for name in ["repo/out", "repo/bin", "repo/secret", "repo/src", "data"] {
            place.make_dir(name);
        }
        place.write("repo/notes.txt", "");
        let policy = POLICY.replace(
            "$PWD/../data",
            place.join("data").to_str().expect("a name of ours"),
        );
        place.write("policy.toml", policy);
        Self(place)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(supervise())
            .args(args)
            .current_dir(self.0.join("repo"))
            .env_clear()
            .env("LANG", "C")
            .env("SECRET", "x")
            .env("XDG_STATE_HOME", self.0.join("state"))
            .env("XDG_RUNTIME_DIR", self.0.join("runtime"))
            .output()
            .expect("it starts")
    }

    /// What it says, with the name of the place left out; the exit status must be this one.
    fn says(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let name = |path: &std::path::Path| path.to_str().expect("a name of ours").to_owned();
        let text = text
            .replace(&name(&self.0.path()), "[PLACE]")
            .replace(&name(&supervise()), "[SUPERVISE]");
        assert_eq!(output.status.code(), Some(status), "{text}");
        text
    }

    fn policy(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }
}

#[test]
fn check_lists_rules_rights_mechanisms_and_places() {
    // Columns are as wide as the place's real name.
    let said = Place::new().says(&["check", "../policy.toml"], 0);
    // Where the command itself lies in the list depends on where it was built, as does the library that belongs to it.
    let is_ours = |line: &str| line.contains("[SUPERVISE]") || line.contains("_preload.so");
    let lines = said.lines().filter(|line| !is_ours(line));
    let mut text: String = lines.map(|line| format!("{line}\n")).collect();
    while text.contains("   ") {
        text = text.replace("   ", "  ");
    }
    assert_data_eq!(
        text,
        str![[r#"
Files
  ask read  [PLACE]/data  approver  ../policy.toml:10
  deny write  [PLACE]/policy.toml  protected: policy file
  read  [PLACE]/repo  kernel, rest by supervisor  ../policy.toml:6
  read+exec  [PLACE]/repo/bin  kernel  ../policy.toml:8
  read+write  [PLACE]/repo/out  supervisor  ../policy.toml:7
  deny  [PLACE]/repo/out/**/.env  ../policy.toml:9
  deny  [PLACE]/repo/secret  ../policy.toml:9
  deny  [PLACE]/runtime/supervise  protected: runtime directory
  deny  [PLACE]/state/supervise  protected: state directory

Absent now; what appears there is the supervisor's to give, at each open, and not executed
  [PLACE]/repo/later

Network
  connect  127.0.0.1:5432  connect door  ../policy.toml:13
  connect  *:443  connect door  ../policy.toml:13
  connect  [PLACE]/repo/db.sock  connect door  ../policy.toml:14

Run
  $TMPDIR  none
  opens  the supervisor is asked at each
  wall time  600 s
  environment  CI LANG
  approver  nobody: every question is answered with no

Warnings
  ../policy.toml:9: this denies something inside what ../policy.toml:6 allows: what is new right in `[PLACE]/repo` is the supervisor's to give, at each open (read)
  ../policy.toml:9: this denies a pattern anywhere inside what ../policy.toml:6 allows: what is in `[PLACE]/repo/out` is the supervisor's to give, at each open (read)
  ../policy.toml:9: this denies a pattern anywhere inside what ../policy.toml:7 allows: what is in `[PLACE]/repo/out` is the supervisor's to give, at each open (read+write)
  ../policy.toml:10: this asks, and the approver is `deny`: every question is answered with no

"#]]
    );
}

#[test]
fn check_speaks_json() {
    let place = Place::new();
    let said = place.says(&["check", "../policy.toml", "--json"], 0);
    let value: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(value["ok"], true);
    assert_eq!(value["needs_connect_door"], true);
    assert_eq!(value["limits"]["wall"], 600.0);
    let files = value["files"].as_array().expect("a list");
    let out = files
        .iter()
        .find(|line| line["path"] == "[PLACE]/repo/out")
        .expect("a rule");
    assert_eq!(out["access"], serde_json::json!(["read", "write"]));
    assert_eq!(out["by"], "supervisor");
    assert_eq!(value["opens"]["closed"], false);
    assert_eq!(out["rule"], "../policy.toml:7");
    let bad = place.says(&["check", "biuld", "--json"], 125);
    let value: serde_json::Value = serde_json::from_str(&bad).expect("JSON");
    assert_eq!(value["ok"], false);
}

#[test]
fn what_the_kernel_would_run_against_a_pattern_is_said() {
    let place = Place::new();
    place.policy(
        "closed.toml",
        "version = 1\nbase = false\n[fs]\nexec = [\"$PWD\"]\ndeny = [\"$PWD/**/.env\", \"$PWD/secret\"]\n",
    );
    let explain = |question: &str, object: &str| {
        place.says(&["explain", "-p", "../closed.toml", question, object], 0)
    };
    assert_data_eq!(
        explain("exec", "bin/.env"),
        str![[r#"
deny: exec bin/.env
  is: [PLACE]/repo/bin/.env
  rule: ../closed.toml:5: deny = "$PWD/**/.env"
  but: the kernel knows no patterns, and would run a program of that name; nothing reads it

"#]]
    );
    assert!(!explain("exec", "secret/tool").contains("but:"));
    assert!(explain("exec", "bin/tool").contains("by: the kernel, at no cost"));
    assert!(explain("read", "bin/tool").contains("by: the supervisor, at each open"));
    let said = place.says(&["check", "../closed.toml"], 0);
    assert!(
        said.contains("an executable match could still be run"),
        "{said}"
    );
    assert!(
        said.contains("decided and done by the supervisor"),
        "{said}"
    );
}

#[test]
fn explain_says_the_verdict_first() {
    let place = Place::new();
    let explain = |question: &str, object: &str| {
        place.says(&["explain", "-p", "../policy.toml", question, object], 0)
    };
    assert_data_eq!(
        explain("read", "notes.txt"),
        str![[r#"
allow: read notes.txt
  is: [PLACE]/repo/notes.txt
  rule: ../policy.toml:6: read = "$PWD"
  by: the kernel, once the supervisor was asked

"#]]
    );
    assert_data_eq!(
        explain("write", "notes.txt"),
        str![[r#"
deny: write notes.txt
  is: [PLACE]/repo/notes.txt
  why: no rule allows it

"#]]
    );
    assert_data_eq!(
        explain("read", "secret/key"),
        str![[r#"
deny: read secret/key
  is: [PLACE]/repo/secret/key
  rule: ../policy.toml:9: deny = "$PWD/secret"

"#]]
    );
    assert_data_eq!(
        explain("write", "out/x"),
        str![[r#"
allow: write out/x
  is: [PLACE]/repo/out/x
  rule: ../policy.toml:7: write = "$PWD/out"
  by: the supervisor, at each open

"#]]
    );
    assert_data_eq!(
        explain("write", "out/a/b/.env"),
        str![[r#"
deny: write out/a/b/.env
  is: [PLACE]/repo/out/a/b/.env
  rule: ../policy.toml:9: deny = "$PWD/out/**/.env"

"#]]
    );
    assert_data_eq!(
        explain("exec", "bin/tool"),
        str![[r#"
allow: exec bin/tool
  is: [PLACE]/repo/bin/tool
  rule: ../policy.toml:8: exec = "$PWD/bin"
  by: the kernel, at no cost

"#]]
    );
    assert_data_eq!(
        explain("read", "../data/x"),
        str![[r#"
ask: read ../data/x
  is: [PLACE]/data/x
  rule: ../policy.toml:10: ask_read = "[PLACE]/data"
  by: the approver, who is asked when it is opened

"#]]
    );
    assert_data_eq!(
        explain("connect", "127.0.0.1:5432"),
        str![[r#"
allow: connect 127.0.0.1:5432
  rule: ../policy.toml:13: connect = "127.0.0.1:5432"
  by: the supervisor, which connects or binds the socket itself

"#]]
    );
    assert_data_eq!(
        explain("connect", "192.0.2.1:22"),
        str![[r#"
deny: connect 192.0.2.1:22
  why: no rule allows it

"#]]
    );
    assert_data_eq!(
        explain("bind", "0.0.0.0:8080"),
        str![[r#"
deny: bind 0.0.0.0:8080
  why: no rule allows it

"#]]
    );
    assert_data_eq!(
        explain("unix", "db.sock"),
        str![[r#"
allow: unix db.sock
  is: [PLACE]/repo/db.sock
  rule: ../policy.toml:14: unix = "$PWD/db.sock"
  by: the supervisor, which connects or binds the socket itself

"#]]
    );
    assert_data_eq!(
        explain("unix", "/run/docker.sock"),
        str![[r#"
deny: unix /run/docker.sock
  why: the service behind this socket acts outside the sandbox; a rule must name it with unconfined_peer = true

"#]]
    );
}

#[test]
fn explain_takes_flags_and_further_policies_into_account() {
    let place = Place::new();
    let args = [
        "explain",
        "-p",
        "../policy.toml",
        "--read",
        "/etc",
        "read",
        "/etc/passwd",
    ];
    assert!(place.says(&args, 0).starts_with("allow: "));
    place.policy(
        "narrow.toml",
        "version = 1\nbase = false\n[fs]\nread = [\"$PWD/src\"]\n",
    );
    let args = [
        "explain",
        "-p",
        "../policy.toml",
        "-p",
        "../narrow.toml",
        "read",
        "notes.txt",
    ];
    assert!(place.says(&args, 0).starts_with("deny: "));
}

#[test]
fn errors_show_the_place_the_word_and_what_is_allowed() {
    let place = Place::new();
    let error = |text: &str| {
        place.policy("bad.toml", text);
        place.says(&["check", "../bad.toml"], 125)
    };
    assert_data_eq!(
        error("version = 1\n[fs]\nread = [\"/usr\"]\nraed = [\"/x\"]\n"),
        str![[r#"
supervise: unknown key `raed` in [fs]
 --> ../bad.toml:4:1
  |
4 | raed = ["/x"]
  | ^^^^
 = help: did you mean `read`? allowed here: read, write, exec, make, deny, deny_write, ask_read, ask_write, ask_exec

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[fs]\nread = [\"/usr\", \"$PWD/absent\"]\n"),
        str![[r#"
supervise: `[PLACE]/repo/absent` does not exist
 --> ../bad.toml:3:17
  |
3 | read = ["/usr", "$PWD/absent"]
  |                 ^^^^^^^^^^^^^
 = help: put `?` behind it if it may be absent; a directory under `make` is created before the launch

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[net]\nconnect = [\"example.org:443\"]\n"),
        str![[r#"
supervise: host names cannot be enforced yet (later)
 --> ../bad.toml:3:12
  |
3 | connect = ["example.org:443"]
  |            ^^^^^^^^^^^^^^^^^
 = help: write the address, or "*:443" for every address

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[limits]\nwall = \"10 minutes\"\n"),
        str![[r#"
supervise: a time is a number and a unit: 500ms, 30s, 10m, 1h30m, 2d
 --> ../bad.toml:3:8
  |
3 | wall = "10 minutes"
  |        ^^^^^^^^^^^^

"#]]
    );
    assert_data_eq!(
        error("version = 1\nextends = [\"biuld\"]\n"),
        str![[r#"
supervise: there is no preset `biuld`
 --> ../bad.toml:2:12
  |
2 | extends = ["biuld"]
  |            ^^^^^^^
 = help: did you mean `build`? the presets are base, read-only, build, network-client, agent, ci, worker; a file is named with a `/` or `.toml`

"#]]
    );
    assert_data_eq!(
        error("[fs]\nread = [\"/usr\"]\n"),
        str![[r#"
supervise: the policy does not say its version
 --> ../bad.toml:1:1
  |
1 | [fs]
  | ^
 = help: begin it with `version = 1`

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[fs]\nread = [\"$HOEM/x\"]\n"),
        str![[r#"
supervise: `$HOEM` has no value
 --> ../bad.toml:3:9
  |
3 | read = ["$HOEM/x"]
  |         ^^^^^^^^^
 = help: did you mean `$HOME`?

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[fs\n"),
        str![[r#"
supervise: unclosed table, expected `]`
 --> ../bad.toml:2:4
  |
2 | [fs
  |    ^

"#]]
    );
    assert_data_eq!(
        error("version = 2\n"),
        str![[r#"
supervise: version 2 of the policy language is not known
 --> ../bad.toml:1:11
  |
1 | version = 2
  |           ^
 = help: this program knows `version = 1`

"#]]
    );
    assert_data_eq!(
        error("version = 1\n[fs]\nread = \"/usr\"\n"),
        str![[r#"
supervise: expected an array, as in `["…"]`, found string
 --> ../bad.toml:3:8
  |
3 | read = "/usr"
  |        ^^^^^^

"#]]
    );
    assert_data_eq!(
        error("version = 1\nversion = 1\n"),
        str![[r#"
supervise: duplicate key
 --> ../bad.toml:2:1
  |
2 | version = 1
  | ^^^^^^^

"#]]
    );
}

#[test]
fn a_policy_whose_questions_operators_answer_is_checked_explained_and_run() {
    let place = Place::new();
    let asks = "version = 1\n[fs]\nread = [\"$PWD\"]\nask_write = [\"$PWD/out\"]\n[broker]\napprover = \"control\"\n";
    place.policy("control.toml", asks);
    let said = place.says(&["check", "../control.toml"], 0);
    let operators = "whoever answers at another terminal: supervise questions, approve, refuse";
    assert!(said.contains(operators), "{said}");
    let said = place.says(&["check", "../control.toml", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["broker"]["approver"], "control");
    let said = place.says(&["explain", "-p", "../control.toml", "write", "out"], 0);
    assert!(said.contains("the approver, who is asked"), "{said}");
    for policy in [&["-p", "../control.toml"][..], &["--approver", "control"]] {
        place.says(&[policy, &["--", "true"]].concat(), 0);
    }
    let further = [
        &["-p", "../control.toml", "--approver", "deny"][..],
        &["--", "true"],
    ];
    place.says(&further.concat(), 0);
    place.policy("typo.toml", &asks.replace("control", "contol"));
    let said = place.says(&["check", "../typo.toml"], 125);
    assert!(said.contains("control"), "{said}");
}

#[test]
fn names_cannot_write_on_the_terminal() {
    let place = Place::new();
    place.policy("bad.toml", "version = 1\n[fs]\nread = [\"/a\\u001b[2J\"]\n");
    let said = place.says(&["check", "../bad.toml"], 125);
    assert!(!said.contains('\u{1b}'), "{said:?}");
    let said = place.says(
        &["explain", "-p", "../policy.toml", "read", "a\u{1b}[2J"],
        0,
    );
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn presets_are_listed_and_shown() {
    let place = Place::new();
    let listed = place.says(&["presets"], 0);
    for name in [
        "base",
        "read-only",
        "build",
        "network-client",
        "agent",
        "ci",
        "worker",
        "built-in",
    ] {
        assert!(
            listed
                .lines()
                .any(|line| line.trim_start().starts_with(name)),
            "{name}"
        );
        let shown = place.says(&["show", name], 0);
        assert!(
            shown.starts_with("# ") && shown.contains("\nversion = 1\n"),
            "{name}"
        );
        // What is shown is a policy that means the same in a file.
        place.policy("shown.toml", &shown);
        place.says(&["check", "../shown.toml"], 0);
    }
    assert!(
        place
            .says(&["show", "buildd"], 125)
            .contains("did you mean `build`?")
    );
}

#[test]
fn init_writes_a_good_policy_and_never_overwrites() {
    let place = Place::new();
    place.says(&["init", "--preset", "agent"], 0);
    place.says(&["check", "policy.toml"], 0);
    let before = std::fs::read(place.0.join("repo/policy.toml")).expect("it is there");
    assert!(place.says(&["init"], 125).contains("File exists"));
    assert_eq!(
        std::fs::read(place.0.join("repo/policy.toml")).expect("it is there"),
        before
    );
    std::os::unix::fs::symlink("elsewhere.toml", place.0.join("repo/link.toml")).expect("a link");
    assert!(
        place
            .says(&["init", "link.toml"], 125)
            .contains("File exists")
    );
    assert!(!place.0.join("repo/elsewhere.toml").exists());
    place.says(&["init", "--preset", "nonsense", "other.toml"], 125);
    assert!(!place.0.join("repo/other.toml").exists());
}

#[test]
fn policies_are_named_from_where_the_operator_is() {
    let place = Place::new();
    let args = [
        "explain",
        "-p",
        "../policy.toml",
        "--chdir",
        "src",
        "read",
        "x",
    ];
    assert!(
        place
            .says(&args, 125)
            .contains("`[PLACE]/repo/src/bin` does not exist")
    );
}

#[test]
fn bad_usage_is_one_of_ours() {
    let place = Place::new();
    for args in [
        &["check", "--nonsense"][..],
        &["explain", "read"],
        &["explain", "eat", "x"],
        &["show"],
    ] {
        place.says(args, 125);
    }
    place.says(&["check", "--help"], 0);
    let address = place.says(&["explain", "connect", "example.org:80"], 125);
    assert!(address.contains("not an address and a port"), "{address}");
}
