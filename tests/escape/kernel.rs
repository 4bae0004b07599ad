//! The kernel behind the filter: foreign ABIs, calls that go around it, filters of the child's own, and the supervisor's memory.

use crate::harness::built::{probe, supervise};
use crate::harness::process::{is_alive, parent};
use crate::harness::run::{eventually_reads, run, start};
use crate::harness::{feature, require};
use crate::scene::{Scene, answered_otherwise_inside, assert_unchanged};

/// A session whose command waits, and who is who in it.
pub struct Waiting {
    pub scene: Scene,
    pub running: crate::harness::run::Running,
    pub supervisor: i32,
    pub guardian: i32,
}

impl Waiting {
    /// The acts are performed once [`Waiting::go`] said who is who: `{S}` the supervisor, `{G}` its guardian.
    pub fn new(scene: Scene) -> Self {
        let pid = scene.work().join("sub/pid");
        let script = r#"echo $$ >sub/pid; while [ ! -s sub/acts ]; do sleep 0.01; done; exec "$0" $(cat sub/acts)"#;
        let probe = probe();
        let words = ["sh", "-c", script, probe.to_str().expect("UTF-8")];
        let running = start(&mut scene.supervise(&words));
        let command: i32 = eventually_reads(&pid).trim().parse().expect("a pid");
        let supervisor = running.pid();
        let guardian = parent(command).expect("the command lives");
        assert_ne!(guardian, supervisor);
        Self {
            scene,
            running,
            supervisor,
            guardian,
        }
    }

    pub fn text(&self, acts: &str) -> String {
        self.scene
            .text(acts)
            .replace("{S}", &self.supervisor.to_string())
            .replace("{G}", &self.guardian.to_string())
    }

    pub fn go(self, acts: &str) -> (Scene, crate::harness::run::Ran) {
        let acts = self.text(acts);
        // Seen as a whole or not at all.
        let part = self.scene.work().join("sub/part");
        std::fs::write(&part, acts).expect("a file");
        std::fs::rename(part, self.scene.work().join("sub/acts")).expect("a rename");
        (self.scene, self.running.wait())
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_old_abi_end_the_program_before_they_do_anything() {
    require!(feature::int80());
    // open, creat, unlink, mkdir, chmod, rename of i386.
    for act in [
        "int80-path 5 {W}/secret/key 0",
        "int80-path 8 {W}/sub/new 384",
        "int80-path 10 {W}/sub/mine",
        "int80-path 39 {W}/sub/new 448",
        "int80-path 15 {W}/sub/mine 0",
        "int80 20",
    ] {
        let scene = Scene::new();
        let before = scene.snapshot();
        let ran = scene.perform(act).ran;
        assert_eq!(ran.code(), 128 + libc::SIGSYS, "{act}: {ran}");
        assert_unchanged(&before, &scene.snapshot());
        let free = Scene::new();
        let outside = run(&mut free.unconfined(act)).stdout;
        assert!(outside.starts_with("ok"), "{act}: {outside}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn numbers_of_no_reviewed_call_do_not_exist() {
    // Kernels without that ABI give the same answer.
    answered_otherwise_inside("ENOSYS", &["x32 39", "x32 2", "x32 257", "x32 520"]);
    let scene = Scene::new();
    let acts = [
        "raw 0x7fffffff",
        "raw -1",
        "raw 0xffffffff",
        "raw 1000",
        "raw 511",
        "raw 600",
        "raw 0x80000027",
    ];
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert_eq!(answer, "errno ENOSYS", "{act}");
    }
    assert_eq!(performed.answers().len(), acts.len());
}

#[test]
fn calls_that_go_past_filters_and_paths_are_refused() {
    answered_otherwise_inside(
        "ENOSYS",
        &[
            "io-uring",
            "raw 426 0 0 0 0 0 0",
            "raw 427 0 0 0 0",
            "clone3 none",
            "clone3 newuser",
        ],
    );
    answered_otherwise_inside(
        "EPERM",
        &[
            "unshare newuser",
            "unshare newns",
            "unshare newpid",
            "unshare newnet",
            "unshare newipc",
            "unshare newuts",
            "unshare newcgroup",
            "unshare newtime",
            "clone newuser",
            "clone newns",
            "clone newpid",
            "setns /proc/self/ns/uts 0",
            "setns /proc/self/ns/uts 0x400000000",
            "mount none {W}/none tmpfs",
            "mount none {W}/none fuse",
            "bind-mount {W}/secret {W}/none",
            "bind-mount {O} {W}/none",
            "umount {W}/sub",
            "fsopen",
            "open-tree {W}/secret",
            "move-mount {W}/secret {W}/sub",
            "mount-setattr {W}/none",
            "chroot {O}",
            "pivot-root {W}/none",
            "handle {W}/secret/key",
            "open-handle {W}/sub {W}/secret/key",
            "bpf",
            "perf",
            "userfaultfd 1",
            "userfaultfd 0",
            "add-key",
            "request-key",
            "keyctl",
            "kexec",
            "init-module",
            "delete-module",
            "swapon {W}/none",
            "reboot",
            "syslog",
            "sethostname",
            "settime",
            "quotactl",
            "acct",
            "personality 0x0400000",
            "personality 0x0040000",
            "fanotify {W}/sub",
        ],
    );
}

#[test]
fn a_filter_of_the_childs_own_forges_nothing() {
    let scene = Scene::new();
    let before = scene.snapshot();
    // What a filter of its own answers is what the child tells itself; a supervisor's call goes to the supervisor.
    let performed = scene.perform(
        "seccomp-trap -- fchmodat {W}/secret/key 777 -- fchmodat {W}/sub/mine 600 -- read {W}/secret/key -- seccomp-listener -- notify-answer 3 -- notify-answer 0",
    );
    let answers = performed.answers();
    assert_eq!(answers[..4], ["ok", "errno EACCES", "ok", "errno EACCES"]);
    assert_eq!(answers[4], "errno EBUSY", "there can be only one listener");
    for answer in &answers[5..] {
        assert!(
            ["errno EPERM", "errno ENOTTY", "errno EINVAL"].contains(answer),
            "{answer}"
        );
    }
    let (mut before, mut after) = (before, scene.snapshot());
    // The one change that was allowed.
    for seen in [&mut before, &mut after] {
        seen.remove(&scene.work().join("sub/mine"));
    }
    assert_unchanged(&before, &after);
    assert_eq!(performed.refusals("fchmodat").len(), 1);
}

#[test]
fn a_sandbox_in_a_sandbox_works_and_is_no_wider() {
    let scene = Scene::new();
    scene.policy(&crate::scene::POLICY.replace(
        "\"{P}\"",
        &format!("\"{{P}}\", \"{}\"", supervise().display()),
    ));
    let own = supervise();
    let own = own.to_str().expect("UTF-8");
    let probe = probe();
    let probe = probe.to_str().expect("UTF-8");
    let directory = probe.rsplit_once('/').expect("a path").0;
    let acts = scene.words("read {W}/secret/key -- read {O}/file -- read /etc/passwd -- write {W}/sub/new x -- fchmodat {O}/file 777");
    let mut words = vec![
        own, "-q", "--exec", directory, "--write", "sub", "--", probe,
    ];
    words.extend(acts.iter().map(String::as_str));
    let ran = run(scene.supervise(&words).env("HOME", scene.runtime.path()));
    let answers = ran.lines();
    assert_eq!(answers[..2], ["errno EACCES", "errno EACCES"], "{ran}");
    assert!(answers[2].starts_with("ok root:"), "{ran}");
    assert_eq!(answers[3], "ok", "{ran}");
    assert_eq!(answers[4], "errno EACCES", "{ran}");
}

#[test]
fn the_supervisor_and_its_guardian_are_out_of_reach() {
    let waiting = Waiting::new(Scene::new());
    let (supervisor, guardian) = (waiting.supervisor, waiting.guardian);
    let mut acts = Vec::new();
    for pid in ["{S}", "{G}"] {
        for (act, errno) in [
            ("kill PID KILL", "EPERM"),
            ("kill PID STOP", "EPERM"),
            ("kill PID TERM", "EPERM"),
            ("tkill PID KILL", "EPERM"),
            ("tgkill PID STOP", "EPERM"),
            ("sigqueue PID KILL", "EPERM"),
            ("pidfd-kill PID KILL", "EPERM"),
            ("pidfd-getfd PID 0", "EPERM"),
            ("pidfd-getfd PID 10", "EPERM"),
            ("ptrace-attach PID", "EPERM"),
            ("ptrace-seize PID", "EPERM"),
            ("ptrace-seize PID 0x200000", "EPERM"),
            ("vm-read PID", "EPERM"),
            ("vm-write PID", "EPERM"),
            ("madvise-other PID", "EPERM"),
            ("kcmp PID", "EPERM"),
            ("setpriority PID 19", "EPERM"),
            ("ioprio PID", "EPERM"),
            ("affinity PID", "EPERM"),
            ("scheduler PID", "EPERM"),
            ("prlimit PID 7 0 0", "EPERM"),
            ("open /proc/PID/mem rw", "EACCES"),
            ("open /proc/PID/mem r", "EACCES"),
            ("open /proc/PID/exe w", "EACCES"),
            ("open /proc/PID/fd/0 r", "EACCES"),
            ("list /proc/PID/fd", "EACCES"),
            ("read /proc/PID/maps", "EACCES"),
            ("read /proc/PID/environ", "EACCES"),
            ("read /proc/PID/root/etc/shadow", "EACCES"),
            ("read /proc/PID/cwd/secret/key", "EACCES"),
            ("write /proc/PID/oom_score_adj 1000", "EACCES"),
            ("setns /proc/PID/ns/mnt 0", "EACCES"),
        ] {
            acts.push((act.replace("PID", pid), errno));
        }
    }
    let words: Vec<String> = acts.iter().map(|(act, _)| act.clone()).collect();
    // Both were alive throughout, or there would be no answers.
    let (_, ran) = waiting.go(&words.join(" -- "));
    let answers = ran.lines();
    assert_eq!(answers.len(), acts.len(), "{ran}");
    for ((act, errno), answer) in acts.iter().zip(answers) {
        assert_eq!(answer, format!("errno {errno}"), "{act}");
    }
    assert!(!is_alive(supervisor) && !is_alive(guardian), "over");
}

#[test]
fn the_same_is_possible_to_those_who_are_not_confined() {
    // Or the refusals above would prove nothing.
    let victim = || start(std::process::Command::new(probe()).args(["pid", "--", "linger"]));
    for act in [
        "kill PID TERM",
        "tkill PID TERM",
        "tgkill PID TERM",
        "sigqueue PID TERM",
        "pidfd-kill PID TERM",
        "pidfd-getfd PID 0",
        "ptrace-attach PID",
        "ptrace-seize PID",
        "setpriority PID 19",
        "ioprio PID",
        "affinity PID",
        "scheduler PID",
        "prlimit PID 7 0 0",
        "open /proc/PID/mem rw",
        "open /proc/PID/fd/0 r",
        "list /proc/PID/fd",
        "read /proc/PID/environ",
        "write /proc/PID/oom_score_adj 1000",
    ] {
        let mut victim = victim();
        victim.until_it_says("ok ");
        let act = act.replace("PID", &victim.pid().to_string());
        let ran = run(&mut Scene::new().unconfined(&act));
        let answer = ran.stdout.trim_end();
        if !answer.starts_with("ok") {
            crate::harness::skip(
                &format!("escape: `{act}`"),
                &format!("it gives {answer} anyway"),
            );
        }
    }
}

#[test]
fn memory_of_others_of_the_same_session_is_only_the_policys_to_open() {
    let scene = Scene::new();
    let performed = scene.perform("ptrace-traceme -- ptrace-seize 1 -- fork 1");
    assert_eq!(performed.answers()[..2], ["errno EPERM", "errno EPERM"]);
}

#[test]
fn a_program_that_hides_its_memory_gains_nothing_by_it() {
    let scene = Scene::new();
    let before = scene.snapshot();
    let performed = scene.perform(
        "undumpable -- fchmodat {W}/secret/key 777 -- fchmodat {O}/file 777 -- read {W}/secret/key -- connect-unix {O}/none -- connect-tcp 127.0.0.1:1",
    );
    assert_eq!(performed.answers()[0], "ok");
    for answer in &performed.answers()[1..] {
        assert!(
            ["errno EACCES", "errno EAFNOSUPPORT"].contains(answer),
            "{}",
            performed.ran
        );
    }
    assert_unchanged(&before, &scene.snapshot());
    // Nor does it lose what the kernel lets everybody have.
    let performed = scene.perform("undumpable -- read {W}/sub/mine");
    assert_eq!(performed.answers(), ["ok", "ok mine"]);
}

#[test]
fn a_crash_leaves_no_core_behind() {
    let scene = Scene::new();
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let before = scene.snapshot();
    let ran = run(&mut scene.supervise(&["sh", "-c", "ulimit -c unlimited; kill -SEGV $$"]));
    assert_eq!(ran.code(), 128 + libc::SIGSEGV, "{ran}");
    assert_unchanged(&before, &scene.snapshot());
    let limits = scene.perform("limits");
    assert!(
        limits.answers()[0].contains(" core=0/0"),
        "{pattern}: {}",
        limits.ran
    );
}

#[test]
fn a_record_escapes_what_a_program_calls_itself() {
    let scene = Scene::new();
    let strange = scene.work().join("sub/a\n{\"event\":\"end\"}\u{1b}[2J");
    std::fs::write(&strange, "x").expect("a file");
    let words = [
        probe().into_os_string(),
        "fchmodat".into(),
        scene
            .outside()
            .join("x\n{\"event\":\"grant\"}")
            .into_os_string(),
        "777".into(),
        "--".into(),
        // PR_SET_NAME from nowhere changes nothing that is recorded.
        "prctl".into(),
        "15".into(),
        "0".into(),
    ];
    let absent = scene.outside().join("x\n{\"event\":\"grant\"}");
    std::fs::write(&absent, "x").expect("a file");
    run(&mut scene.supervise(&words));
    // Each line parses, and there is one decision.
    let refused = scene.records();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["path"], absent.to_str().expect("UTF-8"));
    assert!(
        refused[0]["exe"]
            .as_str()
            .expect("a path")
            .ends_with("/probe"),
        "{refused:?}"
    );
    assert_eq!(scene.events("grant"), Vec::<serde_json::Value>::new());
}
