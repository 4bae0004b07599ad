//! Namespaces, and what one process may do to another.

use crate::{NOBODY, let_through, raw, refused, strictest};
use supervisor::sandbox::filter::{AnonymousFiles, Answer, FilterSpec, Ptrace};

#[test]
fn no_new_namespaces() {
    for kind in [
        "newuser",
        "newns",
        "newpid",
        "newnet",
        "newipc",
        "newuts",
        "newcgroup",
    ] {
        refused(
            &strictest(),
            "EPERM",
            &[format!("clone {kind}"), format!("unshare {kind}")],
        );
    }
    refused(
        &strictest(),
        "EPERM",
        &[
            "unshare newtime",
            "unshare newuser,newns",
            "clone newuser,newnet",
        ],
    );
}

#[test]
fn nobody_elses_namespaces_whatever_the_high_bits_say() {
    refused(
        &strictest(),
        "EPERM",
        &[
            "setns /proc/self/ns/uts 0",
            "setns /proc/self/ns/uts 0x100000000",
            "unshare 0x100000000",
            "clone 0x7fff000010000000",
        ],
    );
}

#[test]
fn threads_and_processes_as_ever() {
    let_through(
        &strictest(),
        &[
            "threads 4",
            "fork-wait 3",
            "clone none",
            "unshare 0x400",
            "unshare 0x200",
            "setsid",
            "setpgid",
        ],
    );
}

#[test]
fn processes_can_be_refused() {
    let mut spec = strictest();
    spec.answers.processes = Answer::Refuse;
    refused(&spec, "EAGAIN", &["clone none"]);
    // Namespaces are refused for what they are.
    refused(&spec, "EPERM", &["clone newuser"]);
}

#[test]
fn nothing_is_taken_from_another_process() {
    let own = std::process::id();
    refused(
        &strictest(),
        "EPERM",
        &[
            format!("pidfd-getfd {own} 0"),
            format!("kcmp {own}"),
            format!("ptrace-attach {NOBODY}"),
            "ptrace-traceme".to_owned(),
            raw(libc::SYS_process_madvise, "-1 0 0 0 0"),
            raw(libc::SYS_process_vm_readv, &format!("{NOBODY} 0 0 0 0 0")),
            raw(libc::SYS_process_vm_writev, &format!("{NOBODY} 0 0 0 0 0")),
            raw(libc::SYS_migrate_pages, &format!("{NOBODY} 0 0 0")),
            raw(libc::SYS_move_pages, &format!("{NOBODY} 0 0 0 0 0")),
        ],
    );
}

#[test]
fn tracing_ones_own_never_takes_the_filter_off() {
    let spec = FilterSpec {
        ptrace: Ptrace::OwnDomain,
        ..strictest()
    };
    let_through(
        &spec,
        &[
            "ptrace-traceme".to_owned(),
            format!("ptrace-attach {NOBODY}"),
        ],
    );
    let suspend = "0x200000";
    for request in [libc::PTRACE_SETOPTIONS, libc::PTRACE_SEIZE] {
        refused(
            &spec,
            "EPERM",
            &[raw(
                libc::SYS_ptrace,
                &format!("{request} {NOBODY} 0 {suspend}"),
            )],
        );
        let_through(
            &spec,
            &[raw(
                libc::SYS_ptrace,
                &format!("{request} {NOBODY} 0 0x100000"),
            )],
        );
    }
}

#[test]
fn priorities_and_scheduling_of_others_are_theirs() {
    refused(
        &strictest(),
        "EPERM",
        &[
            format!("setpriority {NOBODY} 1"),
            format!("ioprio {NOBODY}"),
            format!("affinity {NOBODY}"),
            format!("scheduler {NOBODY}"),
            raw(libc::SYS_sched_setparam, &format!("{NOBODY} 0")),
            raw(libc::SYS_sched_setattr, &format!("{NOBODY} 0 0")),
            // The caller's process group, and all of its user's processes.
            raw(libc::SYS_setpriority, "1 0 0"),
            raw(libc::SYS_setpriority, "2 0 0"),
            raw(libc::SYS_ioprio_set, "2 0 0x6000"),
            raw(libc::SYS_ioprio_set, "3 0 0x6000"),
        ],
    );
    let_through(
        &strictest(),
        &[
            "setpriority 0 1",
            "ioprio 0",
            "affinity 0",
            "scheduler 0",
            "setpriority 0x100000000 1",
        ],
    );
}

#[test]
fn limits_of_others_and_the_mark_of_the_session_cannot_be_set() {
    refused(
        &strictest(),
        "EPERM",
        &[
            format!("prlimit {NOBODY} 7 64 64"),
            "prlimit 0 15 1000000 1000000".to_owned(),
            "prlimit 0 0xdead0000000f 1000000 1000000".to_owned(),
            raw(libc::SYS_setrlimit, "15 0"),
        ],
    );
    let_through(
        &strictest(),
        &[
            "prlimit 0 7 64 64".to_owned(),
            "limits".to_owned(),
            // Asking is free.
            raw(libc::SYS_prlimit64, "0 15 0 0"),
            raw(libc::SYS_prlimit64, &format!("{NOBODY} 7 0 0")),
        ],
    );
}

#[test]
fn a_process_stays_what_it_is() {
    refused(
        &strictest(),
        "EPERM",
        &[
            "personality 0x40000",
            "personality 0x400000",
            "personality 8",
            "prctl 35 15 0 0 0",
        ],
    );
    let_through(
        &strictest(),
        &[
            "personality 0xffffffff",
            "personality 0",
            "personality 0xdead00000000",
            "prctl 38 1 0 0 0",
            "prctl 4 1 0 0 0",
        ],
    );
}

#[test]
fn anonymous_files_cannot_be_executed() {
    refused(
        &strictest(),
        "EACCES",
        &[
            "memfd none",
            "memfd exec",
            "memfd sealing",
            "exec-memfd /bin/true",
        ],
    );
    refused(&strictest(), "ENOSYS", &["memfd-secret"]);
    let_through(&strictest(), &["memfd noexec", "memfd noexec,sealing"]);
    let_through(
        &FilterSpec {
            anonymous_files: AnonymousFiles::Any,
            ..strictest()
        },
        &["memfd none", "memfd exec"],
    );
}
