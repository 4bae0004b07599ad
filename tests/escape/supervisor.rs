//! The supervisor's own door: asked for more than may be had, asked badly, asked by others, and left waiting.

use crate::harness::built::probe;
use crate::harness::process::is_alive;
use crate::harness::run::{eventually, eventually_reads, run, start};
use crate::harness::{feature, require, set_mode};
use crate::scene::{POLICY, Scene, assert_unchanged};
use serde_json::Value;
use std::time::Duration;

/// One file may be asked for, in a directory that nothing else grants.
const ASKING: &str = r#"
[[request]]
path = "{O}/file"
access = ["read"]
decision = "allow"
[[request]]
path = "{O}/dir"
access = ["read"]
decision = "ask"
"#;

fn asking() -> Scene {
    Scene::under(&format!("{POLICY}{ASKING}"))
}

/// As above, and this program decides: it waits until `{O}/answer` is there, and exits with what it says.
fn approved_by(scene: &Scene, script: &str) {
    let approver = scene.runtime.write("approver", scene.text(script));
    set_mode(&approver, 0o755);
    scene.policy(&format!(
        "{POLICY}{ASKING}[broker]\napprover = {{ command = [\"{}\"] }}\ntimeout = \"20s\"\n",
        approver.display()
    ));
}

const WAITING_APPROVER: &str = "#!/bin/sh\ncat >{O}/question\nwhile [ ! -s {O}/answer ]; do sleep 0.01; done\nexit $(cat {O}/answer)\n";

#[test]
fn no_more_is_granted_than_may_be_asked_for() {
    require!(feature::asking_by_name());
    let scene = asking();
    let before = scene.snapshot();
    let acts = [
        "ask 1 {O}/file read",
        "ask 2 {O}/file write",
        "ask 3 {O}/file read write",
        "ask 4 {O}/filex read",
        "ask 5 {O}/file/x read",
        "ask 6 {O}/new write new",
        "ask 7 {W}/secret/key read",
        "ask 8 {W}/sub/../secret/key read",
        "ask 9 {W}/.git/hooks/pre-commit write",
        "ask 10 {W}/.git/hooks/post-commit write new",
        "ask 11 /etc/shadow read",
        "ask 12 /proc/self/mem read",
        "ask 13 /proc/1/environ read",
        "ask 14 /proc/self/root/etc/shadow read",
        "ask 15 /dev/mem read",
        "ask 16 {O}/dir/file read",
        "ask-named 17 {O}/file read",
        "ask-named 18 {W}/secret/key read",
        "ask 19 relative read",
    ];
    let performed = scene.perform(&acts.join(" -- "));
    let answers = performed.answers();
    assert_eq!(answers.len(), acts.len(), "{}", performed.ran);
    for (act, answer) in acts.iter().zip(&answers) {
        let granted = ["ask 1 ", "ask-named 17 "]
            .iter()
            .any(|first| act.starts_with(first));
        assert_eq!(
            answer.starts_with("ok granted:HIT outside"),
            granted,
            "{act}: {answer}"
        );
        assert!(
            granted || answer.starts_with("ok refused:"),
            "{act}: {answer}"
        );
    }
    assert_unchanged(&before, &scene.snapshot());
    let recorded = |word: &str| {
        performed
            .records
            .iter()
            .filter(|record| record["answer"] == word)
            .count()
    };
    assert_eq!(
        (recorded("granted"), recorded("refused")),
        (2, acts.len() - 2),
        "{:#?}",
        performed.records
    );
}

#[test]
fn links_and_aliases_are_granted_as_what_they_lead_to() {
    let scene = asking();
    let (work, outside) = (scene.work(), scene.outside());
    std::os::unix::fs::symlink(work.join("secret/key"), work.join("sub/link")).expect("a link");
    std::os::unix::fs::symlink(outside.join("file"), work.join("sub/good")).expect("a link");
    std::os::unix::fs::symlink("/etc/shadow", outside.join("dir/link")).expect("a link");
    let performed = scene.perform(
        "ask 1 {W}/sub/link read -- ask 2 {W}/sub/good read -- ask 3 {O}/dir/link read -- ask 4 {W}/sub/../.git/hooks/pre-commit write",
    );
    assert_eq!(
        performed.answers(),
        [
            "ok refused:denied",
            "ok granted:HIT outside",
            "ok refused:denied",
            "ok refused:denied"
        ]
    );
}

#[test]
fn bad_frames_end_or_are_answered_and_harm_nobody_else() {
    require!(feature::asking_by_name());
    let scene = asking();
    let deep = format!(
        "{{\"id\":1,\"kind\":\"open\",\"path\":{}",
        "[".repeat(20000)
    );
    let long = format!(
        "{{\"id\":1,\"kind\":\"open\",\"path\":\"/{}\",\"access\":[\"read\"]}}",
        "a".repeat(5000)
    );
    let twice = "{\"id\":1,\"id\":2,\"kind\":\"open\",\"path\":\"/x\",\"access\":[\"read\"]}";
    let nul = "{\"id\":1,\"kind\":\"open\",\"path\":\"/x\\u0000y\",\"access\":[\"read\"]}";
    let mut words = vec![probe().into_os_string()];
    for (act, argument) in [
        ("tell-bytes", "00000000"),
        ("tell-bytes", "ffffffff41414141"),
        ("tell-bytes", "00010001"),
        ("tell", "not json"),
        ("tell", "[]"),
        ("tell", "{}"),
        ("tell", &deep),
        ("tell", &long),
        ("tell", twice),
        ("tell", nul),
        (
            "tell",
            "{\"id\":1,\"kind\":\"open\",\"path\":\"/x\",\"access\":[]}",
        ),
        (
            "tell",
            "{\"id\":1,\"kind\":\"open\",\"path\":\"/x\",\"access\":[\"exec\"]}",
        ),
        ("tell", "{\"id\":1,\"kind\":\"shutdown\"}"),
        (
            "tell",
            "{\"v\":99,\"id\":1,\"kind\":\"open\",\"path\":\"/x\",\"access\":[\"read\"]}",
        ),
        (
            "tell",
            "{\"id\":-1,\"kind\":\"open\",\"path\":\"/x\",\"access\":[\"read\"]}",
        ),
        (
            "tell",
            "{\"id\":1,\"kind\":\"granted\",\"decision\":\"granted\",\"fds\":1}",
        ),
        ("tell-bytes", "0000000541"),
    ]
    .into_iter()
    .filter(|(_, argument)| *argument != "0000000541")
    {
        words.extend([act.into(), argument.into(), "--".into()]);
    }
    for word in scene.words("ask 1 {O}/file read") {
        words.push(word.into());
    }
    let ran = run(&mut scene.supervise(&words));
    let answers = ran.lines();
    let (last, bad) = answers.split_last().expect("answers");
    assert_eq!(*last, "ok granted:HIT outside", "{ran}");
    for answer in &bad[..3] {
        assert!(
            ["ok closed", "ok refused:bad_request"].contains(answer),
            "{ran}"
        );
    }
    for answer in &bad[3..] {
        assert!(
            ["ok refused:bad_request", "ok refused:unsupported"].contains(answer),
            "{answer}: {ran}"
        );
    }
}

#[test]
fn who_asks_is_the_kernels_word() {
    require!(feature::asking_by_name());
    let scene = asking();
    let claims = "{\"id\":7,\"kind\":\"open\",\"path\":\"{O}/file\",\"access\":[\"read\"],\"pid\":1,\"uid\":0,\"session\":\"x\"}";
    let plain = "{\"id\":7,\"kind\":\"open\",\"path\":\"{O}/file\",\"access\":[\"read\"]}";
    let words = [
        probe().into_os_string(),
        "tell".into(),
        scene.text(claims).into(),
        "--".into(),
        "tell".into(),
        scene.text(plain).into(),
        "--".into(),
        "pid".into(),
    ];
    let ran = run(&mut scene.supervise(&words));
    let answers = ran.lines();
    assert_eq!(
        answers[..2],
        ["ok refused:bad_request", "ok granted:HIT outside"]
    );
    let pid: i64 = answers[2]
        .strip_prefix("ok ")
        .expect("a pid")
        .parse()
        .expect("a number");
    for record in scene.records() {
        assert_eq!(record["pid"], pid, "{record}");
        assert_eq!(record["uid"], nix::unistd::geteuid().as_raw(), "{record}");
    }
}

#[test]
fn an_id_is_used_once() {
    require!(feature::asking_by_name());
    let scene = asking();
    let plain =
        scene.text("{\"id\":7,\"kind\":\"open\",\"path\":\"{O}/file\",\"access\":[\"read\"]}");
    let words = [probe().into_os_string(), "tell-twice".into(), plain.into()];
    let ran = run(&mut scene.supervise(&words));
    assert_eq!(ran.lines(), ["ok granted:HIT outside refused:replayed"]);
}

#[test]
fn half_a_frame_holds_up_nobody() {
    require!(feature::asking_by_name());
    let scene = asking();
    // Two bytes of a length on one connection, half a text on another; and on the one that everybody inherited, by a process
    // that lives on.
    let performed = scene.perform(
        "half 0000 -- half 00000040 -- half 000000407b226964 -- ask-named 1 {O}/file read -- half-inherited 0000 -- ask-named 2 {O}/file read -- fchmodat {W}/sub/mine 640 -- fchmodat {W}/secret/key 640",
    );
    assert_eq!(
        performed.answers(),
        [
            "ok",
            "ok",
            "ok",
            "ok granted:HIT outside",
            "ok",
            "ok granted:HIT outside",
            "ok",
            "errno EACCES"
        ]
    );
}

#[test]
fn half_a_frame_of_one_process_is_no_part_of_anothers() {
    let scene = asking();
    let probe = probe();
    let script = scene.text(
        "\"$0\" half-inherited 000000407b; exec \"$0\" ask 5 {O}/file read -- ask 6 {O}/file read",
    );
    let ran = run(&mut scene.supervise(&["sh", "-c", &script, probe.to_str().expect("UTF-8")]));
    // The half is answered as such, to whoever reads first; then everything is in its place.
    let lines = ran.lines();
    assert_eq!(lines[0], "ok");
    assert!(
        lines[1..]
            .iter()
            .all(|line| ["ok refused:bad_request", "ok granted:HIT outside"].contains(line)),
        "{ran}"
    );
    assert!(ran.stdout.contains("granted"), "{ran}");
}

#[test]
fn many_connections_are_bounded_and_the_rest_goes_on() {
    let scene = asking();
    let performed = scene.perform("connections 1000 -- fchmodat {W}/sub/mine 640 -- ask 1 {O}/file read -- fchmodat {W}/secret/key 640");
    let answers = performed.answers();
    assert!(answers[0].starts_with("ok "), "{}", performed.ran);
    assert_eq!(
        answers[1..],
        ["ok", "ok granted:HIT outside", "errno EACCES"],
        "{}",
        performed.ran
    );
}

#[test]
fn a_descendant_without_any_descriptor_asks_by_name() {
    require!(feature::asking_by_name());
    let scene = asking();
    let probe = probe();
    let script = scene.text("(setsid \"$0\" close-all -- ask 1 {O}/file read -- ask-named 2 {O}/file read -- ask-named 3 {W}/secret/key read >sub/said &); until [ \"$(grep -c . sub/said 2>/dev/null)\" = 4 ]; do sleep 0.01; done");
    run(&mut scene.supervise(&["sh", "-c", &script, probe.to_str().expect("UTF-8")]))
        .expect_code(0);
    let said = std::fs::read_to_string(scene.work().join("sub/said")).expect("it said something");
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(
        said,
        [
            "ok",
            "errno EBADF",
            "ok granted:HIT outside",
            "ok refused:denied"
        ]
    );
}

#[test]
fn nobody_else_reaches_a_session_by_its_name() {
    require!(feature::asking_by_name());
    let scene = asking();
    let (ready, go) = (scene.work().join("sub/ready"), scene.work().join("sub/go"));
    let running =
        scene.start("env -- touch-and-wait {W}/sub/ready {W}/sub/go -- ask-named 1 {O}/file read");
    eventually_reads(&ready);
    let sessions: Vec<_> = std::fs::read_dir(scene.runtime.join("supervise"))
        .expect("sessions")
        .filter_map(Result::ok)
        .collect();
    assert_eq!(sessions.len(), 1);
    let name = sessions[0].path().join("socket");
    assert!(
        !name.exists(),
        "there is nothing to squat, replace or connect to"
    );
    // By the same user, in no sandbox; in another; and with the name in the environment.
    let act = format!("connect-unix {}", name.display());
    let outside = run(&mut scene.unconfined(&act));
    assert_eq!(outside.lines(), ["errno ENOENT"]);
    let other = Scene::new();
    let performed = other.perform(&act);
    assert_ne!(performed.answers(), ["ok"], "{}", performed.ran);
    let mut disguised = other.inside("ask-named 1 {O}/file read -- env");
    disguised
        .env("SUPERVISE_SOCKET", &name)
        .env("SUPERVISE_FD", "3");
    let ran = run(&mut disguised);
    assert_eq!(
        ran.lines()[0],
        "ok refused:denied",
        "its own session answers: {ran}"
    );
    assert!(!ran.stdout.contains(name.to_str().expect("UTF-8")), "{ran}");
    std::fs::write(go, "").expect("a file");
    let ran = running.wait();
    assert_eq!(ran.lines()[2], "ok granted:HIT outside", "{ran}");
    // Nobody else's questions are in its record.
    assert_eq!(scene.records().len(), 1);
}

#[test]
fn a_descriptor_of_another_session_gives_nothing() {
    // A descendant of the one session inherits the other's connection: as when a caller passes on what it should not.
    let scene = asking();
    let own = crate::harness::built::supervise();
    let other = Scene::new();
    let probe = probe();
    let ask = scene.text("{O}/file");
    // The inner command is confined by both; its tag is the outer's, whose answer counts.
    scene.policy(
        &format!("{POLICY}{ASKING}")
            .replace("\"{P}\"", &format!("\"{{P}}\", \"{}\"", own.display())),
    );
    let directory = probe
        .parent()
        .expect("built somewhere")
        .display()
        .to_string();
    let words = [
        own.display().to_string(),
        "-q".into(),
        "--exec".into(),
        directory,
        "--".into(),
        probe.display().to_string(),
        "ask".into(),
        "1".into(),
        ask,
        "read".into(),
    ];
    let ran = run(scene.supervise(&words).env("HOME", other.runtime.path()));
    assert_eq!(ran.lines(), ["ok refused:denied"], "{ran}");
}

#[test]
fn what_is_granted_is_what_the_operator_was_shown() {
    let scene = asking();
    approved_by(&scene, WAITING_APPROVER);
    let outside = scene.outside();
    let link = scene.work().join("sub/link");
    std::os::unix::fs::symlink(outside.join("dir/file"), &link).expect("a link");
    std::fs::write(outside.join("dir/file"), "shown").expect("a file");
    let running = scene.start("ask 1 {W}/sub/link read");
    let question: Value =
        serde_json::from_str(&eventually_reads(&outside.join("question"))).expect("JSON");
    assert!(
        question.to_string().contains(&scene.text("{O}/dir/file")),
        "{question}"
    );
    // While the operator reads: the link leads elsewhere, and the name is another file's.
    std::fs::remove_file(&link).expect("it is there");
    std::os::unix::fs::symlink(scene.work().join("secret/key"), &link).expect("a link");
    std::fs::rename(outside.join("dir/file"), outside.join("dir/old")).expect("it is there");
    std::fs::write(outside.join("dir/file"), "HIT another").expect("a file");
    std::fs::write(outside.join("answer"), "0").expect("a file");
    let ran = running.wait();
    assert_eq!(ran.lines(), ["ok granted:shown"], "{ran}");
}

#[test]
fn a_question_that_waits_holds_up_nobody_and_a_no_is_a_no() {
    require!(feature::asking_by_name());
    let scene = asking();
    approved_by(&scene, WAITING_APPROVER);
    let probe = probe();
    let script = scene.text(
        "\"$0\" ask-named 1 {O}/dir/file read >sub/asked & while [ ! -s {W}/sub/go ]; do sleep 0.01; done; \"$0\" ask-many {O}/file 100 -- fchmodat {W}/sub/mine 640; echo done; wait; cat sub/asked",
    );
    let mut running =
        start(&mut scene.supervise(&["sh", "-c", &script, probe.to_str().expect("UTF-8")]));
    eventually_reads(&scene.outside().join("question"));
    std::fs::write(scene.work().join("sub/go"), "x").expect("a file");
    running.until_it_says("ok 100\nok\ndone\n");
    std::fs::write(scene.outside().join("answer"), "1").expect("a file");
    assert_eq!(running.wait().lines()[3], "ok refused:ask_refused");
}

#[test]
fn an_approver_that_dies_or_says_nothing_means_no() {
    for script in [
        "#!/bin/sh\nkill -9 $$\n",
        "#!/bin/sh\nexit 77\n",
        "#!/nowhere/interpreter\n",
    ] {
        let scene = asking();
        approved_by(&scene, script);
        let performed = scene.perform("ask 1 {O}/dir/file read -- ask 2 {O}/file read");
        let answers = performed.answers();
        assert!(
            answers[0].starts_with("ok refused:"),
            "{script}: {answers:?}"
        );
        assert_eq!(answers[1], "ok granted:HIT outside", "{script}");
    }
    let scene = asking();
    approved_by(&scene, "#!/bin/sh\nexec sleep 1000\n");
    let text = std::fs::read_to_string(scene.policy_file())
        .expect("a policy")
        .replace("20s", "300ms");
    scene.policy(&text);
    let performed = scene.perform("ask 1 {O}/dir/file read");
    assert_eq!(performed.answers(), ["ok refused:ask_timeout"]);
    assert!(performed.ran.took < Duration::from_secs(30));
}

#[test]
fn an_operator_who_is_not_asked_has_not_agreed() {
    // No approver at all.
    let performed = asking().perform("ask 1 {O}/dir/file read");
    assert!(
        performed.answers()[0].starts_with("ok refused:"),
        "{}",
        performed.ran
    );
}

#[test]
fn a_claim_of_a_program_that_is_gone_leaves_nothing() {
    let scene = asking();
    approved_by(
        &scene,
        &WAITING_APPROVER.replace(
            "cat >{O}/question",
            "echo $$ >{O}/approver; cat >{O}/question",
        ),
    );
    let running = scene.start("ask 1 {O}/dir/file read");
    eventually_reads(&scene.outside().join("question"));
    let approver: i32 = eventually_reads(&scene.outside().join("approver"))
        .trim()
        .parse()
        .expect("a pid");
    running.signal(nix::sys::signal::SIGTERM);
    assert_eq!(running.wait().code(), 128 + 15);
    eventually("the approver was ended, too", || !is_alive(approver));
    let granted = scene
        .records()
        .iter()
        .filter(|record| record["answer"] == "granted")
        .count();
    assert_eq!(granted, 0);
}

#[test]
fn a_flood_of_trapped_calls_starves_nobody() {
    require!(feature::listener());
    let scene = asking();
    let probe = probe();
    let script = scene.text(
        "for i in 1 2 3 4 5 6 7 8; do \"$0\" race-chmod {W}/secret/key {W}/secret/kex 777 2000 >/dev/null & done; \"$0\" ask-many {O}/file 200 -- fchmodat {W}/sub/mine 640 -- fchmodat {W}/secret/key 777; wait",
    );
    let before = std::fs::metadata(scene.work().join("secret/key")).expect("it is there");
    let ran = run(&mut scene.supervise(&["sh", "-c", &script, probe.to_str().expect("UTF-8")]));
    assert_eq!(ran.lines(), ["ok 200", "ok", "errno EACCES"], "{ran}");
    let after = std::fs::metadata(scene.work().join("secret/key")).expect("it is there");
    assert_eq!(before.permissions(), after.permissions());
}

#[test]
fn storms_of_processes_are_served() {
    let scene = Scene::under(&format!("{POLICY}[limits]\nprocesses = 50\n"));
    let performed = scene.perform("fork-wait 2000");
    assert_eq!(performed.answers(), ["ok 2000"]);
    let ran = run(&mut scene.supervise(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 300 ]; do /bin/true || exit 1; i=$((i+1)); done",
    ]));
    assert_eq!(ran.code(), 0, "{ran}");
}

#[test]
fn the_record_of_an_attack_is_whole() {
    let scene = asking();
    let name = "x\n{\"seq\":0,\"event\":\"end\"}\u{1b}[2J\u{202e}";
    let absent = scene.outside().join(name);
    let mut words = vec![probe().into_os_string()];
    for number in 1..50 {
        words.extend(["ask".into(), number.to_string().into()]);
        words.extend([absent.clone().into_os_string(), "read".into(), "--".into()]);
        words.extend(["fchmodat".into(), absent.clone().into_os_string()]);
        words.extend(["777".into(), "--".into()]);
    }
    words.push("pid".into());
    run(&mut scene.supervise(&words)).expect_code(0);
    let verify = |file: &std::path::Path| {
        let mut command = std::process::Command::new(crate::harness::built::supervise());
        run(command.args(["audit", "verify"]).arg(file)).code()
    };
    assert_eq!(verify(&scene.audit_file()), 0);
    let text = std::fs::read(scene.audit_file()).expect("a record");
    assert!(!text.contains(&0x1b), "nothing in it speaks to a terminal");
    let mut changed = text.clone();
    changed[text.len() / 2] ^= 1;
    let file = scene.runtime.write("changed", changed);
    assert_ne!(verify(&file), 0);
}
