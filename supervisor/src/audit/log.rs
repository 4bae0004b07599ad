//! The file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};
use serde::Serialize;

use super::chain::{Digest, Position, Sealed};
use super::clock::Utc;
use super::event::{Answer, Counts, Decision, End, Event, Status};
use super::granted::Reader;
use super::json;
use super::refusals::{Refusals, Refused};

/// No line is longer. What a child can put into a record is bounded far below.
pub(super) const MAX_LINE: usize = 128 * 1024;

/// Disk space is taken in steps of this size, before it is needed.
const STEP: u64 = 128 * 1024;

/// The longest decision fits into this: a few paths of 4096 bytes, each of which may take six in JSON.
const DECISION: u64 = 96 * 1024;

/// What the end of the run needs: no decision may use it up.
const END: u64 = 1024;

/// Enough for any line, and for what a few crashes may have left behind it.
const CRASHES: u64 = 8 * MAX_LINE as u64;

/// One run writes no more than this: a child that asks for what it is refused, again and again, fills no disk. What comes
/// after is refused and not recorded, but for the end of the run.
const MOST: u64 = 1 << 30;

/// A log of one run at a time, open for the whole of it.
///
/// The file is locked, so that no two supervisors write one log. Disk space is allocated ahead: a child that fills the
/// disk finds that the supervisor has its own.
#[derive(Debug)]
pub struct Log {
    file: Flock<File>,
    path: PathBuf,
    next: Position,
    /// Bytes in the file.
    length: u64,
    /// The end of what is allocated; `None` where the file system allocates nothing ahead.
    allocated: Option<u64>,
    /// As long as it may become in this run.
    most: u64,
    counts: Counts,
    refusals: Refusals,
    line: Vec<u8>,
    herald: Option<Box<dyn Herald>>,
    /// A line that could neither be written nor taken back stands at the end: nothing may follow it.
    is_torn: bool,
}

/// The record that vouches for what lies before it and is no record.
#[derive(Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub(super) struct Break {
    pub torn_bytes: u64,
    torn_sha256: String,
}

impl Break {
    pub fn of(torn: &[u8]) -> Self {
        Self::from_hash(torn.len() as u64, Digest::of(torn))
    }

    pub fn from_hash(torn_bytes: u64, hash: Digest) -> Self {
        Self {
            torn_bytes,
            torn_sha256: hash.to_string(),
        }
    }
}

/// Why there is no log, or no record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or its directory cannot be opened or made.
    #[error("cannot open the audit log {path}: {source}")]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in its place, or others could change it.
    #[error("the audit log {path} {what}")]
    Unfit {
        /// The file or directory.
        path: PathBuf,
        /// What is the matter with it.
        what: &'static str,
    },
    /// Another supervisor writes it.
    #[error("the audit log {path} is being written by another supervisor")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A record could not be written.
    #[error("cannot write to the audit log {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Who tells others what is recorded, as it happens. Nobody waits for it.
pub trait Herald: std::fmt::Debug + Send {
    /// A decision was recorded. What was asked for may not have been done yet.
    fn recorded(&mut self, decision: &Decision<'_>);
    /// One could not be, and nothing came of it.
    fn unrecorded(&mut self, error: &Error);
}

impl Log {
    /// Has this one told of each decision from now on.
    pub fn tell(&mut self, herald: Box<dyn Herald>) {
        self.herald = Some(herald);
    }

    /// Opens the log of that name, or makes it, readable by nobody else. What a supervisor that was killed left behind
    /// is followed by a record of the break.
    ///
    /// # Errors
    /// Whatever keeps the file from being a log that only we can change.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        let unfit = |what| Error::Unfit {
            path: path.to_owned(),
            what,
        };
        // A FIFO or a device must not hold us up before it is refused.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(failed)?;
        let status = file.metadata().map_err(failed)?;
        if !status.is_file() {
            return Err(unfit("is not a regular file"));
        }
        if status.uid() != nix::unistd::geteuid().as_raw() {
            return Err(unfit("belongs to somebody else"));
        }
        if status.mode() & 0o077 != 0 {
            return Err(unfit("can be opened by others: its mode should be 0600"));
        }
        if status.nlink() != 1 {
            return Err(unfit("has other names, or none"));
        }
        let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::Busy {
                    path: path.to_owned(),
                });
            }
            Err((_, error)) => return Err(failed(error.into())),
        };
        // Whoever held the lock until now may have written.
        let length = file.metadata().map_err(failed)?.len();
        let mut log = Self {
            file,
            path: path.to_owned(),
            next: Position::START,
            length,
            allocated: Some(length),
            most: length.saturating_add(MOST),
            counts: Counts::default(),
            refusals: Refusals::default(),
            line: Vec::with_capacity(1024),
            herald: None,
            is_torn: false,
        };
        log.resume()?;
        Ok(log)
    }

    /// Opens the first log in a directory that nobody writes at the moment: `audit.jsonl`, `audit.1.jsonl` and so on.
    /// So there are as many files as runs at a time. The directory is made, with mode 0700, where it is missing.
    ///
    /// # Errors
    /// As [`Log::create`], and when the directory is not ours alone.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        /// A log that has grown so long is continued in the next file.
        const FULL: u64 = 64 << 20;
        const MOST: u32 = 10_000;
        let failed = |source| Error::Open {
            path: directory.to_owned(),
            source,
        };
        let look = || std::fs::symlink_metadata(directory);
        let status = match look() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let make = DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory);
                make.and_then(|()| look())
            }
            found => found,
        };
        let status = status.map_err(failed)?;
        let is_ours = status.is_dir()
            && status.uid() == nix::unistd::geteuid().as_raw()
            && status.mode() & 0o022 == 0;
        if !is_ours {
            return Err(Error::Unfit {
                path: directory.to_owned(),
                what: "is a directory that others can write, or not a directory",
            });
        }
        for number in 0..MOST {
            let name = match number {
                0 => "audit.jsonl".to_owned(),
                _ => format!("audit.{number}.jsonl"),
            };
            let path = directory.join(name);
            let is_full = std::fs::symlink_metadata(&path).is_ok_and(|file| file.len() > FULL);
            if is_full {
                continue;
            }
            match Self::create(&path) {
                Err(Error::Busy { .. }) => {}
                result => return result,
            }
        }
        Err(Error::Unfit {
            path: directory.to_owned(),
            what: "has no log that is free",
        })
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            file: &self.file,
            offset: 0,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of the last record: whoever keeps it can tell later that nothing before it was rewritten.
    #[must_use]
    pub fn last(&self) -> Digest {
        self.next.prev
    }

    /// As if so much less could be written.
    #[cfg(test)]
    pub(super) fn limit(&mut self, bytes: u64) {
        self.most = self.length + bytes;
    }

    /// What was decided in this run so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the policy refused in this run so far, each object once, the most telling first. Few are remembered of many.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refused> {
        self.refusals.telling().into_iter().cloned().collect()
    }

    /// Makes sure that there is room for a decision and for the end of the run. To be called before anything is done
    /// that a failed record could not undo, such as creating a file.
    ///
    /// # Errors
    /// The disk is full, the run has written all that one run may, or the log is torn.
    pub fn ready(&mut self) -> Result<(), Error> {
        if self.length + DECISION > self.most {
            return Err(self.failed(Errno::EFBIG.into()));
        }
        self.reserve(DECISION + END)
    }

    /// Appends a record. When this returns, the record is with the kernel: it outlives the supervisor, though not yet
    /// the machine.
    ///
    /// # Errors
    /// The record could not be written. Nothing may be granted on the strength of it.
    pub fn record(&mut self, event: &Event<'_>) -> Result<(), Error> {
        match event {
            Event::Start(start) => self.append(event.name(), start, END),
            Event::Decision(decision) => {
                // A refusal stands, recorded or not.
                self.refusals.note(decision);
                let recorded = self.append(event.name(), decision, END);
                if let Some(herald) = &mut self.herald {
                    match &recorded {
                        Ok(()) => herald.recorded(decision),
                        Err(error) => herald.unrecorded(error),
                    }
                }
                recorded?;
                match decision.answer {
                    Answer::Granted => self.counts.granted += 1,
                    Answer::Refused => self.counts.refused += 1,
                    Answer::Asked => self.counts.asked += 1,
                    Answer::Revoked => self.counts.revoked += 1,
                }
                Ok(())
            }
        }
    }

    /// Ends the run: its last record, and all of them to the disk if anything was decided. A run that asked for nothing is
    /// not held up by a disk: what a loss of power could take of it are its start and its end, and the next run marks that.
    ///
    /// What is allocated ahead stays so, for the next run: to give it back costs more than a short run does.
    ///
    /// # Errors
    /// As [`Log::record`].
    pub fn finish(mut self, status: Status) -> Result<(), Error> {
        let counts = self.counts;
        self.append("end", &End { status, counts }, 0)?;
        if counts == Counts::default() {
            return Ok(());
        }
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    /// Sees to it that the next `bytes` are allocated.
    fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        if self.is_torn {
            return Err(self.failed(Errno::EIO.into()));
        }
        let Some(allocated) = self.allocated else {
            return Ok(());
        };
        let needed = self.length + bytes;
        if needed <= allocated {
            return Ok(());
        }
        let length = STEP.max(needed - allocated);
        let (Ok(offset), Ok(step)) = (i64::try_from(allocated), i64::try_from(length)) else {
            return Err(self.failed(Errno::EFBIG.into()));
        };
        loop {
            match fallocate(
                &*self.file,
                FallocateFlags::FALLOC_FL_KEEP_SIZE,
                offset,
                step,
            ) {
                Ok(()) => {
                    self.allocated = Some(allocated + length);
                    return Ok(());
                }
                Err(Errno::EINTR) => {}
                // There each write takes its chance, and a failed one is a refusal.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                    self.allocated = None;
                    return Ok(());
                }
                Err(error) => return Err(self.failed(error.into())),
            }
        }
    }

    /// Writes a record, and leaves `keep` bytes allocated behind it.
    fn append<T: Serialize>(&mut self, event: &str, fields: &T, keep: u64) -> Result<(), Error> {
        self.line.clear();
        let next = self.seal(event, fields)?;
        if keep > 0 && self.length + self.line.len() as u64 > self.most {
            return Err(self.failed(Errno::EFBIG.into()));
        }
        self.reserve(self.line.len() as u64 + keep)?;
        self.write(next)
    }

    /// Puts a record behind what is in `self.line`.
    fn seal<T: Serialize>(&mut self, event: &str, fields: &T) -> Result<Position, Error> {
        let line = &mut self.line;
        let start = line.len();
        self.next.open(line, event);
        let written = write!(line, ",\"at\":\"{}\"", Utc::now());
        // The fields come as an object of their own; its brace becomes the comma.
        let brace = line.len();
        let written = written.and_then(|()| Ok(json::append(line, fields)?));
        written.map_err(|source| self.failed(source))?;
        let line = &mut self.line;
        line[brace] = b',';
        line.pop();
        let next = self.next.close(line, start);
        if line.len() - start > MAX_LINE {
            return Err(self.failed(Errno::EFBIG.into()));
        }
        Ok(next)
    }

    /// Writes `self.line`, whole or not at all.
    fn write(&mut self, next: Position) -> Result<(), Error> {
        match (&*self.file).write_all(&self.line) {
            Ok(()) => {
                self.length += self.line.len() as u64;
                self.next = next;
                Ok(())
            }
            Err(source) => {
                let found = self.file.metadata().map(|status| status.len());
                if !found.is_ok_and(|found| found == self.length) {
                    // Part of the line is there. Taking it back also frees what was allocated.
                    self.is_torn = self.file.set_len(self.length).is_err();
                    self.allocated = self.allocated.map(|_| self.length);
                }
                Err(self.failed(source))
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Finds the last good line, and marks what comes after it.
    fn resume(&mut self) -> Result<(), Error> {
        if self.length == 0 {
            return Ok(());
        }
        // The last line of a run that ended is short, and all that is needed.
        let short = self.tail(END).map_err(|source| self.failed(source))?;
        if let (Some(b'\n'), Some((next, true, end))) = (short.last(), last_sealed(&short))
            && end == short.len()
        {
            self.next = next;
            return Ok(());
        }
        let mut tail = self.tail(CRASHES).map_err(|source| self.failed(source))?;
        let is_all = tail.len() as u64 == self.length;
        self.line.clear();
        if tail.last() != Some(&b'\n') {
            // A line may lack nothing but its end, and is good with it.
            tail.push(b'\n');
            self.line.push(b'\n');
        }
        let (next, is_ended, end) = match last_sealed(&tail) {
            Some(last) => last,
            // A first record that was torn is all that a file without a good line can hold.
            None if is_all && tail.starts_with(b"{\"seq\":0,\"prev\":\"") => {
                (Position::START, false, 0)
            }
            None => {
                return Err(Error::Unfit {
                    path: self.path.clone(),
                    what: "is not an audit log, or its end is damaged",
                });
            }
        };
        self.next = next;
        let torn = &tail[end..];
        if torn.is_empty() && is_ended {
            return self.write(next);
        }
        let next = self.seal("break", &Break::of(torn))?;
        self.write(next)
    }

    /// The end of the file, at most so many bytes of it.
    fn tail(&self, most: u64) -> io::Result<Vec<u8>> {
        let length = self.length.min(most);
        let mut tail = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut tail, self.length - length)?;
        Ok(tail)
    }
}

/// The last good line in the end of a file: what follows it must say, whether a run ended with it, and where it ends.
fn last_sealed(tail: &[u8]) -> Option<(Position, bool, usize)> {
    let mut end = tail.len();
    while end > 0 {
        let start = tail[..end - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        if let Some(sealed) = Sealed::read(&tail[start..end]) {
            // Behind a break no run is open, either.
            let is_ended = matches!(sealed.event, b"end" | b"break");
            return Some((sealed.next(), is_ended, end));
        }
        end = start;
    }
    None
}
