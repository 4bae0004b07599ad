//! Programs that know nothing of the supervisor: what is granted on request they get by opening it.

use crate::harness::run::{Ran, eventually, eventually_reads, run, start};
use crate::harness::{feature, require};
use crate::house::House;
use serde_json::Value;

fn sh(house: &House, options: &[&str], script: &str) -> Ran {
    run(house
        .supervise(options)
        .args(["sh", "-c", script])
        .env("LC_ALL", "C"))
}

/// What the calls of the programs led to, as `answer path` below the house.
fn told(house: &House) -> Vec<String> {
    let top = format!("{}/", house.workspace.path().display());
    let line = |decision: Value| {
        let path = decision["path"].as_str()?.strip_prefix(&top)?;
        Some(format!("{} {path}", decision["answer"].as_str()?))
    };
    house.calls().into_iter().filter_map(line).collect()
}

#[test]
fn what_a_request_would_get_an_open_gets() {
    require!(feature::listener());
    let house = House::new();
    let script = "cat ../given/a; echo made > ../given/new; cat ../given/new; cat ../given/denied; cat ../secret; cat ../asked/a";
    let ran = sh(&house, &[], script);
    assert_eq!(ran.stdout, "a file that is given\nmade\n", "{ran}");
    let refused = ran.stderr.matches("Permission denied").count();
    assert_eq!(refused, 3, "{ran}");
    assert_eq!(
        told(&house),
        [
            "refused given/denied",
            "refused secret",
            "asked asked/a",
            "refused asked/a"
        ],
        "{ran}"
    );
    let made = std::fs::read_to_string(house.path("given/new"));
    assert_eq!(made.expect("made"), "made\n");
}

#[test]
fn a_link_leads_from_what_the_kernel_grants_to_what_it_does_not() {
    require!(feature::listener());
    let house = House::new();
    let script = "mkdir dir; echo own > dir/own; ln -s own dir/to-own; ln -s ../../given dir/to-given; ln -s to-given/a dir/a
        cd dir; for path in own to-own $PWD/to-own ../dir/own to-given/a $PWD/to-given/a a $PWD/../dir/a; do cat $path; done
        echo new > to-given/new && cat ../../given/new; ln -s to-given/later later; echo later > later; cat ../../given/later
        cat to-given/denied to-given/nothing";
    let ran = sh(&house, &[], script);
    let (own, given) = ("own\n", "a file that is given\n");
    let expected = [&own.repeat(4), &given.repeat(4), "new\nlater\n"].concat();
    assert_eq!(ran.stdout, expected, "{ran}");
    let refused = ["denied: Permission denied", "nothing: No such file"];
    assert!(
        refused.iter().all(|said| ran.stderr.contains(said)),
        "{ran}"
    );
    assert_eq!(told(&house), ["refused given/denied"], "{ran}");
}

#[test]
fn somebody_is_asked_and_the_answer_is_an_open_file() {
    require!(feature::listener());
    let house = House::new();
    let approver = house.approver("grep -q asked/a");
    let options = ["--approver", approver.to_str().expect("text")];
    house.workspace.write("asked/other", "never shown\n");
    let ran = sh(&house, &options, "cat ../asked/a; cat ../asked/other");
    assert_eq!(ran.stdout, "a file that is asked for\n", "{ran}");
    assert_eq!(
        told(&house),
        [
            "asked asked/a",
            "granted asked/a",
            "asked asked/other",
            "refused asked/other"
        ],
        "{ran}"
    );
}

fn mode(house: &House, name: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    let found = house.path(name).metadata().expect("it is there");
    found.permissions().mode() & 0o7777
}

#[test]
fn a_change_is_made_when_somebody_agreed_to_it() {
    require!(feature::listener());
    let house = House::new();
    let approver = house.approver("grep -q 'changed/a.*\"call\":\"fchmodat\"'");
    let options = ["--approver", approver.to_str().expect("text")];
    let script = "chmod 600 ../changed/a && echo changed; touch -c -d @1 ../changed/a || chmod 600 ../changed/b || chmod 4755 ../changed/a || echo kept";
    let ran = sh(&house, &options, script);
    assert_eq!(ran.stdout, "changed\nkept\n", "{ran}");
    assert_eq!(
        (mode(&house, "changed/a"), mode(&house, "changed/b")),
        (0o600, 0o640)
    );
    assert_eq!(
        told(&house),
        [
            "asked changed/a",
            "granted changed/a",
            "asked changed/a",
            "refused changed/a",
            "asked changed/b",
            "refused changed/b",
            // Nobody is asked about what is never done.
            "refused changed/a"
        ],
        "{ran}"
    );
}

#[test]
fn what_is_changed_is_what_the_question_was_about() {
    require!(feature::listener());
    let house = House::new();
    let changed = house.path("changed").display().to_string();
    let script = format!("cd {changed}; mv a before; echo other >a; chmod 640 a");
    let approver = house.approver(&script);
    let options = ["--approver", approver.to_str().expect("text")];
    let ran = sh(&house, &options, "chmod 600 ../changed/a && echo changed");
    assert_eq!(ran.stdout, "changed\n", "{ran}");
    assert_eq!(
        (mode(&house, "changed/before"), mode(&house, "changed/a")),
        (0o600, 0o640)
    );
}

#[test]
fn each_change_counts_whatever_it_changes() {
    require!(feature::listener());
    let house = House::new();
    let script = "chmod 600 ../counted/a && echo once; chmod 644 ../counted/a || mkdir ../counted/d || rm ../counted/a || echo kept";
    let ran = sh(&house, &["--approver", "allow"], script);
    assert_eq!(ran.stdout, "once\nkept\n", "{ran}");
    assert_eq!(mode(&house, "counted/a"), 0o600);
    assert!(!house.path("counted/d").exists());
    assert_eq!(
        told(&house),
        [
            "granted counted/a",
            "refused counted/a",
            "refused counted/d",
            "refused counted/a"
        ],
        "{ran}"
    );
}

#[test]
fn a_pending_question_delays_no_other_open() {
    require!(feature::listener());
    let house = House::new();
    let go = house.path("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    let approver = house.approver(&script);
    let options = ["--approver", approver.to_str().expect("text")];
    let script = "cat ../asked/a & for i in 1 2 3 4 5 6 7 8 9; do cat ../given/a; done > done; mv done all-done; wait";
    let mut command = house.supervise(&options);
    let running = start(command.args(["sh", "-c", script]));
    eventually("the others are served", || {
        house.path("work/all-done").exists()
    });
    let all = std::fs::read_to_string(house.path("work/all-done")).expect("it is there");
    assert_eq!(all.lines().count(), 9);
    assert!(!told(&house).iter().any(|line| line == "granted asked/a"));
    house.workspace.write("go", "");
    let ran = running.wait();
    assert_eq!(ran.stdout, "a file that is asked for\n", "{ran}");
}

#[test]
fn an_approver_ends_with_the_supervisor_that_asked_it() {
    require!(feature::listener());
    let house = House::new();
    // It says who it is, and then considers the question for ever.
    let script = format!(
        "echo $$ > {}\nwhile :; do sleep 1; done",
        house.path("who").display()
    );
    let approver = house.approver(&script);
    let options = ["--approver", approver.to_str().expect("text")];
    let running = start(house.supervise(&options).args(["cat", "../asked/a"]));
    let number = eventually_reads(&house.path("who"));
    let number = number.trim().parse().expect("a number");
    let process = sys::pidfd::Pidfd::open(number).expect("it runs");
    running.signal(nix::sys::signal::Signal::SIGKILL);
    eventually("it has ended", || {
        process.has_exited().expect("it can be asked")
    });
    running.wait();
}

#[test]
fn a_program_that_is_interrupted_does_not_wait_for_the_answer() {
    require!(feature::listener());
    require!(crate::doors::python());
    let house = House::new();
    let who = house.path("who");
    let approver = house.approver(&format!(
        "echo $$ > {}\nwhile :; do sleep 1; done",
        who.display()
    ));
    let options = ["--approver", approver.to_str().expect("text")];
    // The handler ends the program, once somebody is asked.
    let program = "import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: sys.exit(3))
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)
open('../asked/a')";
    let script = house.workspace.write("work/ask.py", program);
    let ran = run(house
        .supervise(&options)
        .arg("/usr/bin/python3")
        .arg(&script));
    assert_eq!(ran.code(), 3, "{ran}");
    // The question is withdrawn, and whoever considered it is gone.
    let number = eventually_reads(&who);
    let number = number.trim().parse().expect("a number");
    assert!(
        sys::pidfd::Pidfd::open(number).is_err(),
        "the approver has ended"
    );
    let told = told(&house);
    assert_eq!(
        told.first().map(String::as_str),
        Some("asked asked/a"),
        "{told:?}"
    );
    assert!(!told.contains(&"granted asked/a".to_owned()), "{told:?}");
}

#[test]
fn what_must_be_new_is_not_opened_when_it_is_there() {
    require!(feature::listener());
    require!(crate::doors::python());
    let house = House::new();
    let program = "import os
for flags in os.O_WRONLY, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY:
    try:
        os.open('../changed/a', flags | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        print('there')";
    let script = house.workspace.write("work/new.py", program);
    let mut command = house.supervise(&["--approver", "allow"]);
    let ran = run(command.arg("/usr/bin/python3").arg(&script));
    assert_eq!(ran.stdout, "there\n".repeat(3), "{ran}");
    let kept = std::fs::read_to_string(house.path("changed/a"));
    assert_eq!(kept.expect("it is there"), "changed/a");
    assert!(told(&house).is_empty(), "{ran}");
}

#[test]
fn a_file_that_somebody_made_meanwhile_is_asked_about_and_opened() {
    require!(feature::listener());
    let house = House::new();
    let new = house.path("changed/new").display().to_string();
    let approver = house.approver(&format!("[ -e {new} ] || echo theirs >{new}"));
    let options = ["--approver", approver.to_str().expect("text")];
    let ran = sh(&house, &options, "echo ours >>../changed/new");
    assert_eq!(ran.stderr, "", "{ran}");
    let text = std::fs::read_to_string(&new).expect("it is there");
    assert_eq!(text, "theirs\nours\n");
    let asked = [
        "asked changed/new",
        "refused changed/new",
        "asked changed/new",
        "granted changed/new",
    ];
    assert_eq!(told(&house), asked, "{ran}");
}

#[test]
fn a_fifo_that_is_asked_about_waits_for_its_other_end() {
    require!(feature::listener());
    let house = House::new();
    let fifo = house.path("changed/fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a new name");
    let mut command = house.supervise(&["--approver", "allow"]);
    let running = start(command.args(["sh", "-c", "echo through >../changed/fifo"]));
    eventually("it was granted", || {
        house.path("audit.jsonl").exists()
            && told(&house).contains(&"granted changed/fifo".to_owned())
    });
    let text = std::fs::read_to_string(&fifo).expect("the reading end opens");
    let ran = running.wait();
    assert_eq!(text, "through\n", "{ran}");
    assert_eq!(ran.stderr, "", "{ran}");
    // Both ends below a rule that asks.
    let both = "cat ../changed/fifo >got & echo through >../changed/fifo; wait; cat got";
    let ran = sh(&house, &["--approver", "allow"], both);
    assert_eq!(ran.stdout, "through\n", "{ran}");
}

#[test]
fn a_file_is_made_under_the_umask_of_the_thread_that_makes_it() {
    require!(feature::listener());
    require!(crate::doors::python());
    let house = House::new();
    let program = "import ctypes, os, threading
os.umask(0o022)
def make():
    ctypes.CDLL(None).unshare(0x200)
    os.umask(0o027)
    os.close(os.open('../changed/new', os.O_WRONLY | os.O_CREAT, 0o666))
thread = threading.Thread(target=make)
thread.start()
thread.join()";
    let script = house.workspace.write("work/make.py", program);
    let mut command = house.supervise(&["--approver", "allow"]);
    run(command.arg("/usr/bin/python3").arg(&script)).expect_code(0);
    assert_eq!(mode(&house, "changed/new"), 0o640);
}
