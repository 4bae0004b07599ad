//! What is left behind for programs that run on the host later, unasked: hooks, settings, start files.

use crate::harness::built::supervise;
use crate::harness::run::{Ran, run};
use crate::harness::{Workspace, feature, require};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A repository, a home and a place where what runs outside leaves its mark.
struct Project {
    directory: Workspace,
}

impl Project {
    fn new() -> Self {
        let project = Self {
            directory: Workspace::new(),
        };
        for name in [
            "repository/sub",
            "home/.config",
            "home/.ssh",
            "run",
            "marks",
        ] {
            project.directory.make_dir(name);
        }
        for name in [
            "home/.bashrc",
            "home/.ssh/authorized_keys",
            "home/.gitconfig",
        ] {
            project.directory.write(name, "");
        }
        project.directory.write("repository/sub/file", "x");
        project.directory.write("repository/Makefile", "all:\n");
        project.git("init -q -b main .");
        project.git("add .");
        project.git("-c user.name=a -c user.email=a commit -q -m first");
        project
    }

    fn repository(&self) -> PathBuf {
        self.directory.join("repository")
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.repository())
            .env("HOME", self.directory.join("home"))
            .env("XDG_RUNTIME_DIR", self.directory.join("run"))
            .env("XDG_STATE_HOME", self.directory.join("run/state"))
            .env_remove("XDG_CONFIG_HOME")
            .env("TMPDIR", self.directory.join("run"));
        command
    }

    /// As the user would, later, outside.
    fn git(&self, words: &str) -> Ran {
        run(self.command("git").args(words.split(' ')))
    }

    /// A shell under the preset for agents.
    fn agent(&self, script: &str) -> Ran {
        let mut command = self.command(supervise());
        // The policy's home is the account's, unless this says otherwise; git gives up where it may not read its settings.
        let home = format!("HOME={}", self.directory.join("home").display());
        command.args(["-q", "-p", "agent", "--env", &home]);
        command.args(["--", "sh", "-c", script, "sh"]);
        run(command.arg(self.mark()))
    }

    /// The same where nothing confines it.
    fn free(&self, script: &str) -> Ran {
        run(self
            .command("sh")
            .args(["-c", script, "sh"])
            .arg(self.mark()))
    }

    fn mark(&self) -> PathBuf {
        self.directory.join("marks/ran-outside")
    }

    fn is_marked(&self) -> bool {
        self.mark().exists()
    }
}

/// A program that leaves the mark; every attack begins with it.
const EVIL: &str = r#"
evil=$PWD/sub/evil
printf '#!/bin/sh\n: >"%s"\n' "$1" >sub/evil
chmod +x sub/evil
git rev-parse HEAD >sub/head
"#;

/// A repository beside the real one, whose configuration runs the program, and a directory that the index calls a submodule.
const STORE: &str = r#"
mkdir -p sub/store/refs/heads sub/store/objects sub/nested
cp -r .git/objects/. sub/store/objects/
head=$(git rev-parse HEAD)
echo "$head" >sub/store/refs/heads/main
echo 'ref: refs/heads/main' >sub/store/HEAD
printf '[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = %s\n' "$evil" >sub/store/config
git update-index --add --cacheinfo "160000,$head,sub/nested"
"#;

/// What each of them makes git run at the next `git status`, `git add` or `git commit`. Where it begins with `store`, that comes first.
const ATTACKS: [(&str, &str); 12] = [
    (
        "store: a file that says where a repository is",
        "echo 'gitdir: ../store' >sub/nested/.git",
    ),
    (
        "store: such a file under another name first",
        "echo 'gitdir: ../store' >sub/nested/git; mv sub/nested/git sub/nested/.git || ln sub/nested/git sub/nested/.git",
    ),
    (
        "store: a link to a repository",
        "ln -s ../store sub/nested/.git",
    ),
    (
        "store: a repository that is moved into place",
        "mv sub/store sub/nested/.git",
    ),
    (
        "store: a repository whose configuration is another's",
        "mkdir sub/nested/.git; cp sub/store/HEAD sub/nested/.git/; echo ../../store >sub/nested/.git/commondir",
    ),
    (
        "store: another configuration for the repository itself",
        "echo ../sub/store >.git/commondir",
    ),
    ("a monitor", "git config core.fsmonitor \"$evil\""),
    (
        "another directory of hooks",
        "mkdir sub/hooks; cp sub/evil sub/hooks/post-index-change; git config core.hooksPath sub/hooks",
    ),
    (
        "a hook",
        "cp sub/evil .git/hooks/post-index-change; cp sub/evil .git/hooks/pre-commit",
    ),
    (
        "a filter",
        "mkdir -p .git/info; echo '* filter=x' >.git/info/attributes; printf '[filter \"x\"]\\n\\tclean = \"%s; cat\"\\n' \"$evil\" >>.git/config; touch sub/file",
    ),
    (
        "another repository in its place",
        "mv .git sub/old; git init -q .; git config core.fsmonitor \"$evil\"; git add sub/file",
    ),
    (
        "a submodule that only the index knows",
        "mkdir sub/nested; cd sub/nested; git init -q .; git -c user.name=a -c user.email=a commit -q --allow-empty -m x; \
         git config core.fsmonitor \"$evil\"; cd ../..; cp .git/index sub/index; \
         GIT_INDEX_FILE=sub/index git update-index --add --cacheinfo \"160000,$(cat sub/nested/.git/refs/heads/*),sub/nested\"; \
         cat sub/index >.git/index",
    ),
];

#[test]
fn git_runs_nothing_later_that_was_left_behind() {
    require!(feature::program("git"));
    for (what, attack) in ATTACKS {
        let store = what.strip_prefix("store: ").map_or("", |_| STORE);
        let script = format!("{EVIL}{store}{attack}");
        let later = |project: &Project| {
            for words in [
                "status",
                "add sub/file",
                "-c user.name=a -c user.email=a commit -q --allow-empty -m second",
            ] {
                project.git(words);
            }
        };
        let free = Project::new();
        free.free(&script);
        // What it did so far was its own doing.
        let _none = std::fs::remove_file(free.mark());
        later(&free);
        if !free.is_marked() {
            crate::harness::skip(&format!("escape: {what}"), "this git runs nothing for it");
            continue;
        }
        let project = Project::new();
        let ran = project.agent(&script);
        let head = std::fs::read(project.repository().join("sub/head"));
        assert!(head.is_ok_and(|head| head.len() > 40), "git works: {ran}");
        assert!(!project.is_marked(), "{what}: it cannot itself: {ran}");
        later(&project);
        assert!(!project.is_marked(), "{what}: {ran}");
        // What it may write it may break, so that git gives up; but it is still this repository that git speaks of.
        let first = project.git("log --format=%s main -- Makefile");
        assert_eq!(first.lines(), ["first"], "{what}");
    }
}

#[test]
fn nothing_is_left_where_shells_editors_and_services_start() {
    require!(feature::program("git"));
    let script = r#"
for file in .bashrc .profile .zshrc .ssh/authorized_keys .ssh/config .gitconfig .config/systemd/user/x.service \
    .config/autostart/x.desktop .config/git/config .local/bin/ls .cargo/config.toml .npmrc .pypirc .netrc; do
    (mkdir -p "$HOME/$(dirname $file)"; echo evil >>"$HOME/$file") 2>/dev/null
done
for file in .envrc .vscode/tasks.json .idea/x .cargo/config.toml .npmrc .gitmodules .git/hooks/x; do
    (mkdir -p "$(dirname $file)"; echo evil >>"$file") 2>/dev/null
done
(echo '* * * * * evil' | crontab -) 2>/dev/null
(mkdir -p /etc/cron.d && echo evil >/etc/cron.d/supervise-escape) 2>/dev/null
echo done >sub/done
"#;
    let evil = |project: &Project| {
        let mut found = Vec::new();
        for place in ["home", "repository"] {
            search(&project.directory.join(place), &mut found);
        }
        found
    };
    let project = Project::new();
    let ran = project.agent(script);
    assert!(project.repository().join("sub/done").exists(), "{ran}");
    assert_eq!(evil(&project), Vec::<PathBuf>::new());
    assert!(!Path::new("/etc/cron.d/supervise-escape").exists());
    // All but the crontab and /etc, which are everybody's.
    let free = Project::new();
    free.free(
        &script
            .lines()
            .filter(|line| !line.contains("cron"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    assert!(evil(&free).len() > 15, "{:?}", evil(&free));
}

fn search(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory)
        .expect("a directory of the test")
        .flatten()
    {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            search(&path, found);
        } else if std::fs::read(&path).is_ok_and(|text| text.windows(4).any(|word| word == b"evil"))
        {
            found.push(path);
        }
    }
}
