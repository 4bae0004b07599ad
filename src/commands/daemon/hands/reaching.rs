//! Threads that reach workers at their endpoints, so that the daemon's loop waits for none of them.

use super::EventFd;
use nix::sys::eventfd::EfdFlags;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervisor::workers::daemon::Happened;
use supervisor::workers::handle::Prober;
use supervisor::workers::manifest::Manifest;

/// How many workers are reached at a time.
const REACHING: usize = 4;

/// How long a worker may take to prove who it is.
pub const PROBE: Duration = Duration::from_millis(500);

/// A worker that is to be reached.
pub struct Call {
    pub id: String,
    pub manifest: Arc<Manifest>,
    pub prober: Prober,
}

/// Those who reach workers.
#[derive(Debug)]
pub struct Callers {
    calls: Sender<Call>,
    happened: Receiver<Happened>,
    bell: Arc<EventFd>,
}

impl Callers {
    /// Makes the threads.
    pub fn begin() -> Result<Self, String> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(|errno| format!("eventfd: {errno}"))?;
        let bell = Arc::new(bell);
        let (calls, to_call) = channel();
        let (sender, happened) = channel();
        let to_call = Arc::new(Mutex::new(to_call));
        for _ in 0..REACHING {
            let (to_call, sender, bell) = (Arc::clone(&to_call), sender.clone(), Arc::clone(&bell));
            let thread = std::thread::Builder::new().name("reach".to_owned());
            let thread = thread.spawn(move || reach_all(&to_call, &sender, &bell));
            thread.map_err(|error| format!("cannot make a thread: {error}"))?;
        }
        Ok(Self {
            calls,
            happened,
            bell,
        })
    }

    /// Has a worker reached; [`Callers::next`] has what comes of it.
    pub fn call(&self, call: Call) {
        // The threads end with this process.
        let _sent = self.calls.send(call);
    }

    /// Readable when [`Callers::next`] has something.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// What came of a call.
    pub fn next(&mut self) -> Option<Happened> {
        // EAGAIN: it was not rung.
        let _reset = self.bell.read();
        self.happened.try_recv().ok()
    }
}

/// Reaches workers, until there is nobody who would want it.
fn reach_all(calls: &Mutex<Receiver<Call>>, sender: &Sender<Happened>, bell: &EventFd) {
    loop {
        let call = calls.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(call) = call else {
            return;
        };
        let happened = reach(call);
        if sender.send(happened).is_err() {
            return;
        }
        // A counter that is full is set already.
        let _set = bell.write(1);
    }
}

fn reach(call: Call) -> Happened {
    let worker = call.id;
    let process = call.manifest.process.as_ref();
    let instance = process.map_or_else(String::new, |process| process.instance.to_string());
    let reached = call.prober.try_from_manifest(&call.manifest);
    let reached = reached
        .map_err(|error| error.to_string())
        .and_then(|handle| {
            let handle = handle.ok_or("it has no process yet")?;
            let connection = handle.connect().map_err(|error| error.to_string())?;
            Ok((connection.into_inner(), handle.verification().to_string()))
        });
    match reached {
        Ok((stream, verified)) => Happened::Reached {
            worker,
            instance,
            stream,
            verified,
        },
        Err(why) => Happened::Unreached {
            worker,
            instance,
            why,
        },
    }
}
