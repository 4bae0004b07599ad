//! Programs as they are installed.

use crate::harness::built;
use crate::harness::run::run;
use crate::harness::{feature, require};
use crate::{GIVEN, Preloaded, REFUSED, python};

#[test]
fn a_program_reads_what_is_given() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let file = sandbox.given("a");
    let ran = sandbox.run(&["cat", &file]);
    assert_eq!(ran.lines(), [GIVEN]);
    assert_eq!(sandbox.questions(), 1);
    // It is the library that does it.
    sandbox.says("none");
    let ran = sandbox.run(&["cat", &file]).expect_code(1);
    assert!(ran.stderr.contains(REFUSED), "{ran}");
}

#[test]
fn what_is_refused_stays_refused() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let secret = sandbox.house.path("secret");
    for file in [
        sandbox.given("denied").as_str(),
        secret.to_str().expect("text"),
    ] {
        let ran = sandbox.run(&["cat", file]).expect_code(1);
        assert!(ran.stderr.contains(REFUSED), "{ran}");
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(sandbox.questions(), 2);
}

#[test]
fn what_is_not_there_is_not_asked_for() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let ran = sandbox
        .run(&["cat", &sandbox.given("nothing")])
        .expect_code(1);
    assert!(ran.stderr.contains("No such file or directory"), "{ran}");
    assert_eq!(sandbox.questions(), 0);
}

#[test]
fn what_is_permitted_is_not_asked_for() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let ran = sandbox.shell("echo one > own; cat own /etc/hostname > /dev/null; cat own");
    assert_eq!(ran.lines(), ["one"]);
    // Nor what needs no permission.
    let file = sandbox.given("a");
    let ran = sandbox.shell(&format!(
        "stat -c %F {file}; test -r {file} && echo readable"
    ));
    assert_eq!(ran.lines(), ["regular file", "readable"]);
    assert_eq!(sandbox.questions(), 0, "{:?}", sandbox.house.decisions());
}

#[test]
fn without_a_way_to_the_supervisor_a_program_runs_as_without_the_library() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let file = sandbox.given("a");
    for lost in [
        "unset SUPERVISE",
        "unset SUPERVISE_FD SUPERVISE_SOCKET",
        "exec 3>&-; unset SUPERVISE_SOCKET",
        "SUPERVISE_FD=9x SUPERVISE_SOCKET=/nowhere",
    ] {
        let ran = sandbox.shell(&format!(
            "export SUPERVISE_FD SUPERVISE_SOCKET; {lost}; echo on; cat {file}"
        ));
        assert_eq!(ran.code(), 1, "{lost}: {ran}");
        assert_eq!(ran.stdout, "on\n", "{lost}: {ran}");
        assert!(ran.stderr.contains(REFUSED), "{lost}: {ran}");
    }
    assert_eq!(sandbox.questions(), 0);
    // Nor does it do anything outside.
    let mut outside = std::process::Command::new("cat");
    outside.arg(&file).env("LD_PRELOAD", built::preload());
    assert_eq!(run(&mut outside).lines(), [GIVEN]);
}

#[test]
fn a_shell_redirects_to_and_from_what_is_given() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let (file, made) = (sandbox.given("a"), sandbox.given("made"));
    let script = format!(
        "read line < {file}; echo \"$line\"
echo first > {made}; echo second >> {made}; (echo third) >> {made}
wc -l < {made}
set -C; echo fourth > {made}"
    );
    let ran = sandbox.shell(&script);
    let lines: Vec<&str> = ran.stdout.lines().map(str::trim).collect();
    assert_eq!(lines, [GIVEN, "3"], "{ran}");
    assert_eq!(sandbox.reads("made"), "first\nsecond\nthird\n");
    assert_ne!(ran.code(), 0, "the file was there: {ran}");
}

#[test]
fn python_opens_what_is_given() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "print(open(given + 'a').read(), end='')
with open(given + 'made', 'w') as file: file.write('one ')
with open(given + 'made', 'a') as file: file.write('two')
print(open(given + 'made', 'r+b').read())
for name, mode in ('denied', 'r'), ('denied', 'w'), ('made', 'x'), ('directory', 'r'), ('directory', 'w'):
    try: open(given + name, mode); print('opened', name)
    except OSError as error: print(type(error).__name__)",
    );
    let expected = [
        GIVEN,
        "b'one two'",
        "PermissionError",
        "PermissionError",
        "FileExistsError",
        "IsADirectoryError",
        "IsADirectoryError",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(sandbox.reads("denied"), "denied\n");
}
