//! The kernel and the machine.

use crate::{let_through, raw, refused, strictest};
use supervisor::sandbox::filter::{Facility, FilterSpec};

#[test]
fn the_kernel_takes_no_code() {
    let acts = [
        "bpf".to_owned(),
        raw(libc::SYS_kexec_load, "0 0 0 0xffff"),
        raw(libc::SYS_kexec_file_load, "-1 -1 0 0 0xffff"),
        raw(libc::SYS_init_module, "0 0 0"),
        raw(libc::SYS_finit_module, "-1 0 0"),
        raw(libc::SYS_delete_module, "0 0"),
    ];
    refused(&strictest(), "EPERM", &acts);
}

#[test]
fn the_machine_is_not_administered() {
    let mut acts = vec![
        "reboot".to_owned(),
        "swapon /nonexistent".to_owned(),
        "syslog".to_owned(),
        "settime".to_owned(),
        raw(libc::SYS_swapoff, "0"),
        raw(libc::SYS_acct, "1"),
        raw(libc::SYS_quotactl, "0 0 0 0"),
        raw(libc::SYS_quotactl_fd, "-1 0 0 0"),
        raw(libc::SYS_settimeofday, "1 0"),
        raw(libc::SYS_sethostname, "0 -1"),
        raw(libc::SYS_setdomainname, "0 -1"),
    ];
    #[cfg(target_arch = "x86_64")]
    acts.extend([raw(libc::SYS_iopl, "4"), raw(libc::SYS_ioperm, "-1 2 1")]);
    refused(&strictest(), "EPERM", &acts);
    #[cfg(target_arch = "x86_64")]
    refused(
        &strictest(),
        "ENOSYS",
        &[
            raw(libc::SYS_modify_ldt, "0 0 0"),
            raw(libc::SYS_sysfs, "3"),
            raw(libc::SYS_uselib, "0"),
        ],
    );
}

/// A facility, its calls, and the error by which they are refused.
fn facilities() -> [(Facility, &'static str, Vec<String>); 5] {
    [
        (Facility::PerfEvents, "EPERM", vec!["perf".to_owned()]),
        (
            Facility::Userfaultfd,
            "EPERM",
            vec!["userfaultfd 1".to_owned()],
        ),
        (
            Facility::Keyrings,
            "EPERM",
            vec![
                "add-key".to_owned(),
                raw(libc::SYS_request_key, "0 0 0 0"),
                raw(libc::SYS_keyctl, "999 0 0"),
            ],
        ),
        (
            Facility::SysvIpc,
            "ENOSYS",
            vec![
                // No segment, set or queue has this key or number.
                "shmget 0x7fedcba9".to_owned(),
                "shmat 0x7fffffff".to_owned(),
                "semget 0x7fedcba9".to_owned(),
                "msgget 0x7fedcba9".to_owned(),
                raw(libc::SYS_shmctl, "0x7fffffff 0 0"),
                raw(libc::SYS_shmdt, "1"),
                raw(libc::SYS_semctl, "0x7fffffff 0 0 0"),
                raw(libc::SYS_semop, "0x7fffffff 0 0"),
                raw(libc::SYS_semtimedop, "0x7fffffff 0 0 0"),
                raw(libc::SYS_msgsnd, "0x7fffffff 0 0 0"),
                raw(libc::SYS_msgrcv, "0x7fffffff 0 0 0 0"),
                raw(libc::SYS_msgctl, "0x7fffffff 0 0"),
            ],
        ),
        (
            Facility::MessageQueues,
            "ENOSYS",
            vec![
                "mq-open nonexistent".to_owned(),
                "mq-unlink nonexistent".to_owned(),
                raw(libc::SYS_mq_timedsend, "-1 0 0 0 0"),
                raw(libc::SYS_mq_timedreceive, "-1 0 0 0 0"),
                raw(libc::SYS_mq_notify, "-1 0"),
                raw(libc::SYS_mq_getsetattr, "-1 0 0"),
            ],
        ),
    ]
}

#[test]
fn facilities_are_refused_unless_named() {
    for (facility, error, acts) in facilities() {
        refused(&strictest(), error, &acts);
        let_through(
            &FilterSpec {
                allow: vec![facility],
                ..strictest()
            },
            &acts,
        );
    }
}
