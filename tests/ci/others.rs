//! The template for GitLab, the hooks for pre-commit, the recipe for a container.

use super::*;
use crate::harness::built::supervise;
use crate::harness::run::run;
use crate::harness::{Workspace, feature, require};

/// The variables that find our program, and leave nothing outside.
fn at_home<'a>(
    command: &'a mut Command,
    workspace: &Workspace,
    kept: &Workspace,
) -> &'a mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = supervise();
    let own = own.parent().expect("a directory").display();
    command
        .current_dir(workspace.path())
        .env("PWD", workspace.path())
        .env("PATH", format!("{own}:{path}"))
        .env("XDG_STATE_HOME", kept.join("state"))
        .env("XDG_RUNTIME_DIR", kept.path())
        .env_remove("SUPERVISE")
}

#[test]
fn a_job_of_gitlab_reports_and_ends_as_its_script_did() {
    require!(yaml_reader());
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::landlock(6));
    let template = yaml("docs/ci/gitlab.yml");
    let job = &template[".supervise"];
    let script = job["script"][0].as_str().expect("a script");
    for (inside, fail, code) in [
        ("chmod 600 /etc/passwd || true", "no", 0),
        ("chmod 600 /etc/passwd || true", "yes", 3),
        ("echo fine", "yes", 0),
        ("exit 7", "no", 7),
    ] {
        let (workspace, kept) = (Workspace::new(), Workspace::new());
        let mut shell = Command::new("sh");
        at_home(shell.args(["-e", "-c", script]), &workspace, &kept);
        for (name, value) in job["variables"].as_object().expect("a table") {
            shell.env(name, value.as_str().expect("text"));
        }
        shell
            .env("SUPERVISE_SCRIPT", inside)
            .env("SUPERVISE_FAIL_ON_REFUSALS", fail)
            .env("TMPDIR", kept.path());
        run(&mut shell).expect_code(code);
        let results = job["artifacts"]["reports"]["junit"]
            .as_str()
            .expect("a file");
        let results = std::fs::read_to_string(workspace.join(results)).expect("it was written");
        assert_eq!(
            results.contains("<failure "),
            inside.contains("passwd"),
            "{results}"
        );
        let page = job["artifacts"]["paths"][0].as_str().expect("a file");
        assert!(workspace.join(page).exists());
    }
}

#[test]
fn the_hook_says_which_policy_is_none() {
    require!(yaml_reader());
    let hooks = yaml("docs/ci/pre-commit-hooks.yaml");
    for hook in hooks.as_array().expect("a list") {
        for key in ["id", "name", "description", "entry", "language"] {
            assert!(hook[key].is_string(), "{key} of {hook}");
        }
    }
    let entry = hooks[0]["entry"].as_str().expect("text");
    let (workspace, kept) = (Workspace::new(), Workspace::new());
    workspace.write("good.toml", "version = 1\n");
    workspace.write("bad.toml", "version = 1\nnovelty = 1\n");
    // pre-commit divides the words as a shell does, and adds the files.
    let check = |files: &str| {
        let mut shell = Command::new("sh");
        let line = format!("{entry} {files}");
        run(at_home(shell.args(["-c", &line]), &workspace, &kept))
    };
    check("good.toml").expect_code(0);
    let bad = check("good.toml bad.toml").expect_code(1);
    assert!(bad.stderr.contains("bad.toml"), "{bad}");
}

#[test]
fn the_recipe_for_a_container_has_instructions_that_there_are() {
    let text = std::fs::read_to_string(tree().join("docs/ci/Containerfile")).expect("it is there");
    let known = ["FROM", "WORKDIR", "COPY", "RUN", "USER", "CMD"];
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    assert!(words.iter().all(|word| known.contains(word)), "{words:?}");
    assert!(words.len() > 6, "{words:?}");
    assert!(
        !text.contains("--cap-add") && text.contains("USER worker"),
        "{text}"
    );
    // What is copied from the first stage is what that one builds.
    assert!(
        text.contains("--from=build /source/target/release/supervise"),
        "{text}"
    );
}
