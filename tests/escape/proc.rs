//! What /proc tells of other processes.

use crate::harness::run::run;
use crate::ipc::victim;
use crate::scene::Scene;

#[test]
fn nothing_is_learned_of_other_processes() {
    let victim = victim();
    let pid = victim.pid().to_string();
    let acts: Vec<String> = [
        "status",
        "stat",
        "cmdline",
        "environ",
        "sched",
        "maps",
        "mem",
        "io",
        "limits",
        "cgroup",
        "mountinfo",
        "comm",
        "wchan",
        "stack",
        "syscall",
        "fdinfo/0",
        "net/unix",
        "net/tcp",
        "sessionid",
        "loginuid",
        "schedstat",
        "smaps",
        "auxv",
        "statm",
        "personality",
        "root/etc/passwd",
        "cwd/Cargo.toml",
        "task/VICTIM/status",
    ]
    .iter()
    .map(|name| format!("open /proc/VICTIM/{name} r").replace("VICTIM", &pid))
    .chain([
        "list /proc".to_owned(),
        format!("list /proc/{pid}/fd"),
        format!("list /proc/{pid}"),
        "read /proc/net/unix".to_owned(),
        "read /proc/net/tcp".to_owned(),
        "read /proc/kallsyms".to_owned(),
        "read /proc/sched_debug".to_owned(),
        "open /proc/kcore r".to_owned(),
        "open /proc/kmsg r".to_owned(),
    ])
    .collect();
    let scene = Scene::new();
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert!(
            ["errno EACCES", "errno ENOENT"].contains(&answer),
            "{act}: {answer}"
        );
        let outside = run(&mut scene.unconfined(act)).stdout;
        if !outside.starts_with("ok") {
            crate::harness::skip(
                &format!("escape: `{act}`"),
                &format!("it gives {} anyway", outside.trim_end()),
            );
        } else {
            assert_eq!(answer, "errno EACCES", "{act}");
        }
    }
    assert_eq!(performed.answers().len(), acts.len());
}

#[test]
fn what_other_processes_hold_is_not_told_by_links() {
    // These lead to what a process has, past every name: to read them the kernel asks whether the process may be traced.
    let victim = victim();
    let pid = victim.pid().to_string();
    let acts: Vec<String> = [
        "exe", "cwd", "root", "fd/0", "fd/1", "ns/mnt", "ns/pid", "ns/net",
    ]
    .iter()
    .map(|name| format!("readlink /proc/{pid}/{name}"))
    .chain([
        format!("stat /proc/{pid}/fd/1"),
        format!("stat /proc/{pid}/cwd/."),
        format!("chdir /proc/{pid}/cwd"),
        format!("chdir /proc/{pid}/root/etc"),
        format!("list /proc/{pid}/map_files"),
        format!("inotify /proc/{pid}/cwd"),
        format!("connect-unix /proc/{pid}/root/run/none"),
        format!("fchmodat /proc/{pid}/cwd/none 777"),
    ])
    .collect();
    let scene = Scene::new();
    let performed = scene.perform(&acts.join(" -- "));
    assert_eq!(performed.answers().len(), acts.len(), "{}", performed.ran);
    for (act, answer) in acts.iter().zip(performed.answers()) {
        let refused = ["EACCES", "EPERM", "EAFNOSUPPORT"].map(|errno| format!("errno {errno}"));
        assert!(
            refused.iter().any(|errno| errno == answer),
            "{act}: {answer}"
        );
        let outside = run(&mut scene.unconfined(act)).stdout;
        assert_ne!(outside.trim_end(), answer, "{act}: so it proves nothing");
    }
    // One's own are one's own.
    let performed = scene.perform("readlink /proc/self/exe -- readlink /proc/self/cwd");
    let work = scene.text("ok {W}");
    assert_eq!(performed.answers(), [&scene.text("ok {P}"), &work]);
}
