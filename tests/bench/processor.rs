//! Being on one processor, for those rows that ask what things cost when nobody has to be woken elsewhere; and how long somebody
//! was on any.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

/// Measures with this process, and whoever it starts, on one processor; why not, where that cannot be had.
pub fn on_one(measure: impl FnOnce()) -> Result<(), String> {
    let this = Pid::from_raw(0);
    let everywhere = sched_getaffinity(this).map_err(|errno| errno.to_string())?;
    let first = (0..CpuSet::count()).find(|cpu| everywhere.is_set(*cpu) == Ok(true));
    let mut one = CpuSet::new();
    one.set(first.ok_or("there is no processor")?)
        .map_err(|errno| errno.to_string())?;
    sched_setaffinity(this, &one).map_err(|errno| errno.to_string())?;
    measure();
    sched_setaffinity(this, &everywhere).map_err(|errno| errno.to_string())
}

/// What all threads of a process have worked, those that have ended too.
pub fn worked(process: u32) -> Result<Duration, String> {
    let pid = i32::try_from(process).map_err(|error| error.to_string())?;
    let clock = clock_getcpuclockid(Pid::from_raw(pid));
    let time = clock.and_then(clock_gettime);
    time.map(Duration::from)
        .map_err(|errno| format!("the work of {process}: {errno}"))
}
