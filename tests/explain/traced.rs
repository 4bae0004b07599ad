//! What the kernel refuses alone: seen with `--trace`, and otherwise as without.

use super::harness::run::{Ran, run, run_without_listener};
use super::harness::{feature, require};
use super::house::House;
use serde_json::Value;
use supervisor::sandbox::Kernel;
use supervisor::witness::join;

/// Of this the kernel is told everything.
const NATIVE: &str = "version = 1\nfs.exec = [\"$PWD\"]";

impl House {
    /// Runs a script under a policy of which the kernel is told everything.
    fn natively(&self, added: &str, flags: &[&str], script: &str) -> Ran {
        let policy = self
            .kept
            .write("native.toml", format!("{NATIVE}\n{added}\n"));
        let policy = policy.to_str().expect("text");
        let arguments = [&["-q", "-p", policy], flags, &["--", "sh", "-c", script]].concat();
        run(&mut self.supervise(&arguments))
    }

    fn refusals(&self) -> Vec<Value> {
        let explained = self.explained();
        explained["refusals"].as_array().expect("a list").clone()
    }
}

#[test]
fn what_the_kernel_refuses_is_recorded_as_its_refusal_and_explained() {
    require!(feature::listener());
    let house = House::new();
    let file = house.data.write("in", "content\n");
    let script = format!("cat {0}; cat {0}", file.display());
    house.natively("", &[], &script).expect_code(1);
    // Where the kernel's own records can be read, somebody did.
    if join(&Kernel::probe()).is_err() {
        assert_eq!(house.refusals(), [Value::Null; 0], "nobody saw it");
    }
    house.natively("", &["--trace"], &script).expect_code(1);
    let [refusal] = &house.refusals()[..] else {
        panic!("{:#}", house.explained());
    };
    assert_eq!(refusal["mechanism"], "landlock");
    assert_eq!(refusal["object"], file.to_str().expect("text"));
    assert_eq!(refusal["times"], 2);
    assert_eq!(refusal["errnos"][0], "EACCES");
    let said = house.explain(&["--last"]).expect_code(0).stdout;
    assert!(
        said.contains("refused by: the kernel, alone (Landlock)"),
        "{said}"
    );
}

#[test]
fn what_is_advised_of_the_kernels_refusals_helps_without_a_trace_and_with_nothing_else() {
    require!(feature::listener());
    for (script, name) in [
        ("cat in", "in"),
        ("echo more >>in", "in"),
        ("echo new >new", "new"),
        ("mkdir new", "new"),
        ("rm in", "in"),
        ("mkfifo new", "new"),
        ("truncate -s 1 in", "in"),
        ("ls directory", "directory"),
    ] {
        let house = House::new();
        for name in ["in", "directory/below", "canary"] {
            house.data.write(name, "content\n");
        }
        let script = format!("cd {}; {script}", house.data.path().display());
        assert_ne!(
            house.natively("", &["--trace"], &script).code(),
            0,
            "{script}"
        );
        let refusals = house.refusals();
        let object = house.data.join(name);
        let refusal = refusals
            .iter()
            .find(|one| one["object"] == object.to_str().expect("text"));
        let refusal = refusal.unwrap_or_else(|| panic!("{script}: {:#}", house.explained()));
        let change = refusal["remedy"]["toml"].as_str().expect("a line");
        house.natively(change, &[], &script).expect_code(0);
        let canary = house.data.join("canary").display().to_string();
        for attempt in ["cat", "rm", "touch", "truncate -s 0"] {
            let ran = house.natively(change, &[], &format!("{attempt} {canary}"));
            assert_ne!(ran.code(), 0, "{change}: {attempt}");
        }
    }
}

/// Every call goes on as it would: what is granted, what is refused, and how, is the same with and without.
#[test]
fn a_trace_changes_nothing_but_the_record() {
    require!(feature::listener());
    let script = r#"
        for path in in directory canary nothing /etc/shadow /proc/self/status /proc/1/environ / .; do
            cat "$1/$path" || echo "$?"; ls "$path" || echo "$?"
            (: >>"$1/$path") || echo "$?"
        done
        echo made >made; cat made; mkdir d; mv made d/moved; ln d/moved linked; rm linked; ls d
        mv d/moved "$1/moved"; ln -s "$1/in" link; cat link; mkdir "$1/new"; rmdir "$1/directory"
        mkfifo fifo; rm fifo; truncate -s 3 d/moved; cat d/moved; sh -c 'exec cat' <d/moved
        "$1/in"; chmod 600 d/moved; chmod 600 "$1/in"; touch -d 2001-01-01 "$1/in" d/moved
    "#;
    let said = |added: &str, flags: &[&str]| {
        let house = House::new();
        for name in ["in", "directory/below", "canary"] {
            house.data.write(name, "content\n");
        }
        let text = format!("version = 1\nfs.write = [\"$PWD\"]\n{added}\n");
        let policy = house.kept.write("policy.toml", text);
        let policy = policy.to_str().expect("text");
        let data = house.data.path();
        let arguments = [
            &["-q", "-p", policy],
            flags,
            &["--", "sh", "-c", script, "sh"],
        ]
        .concat();
        let ran = run(house.supervise(&arguments).arg(&data));
        let data = data.display().to_string();
        let mut left: Vec<String> = std::fs::read_dir(house.data.path())
            .expect("it is there")
            .map(|entry| format!("{:?}", entry.expect("readable").file_name()))
            .collect();
        left.sort();
        let text = format!("{ran}\n{left:?}").replace(&data, "DATA");
        text.replace(&house.workspace.path().display().to_string(), "HERE")
    };
    for added in [
        "",
        "fs.deny_write = [\"$PWD/**/*.none\"]",
        "fs.deny = [\"$PWD/secret\"]",
    ] {
        let without = said(added, &[]);
        assert!(without.contains("moved"), "{without}");
        assert_eq!(said(added, &["--trace"]), without, "{added}");
    }
}

#[test]
fn a_run_that_cannot_be_traced_does_not_start() {
    require!(feature::listener());
    let house = House::new();
    let ran = run_without_listener(&mut house.supervise(&["--trace", "--", "true"]));
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains("nothing can be traced"), "{ran}");
}
