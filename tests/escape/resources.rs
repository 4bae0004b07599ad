//! More of everything than there is, and living on afterwards.

use crate::harness::process::{eventually_gone, is_alive, marked};
use crate::harness::run::{eventually, eventually_reads, run};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene};
use std::time::Duration;

fn limited(limits: &str) -> Scene {
    Scene::under(&format!("{POLICY}[limits]\n{limits}\n"))
}

/// `N then ERROR`, as the probe says how far it came.
#[track_caller]
fn stopped_at(answer: &str) -> (u64, &str) {
    let words = answer
        .strip_prefix("ok ")
        .and_then(|words| words.split_once(" then "));
    let (count, error) = words.unwrap_or_else(|| panic!("it was not stopped: {answer}"));
    (count.parse().expect("a number"), error)
}

#[test]
fn tasks_are_no_more_than_the_policy_says() {
    require!(feature::listener());
    for (act, most) in [("fork 200", 20), ("threads 200", 20)] {
        let scene = limited("processes = 20");
        let performed = scene.perform(act);
        let (count, error) = stopped_at(performed.answers()[0]);
        assert!(count < most && count > 10, "{act}: {count}");
        assert_eq!(error, "EAGAIN", "{act}");
        let refused: Vec<_> = performed
            .records
            .iter()
            .filter(|record| record["answer"] == "refused")
            .collect();
        assert!(!refused.is_empty(), "{act}");
        assert!(
            refused.iter().all(|record| record["errno"] == "EAGAIN"),
            "{refused:#?}"
        );
        assert!(
            run(&mut scene.unconfined(&act.replace("fork", "fork-wait").replace("200", "60")))
                .stdout
                .starts_with("ok 60")
        );
    }
    // Tasks that ended count no longer.
    let performed = limited("processes = 20").perform("fork-wait 200");
    assert_eq!(performed.answers(), ["ok 200"], "{}", performed.ran);
}

#[test]
fn a_bomb_of_processes_is_held_and_gone_with_its_session() {
    require!(feature::listener());
    let scene = limited("processes = 40\nwall = \"2s\"");
    let mark = format!("bomb-{}", std::process::id());
    let script = format!("b() {{ b | b & }}; : {mark}; b; sleep 1000");
    let ran = run(&mut scene.supervise(&["sh", "-c", &script])).expect_code(124);
    assert!(ran.took < Duration::from_secs(40), "{:?}", ran.took);
    eventually("all of it was gone", || marked(&mark).is_empty());
    // Everybody else could make processes meanwhile: this one did.
}

#[test]
fn memory_files_and_descriptors_are_no_more_than_the_policy_says() {
    let performed = limited("memory = \"64MiB\"").perform("eat 200");
    let (mebibytes, error) = stopped_at(performed.answers()[0]);
    assert!(
        mebibytes < 64 && error == "ENOMEM",
        "{mebibytes} then {error}"
    );

    let scene = limited("file_size = \"1MiB\"");
    let performed = scene.perform("ignore 25 -- fill {W}/sub/large -- truncate {W}/sub/mine 2000000 -- fallocate {W}/sub/more 2000000");
    assert_eq!(
        performed.answers(),
        ["ok", "errno EFBIG", "errno EFBIG", "errno EFBIG"]
    );
    let size = std::fs::metadata(scene.work().join("sub/large"))
        .expect("it was made")
        .len();
    assert_eq!(size, 1 << 20);

    let performed = limited("open_files = 32").perform("open-many 100 -- setrlimit 7 1000 1000");
    let answers = performed.answers();
    let (count, error) = stopped_at(answers[0]);
    assert!(count < 32 && error == "EMFILE", "{count} then {error}");
    assert_eq!(answers[1], "errno EPERM");
    let unlimited = run(&mut Scene::new().unconfined("eat 80 -- open-many 40"));
    assert_eq!(unlimited.lines(), ["ok 80", "ok 40"]);
}

#[test]
fn limits_are_not_raised_or_shed() {
    let scene =
        limited("memory = \"64MiB\"\nopen_files = 32\nfile_size = \"1MiB\"\ncpu = \"100s\"");
    // RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_NOFILE, RLIMIT_CORE; and the one that is the session's tag, to any value.
    let acts = "prlimit 0 0 -1 -1 -- prlimit 0 1 -1 -1 -- prlimit 0 2 -1 -1 -- prlimit 0 7 4096 4096 -- prlimit 0 4 -1 -1 -- prlimit 0 15 -1 -1 -- prlimit 0 15 1 1 -- setrlimit 15 1 1 -- setrlimit 15 -1 -1";
    let performed = scene.perform(acts);
    assert_eq!(performed.answers(), ["errno EPERM"; 9]);
}

#[test]
fn time_on_the_processor_is_no_more_than_the_policy_says() {
    let scene = limited("cpu = \"1s\"");
    let ran = scene.perform("burn 30").ran;
    assert!([128 + libc::SIGXCPU, 137].contains(&ran.code()), "{ran}");
    assert!(ran.took < Duration::from_secs(20), "{:?}", ran.took);
    // Also when it does not care.
    let ran = scene.perform("ignore 24 -- burn 30").ran;
    assert_eq!(ran.code(), 137, "{ran}");
}

#[test]
fn a_supervisor_out_of_descriptors_refuses_and_goes_on() {
    // The caller's own limit is the supervisor's, too.
    let scene = Scene::under(&format!("{POLICY}[net]\nunix = [\"{{W}}/ok.sock\"]\n"));
    let inside = scene.inside("connections 300 -- fchmodat {W}/sub/mine 640 -- fchmodat {W}/secret/key 777 -- read {W}/secret/key");
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
        .arg(inside.get_program())
        .args(inside.get_args())
        .current_dir(scene.work());
    for (name, value) in inside.get_envs() {
        shell.env(name, value.expect("set"));
    }
    let ran = run(&mut shell);
    let answers = ran.lines();
    stopped_at(answers[0]);
    assert_eq!(answers[2..], ["errno EACCES", "errno EACCES"], "{ran}");
    assert!(["ok", "errno EACCES"].contains(&answers[1]), "{ran}");
    assert_eq!(scene.events("end").len(), 1, "it ended in order");
}

#[test]
fn whoever_ignores_the_polite_signal_is_ended_all_the_same() {
    let scene = Scene::new();
    let mut running = scene
        .start("daemonize {W}/sub/pid -- ignore TERM -- ignore INT -- ignore HUP -- pid -- linger");
    running.until_it_says("ok\nok\nok\nok\nok ");
    let pid: i32 = eventually_reads(&scene.work().join("sub/pid"))
        .parse()
        .expect("a pid");
    assert!(is_alive(pid));
    running.signal(nix::sys::signal::SIGKILL);
    eventually_gone(&[pid]);
}
