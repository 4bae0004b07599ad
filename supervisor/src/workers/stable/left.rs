//! A worker whose keeper is gone, and everything with it that served it: what is left to be known is when it ends.

use super::life::Told;
use super::{Member, Stable, StartError, prepare};
use crate::launch::{Exit, collect};
use crate::sandbox::Tag;
use crate::session::{Ending, SessionError};
use crate::workers::identity::Held;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::os::fd::AsFd;
use std::sync::Arc;
use sys::pidfd::Pidfd;

/// How many milliseconds it is waited that whoever is its parent now collects it, which is when everybody may know how it ended.
const COLLECTED: u16 = 1000;

impl Stable {
    /// Goes on with a worker that another keeper had. Nobody answers its calls and nobody hears what it writes any more; it can be
    /// signalled, and that it ended is told as of others.
    ///
    /// # Errors
    /// [`StartError`]; the worker goes on, and is the caller's to end.
    pub fn watch(&mut self, tag: Tag, held: Held) -> Result<(), StartError> {
        let told = Told::new().map_err(prepare("eventfd"))?;
        let process = super::duplicate(held.as_fd())?;
        let process = Arc::new(Pidfd::from(process));
        self.attend(tag, Member { process, told }, move || {
            let exit = until_it_ends(&held).map_err(failed("wait for its end"));
            // What it left behind ends with it, and only then has it ended.
            let left = collect(tag).map_err(failed("end what it left"));
            left.and(exit).map(Ending::Command)
        })
    }
}

/// Waits for the end of a process that is nobody's child here.
fn until_it_ends(held: &Held) -> Result<Exit, Errno> {
    let wait = |events, time| loop {
        match nix::poll::poll(&mut [PollFd::new(held.as_fd(), events)], time) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    };
    wait(PollFlags::POLLIN, PollTimeout::NONE)?;
    // Hung up is what is collected, and needs not be asked for.
    wait(PollFlags::empty(), PollTimeout::from(COLLECTED))?;
    // Nobody knows more (before Linux 6.15).
    Ok(held.exit().unwrap_or(Exit::Unknown))
}

fn failed(action: &'static str) -> impl Fn(Errno) -> SessionError {
    move |errno| SessionError::Call { action, errno }
}
