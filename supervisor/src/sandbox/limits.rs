//! Resource limits of each process, from what the policy says.

use crate::policy::Limits;
use nix::errno::Errno;
use sys::process::{Limit, resource};

/// The limits that the child sets on itself, which all its descendants inherit. Never above the hard limit that is in force.
///
/// # Errors
/// The errno with which a limit in force could not be read.
pub(super) fn make(limits: &Limits) -> Result<Vec<(u32, Limit)>, Errno> {
    let mut made = vec![
        // A core dump may be piped to a program outside (core(5)).
        (resource::CORE, Limit { soft: 0, hard: 0 }),
    ];
    if let Some(cpu) = limits.cpu {
        // SIGXCPU at the soft limit; SIGKILL a second later for those that ignore it (setrlimit(2)).
        let seconds = cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0);
        made.push(bounded(resource::CPU, seconds, seconds.saturating_add(1))?);
    }
    // RLIMIT_DATA counts private writable memory since Linux 4.7, and lets programs reserve address space.
    for (resource, value) in [
        (resource::DATA, limits.memory),
        (resource::NOFILE, limits.open_files),
        (resource::FSIZE, limits.file_size),
    ] {
        if let Some(value) = value {
            made.push(bounded(resource, value, value)?);
        }
    }
    Ok(made)
}

fn bounded(resource: u32, soft: u64, hard: u64) -> Result<(u32, Limit), Errno> {
    let most = sys::process::limit(resource)?.hard;
    Ok((
        resource,
        Limit {
            soft: soft.min(most),
            hard: hard.min(most),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn processor_time_rounds_up_and_ends_a_second_after_the_warning() {
        let made = make(&Limits {
            cpu: Some(Duration::from_millis(1500)),
            ..Limits::default()
        })
        .unwrap();
        assert!(made.contains(&(resource::CPU, Limit { soft: 2, hard: 3 })));
    }

    #[test]
    fn a_limit_above_the_one_in_force_changes_nothing() {
        let most = sys::process::limit(resource::NOFILE).unwrap().hard;
        let made = make(&Limits {
            open_files: Some(u64::MAX - 1),
            ..Limits::default()
        })
        .unwrap();
        assert!(made.contains(&(
            resource::NOFILE,
            Limit {
                soft: most,
                hard: most
            }
        )));
    }
}
