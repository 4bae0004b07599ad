//! Other ABIs, other numbers, other filters.

use crate::harness::{feature, require};
use crate::{answer, let_through, raw, refused, strictest};
use supervisor::sandbox::filter::{Answer, Answers, LAST_REVIEWED};

#[test]
fn calls_of_the_old_abi_end_the_process() {
    require!(feature::int80());
    // getpid, open and socketcall.
    for act in ["int80 20", "int80-path 5 /etc/passwd", "int80 102"] {
        let ended = answer(Some(&strictest()), act);
        assert!(ended.contains("SIGSYS"), "{act}: {ended}");
    }
}

#[test]
fn calls_of_the_x32_abi_are_not_there() {
    // getpid, open and connect; readv and execve have numbers of their own, which once worked without the bit, too.
    for act in [
        "x32 39",
        "x32 2",
        "x32 42",
        "x32 515",
        "x32 520",
        "raw 515 0",
        "raw 520 0",
        "raw 547 0",
    ] {
        assert_eq!(answer(Some(&strictest()), act), "errno ENOSYS", "{act}");
    }
    // Where the kernel has them, it is the filter that said so.
    require!(feature::works_outside(&["x32", "39"]));
}

#[test]
fn numbers_that_were_not_reviewed_are_not_there() {
    let last = i64::from(LAST_REVIEWED);
    for number in [
        last + 1,
        last + 2,
        1000,
        0x3fff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        -1,
        -2,
        -4096,
    ] {
        assert_eq!(
            answer(Some(&strictest()), &raw(number, "0")),
            "errno ENOSYS",
            "{number:#x}"
        );
    }
}

#[test]
fn ways_past_the_filter_are_not_there() {
    refused(
        &strictest(),
        "ENOSYS",
        &[
            "io-uring",
            &raw(libc::SYS_io_uring_enter, "-1 0 0 0"),
            &raw(libc::SYS_io_uring_register, "-1 0 0 0"),
            "clone3 none",
            "clone3 newuser",
        ],
    );
}

#[test]
fn programs_inside_may_filter_themselves_but_forge_no_answer() {
    let_through(&strictest(), &["seccomp-trap", "landlock-abi"]);
    // A listener of one's own where none of ours stands above.
    let_through(&strictest(), &["seccomp-listener"]);
}

#[test]
fn what_is_notified_waits_for_a_listener_and_is_not_there_without() {
    let mut spec = strictest();
    spec.answers = Answers {
        metadata: Answer::Notify,
        connect: Answer::Notify,
        bind: Answer::Notify,
        listen: Answer::Notify,
        processes: Answer::Allow,
        others: Answer::Notify,
        watches: Answer::Notify,
        // The helper must still load its libraries.
        reads: Answer::Allow,
        writes: Answer::Notify,
        domains: Answer::Notify,
    };
    assert!(spec.needs_listener());
    let acts = [
        raw(libc::SYS_connect, "-1 0 0"),
        raw(libc::SYS_bind, "-1 0 0"),
        raw(libc::SYS_listen, "-1 0"),
        raw(libc::SYS_fchmod, "-1 0"),
        raw(libc::SYS_inotify_add_watch, "-1 0 0"),
        raw(libc::SYS_sched_setaffinity, "999999999 0 0"),
        raw(libc::SYS_mkdirat, "-1 0 0"),
        raw(libc::SYS_openat2, "-1 0 0 0"),
    ];
    refused(&spec, "ENOSYS", &acts);
    // Nobody but the supervisor answers, whatever descriptor they found.
    refused(&spec, "EPERM", &["notify-answer 1"]);
    let_through(&strictest(), &["notify-answer 1"]);
}
