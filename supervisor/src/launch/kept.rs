//! A program that outlives the supervisor that started it: a child of the supervisor's own parent, the keeper.
//!
//! There is no guardian: what the program leaves behind when it ends is found by the session's tag.

use super::child;
use super::plan::{Image, Parent, Plan, Report, Shared, Strings};
use super::{Command, FIRST_PASSED, LaunchError, prepare};
use crate::sandbox::Confinement;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use sys::fds::Window;
use sys::pidfd::Pidfd;

/// Who collects the program: the parent of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeper {
    /// Its pid.
    pub pid: i32,
    /// The program is killed when the keeper dies.
    pub is_fatal: bool,
}

/// Standard input, output and error of a program that does not have the supervisor's.
#[derive(Debug)]
pub struct Streams(pub [OwnedFd; 3]);

/// A program that runs, and whose end the keeper is told.
#[derive(Debug)]
pub struct Kept {
    /// Its pid, for people to read.
    pub pid: i32,
    /// The process.
    pub process: Pidfd,
    /// The listener of its filter, where it has one.
    pub listener: Option<OwnedFd>,
}

/// Starts the program as a child of `keeper`, in a session of its own. Returns when it has been executed, or with the step that
/// failed.
///
/// Blocks for the time of the launch only. `window` is free again when this returns; one launch at a time has it. What
/// [`Command::orphans`], [`Command::streams`] and [`Command::terminal`] say is not for this launch: nobody watches but the supervisor.
///
/// # Errors
/// [`LaunchError`]; in each case no process is left but one that has ended, which the keeper collects.
pub fn launch_kept(
    command: Command,
    streams: &Streams,
    keeper: Keeper,
    confinement: Arc<Confinement>,
    window: &mut Window,
) -> Result<Kept, LaunchError> {
    let image = command.program.into_image();
    let mut sources: Vec<BorrowedFd<'_>> = streams.0.iter().map(AsFd::as_fd).collect();
    sources.extend(command.pass.iter().map(AsFd::as_fd));
    let count = sources.len();
    if let Image::Descriptor(fd) = &image {
        sources.push(fd.as_fd());
    }
    let parked = window.fill(&sources).map_err(prepare("descriptors"))?;
    let place = parked[..count].iter().copied().zip(0..).collect();
    let image = match parked.get(count) {
        Some(number) => Image::Number(*number),
        None => image,
    };
    let shared = Box::new(Shared {
        plan: Plan {
            supervisor: std::process::id() as i32,
            parent: Parent::Keeper {
                pid: keeper.pid,
                is_fatal: keeper.is_fatal,
            },
            // Nobody announces anything.
            events: streams.0[0]
                .try_clone()
                .map_err(|_| prepare("descriptors")(Errno::EMFILE))?,
            confinement,
            working_directory: command.working_directory,
            copy_below: window.end() as u32,
            terminal: None,
            close_from: FIRST_PASSED as u32 + command.pass.len() as u32,
            place,
            signal_mask: command.signal_mask,
            ignore_sigchld: false,
            image,
            argv: Strings::new(command.argv),
            envp: Strings::new(command.envp),
            orphans: command.orphans,
        },
        report: Report::default(),
        child_stack: child::make_stack()
            .map_err(|(what, errno)| LaunchError::Prepare { what, errno })?,
    });
    let cloned = child::clone_kept(&shared);
    let cleared = window.clear();
    let (pid, process) = cloned.map_err(|(what, errno)| LaunchError::Prepare { what, errno })?;
    let listener = child::take_listener(&shared.report);
    let process = Pidfd::from(process);
    if let Some((step, errno)) = shared.report.failure() {
        return Err(LaunchError::Step { step, errno });
    }
    if let Err(errno) = cleared {
        // What it inherited would stay open here: better no such program.
        let _gone = process.send_signal(libc::SIGKILL);
        return Err(prepare("descriptors")(errno));
    }
    Ok(Kept {
        pid,
        process,
        listener,
    })
}
