//! Calls that start tasks, that set priorities and limits of others, and that lock the caller further.

use super::Class::{Domain, NewTask, OtherTask};
use super::{Call, Wish, call};
use crate::transparent::failure::Failure;
use nix::errno::Errno;

/// `IOPRIO_WHO_PROCESS` (linux/ioprio.h).
const IOPRIO_WHO_PROCESS: i32 = 1;

pub(super) static TABLE: &[Call] = &[
    call(libc::SYS_clone, "clone", NewTask, |_| Ok(Wish::Task)),
    call(
        libc::SYS_sched_setaffinity,
        "sched_setaffinity",
        OtherTask,
        |r| Ok(Wish::Tune(r.int(0))),
    ),
    call(
        libc::SYS_sched_setscheduler,
        "sched_setscheduler",
        OtherTask,
        |r| Ok(Wish::Tune(r.int(0))),
    ),
    call(libc::SYS_sched_setparam, "sched_setparam", OtherTask, |r| {
        Ok(Wish::Tune(r.int(0)))
    }),
    call(libc::SYS_sched_setattr, "sched_setattr", OtherTask, |r| {
        Ok(Wish::Tune(r.int(0)))
    }),
    call(libc::SYS_setpriority, "setpriority", OtherTask, |r| {
        one_task(
            i64::from(r.int(0)) == i64::from(libc::PRIO_PROCESS),
            r.int(1),
        )
    }),
    call(libc::SYS_ioprio_set, "ioprio_set", OtherTask, |r| {
        one_task(r.int(0) == IOPRIO_WHO_PROCESS, r.int(1))
    }),
    call(libc::SYS_prlimit64, "prlimit64", OtherTask, |r| {
        one_task(
            i64::from(r.unsigned(1)) != i64::from(libc::RLIMIT_RTTIME),
            r.int(0),
        )
    }),
    call(
        libc::SYS_landlock_restrict_self,
        "landlock_restrict_self",
        Domain,
        |_| Ok(Wish::Narrow),
    ),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_fork, "fork", NewTask, |_| Ok(Wish::Task)),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_vfork, "vfork", NewTask, |_| Ok(Wish::Task)),
];

/// The task of that number, if it is one task that is meant, and nothing that marks the session.
fn one_task(is_one: bool, number: i32) -> Result<Wish, Failure> {
    match is_one {
        true => Ok(Wish::Tune(number)),
        false => Err(Failure::Refused(
            Errno::EPERM,
            "more than a task of the caller's own",
        )),
    }
}
