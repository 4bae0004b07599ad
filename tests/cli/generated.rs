//! What is made of the command line itself: completions and manual pages.

use super::harness::built::supervise;
use super::harness::run::run;
use super::harness::{Workspace, feature, require};
use std::collections::BTreeSet;
use std::process::Command;

/// The subcommands that `--help` lists, but for `help`.
fn subcommands() -> BTreeSet<String> {
    let help = run(Command::new(supervise()).arg("--help")).expect_code(0);
    let listed = help.stdout.split("Commands:\n").nth(1).expect("a list");
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_completes_subcommands_and_flags() {
    require!(feature::program("bash"));
    let place = Workspace::new();
    let script = run(Command::new(supervise()).args(["completions", "bash"])).expect_code(0);
    let script = place.write("completions", script.stdout);
    let completed = |words: &[&str]| -> BTreeSet<String> {
        let line = "source \"$1\"; shift; COMP_WORDS=(supervise \"$@\"); COMP_CWORD=$#; \
                    _supervise supervise \"${!#}\" \"${COMP_WORDS[$(($# - 1))]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let mut bash = Command::new("bash");
        bash.args(["-c", line, "bash"]).arg(&script).args(words);
        run(&mut bash)
            .lines()
            .iter()
            .map(|&word| word.to_owned())
            .collect()
    };
    let all = completed(&[""]);
    for name in subcommands() {
        assert!(all.contains(&name), "{name} is not among {all:?}");
    }
    assert_eq!(completed(&["da"]), ["daemon".to_owned()].into());
    let flags = completed(&["daemon", "--"]);
    assert!(flags.contains("--config") && flags.contains("--upgrade"));
    assert!(!flags.contains("--serve"), "that is between us: {flags:?}");
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let place = Workspace::new();
    let pages = place.join("man/man1");
    run(Command::new(supervise()).args(["man", "--to"]).arg(&pages)).expect_code(0);
    let names = subcommands();
    assert!(
        names.contains("run") && names.contains("status"),
        "{names:?}"
    );
    for name in names {
        let page = pages.join(format!("supervise-{name}.1"));
        let text = std::fs::read_to_string(&page);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(
            text.contains(".SH OPTIONS") && !text.contains("serve\\fR ["),
            "{text}"
        );
        assert!(!text.contains("open\\-files"), "that is between us: {text}");
    }
    let main = run(Command::new(supervise()).arg("man")).expect_code(0);
    let written = std::fs::read_to_string(pages.join("supervise.1")).expect("the main page");
    assert_eq!(main.stdout, written);
    assert!(written.contains("Exit status"), "{written}");
    // Nowhere to write to.
    place.write("file", "");
    let ran = run(Command::new(supervise())
        .args(["man", "--to"])
        .arg(place.join("file")));
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("/file: "), "{}", ran.stderr);
}
