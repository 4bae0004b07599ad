//! Who keeps the operator's policy, for a person at the terminal who wants to have an answer stand there.
//!
//! The broker knows neither files of policies nor their text. Whoever started it may: then an answer can be one for the runs to
//! come, after the person has seen what would be written, and where.

use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use nix::sys::eventfd::EventFd;

use crate::policy::Access;

/// What a policy would have to allow: one file, by its canonical name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub path: PathBuf,
    /// How it is to be opened.
    pub access: Access,
    /// It is a file, and no directory below which there may be more.
    pub is_file: bool,
}

/// A change of a policy that nobody has agreed to yet.
#[derive(Debug)]
pub struct Proposal {
    /// What is changed.
    pub file: PathBuf,
    /// How, line by line, as `diff -u` has it.
    pub shown: String,
    /// What the clerk needs to write it.
    pub change: Box<dyn Any + Send>,
}

/// Keeps the operator's policy. It may take its time: it is asked on a thread of its own.
pub trait Clerk: Send + Sync + Debug {
    /// Why this place is one that nothing should open by the way, such as keys; `None`: it is not known to be.
    fn sensitive(&self, path: &Path) -> Option<String>;

    /// What would have to be written, and nothing more than that one file needs.
    ///
    /// # Errors
    /// Why it cannot be, and what to do instead.
    fn propose(&self, wanted: &Wanted) -> Result<Proposal, String>;

    /// Writes it, whole or not at all, if nobody else has written there meanwhile.
    ///
    /// # Errors
    /// Why it is not written.
    fn write(&self, proposal: &Proposal) -> Result<(), String>;
}

/// Something that the clerk does meanwhile.
#[derive(Debug)]
pub(super) struct Errand<T>(Receiver<T>);

impl<T: Send + 'static> Errand<T> {
    /// Has it done on a thread of its own, with the powers of the one that serves. The bell rings when it is done.
    pub fn start(
        bell: &Arc<EventFd>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Self, &'static str> {
        let (sender, done) = sync_channel(1);
        let bell = Arc::clone(bell);
        let thread = std::thread::Builder::new().name("clerk".to_owned());
        let started = thread.spawn(move || {
            if sys::signals::block_all().is_ok() {
                // Whoever waits no more needs not know.
                let _told = sender.send(work());
            }
            drop(sender);
            // A counter that is full is set already.
            let _rung = bell.write(1);
        });
        started
            .map(|_| Self(done))
            .map_err(|_| "there is no thread for it")
    }

    /// What came of it. `None`: nothing yet. An error: whoever did it gave up.
    pub fn result(&self) -> Option<Result<T, &'static str>> {
        match self.0.try_recv() {
            Ok(result) => Some(Ok(result)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("it was given up")),
        }
    }
}
