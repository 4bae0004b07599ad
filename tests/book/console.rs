//! Commands and what they print, run as they stand on the page.

use super::harness::built::supervise;
use super::harness::run::run_with_input;
use super::harness::{Workspace, feature, require};
use super::{Page, pages};
use std::process::Command;

/// A command, and the lines that it is said to print. `…` stands for anything.
struct Example {
    command: String,
    printed: Vec<String>,
}

/// The examples of a page.
fn examples(page: &Page) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in page.tried("console") {
        for line in block.text.lines() {
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

/// Runs the examples of a page one after the other, in one shell and a directory of its own.
fn try_page(page: &Page) -> usize {
    let examples = examples(page);
    if examples.is_empty() {
        return 0;
    }
    let (workspace, kept) = (Workspace::new(), Workspace::new());
    let directory = workspace.make_dir("clone");
    let home = kept.make_dir("home");
    super::harness::set_mode(&kept.path(), 0o700);
    let mut script = String::new();
    for example in &examples {
        script.push_str(&format!("{}\necho '<end>'\n", example.command));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let bin = supervise();
    let bin = bin.parent().expect("a directory").display();
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("exec 2>&1\n{script}")])
        .current_dir(&directory)
        .env("PWD", &directory)
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", kept.path())
        .env("XDG_STATE_HOME", kept.join("state"))
        .env("PATH", format!("{bin}:{path}"))
        .env("NO_COLOR", "1")
        .env("LC_ALL", "C")
        .env_remove("SUPERVISE");
    let ran = run_with_input(&mut shell, b"");
    let printed: Vec<&str> = ran.stdout.split("<end>\n").collect();
    assert_eq!(printed.len(), examples.len() + 1, "{}: {ran}", page.path);
    let differ: Vec<String> = examples
        .iter()
        .zip(printed)
        .filter(|(example, printed)| !shows(printed, &example.printed))
        .map(|(example, printed)| {
            let shown = example.printed.join("\n");
            format!(
                "$ {}\n{printed}\nThe page shows:\n{shown}\n",
                example.command
            )
        })
        .collect();
    assert!(differ.is_empty(), "{}:\n{}", page.path, differ.join("\n"));
    examples.len()
}

#[test]
fn the_examples_print_what_the_page_shows() {
    require!(feature::program("bash"));
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::landlock(6));
    let pages = pages();
    // Each in a shell of its own: no page needs another.
    let tried: Vec<usize> = std::thread::scope(|scope| {
        let running: Vec<_> = pages
            .iter()
            .map(|page| scope.spawn(|| try_page(page)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|count| count.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let count: usize = tried.iter().sum();
    assert!(count > 60, "the pages have lost their examples: {count}");
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
