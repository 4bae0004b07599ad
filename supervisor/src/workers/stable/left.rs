//! A worker whose keeper is gone, and everything with it that served it: what is left to be known is when it ends.

use super::life::Told;
use super::{Happening, Member, STACK, Stable, StartError, prepare};
use crate::launch::{Exit, collect};
use crate::sandbox::Tag;
use crate::session::Ending;
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
        let (sender, event) = (self.sender.clone(), self.event.clone());
        let work = move || {
            let exit = until_it_ends(&held);
            // What it left behind ends with it, and only then has it ended.
            let left = collect(tag);
            let how = match left.and(exit) {
                Ok(exit) => Ending::Command(exit),
                Err(_) => Ending::GuardianLost,
            };
            let _told = sender.send(Happening::Ended { tag, how: Ok(how) });
            let _woken = event.write(1);
        };
        let thread = std::thread::Builder::new().name(format!("worker {}", tag.short()));
        thread.stack_size(STACK).spawn(work).map_err(|error| {
            prepare("thread")(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        })?;
        let process = Arc::new(Pidfd::from(process));
        self.members.insert(tag.number(), Member { process, told });
        Ok(())
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
    Ok(held.exit().unwrap_or(Exit::Signal(libc::SIGKILL)))
}
