//! What the kernel writes down of its own refusals.
//!
//! Since Linux 6.15 it has a record for each thing that Landlock refuses, where auditing is enabled. In: those of the whole machine,
//! read by whoever may ([`join`]), from before there is a command. Out: what was refused to the session ([`Told`]), which is written
//! to its own log unless a door has done that already ([`Known`]).
//!
//! What never happens here: a decision. It was made, and what cannot be read or understood changes nothing but the record.

mod known;
mod text;
mod told;
mod trail;

pub use known::Known;
pub use text::{About, Call, Said, read};
pub use trail::{Refusal, Trail};

use crate::sandbox::Kernel;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};
use sys::audit::{LONGEST, Message, Records};
use sys::caps::CapSet;

/// The first Landlock that is recorded.
const RECORDED: u32 = 7;
/// `PROC_PID_INIT_INO` (linux/proc_ns.h): the name space whose numbers are in records.
const FIRST_PIDS: u64 = 0xeffffffc;
/// What it takes to read records, and to ask whether there are any.
const NEEDED: [&str; 2] = ["AUDIT_READ", "AUDIT_WRITE"];
/// So many records are read before anything else is looked at.
const BATCH: usize = 256;
/// How long what is under way is waited for when everything has ended.
const LAST: Duration = Duration::from_millis(500);

/// Why the kernel's refusals are not heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// The kernel records nothing of Landlock.
    #[error("Landlock ABI 7 (Linux 6.15) is the first that is recorded")]
    Old,
    /// We may not read.
    #[error("the kernel's audit is for root to read (CAP_AUDIT_READ and CAP_AUDIT_WRITE)")]
    Unprivileged,
    /// Nothing is recorded.
    #[error("auditing is not enabled")]
    Off,
    /// Its processes have other numbers than ours.
    #[error("in a process namespace of its own it cannot be told whose refusals they are")]
    Elsewhere,
    /// It cannot be had.
    #[error("the kernel's audit cannot be had: {0}")]
    Failed(Errno),
}

/// A reader of records, who is sent them from now on.
#[derive(Debug)]
pub struct Joined {
    records: Records,
    marker: Records,
}

/// Joins the readers of the kernel's records, if there are any records. A few system calls, and without the right to read one.
///
/// # Errors
/// [`Unheard`]: why there is nothing to read.
pub fn join(kernel: &Kernel) -> Result<Joined, Unheard> {
    if kernel.landlock_abi < RECORDED {
        return Err(Unheard::Old);
    }
    let held = sys::caps::permitted().map_err(Unheard::Failed)?;
    let may = |name| CapSet::number(name).is_some_and(|number| held.contains(number));
    if !NEEDED.into_iter().all(may) {
        return Err(Unheard::Unprivileged);
    }
    let failed = |errno| match errno {
        // Capabilities over a part of the machine are none here.
        Errno::EPERM => Unheard::Unprivileged,
        errno => Unheard::Failed(errno),
    };
    let records = Records::join().map_err(failed)?;
    if !records.is_on().map_err(failed)? {
        return Err(Unheard::Off);
    }
    let pids = std::fs::metadata("/proc/self/ns/pid");
    if pids.is_ok_and(|pids| pids.ino() != FIRST_PIDS) {
        return Err(Unheard::Elsewhere);
    }
    records.make_room();
    let marker = Records::join().map_err(failed)?;
    Ok(Joined { records, marker })
}

/// What the witness tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something was refused to the session.
    Refused(Refusal),
    /// Records were lost. Some may have been of this session.
    Lost,
}

/// Who reads the kernel's records for a session. To read takes no capability any more.
#[derive(Debug)]
pub struct Witness {
    records: Records,
    /// A second reader, who reads nothing. That one leaves is a record too, and no refusal from before comes after it.
    marker: Option<Records>,
    trail: Trail,
    known: Known,
}

impl Joined {
    /// Reads them for the session of this command, which entered so many rulesets.
    #[must_use]
    pub fn attend(self, command: i32, layers: usize, known: Known) -> Witness {
        Witness {
            records: self.records,
            marker: Some(self.marker),
            trail: Trail::new(command, layers),
            known,
        }
    }
}

/// How far a batch of records led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// There may be more.
    Some,
    /// To the record that the marker left.
    Marker,
}

impl Witness {
    /// Becomes readable when there may be something to be told.
    #[must_use]
    pub fn arrived(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }

    /// What the doors have recorded of the same.
    pub fn known(&mut self) -> &mut Known {
        &mut self.known
    }

    /// What there is to be told now.
    pub fn heard(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        let _so_far = self.read(&mut told);
        told
    }

    /// What is left to be told when everything has ended. Waits for what is under way, for a moment at most.
    pub fn rest(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        self.marker = None;
        let until = Instant::now() + LAST;
        while self.read(&mut told) == Read::Some {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.records.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, left) {
                Ok(1..) | Err(Errno::EINTR) if left != PollTimeout::ZERO => {}
                // It was switched off meanwhile, or nobody sends.
                _ => break,
            }
        }
        told.extend(self.trail.rest().into_iter().map(Told::Refused));
        told
    }

    fn read(&mut self, told: &mut Vec<Told>) -> Read {
        let own = std::process::id();
        let mut buffer = [0; LONGEST];
        for _ in 0..BATCH {
            match self.records.receive(&mut buffer) {
                Ok(Message::Record(kind, text)) => match read(kind, text) {
                    Some((_, Said::Left { pid })) if u32::try_from(pid) == Ok(own) => {
                        return Read::Marker;
                    }
                    Some((number, said)) => {
                        let refusals = self.trail.hear(number, said);
                        told.extend(refusals.into_iter().map(Told::Refused));
                    }
                    None => {}
                },
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => told.push(Told::Lost),
                // There is nothing more now.
                Err(_) => break,
            }
        }
        Read::Some
    }
}
