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
    require!(feature::asking_by_name());
    // The caller's own limit is the supervisor's, too.
    let scene = Scene::under(&format!("{POLICY}[net]\nunix = [\"{{W}}/ok.sock\"]\n"));
    let acts = "connections 300 -- fchmodat {W}/sub/mine 640 -- fchmodat {W}/secret/key 777 -- read {W}/secret/key";
    let ran = run(&mut with_descriptors(64, &scene, acts));
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

#[test]
fn memory_is_counted_where_a_process_has_it_for_itself() {
    // Also what was left behind by moving it.
    let performed = limited("memory = \"64MiB\"").perform("eat-remapped 200");
    let (mebibytes, error) = stopped_at(performed.answers()[0]);
    assert!(
        mebibytes < 33 && error == "ENOMEM",
        "{mebibytes} then {error}"
    );
    // What is shared counts for nobody; what is a file is as large as a file may be, wherever it is.
    let performed = limited("memory = \"64MiB\"").perform("eat-shared 100");
    assert_eq!(performed.answers(), ["ok 100"], "as README says");
    let scene = limited("memory = \"64MiB\"\nfile_size = \"8MiB\"");
    let shared = std::path::Path::new("/dev/shm").is_dir();
    let performed = scene.perform("ignore 25 -- eat-memfd 100 -- fill {W}/sub/large");
    let answers = performed.answers();
    assert_eq!(stopped_at(answers[1]), (8, "EFBIG"));
    assert_eq!(answers[2], "errno EFBIG");
    if shared {
        let name = format!("/dev/shm/supervise-escape-{}", std::process::id());
        let text = std::fs::read_to_string(scene.policy_file()).expect("a policy");
        scene.policy(&text.replace("\nwrite = [", "\nwrite = [\"/dev/shm\", "));
        let performed = scene.perform(&format!("ignore 25 -- fill {name} -- unlink {name}"));
        assert_eq!(performed.answers(), ["ok", "errno EFBIG", "ok"]);
    }
    let unlimited = run(&mut Scene::new().unconfined("eat-remapped 40 -- eat-memfd 9"));
    assert_eq!(unlimited.lines(), ["ok 40", "ok 9"]);
}

/// As `scene.inside(acts)` where the caller has a limit of open files, which is the supervisor's, too.
fn with_descriptors(count: u32, scene: &Scene, acts: &str) -> std::process::Command {
    let inside = scene.inside(acts);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {count}; exec \"$@\""), "sh"])
        .arg(inside.get_program())
        .args(inside.get_args())
        .current_dir(scene.work());
    for (name, value) in inside.get_envs() {
        shell.env(name, value.expect("set"));
    }
    shell
}

#[test]
fn more_questions_than_there_are_descriptors_are_refused_and_nobody_after_them() {
    require!(feature::asking_by_name());
    let scene = Scene::new();
    let script = "#!/bin/sh\ncat >/dev/null\nwhile [ ! -s {O}/answer ]; do sleep 0.01; done\nexit $(cat {O}/answer)\n";
    let approver = scene.runtime.write("approver", scene.text(script));
    crate::harness::set_mode(&approver, 0o755);
    scene.policy(&format!(
        "{POLICY}[[request]]\npath = \"{{O}}/dir\"\naccess = [\"read\"]\ndecision = \"ask\"\n[[request]]\npath = \"{{O}}/file\"\naccess = [\"read\"]\ndecision = \"allow\"\n[broker]\napprover = {{ command = [\"{}\"] }}\ntimeout = \"50s\"\n",
        approver.display()
    ));
    let acts = "ask-at-once {O}/dir/file 40 {W}/sub/sent -- ask 1 {O}/file read -- fchmodat {W}/sub/mine 640 -- fchmodat {W}/secret/key 777 -- read {W}/secret/key";
    let running = crate::harness::run::start(&mut with_descriptors(64, &scene, acts));
    eventually("all of them were asked", || {
        scene.work().join("sub/sent").exists()
    });
    std::fs::write(scene.outside().join("answer"), "1").expect("a file");
    let ran = running.wait();
    let answers = ran.lines();
    let counts = answers[0].strip_prefix("ok ").expect("counts");
    for count in counts.split(' ') {
        let (word, _) = count.split_once('=').expect("a count");
        assert!(
            [
                "EACCES",
                "refused:ask_refused",
                "refused:denied",
                "refused:unavailable"
            ]
            .contains(&word),
            "{ran}"
        );
    }
    assert!(
        counts.contains("EACCES=") && counts.contains("ask_refused="),
        "{ran}"
    );
    assert_eq!(
        answers[1..],
        [
            "ok granted:HIT outside",
            "ok",
            "errno EACCES",
            "errno EACCES"
        ],
        "{ran}"
    );
    assert_eq!(scene.events("end").len(), 1, "it ended in order");
}

/// A disk of its own for `test`, which is run again for that, with room for 64 files. The disk is where `DISK` says.
const DISK: &str = "SUPERVISE_TEST_DISK";

fn with_disk(test: &str) {
    let place = crate::harness::Workspace::new();
    let script = "mount -t tmpfs -o size=256k,nr_inodes=64 none \"$0\" && exec \"$@\"";
    let unshared = |command: &[&std::ffi::OsStr]| {
        let mut unshare = std::process::Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare
            .args(["--mount", "sh", "-c", script])
            .arg(place.path())
            .args(command);
        unshare
    };
    let can = run(&mut unshared(&["true".as_ref()]));
    require!(match can.code() {
        0 => Ok(()),
        _ => Err(format!("no disk can be mounted here: {}", can.stderr)),
    });
    let own = std::env::current_exe().expect("a test knows its own file");
    let words = [
        own.as_os_str(),
        "--exact".as_ref(),
        test.as_ref(),
        "--nocapture".as_ref(),
    ];
    let ran = run(unshared(&words).env(DISK, place.path()));
    assert!(ran.stdout.contains("1 passed"), "{ran}");
}

#[test]
fn a_full_disk_is_the_programs_loss_alone() {
    let Some(disk) = std::env::var_os(DISK) else {
        return with_disk("resources::a_full_disk_is_the_programs_loss_alone");
    };
    let disk = std::path::PathBuf::from(disk);
    let full = disk.join("full");
    std::fs::create_dir(&full).expect("a directory");
    // Everything of the session is on the disk, the record as well.
    let scene = Scene::new();
    let text = std::fs::read_to_string(scene.policy_file()).expect("a policy");
    let write = format!("\nwrite = [\"{}\", ", full.display());
    scene.policy(&text.replace("\nwrite = [", &write));
    let fill = [
        format!("eat-files {} 1000", full.display()),
        format!("unlink {}/f1", full.display()),
        format!("fill {}/large", full.display()),
    ]
    .join(" -- ");
    let acts = format!(
        "{fill} -- fchmodat {{W}}/sub/mine 640 -- fchmodat {{W}}/secret/key 777 -- read {{W}}/secret/key -- write {}/more x",
        full.display()
    );
    let mut command = scene.inside(&acts);
    // The last word counts.
    command.env("TMPDIR", &disk).env("XDG_RUNTIME_DIR", &disk);
    let ran = run(&mut command);
    let answers = ran.lines();
    let (files, error) = stopped_at(answers[0]);
    assert!(files < 64 && error == "ENOSPC", "{files} then {error}");
    assert_eq!(
        answers[1..],
        [
            "ok",
            "errno ENOSPC",
            "ok",
            "errno EACCES",
            "errno EACCES",
            "errno ENOSPC"
        ],
        "{ran}"
    );
    assert_eq!(scene.events("end").len(), 1, "it ended in order");
}
