//! What a policy means for programs that know nothing of it: beside denials, under patterns, and where nobody can be asked.

use crate::harness::built::supervise;
use crate::harness::run::{Ran, run, run_without_listener};
use crate::harness::{Workspace, feature, require};
use std::process::Command;

/// A directory to run in, and a policy for it.
struct Place(Workspace);

impl Place {
    fn new(rules: &str) -> Self {
        let place = Workspace::new();
        for directory in ["repo/src", "repo/bin", "repo/secret", "state", "runtime"] {
            place.make_dir(directory);
        }
        crate::harness::set_mode(&place.join("runtime"), 0o700);
        for file in ["src/file", "src/.env", "secret/key"] {
            place.write(format!("repo/{file}"), format!("content of {file}\n"));
        }
        let echo = "/usr/bin/echo";
        for file in ["bin/echo", "bin/.env", "secret/echo"] {
            std::fs::copy(echo, place.join("repo").join(file)).expect("copied");
        }
        place.write("policy.toml", format!("version = 1\n[fs]\n{rules}"));
        Self(place)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(supervise());
        command
            .args(["-v", "-p", "../policy.toml", "--audit"])
            .arg(self.0.join("audit.jsonl"))
            .args(["--", "sh", "-c", script])
            .current_dir(self.0.join("repo"))
            .env("XDG_STATE_HOME", self.0.join("state"))
            .env("XDG_RUNTIME_DIR", self.0.join("runtime"));
        command
    }

    fn run(&self, script: &str) -> Ran {
        run(&mut self.command(script))
    }
}

const CLOSED: &str =
    "exec = [\"$PWD\"]\nwrite = [\"$PWD/src\"]\ndeny = [\"$PWD/**/.env\", \"$PWD/secret\"]\n";

#[test]
fn what_a_pattern_denies_is_not_read_though_it_lies_where_programs_are_run() {
    require!(feature::listener());
    require!(feature::landlock(6));
    let place = Place::new(CLOSED);
    let ran = place.run(
        "cat src/file; bin/echo run
        for file in src/.env bin/.env secret/key secret/echo; do cat $file && echo read $file; done
        exec 3<src/file; cat <&3; cat /proc/self/fd/3 2>/dev/null
        cp bin/.env src/taken; mv bin/.env src/taken; ln bin/.env src/taken; ln -s ../bin/.env src/link; cat src/link
        secret/echo ran denied
        bin/.env ran matched
        echo more >>src/new; cat src/new",
    );
    assert_eq!(
        ran.lines(),
        [
            "content of src/file",
            "run",
            "content of src/file",
            "content of src/file",
            "ran matched",
            "more"
        ],
        "{ran}"
    );
    assert!(
        ran.stderr
            .contains("opens (decided and done by the supervisor"),
        "{ran}"
    );
}

#[test]
fn what_no_listener_can_keep_is_refused_and_the_rest_is_said() {
    require!(feature::listener());
    require!(feature::landlock(6));
    let closed = Place::new(CLOSED);
    let ran = run_without_listener(&mut closed.command("echo ran")).expect_code(125);
    assert!(
        ran.stdout.is_empty()
            && ran
                .stderr
                .contains("every open must be decided by the supervisor"),
        "{ran}"
    );
    let open = Place::new("write = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]\n");
    let ran = run_without_listener(
        &mut open.command("cat src/file; echo >new || cat secret/key || true"),
    );
    assert_eq!(ran.lines(), ["content of src/file"], "{ran}");
    assert!(ran.stderr.contains("opens (no listener"), "{ran}");
}

#[test]
fn rules_with_addresses_are_refused_without_a_listener_or_have_no_effect_where_that_will_do() {
    require!(feature::listener());
    require!(feature::landlock(6));
    for rule in [
        "bind = [\"127.0.0.1:8080\"]",
        "connect = [\"127.0.0.1:8080\"]",
    ] {
        let place = Place::new(&format!("read = [\"$PWD\"]\n[net]\n{rule}\n"));
        let ran = run_without_listener(&mut place.command("echo ran")).expect_code(125);
        let why = "the policy's rules for network addresses cannot be enforced";
        assert!(ran.stdout.is_empty() && ran.stderr.contains(why), "{ran}");
        let policy =
            format!("read = [\"$PWD\"]\n[net]\n{rule}\n[require]\nbest_effort = [\"net\"]\n");
        let place = Place::new(&policy);
        let script = "exec bash -c ': </dev/tcp/127.0.0.1/8080' 2>&1";
        let ran = run_without_listener(&mut place.command(script));
        assert!(ran.stdout.contains("Permission denied"), "{ran}");
    }
}

#[test]
fn what_takes_the_place_of_what_was_there_is_as_much_the_childs() {
    require!(feature::listener());
    require!(feature::landlock(6));
    let place = Place::new("write = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]\n");
    // The kernel was told of `src` and `bin`, which stood beside the denial. What is made instead it does not know.
    let ran = place.run(
        "set -e
        rm -r src; mkdir src; echo new >src/file; cat src/file; mkdir src/deep; mv src/file src/deep/moved; cat src/deep/moved
        mv bin old; mkdir bin; echo again >bin/file; cat bin/file; ls old | wc -l
        echo >top; mv top bin/top; ln bin/top src/top; rm bin/top; ls src",
    );
    assert_eq!(
        ran.lines(),
        ["new", "new", "again", "1", "deep", "top"],
        "{ran}"
    );
    let ran = place.run("mv secret elsewhere || rmdir secret || ln -s / secret/link || echo kept; mv src/deep secret/deep || echo out");
    assert_eq!(ran.lines(), ["kept", "out"], "{ran}");
}
