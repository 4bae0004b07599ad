//! A work area with things in it that must not be touched, an outside, and the command between them.

use crate::harness::built::{probe, supervise};
use crate::harness::run::{Ran, Running, run, start};
use crate::harness::{Workspace, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// In texts of policies and acts: the work area, the directory beside it that nothing grants, and the probe.
const WORK: &str = "{W}";
const OUTSIDE: &str = "{O}";
const PROBE: &str = "{P}";

/// What most attacks are tried under: the work area can be written but for some of it, nothing beside it can be touched.
pub const POLICY: &str = r#"
version = 1
[fs]
write = ["{W}"]
deny = ["{W}/secret", "/etc/shadow"]
deny_write = ["{W}/.git/hooks"]
read = ["/etc"]
exec = ["{P}"]
"#;

pub struct Scene {
    base: Workspace,
    /// Where sessions of this scene live and leave their records.
    pub runtime: Workspace,
}

impl Scene {
    pub fn new() -> Self {
        let scene = Self {
            base: Workspace::new(),
            runtime: Workspace::new(),
        };
        for (name, content) in [
            ("w/secret/key", "HIT the key"),
            ("w/secret/deep/er", "HIT deep"),
            ("w/.git/hooks/pre-commit", "#!/bin/sh\n"),
            ("w/sub/mine", "mine"),
            ("w/sub/deep/mine", "mine too"),
            ("outside/file", "HIT outside"),
            ("outside/dir/file", "HIT outside"),
        ] {
            scene.base.write(name, content);
        }
        scene.runtime.make_dir("tmp");
        scene.policy(POLICY);
        scene
    }

    /// The same under another policy.
    pub fn under(policy: &str) -> Self {
        let scene = Self::new();
        scene.policy(policy);
        scene
    }

    pub fn policy(&self, text: &str) {
        self.base.write("policy.toml", self.text(text));
    }

    pub fn work(&self) -> PathBuf {
        self.base.join("w")
    }

    pub fn outside(&self) -> PathBuf {
        self.base.join("outside")
    }

    pub fn policy_file(&self) -> PathBuf {
        self.base.join("policy.toml")
    }

    pub fn audit_file(&self) -> PathBuf {
        self.runtime.join("audit.jsonl")
    }

    /// `text` with the names of this scene in it.
    pub fn text(&self, text: &str) -> String {
        let name = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        text.replace(WORK, &name(self.work()))
            .replace(OUTSIDE, &name(self.outside()))
            .replace(PROBE, &name(probe()))
    }

    /// The words of acts, blanks between them, `--` between acts.
    pub fn words(&self, acts: &str) -> Vec<String> {
        acts.split_whitespace()
            .map(|word| self.text(word))
            .collect()
    }

    /// `supervise` with this scene's policy, in the work area.
    pub fn supervise(&self, command: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        self.supervise_by(
            &supervise(),
            &["--policy".into(), self.policy_file()],
            command,
        )
    }

    pub fn supervise_by(
        &self,
        program: &Path,
        flags: &[PathBuf],
        command: &[impl AsRef<std::ffi::OsStr>],
    ) -> Command {
        let mut supervise = Command::new(program);
        supervise.arg("--quiet").args(flags);
        supervise.arg("--audit").arg(self.audit_file());
        supervise.arg("--").args(command).current_dir(self.work());
        supervise
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("XDG_STATE_HOME", self.runtime.join("state"))
            .env("TMPDIR", self.runtime.join("tmp"));
        supervise
    }

    /// The probe in the sandbox.
    pub fn inside(&self, acts: &str) -> Command {
        let words: Vec<_> = [probe().into_os_string()]
            .into_iter()
            .chain(self.words(acts).into_iter().map(Into::into))
            .collect();
        self.supervise(&words)
    }

    /// The probe in the work area, confined by nothing.
    pub fn unconfined(&self, acts: &str) -> Command {
        let mut command = Command::new(probe());
        command.args(self.words(acts)).current_dir(self.work());
        command
    }

    /// Runs acts inside to their end, and what became of them.
    #[track_caller]
    pub fn perform(&self, acts: &str) -> Performed {
        let ran = run(&mut self.inside(acts));
        Performed {
            records: self.records(),
            ran,
        }
    }

    #[track_caller]
    pub fn start(&self, acts: &str) -> Running {
        start(&mut self.inside(acts))
    }

    /// The decisions in the record of the last run.
    pub fn records(&self) -> Vec<Value> {
        self.events("decision")
    }

    pub fn events(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_file()).unwrap_or_default();
        let lines = text.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
        });
        lines.filter(|event| event["event"] == kind).collect()
    }

    /// A layer, as the last start record has it: its state and what more is said of it.
    pub fn layer(&self, name: &str) -> (String, String) {
        let start = self.events("start").pop().expect("a start record");
        let layers = start["layers"]
            .as_array()
            .expect("a list of layers")
            .clone();
        let layer = layers.into_iter().find(|layer| layer["name"] == name);
        let layer = layer.unwrap_or_else(|| panic!("no layer {name} in {start}"));
        let word = |name: &str| layer[name].as_str().unwrap_or_default().to_owned();
        (word("state"), word("detail"))
    }

    /// Gives all of it to another user.
    pub fn give_to(&self, user: u32) {
        give(&self.base.path(), user);
        give(&self.runtime.path(), user);
    }

    /// Everything that a change of the work area or of the outside would show in.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        look(&self.base.path(), &mut seen);
        seen
    }
}

fn look(path: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    let Ok(status) = path.symlink_metadata() else {
        return;
    };
    let content = if status.is_symlink() {
        format!("{:?}", std::fs::read_link(path))
    } else if status.is_file() {
        format!("{:?}", std::fs::read(path))
    } else {
        String::new()
    };
    let facts = format!(
        "mode={:o} owner={}:{} size={} links={} changed={}.{:09} {content}",
        status.mode(),
        status.uid(),
        status.gid(),
        status.size(),
        status.nlink(),
        // Also of attributes, modes and owners.
        status.ctime(),
        status.ctime_nsec(),
    );
    seen.insert(path.to_owned(), facts);
    if status.is_dir() {
        let entries = std::fs::read_dir(path).expect("a directory of the scene can be read");
        for entry in entries {
            look(&entry.expect("an entry can be read").path(), seen);
        }
    }
}

fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).expect("root may");
    if path.is_dir() && !path.is_symlink() {
        let entries = std::fs::read_dir(path).expect("a directory of the scene can be read");
        for entry in entries {
            give(&entry.expect("an entry can be read").path(), user);
        }
    }
}

/// What a run inside did.
pub struct Performed {
    pub ran: Ran,
    pub records: Vec<Value>,
}

impl Performed {
    /// One line for each act.
    #[track_caller]
    pub fn answers(&self) -> Vec<&str> {
        self.ran.lines()
    }

    /// The records of a call that was refused.
    pub fn refusals(&self, call: &str) -> Vec<&Value> {
        let refused = |record: &&Value| record["answer"] == "refused" && record["call"] == call;
        self.records.iter().filter(refused).collect()
    }
}

/// Each act fails inside with the errno, or one of them, in one run, and leaves everything as it was, although it succeeds in a scene of its
/// own where nothing confines it. `prepare` is done to each scene first.
#[track_caller]
pub fn refused_in(
    scene: &Scene,
    prepare: &dyn Fn(&Scene),
    errno: &str,
    acts: &[&str],
) -> Performed {
    let mut proven = Vec::new();
    for act in acts {
        let free = Scene::new();
        prepare(&free);
        let said = run(&mut free.unconfined(act)).stdout;
        let last = said.lines().last().unwrap_or("nothing");
        if last.starts_with("ok") {
            proven.push(*act);
        } else {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives `{last}` here anyway"),
            );
        }
    }
    let before = scene.snapshot();
    let performed = scene.perform(&format!(
        "chdir {WORK} -- {}",
        acts.join(" -- chdir {W} -- ")
    ));
    // Acts that prepare others are answered too.
    let answers = performed.answers();
    let mut left = answers.as_slice();
    for act in acts {
        let steps = 1 + act.split(" -- ").count();
        let (these, rest) = left.split_at(steps.min(left.len()));
        left = rest;
        let answer = these.last().copied().unwrap_or("nothing");
        // What fails anyway may fail for another reason.
        let is_refused = match proven.contains(act) {
            true => answer
                .strip_prefix("errno ")
                .is_some_and(|answer| errno.split(' ').any(|due| due == answer)),
            false => answer.starts_with("errno "),
        };
        assert!(is_refused, "{act}: {answer}\n{}", performed.ran);
    }
    assert_unchanged(&before, &scene.snapshot());
    assert!(!proven.is_empty(), "nothing was proven");
    performed
}

#[track_caller]
pub fn refused(errno: &str, acts: &[&str]) -> Performed {
    let scene = Scene::new();
    refused_in(&scene, &|_| {}, errno, acts)
}

#[track_caller]
pub fn assert_unchanged(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    for (path, facts) in after {
        assert_eq!(before.get(path), Some(facts), "{}", path.display());
    }
    for path in before.keys() {
        assert!(after.contains_key(path), "{} is gone", path.display());
    }
}

/// Each act is answered inside with the errno, and otherwise outside.
#[track_caller]
pub fn answered_otherwise_inside(errno: &str, acts: &[&str]) {
    let scene = Scene::new();
    let expected = format!("errno {errno}");
    let performed = scene.perform(&acts.join(" -- "));
    let answers = performed.answers();
    assert_eq!(answers.len(), acts.len(), "{}", performed.ran);
    for (act, answer) in acts.iter().zip(answers) {
        assert_eq!(answer, expected, "{act}");
        let outside = run(&mut scene.unconfined(act)).stdout;
        if outside.trim_end() == expected {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {errno} here anyway"),
            );
        }
    }
}
