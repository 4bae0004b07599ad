//! The README's examples, run as they stand there.

use super::Scene;
use super::harness::built::{supervise, tree};
use super::harness::run::{run, run_with_input};
use super::harness::{feature, require};
use std::process::Command;

/// A command, and the lines that it is said to print. `…` stands for anything.
struct Example {
    command: String,
    printed: Vec<String>,
}

/// The examples in blocks that are marked as tested.
fn examples(readme: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in readme.split("<!-- tested -->\n```console\n").skip(1) {
        let end = block.find("```").expect("a block has an end");
        for line in block[..end].lines() {
            match line.strip_prefix("$ ") {
                Some(command) => examples.push(Example {
                    command: command.to_owned(),
                    printed: Vec::new(),
                }),
                None => {
                    let example = examples.last_mut().expect("a command comes first");
                    example.printed.push(line.to_owned());
                }
            }
        }
    }
    examples
}

/// Whether `line` is `expected`, in which `…` stands for anything.
fn is(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// Whether the lines that are shown come in that order. What an example leaves out is shown by a `…`: alone on a line, or
/// at the beginning of one.
fn shows(printed: &str, expected: &[String]) -> bool {
    let mut lines = printed.lines();
    let leaves_out = expected.iter().any(|line| line.starts_with('…'));
    let all = expected
        .iter()
        .filter(|line| *line != "…")
        .all(|expected| match leaves_out {
            true => lines.any(|line| is(line, expected)),
            false => lines.next().is_some_and(|line| is(line, expected)),
        });
    all && (leaves_out || lines.next().is_none())
}

#[test]
fn the_examples_print_what_the_readme_shows() {
    require!(feature::program("bash"));
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::landlock(6));
    let readme = std::fs::read_to_string(tree().join("README.md")).expect("it is there");
    let examples = examples(&readme);
    assert!(examples.len() > 10, "the README has lost its examples");
    let scene = Scene::new();
    scene.workspace.make_dir("clone");
    let mut script = String::new();
    for example in &examples {
        script.push_str(&format!("{}\necho '<end>'\n", example.command));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = supervise();
    let bin = bin.parent().expect("a directory").display();
    let mut shell = Command::new("bash");
    scene
        .at_home(shell.args(["-c", &format!("exec 2>&1\ncd clone\n{script}")]))
        .env("PATH", format!("{bin}:{path}"));
    let ran = run_with_input(&mut shell, b"");
    let printed: Vec<&str> = ran.stdout.split("<end>\n").collect();
    assert_eq!(printed.len(), examples.len() + 1, "{ran}");
    for (example, printed) in examples.iter().zip(printed) {
        assert!(
            shows(printed, &example.printed),
            "$ {}\n{printed}\nThe README shows:\n{}",
            example.command,
            example.printed.join("\n")
        );
    }
}

#[test]
fn an_example_is_compared_line_by_line() {
    let expected = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| (*line).to_owned())
            .collect::<Vec<_>>()
    };
    assert!(shows("a b c\n", &expected(&["a … c"])));
    assert!(!shows("a b d\n", &expected(&["a … c"])));
    assert!(!shows("a\nb\n", &expected(&["a"])));
    assert!(shows("x\na\nb\n", &expected(&["…", "b"])));
    assert!(!shows("b\na\n", &expected(&["…a", "…b"])));
    assert!(!shows("", &expected(&["a"])));
}

/// What stands in square brackets before the path of a test's source.
fn named_tests(readme: &str) -> Vec<(String, String)> {
    let links = readme.split("](").collect::<Vec<_>>();
    let pairs = links.windows(2).filter_map(|pair| {
        let name = pair[0].rsplit('[').next()?;
        let path = pair[1].split(')').next()?;
        let is_test =
            path.contains("tests/") && path.ends_with(".rs") && !name.contains(['/', '.']);
        is_test.then(|| (name.to_owned(), path.to_owned()))
    });
    pairs.collect()
}

#[test]
fn the_tests_that_watch_the_invariants_exist() {
    let room = tree().join("supervisor");
    let readme = std::fs::read_to_string(room.join("README.md")).expect("it is there");
    let tests = named_tests(&readme);
    assert!(tests.len() > 30, "the table has lost its tests");
    for (name, path) in tests {
        let source = std::fs::read_to_string(room.join(&path));
        let source = source.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(
            source.contains(&format!("fn {name}()")),
            "{path} has no test {name}"
        );
    }
}

#[test]
fn the_files_that_are_linked_to_exist() {
    for readme in ["README.md", "supervisor/README.md"] {
        let path = tree().join(readme);
        let text = std::fs::read_to_string(&path).expect("it is there");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap_or_default();
            let target = path.parent().expect("a directory").join(file);
            assert!(
                link.starts_with("http") || target.exists(),
                "{readme}: {link}"
            );
        }
    }
}

#[test]
fn the_policy_that_shows_the_language_is_one() {
    let readme = std::fs::read_to_string(tree().join("README.md")).expect("it is there");
    let (_, block) = readme.split_once("```toml\n").expect("a policy is shown");
    let (policy, _) = block.split_once("```").expect("a block has an end");
    let scene = Scene::new();
    for directory in [".git/hooks", "secret", "target"] {
        scene.workspace.make_dir(directory);
    }
    let file = scene.kept.write("shown.toml", policy);
    let file = file.to_str().expect("a name of ours");
    run(&mut scene.supervise(&["check", file])).expect_code(0);
}
