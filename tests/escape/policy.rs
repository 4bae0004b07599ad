//! The policy itself, and the record: changed while it applies, odd as a file, wrong in its words, or widened by another.

use crate::harness::built::supervise;
use crate::harness::run::{Ran, eventually_reads, run};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene};
use std::path::PathBuf;

#[track_caller]
fn refused_policy(scene: &Scene, flags: &[PathBuf], word: &str) -> Ran {
    let ran = run(&mut scene.supervise_by(&supervise(), flags, &["touch", "sub/ran"]));
    assert_eq!(ran.code(), 125, "{ran}");
    assert!(ran.stderr.contains(word), "`{word}`? {ran}");
    assert!(!scene.work().join("sub/ran").exists());
    ran
}

#[test]
fn a_policy_that_is_edited_while_it_applies_changes_nothing() {
    require!(feature::asking_by_name());
    let scene = Scene::new();
    let (ready, go) = (scene.work().join("sub/ready"), scene.work().join("sub/go"));
    let running = scene.start("touch-and-wait {W}/sub/ready {W}/sub/go -- read {O}/file -- fchmodat {O}/file 777 -- ask-named 1 {O}/file read");
    eventually_reads(&ready);
    scene.policy("version = 1\n[fs]\nwrite = [\"/\"]\n");
    std::fs::write(go, "").expect("a file");
    let ran = running.wait();
    assert_eq!(
        ran.lines()[1..],
        ["errno EACCES", "errno EACCES", "ok refused:denied"],
        "{ran}"
    );
}

#[test]
fn the_policy_and_the_record_are_out_of_the_programs_reach() {
    let scene = Scene::new();
    // Both in the middle of what may be written.
    let (policy, record) = (
        scene.work().join("sub/policy.toml"),
        scene.work().join("sub/audit.jsonl"),
    );
    std::fs::copy(scene.policy_file(), &policy).expect("a copy");
    let mut words: Vec<std::ffi::OsString> = vec![crate::harness::built::probe().into()];
    let acts = "overwrite {W}/sub/policy.toml x -- append {W}/sub/policy.toml x -- unlink {W}/sub/policy.toml -- rename {W}/sub/mine {W}/sub/policy.toml -- rename {W}/sub {W}/other -- read {W}/sub/audit.jsonl -- append {W}/sub/audit.jsonl x -- truncate {W}/sub/audit.jsonl 0 -- unlink {W}/sub/audit.jsonl -- rename {W}/sub/mine {W}/sub/audit.jsonl -- link {W}/sub/audit.jsonl {W}/sub/deep/link -- fchmodat {W}/sub/audit.jsonl 666 -- hold {W}/sub/deep/mine r";
    words.extend(scene.words(acts).into_iter().map(Into::into));
    let mut command = std::process::Command::new(supervise());
    command
        .arg("-q")
        .arg("-p")
        .arg(&policy)
        .arg("--audit")
        .arg(&record)
        .arg("--")
        .args(&words)
        .current_dir(scene.work());
    command
        .env("XDG_RUNTIME_DIR", scene.runtime.path())
        .env("XDG_STATE_HOME", scene.runtime.join("state"))
        .env("TMPDIR", scene.runtime.join("tmp"));
    let before = std::fs::read(&policy).expect("it can be read");
    let ran = run(&mut command);
    if ran.code() == 125 {
        // To refuse such a place is as good.
        assert!(ran.stderr.contains("audit"), "{ran}");
        return;
    }
    let answers = ran.lines();
    let (last, refused) = answers.split_last().expect("answers");
    for answer in refused {
        assert!(["errno EACCES", "errno EXDEV"].contains(answer), "{ran}");
    }
    assert!(
        last.starts_with("ok"),
        "what lies elsewhere is as it was: {ran}"
    );
    assert_eq!(std::fs::read(&policy).expect("it is there"), before);
    let text = std::fs::read_to_string(&record).expect("it is there");
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{text}"
    );
    assert!(
        text.lines().last().expect("lines").contains("\"end\""),
        "{text}"
    );
}

#[test]
fn a_policy_is_a_plain_file_of_text() {
    let scene = Scene::new();
    let odd = |name: &str| scene.runtime.join(name);
    let with = |path: PathBuf| ["--policy".into(), path];
    std::os::unix::fs::symlink(scene.policy_file(), odd("link.toml")).expect("a link");
    refused_policy(&scene, &with(odd("link.toml")), "link.toml");
    nix::unistd::mkfifo(&odd("fifo.toml"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    refused_policy(&scene, &with(odd("fifo.toml")), "fifo.toml");
    let huge = std::fs::File::create(odd("huge.toml")).expect("a file");
    huge.set_len(1 << 30).expect("a sparse file");
    refused_policy(&scene, &with(odd("huge.toml")), "huge.toml");
    std::fs::write(odd("bytes.toml"), b"version = 1 # \xff\n").expect("a file");
    refused_policy(&scene, &with(odd("bytes.toml")), "UTF-8");
    refused_policy(&scene, &with("/dev/zero".into()), "/dev/zero");
    refused_policy(&scene, &with(scene.work()), "policy");
    refused_policy(&scene, &with(odd("none.toml")), "none.toml");
    std::fs::write(
        odd("up.toml"),
        "version = 1\nextends = [\"../../x.toml\"]\n",
    )
    .expect("a file");
    refused_policy(&scene, &with(odd("up.toml")), "climbs out");
}

#[test]
fn a_word_that_is_not_known_is_an_error_that_says_where() {
    for (text, word) in [
        ("[fs]\nalow_write = [\"{W}\"]\n", "alow_write"),
        ("[fs]\nwrit = [\"{W}\"]\n", "write"),
        ("[fss]\n", "fss"),
        ("[net]\nconect = [\"*:1\"]\n", "connect"),
        ("[net]\nconnect = [\"example.org:443\"]\n", "example.org"),
        ("[net]\nconnect = [\"0x7f.1:443\"]\n", "0x7f.1"),
        ("[net]\nconnect = [\"127.1:443\"]\n", "127.1"),
        ("[net]\nconnect = [\"*:99999\"]\n", "99999"),
        ("[limits]\nprocesses = -1\n", "range"),
        ("[process]\nkeep_caps = [\"SYS_ADMIN\"]\n", "SYS_ADMIN"),
        ("[fs]\nread = \"/etc\"\n", "array"),
        ("[fs]\nread = [\"relative/path\"]\n", "relative/path"),
        (
            "[fs]\nread = [\"$NOT_SET_ANYWHERE/x\"]\n",
            "NOT_SET_ANYWHERE",
        ),
        ("[fs]\nread = [\"$(id)\"]\n", "$("),
        ("[fs]\nread = [\"{W}/not/there\"]\n", "not/there"),
    ] {
        let scene = Scene::under(&format!("version = 1\n{text}"));
        let ran = refused_policy(&scene, &["--policy".into(), scene.policy_file()], word);
        assert!(ran.stderr.contains("policy.toml:"), "{ran}");
    }
}

#[test]
fn a_variable_with_hostile_text_stays_text() {
    let scene = Scene::under(
        &format!("{POLICY}[env]\npass = [\"HOSTILE\"]\n")
            .replace("\"/etc\"", "\"/etc\", \"$HOSTILE?\""),
    );
    for value in [
        "$(touch sub/ran)",
        "`touch sub/ran`",
        "/../../outside",
        "a\"]\nwrite = [\"/",
    ] {
        let ran = run(scene
            .inside("read {O}/file -- write {O}/new x")
            .env("HOSTILE", value));
        assert!(
            ran.code() == 125 || ran.lines() == ["errno EACCES", "errno EACCES"],
            "{value}: {ran}"
        );
        assert!(!scene.work().join("sub/ran").exists() && !scene.outside().join("new").exists());
    }
}

#[test]
fn a_further_policy_only_narrows() {
    let scene = Scene::new();
    let second = scene.runtime.join("second.toml");
    let wide = "version = 1\n[fs]\nwrite = [\"{W}\", \"{O}\"]\nread = [\"/etc\"]\nexec = [\"{W}\", \"/usr\", \"{P}\"]\n[net]\nconnect = [\"*:*\"]\nudp = \"any\"\n[process]\nkeep_caps = [\"DAC_OVERRIDE\"]\n[env]\npass = [\"SECRET_*\"]\n";
    std::fs::write(&second, scene.text(wide)).expect("a file");
    let acts = scene.words("read {O}/file -- overwrite {O}/file x -- read {W}/secret/key -- write {W}/.git/hooks/x y -- exec {W}/sub/mine -- connect-tcp 127.0.0.1:1 -- udp 127.0.0.1:9 -- fchmodat {O}/file 777 -- caps -- env");
    let mut words = vec![crate::harness::built::probe().display().to_string()];
    words.extend(acts);
    let flags: [PathBuf; 4] = [
        "--policy".into(),
        scene.policy_file(),
        "--policy".into(),
        second,
    ];
    let ran = run(scene
        .supervise_by(&supervise(), &flags, &words)
        .env("LD_AUDIT_NOT", "x")
        .env("SECRET_TOKEN", "x"));
    let answers = ran.lines();
    for answer in &answers[..8] {
        assert!(
            [
                "errno EACCES",
                "errno EAFNOSUPPORT",
                "errno EPERM",
                "errno EPROTONOSUPPORT"
            ]
            .contains(answer),
            "{ran}"
        );
    }
    assert!(
        answers[8].starts_with("ok effective=0 permitted=0"),
        "{ran}"
    );
    assert!(!answers[9].contains("SECRET_TOKEN"), "{ran}");
}

#[test]
fn a_path_that_appears_later_is_not_granted_by_chance() {
    let scene =
        Scene::under(&POLICY.replace("read = [\"/etc\"]", "read = [\"/etc\", \"{O}/later?\"]"));
    let (ready, go) = (scene.work().join("sub/ready"), scene.work().join("sub/go"));
    let running =
        scene.start("touch-and-wait {W}/sub/ready {W}/sub/go -- read {O}/later -- read {O}/file");
    eventually_reads(&ready);
    std::os::unix::fs::symlink(scene.outside().join("file"), scene.outside().join("later"))
        .expect("a link");
    std::fs::write(go, "").expect("a file");
    assert_eq!(
        running.wait().lines()[1..],
        ["errno EACCES", "errno EACCES"]
    );
}

#[test]
fn a_record_that_cannot_be_kept_stops_the_start() {
    let scene = Scene::new();
    let mut command = std::process::Command::new(supervise());
    command
        .arg("-q")
        .arg("-p")
        .arg(scene.policy_file())
        .args(["--audit", "/nowhere/audit", "--", "touch", "sub/ran"])
        .current_dir(scene.work());
    command
        .env("XDG_RUNTIME_DIR", scene.runtime.path())
        .env("XDG_STATE_HOME", scene.runtime.join("state"));
    run(&mut command).expect_code(125);
    assert!(!scene.work().join("sub/ran").exists());
}
