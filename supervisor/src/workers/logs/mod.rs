//! What workers write to their standard output and error, in files.
//!
//! In: our ends of their pipes. Out: segments of a bounded size, named after the place in the stream at which they begin, of which the
//! oldest are removed; and what of a stream lies behind a place, for those who read along.
//!
//! No worker waits for a disk: one thread takes what is in the pipes, another one writes it, and what the second cannot take off the
//! first is dropped, counted, and noted in the file where it is missing.

mod drain;
mod segments;
#[cfg(test)]
mod tests;

pub use segments::{Chunk, ReadError, read};

use super::config::LogRules;
use drain::Drain;
use nix::errno::Errno;
use protocol::control::LogStream;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use segments::Writer;

/// Which stream of which worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The worker.
    pub worker: String,
    /// Its stream.
    pub stream: Stream,
}

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Errors,
}

impl From<LogStream> for Stream {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Output,
            LogStream::Stderr => Self::Errors,
        }
    }
}

impl Stream {
    /// As it is part of a file's name.
    fn name(self) -> &'static str {
        match self {
            Self::Output => "stdout",
            Self::Errors => "stderr",
        }
    }
}

/// What is wrong with the logs of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// So many bytes were dropped.
    pub dropped: u64,
    /// Why the last of them could not be written, if that was why.
    pub error: Option<String>,
}

/// What is wrong, with whom.
type Troubles = Arc<Mutex<BTreeMap<String, Trouble>>>;

fn note(troubles: &Troubles, worker: &str, dropped: u64, error: Option<String>) {
    let mut troubles = troubles.lock().unwrap_or_else(PoisonError::into_inner);
    let trouble = troubles.entry(worker.to_owned()).or_default();
    trouble.dropped += dropped;
    if error.is_some() {
        trouble.error = error;
    }
}

/// For the thread that writes.
enum Work {
    /// These rules hold for this worker from now on.
    Rules(String, LogRules),
    /// This came.
    Bytes(Source, Vec<u8>),
    /// So much more came, and was dropped.
    Dropped(Source, u64),
    /// Somebody waits until everything before this is written.
    Flush(Sender<()>),
}

/// Takes what workers write, until it is dropped; then what is in the pipes by then is written still.
#[derive(Debug)]
pub struct Logs {
    directory: PathBuf,
    drain: Option<Drain>,
    work: Option<drain::Queue>,
    writer: Option<JoinHandle<()>>,
    troubles: Troubles,
}

impl Logs {
    /// Begins, with files in this directory, which must be there.
    ///
    /// # Errors
    /// A thread or what it needs could not be made.
    pub fn begin(directory: &Path) -> io::Result<Self> {
        let troubles = Troubles::default();
        let (sender, receiver) = channel();
        let queue = drain::Queue::new(sender, Arc::clone(&troubles));
        let drain = Drain::begin(queue.clone())?;
        let (place, noted) = (directory.to_owned(), Arc::clone(&troubles));
        let held = queue.held();
        let writer = std::thread::Builder::new().name("log writer".to_owned());
        let writer = writer.spawn(move || write_all(&place, &receiver, &noted, &held))?;
        Ok(Self {
            directory: directory.to_owned(),
            drain: Some(drain),
            work: Some(queue),
            writer: Some(writer),
            troubles,
        })
    }

    /// Takes what comes through a pipe, until its other end is closed.
    ///
    /// # Errors
    /// The errno of making the pipe one that does not wait.
    pub fn take(&self, source: Source, rules: LogRules, pipe: OwnedFd) -> Result<(), Errno> {
        nix::fcntl::fcntl(
            &pipe,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        if let Some(work) = &self.work {
            work.put(Work::Rules(source.worker.clone(), rules));
        }
        match &self.drain {
            Some(drain) => drain.add(source, pipe),
            None => Ok(()),
        }
    }

    /// What is wrong with the logs of this worker, if something is.
    #[must_use]
    pub fn trouble(&self, worker: &str) -> Option<Trouble> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(worker).cloned()
    }

    /// What of a stream lies behind `after`; without it, its last `lines`, or as much as fits into `most` bytes.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read(
        &self,
        source: &Source,
        after: Option<u64>,
        lines: Option<u32>,
        most: usize,
    ) -> Result<Chunk, ReadError> {
        read(&self.directory, source, after, lines, most)
    }

    /// Waits until all that was in the pipes is in the files.
    pub fn flush(&self) {
        if let Some(drain) = &self.drain {
            drain.turn();
        }
        let (done, is_done) = channel();
        if let Some(work) = &self.work {
            work.put(Work::Flush(done));
            // Who cannot answer has ended.
            let _ended = is_done.recv();
        }
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        drop(self.drain.take());
        drop(self.work.take());
        if let Some(writer) = self.writer.take() {
            // One that panicked has written what it could.
            let _panicked = writer.join();
        }
    }
}

/// Writes what comes, until nothing can come any more.
fn write_all(directory: &Path, work: &Receiver<Work>, troubles: &Troubles, held: &drain::Held) {
    let mut rules: BTreeMap<String, LogRules> = BTreeMap::new();
    let mut writers: BTreeMap<Source, Writer> = BTreeMap::new();
    while let Ok(one) = work.recv() {
        match one {
            Work::Rules(worker, new) => {
                for (source, writer) in &mut writers {
                    if source.worker == worker {
                        writer.set_rules(new);
                    }
                }
                rules.insert(worker, new);
            }
            Work::Flush(done) => {
                // Who asked may be gone.
                let _gone = done.send(());
            }
            Work::Bytes(source, bytes) => {
                held.release(&source, bytes.len());
                if let Some(writer) = writer(&mut writers, &rules, directory, &source)
                    && let Err((lost, error)) = writer.write(&bytes)
                {
                    note(troubles, &source.worker, lost, Some(error.to_string()));
                }
            }
            Work::Dropped(source, count) => {
                if let Some(writer) = writer(&mut writers, &rules, directory, &source) {
                    writer.dropped(count);
                }
            }
        }
    }
}

fn writer<'a>(
    writers: &'a mut BTreeMap<Source, Writer>,
    rules: &BTreeMap<String, LogRules>,
    directory: &Path,
    source: &Source,
) -> Option<&'a mut Writer> {
    let rules = *rules.get(&source.worker)?;
    let writer = writers
        .entry(source.clone())
        .or_insert_with(|| Writer::new(directory, source, rules));
    Some(writer)
}
