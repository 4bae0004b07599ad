//! What holds on every kernel, and what is said where one can do less. [boot](boot) runs this on another kernel than the machine's.

#[path = "../harness/mod.rs"]
mod harness;

use harness::built::{probe, supervise};
use harness::run::{Ran, run};
use harness::{Workspace, feature, require};
use serde_json::Value;
use std::process::Command;

/// A directory to run in, and one for what the command keeps.
struct Scene {
    workspace: Workspace,
    kept: Workspace,
}

impl Scene {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            kept: Workspace::new(),
        }
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Ran {
        let mut supervise = Command::new(supervise());
        supervise.args(flags).arg("--").args(command);
        supervise
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE");
        run(&mut supervise)
    }

    /// The layers that a run says it has, each with its state.
    fn layers(&self, flags: &[&str]) -> Vec<(String, String)> {
        let flags = [&["-q", "--status-fd", "1"], flags].concat();
        let ran = self.run(&flags, &["true"]).expect_code(0);
        let start: Value = serde_json::from_str(ran.lines()[0]).expect("an object");
        let layers = start["layers"].as_array().expect("layers").iter();
        let word = |value: &Value| value.as_str().expect("a word").to_owned();
        layers
            .map(|layer| (word(&layer["name"]), word(&layer["state"])))
            .collect()
    }
}

/// What this kernel lacks of Landlock: the names that `best_effort` has for it. The policies here use no TCP.
fn lacking() -> Vec<&'static str> {
    let ran = run(Command::new(probe()).arg("landlock-abi"));
    let abi = ran.stdout.trim().strip_prefix("ok ");
    let abi: u32 = abi.and_then(|abi| abi.parse().ok()).expect("a number");
    let since = [("ioctl", 5), ("scope", 6), ("truncate", 3)];
    let lacking = since.into_iter().filter(|(_, first)| abi < *first);
    lacking.map(|(name, _)| name).collect()
}

/// The flags with which it runs nevertheless.
fn flags(lacking: &[&str]) -> Vec<String> {
    match lacking {
        [] => Vec::new(),
        names => vec!["--best-effort".to_owned(), names.join(",")],
    }
}

#[test]
fn what_the_kernel_lacks_stops_the_start_and_is_said_at_once() {
    require!(feature::landlock(1));
    let scene = Scene::new();
    let ran = scene.run(&[], &["true"]);
    let lacking = lacking();
    if lacking.is_empty() {
        assert_eq!(ran.code(), 0, "{ran}");
        return;
    }
    assert_eq!(ran.code(), 125, "{ran}");
    let remedy = format!("to run without: --best-effort {}, or ", lacking.join(","));
    assert!(ran.stderr.contains(&remedy), "{ran}");
    let sentences = ran.stderr.matches(" is needed, this kernel has ").count();
    assert_eq!(sentences, lacking.len(), "{ran}");
    // One less is not enough.
    let ran = scene.run(
        &flags(&lacking[1..])
            .iter()
            .map(|f| &**f)
            .collect::<Vec<_>>(),
        &["true"],
    );
    assert_eq!(ran.code(), 125, "{ran}");
}

#[test]
fn what_may_be_missing_is_recorded_as_missing_and_nothing_else_is() {
    require!(feature::landlock(1));
    let lacking = lacking();
    let flags = flags(&lacking);
    let flags: Vec<&str> = flags.iter().map(|flag| &**flag).collect();
    let mut missing = Vec::new();
    for (name, state) in Scene::new().layers(&flags) {
        match state.as_str() {
            "missing" => missing.push(name),
            "enforced" | "unused" => {}
            // Below another supervisor, or in a container.
            _ => assert!(feature::listener().is_err(), "{name}: {state}"),
        }
    }
    missing.retain(|name| ["ioctl", "scope", "truncate"].contains(&name.as_str()));
    missing.sort();
    assert_eq!(missing, lacking);
}

#[test]
fn a_flag_waives_for_every_policy_what_a_policy_waives_for_itself_alone() {
    require!(feature::landlock(1));
    let lacking = lacking();
    let scene = Scene::new();
    let text =
        format!("version = 1\nextends = [\"built-in\"]\n[require]\nbest_effort = {lacking:?}\n");
    scene.workspace.write("one.toml", text);
    scene
        .workspace
        .write("other.toml", "version = 1\nextends = [\"built-in\"]\n");
    scene.run(&["-p", "./one.toml"], &["true"]).expect_code(0);
    let both = ["-p", "./one.toml", "-p", "./other.toml"];
    let alone = if lacking.is_empty() { 0 } else { 125 };
    scene.run(&both, &["true"]).expect_code(alone);
    let flags = flags(&lacking);
    let flags: Vec<&str> = flags.iter().map(|flag| &**flag).collect();
    scene
        .run(&[&both, &*flags].concat(), &["true"])
        .expect_code(0);
}

#[test]
fn what_is_denied_is_denied_whatever_the_kernel_lacks() {
    require!(feature::landlock(1));
    require!(feature::listener());
    let scene = Scene::new();
    let outside = Workspace::open_to_all();
    let secret = outside.write("secret", "outside\n");
    scene.workspace.make_dir("secret");
    scene.workspace.write("secret/key", "inside\n");
    scene.workspace.make_dir("hooks");
    scene.workspace.write("a", "a\n");
    scene.workspace.write(
        "policy.toml",
        "version = 1\ntmp = \"none\"\n[fs]\nwrite = [\"$PWD\"]\nexec = [\"/usr\", \"/bin\", \"/lib\", \"/lib64?\", \"$PWD\"]\n\
         deny = [\"$PWD/secret\", \"$PWD/**/.env\"]\ndeny_write = [\"$PWD/hooks\"]\n",
    );
    let script = format!(
        r#"
        try() {{ if sh -c "$1" >out 2>&1; then echo "done: $1: $(cat out)"; fi; }}
        echo b >b && cat b && mv b c && rm c && mkdir d && chmod 700 d && rmdir d && echo works
        try 'cat secret/key'
        try 'echo x >secret/new'
        try 'mv secret elsewhere'
        try 'ln secret/key alias'
        try 'echo x >.env'
        try 'mv a .env'
        try 'echo x >hooks/pre-commit'
        try 'chmod 777 hooks'
        try 'cat {secret}'
        try 'echo x >>{secret}'
        try 'chmod 600 {secret}'
        try 'touch {secret}'
        try 'ln {secret} linked'
        try 'rm -f {secret}'
        try 'ls {directory}'
        echo end
        "#,
        secret = secret.display(),
        directory = outside.path().display(),
    );
    let lacking = lacking();
    let waived = flags(&lacking);
    let mut flags: Vec<&str> = waived.iter().map(|flag| &**flag).collect();
    flags.extend(["-q", "-p", "./policy.toml"]);
    let ran = scene.run(&flags, &["sh", "-c", &script]);
    assert_eq!(ran.lines(), ["b", "works", "end"], "{ran}");
    assert_eq!(
        std::fs::read_to_string(&secret).expect("it is there"),
        "outside\n"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&secret.metadata().expect("it is there"));
    assert_eq!(mode & 0o777, 0o644);
}
