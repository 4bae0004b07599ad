//! Which session is at which worker, in a file that the next daemon reads before it has spoken with any of them.
//!
//! The file lies where the machine's end is its end too, so nothing is synced: what the kernel has outlives the daemon. Each entry is
//! a line; a last line without its end is what a daemon left that was killed while it wrote, and is passed over. Any other line that
//! is none is damage, and said to be.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A session, as it was last heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The worker that has it.
    pub worker: String,
    /// Which start of that worker.
    pub instance: String,
    /// Whether its job was answered.
    pub answered: bool,
}

/// A name that no other session has.
///
/// # Errors
/// The kernel has no random numbers yet.
pub fn new_sid() -> Result<String, getrandom::Error> {
    let (high, low) = (getrandom::u64()?, getrandom::u64()?);
    Ok(format!("{high:016x}{low:016x}"))
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be read or written.
    #[error("cannot {action} the ledger of jobs {}: {source}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it is not one that was written.
    #[error("the ledger of jobs {} is damaged at line {line}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which line, counted from 1.
        line: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Given {
        sid: String,
        worker: String,
        instance: String,
    },
    Answered {
        sid: String,
    },
    Forgotten {
        sid: String,
    },
    Gone {
        instance: String,
    },
}

/// When so much was appended, what is over is left out.
const TIDY: u64 = 1 << 20;

/// What nobody writes in the life of a machine, and nobody should read at once.
const MOST: u64 = 256 << 20;

/// The open ledger.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// Bytes in the file.
    length: u64,
    /// Bytes that are written before it is tidied.
    room: u64,
}

impl Ledger {
    /// Opens the ledger of that name, or makes it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| failed("read", path)(source);
        let mut file = file(path).map_err(failed)?;
        let mut text = Vec::new();
        let read = Read::by_ref(&mut file).take(MOST).read_to_end(&mut text);
        read.map_err(failed)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |at| at + 1);
        let mut ledger = Self {
            file,
            path: path.to_owned(),
            entries: BTreeMap::new(),
            length: whole as u64,
            room: TIDY,
        };
        for (number, line) in text[..whole]
            .split_inclusive(|byte| *byte == b'\n')
            .enumerate()
        {
            let line = serde_json::from_slice(line).map_err(|_| LedgerError::Corrupt {
                path: path.to_owned(),
                line: number + 1,
            })?;
            ledger.take_in(line);
        }
        // What follows must not be glued to half a line.
        ledger.file.set_len(ledger.length).map_err(failed)?;
        ledger.file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(ledger)
    }

    /// Puts a damaged ledger aside, and begins a new one.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn begin_anew(path: &Path) -> Result<Self, LedgerError> {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".damaged");
        std::fs::rename(path, aside).map_err(failed("put aside", path))?;
        Self::open(path)
    }

    /// The sessions that are not forgotten.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// A session is begun, or gone on with, at this worker.
    ///
    /// # Errors
    /// [`LedgerError`]: then the job is not to be given.
    pub fn given(&mut self, sid: &str, worker: &str, instance: &str) -> Result<(), LedgerError> {
        self.append(Line::Given {
            sid: sid.to_owned(),
            worker: worker.to_owned(),
            instance: instance.to_owned(),
        })
    }

    /// Its job was answered.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn answered(&mut self, sid: &str) -> Result<(), LedgerError> {
        let sid = sid.to_owned();
        self.append(Line::Answered { sid })
    }

    /// Nobody knows the session any more.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn forgotten(&mut self, sid: &str) -> Result<(), LedgerError> {
        let sid = sid.to_owned();
        self.append(Line::Forgotten { sid })
    }

    /// A start of a worker is over, and all sessions with it.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn gone(&mut self, instance: &str) -> Result<(), LedgerError> {
        if !self
            .entries
            .values()
            .any(|entry| entry.instance == instance)
        {
            return Ok(());
        }
        let instance = instance.to_owned();
        self.append(Line::Gone { instance })
    }

    fn append(&mut self, line: Line) -> Result<(), LedgerError> {
        let mut text =
            serde_json::to_vec(&line).map_err(|error| failed("write", &self.path)(error.into()))?;
        text.push(b'\n');
        if let Err(source) = self.file.write_all(&text) {
            // Half a line must not stand before the next one.
            let undone = self.file.set_len(self.length);
            let undone = undone.and_then(|()| self.file.seek(SeekFrom::End(0)).map(drop));
            let source = undone.err().unwrap_or(source);
            return Err(failed("write", &self.path)(source));
        }
        self.length += text.len() as u64;
        self.room = self.room.saturating_sub(text.len() as u64);
        self.take_in(line);
        match self.room {
            0 => self.tidy(),
            _ => Ok(()),
        }
    }

    fn take_in(&mut self, line: Line) {
        match line {
            Line::Given {
                sid,
                worker,
                instance,
            } => {
                let answered = false;
                self.entries.insert(
                    sid,
                    Entry {
                        worker,
                        instance,
                        answered,
                    },
                );
            }
            Line::Answered { sid } => {
                if let Some(entry) = self.entries.get_mut(&sid) {
                    entry.answered = true;
                }
            }
            Line::Forgotten { sid } => {
                self.entries.remove(&sid);
            }
            Line::Gone { instance } => self.entries.retain(|_, entry| entry.instance != instance),
        }
    }

    /// Writes what is left into a new file, in the place of the old one.
    fn tidy(&mut self) -> Result<(), LedgerError> {
        let mut next = self.path.clone().into_os_string();
        next.push(".next");
        let next = PathBuf::from(next);
        let replaced = self.written_anew(&next);
        let (file, length) = replaced.map_err(failed("tidy", &self.path))?;
        (self.file, self.length) = (file, length);
        self.room = TIDY.max(length);
        Ok(())
    }

    fn written_anew(&self, next: &Path) -> io::Result<(File, u64)> {
        let mut text = Vec::new();
        for (sid, entry) in &self.entries {
            let mut lines = vec![Line::Given {
                sid: sid.clone(),
                worker: entry.worker.clone(),
                instance: entry.instance.clone(),
            }];
            if entry.answered {
                lines.push(Line::Answered { sid: sid.clone() });
            }
            for line in lines {
                serde_json::to_writer(&mut text, &line)?;
                text.push(b'\n');
            }
        }
        let mut file = file(next)?;
        file.set_len(0)?;
        file.write_all(&text)?;
        std::fs::rename(next, &self.path)?;
        Ok((file, text.len() as u64))
    }
}

fn file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    options.open(path)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::File {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs");
        (directory, path)
    }

    fn filled(path: &Path) -> Ledger {
        let mut ledger = Ledger::open(path).unwrap();
        ledger.given("s1", "a-1", "i1").unwrap();
        ledger.given("s2", "a-2", "i2").unwrap();
        ledger.answered("s1").unwrap();
        ledger.given("s3", "a-2", "i2").unwrap();
        ledger.given("s4", "a-1", "i1").unwrap();
        ledger.forgotten("s4").unwrap();
        ledger
    }

    #[test]
    fn the_next_daemon_knows_which_session_is_where() {
        let (_directory, path) = place();
        let written = filled(&path).entries().clone();
        let mut ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.entries(), &written);
        assert_eq!(written.keys().collect::<Vec<_>>(), ["s1", "s2", "s3"]);
        assert!(written["s1"].answered && !written["s2"].answered);
        ledger.gone("i2").unwrap();
        let left = Ledger::open(&path).unwrap();
        assert_eq!(left.entries().keys().collect::<Vec<_>>(), ["s1"]);
    }

    #[test]
    fn what_was_half_written_is_passed_over_and_nothing_is_glued_to_it() {
        let (_directory, path) = place();
        filled(&path);
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        for length in last..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut ledger = Ledger::open(&path).unwrap();
            assert!(ledger.entries().contains_key("s4"), "{length}");
            ledger.given("s5", "a-1", "i1").unwrap();
            assert!(Ledger::open(&path).unwrap().entries().contains_key("s5"));
        }
    }

    #[test]
    fn a_damaged_line_is_an_error_that_says_which_and_the_file_is_put_aside() {
        let (_directory, path) = place();
        filled(&path);
        let mut text = fs::read(&path).unwrap();
        let second = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        text[second] = b'x';
        fs::write(&path, text).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert!(
            matches!(error, LedgerError::Corrupt { line: 2, .. }),
            "{error}"
        );
        assert!(Ledger::begin_anew(&path).unwrap().entries().is_empty());
        assert!(path.with_file_name("jobs.damaged").exists());
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_over() {
        let (_directory, path) = place();
        let mut ledger = filled(&path);
        for number in 0..40_000 {
            let sid = format!("{number:032x}");
            ledger.given(&sid, "a-1", "i1").unwrap();
            ledger.forgotten(&sid).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() < 2 * TIDY);
        let again = Ledger::open(&path).unwrap();
        assert_eq!(again.entries(), ledger.entries());
        assert_eq!(again.entries().len(), 3);
    }
}
