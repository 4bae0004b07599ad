//! What is wanted of each worker, on disk: it outlives the daemon, its upgrades, and the machine's start.
//!
//! The file is replaced as a whole, and is on the disk before anybody is told that it is kept. A file that cannot be understood is an
//! error and never nothing: to take it for nothing would start what somebody stopped. It may hold secrets, which operators gave with
//! `start`: it is readable by its owner alone.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use protocol::control::{AutoRestart, StopReason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is wanted of one worker.
#[derive(Clone, PartialEq, Eq)]
pub struct Desired {
    /// Whether it is to run.
    pub running: bool,
    /// Whether it is started again when it ends.
    pub auto_restart: bool,
    /// How, where that is another way than the pool file's.
    pub restart: AutoRestart,
    /// Further variables of its environment.
    pub env: BTreeMap<String, String>,
    /// What changed that last, if anything did.
    pub reason: Option<StopReason>,
    /// When, in milliseconds of Unix time.
    pub since_unix_ms: u64,
}

impl Desired {
    /// What is wanted of a worker that nobody has said anything about: that it runs.
    pub const UNSAID: Self = Self {
        running: true,
        auto_restart: true,
        restart: AutoRestart {
            burst: None,
            within_ms: None,
            delay_ms: None,
            longest_delay_ms: None,
        },
        env: BTreeMap::new(),
        reason: None,
        since_unix_ms: 0,
    };
}

/// Without the values of variables, which may be secrets.
impl std::fmt::Debug for Desired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desired")
            .field("running", &self.running)
            .field("auto_restart", &self.auto_restart)
            .field("restart", &self.restart)
            .field("env", &self.env.keys())
            .field("reason", &self.reason)
            .field("since_unix_ms", &self.since_unix_ms)
            .finish()
    }
}

/// What is wanted, of every worker of which somebody said something.
pub type DesiredOf = BTreeMap<String, Desired>;

/// Why it is not known what is wanted, or could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// The file or its directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was to be done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in its place, or others could have written it.
    #[error("{} {what}", path.display())]
    Unfit {
        /// The file or directory.
        path: PathBuf,
        /// What is the matter with it.
        what: &'static str,
    },
    /// It is not what was written.
    #[error("{} is damaged: {detail}; mend it or remove it, and then `supervise daemon` takes every worker of the pool file as wanted", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A later version wrote it.
    #[error("{} was written by a later version: its version is {found}, and {VERSION} is known here", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u32,
    },
}

/// The one that is written. One without the last fields, version 1, is read, too.
const VERSION: u32 = 2;
const NAME: &str = "desired.json";
const NEXT: &str = "desired.json.next";

/// Nobody has so many workers that they fill this.
const MOST: u64 = 8 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mirror {
    version: u32,
    workers: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    running: bool,
    auto_restart: bool,
    #[serde(default, skip_serializing_if = "AutoRestart::is_usual")]
    restart: AutoRestart,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<StopReason>,
    since_unix_ms: u64,
}

/// The file, in a directory that is ours alone.
#[derive(Debug)]
pub struct DesiredFile {
    directory: OwnedFd,
    path: PathBuf,
}

impl DesiredFile {
    /// The file of that directory, which must be there.
    ///
    /// # Errors
    /// [`DesiredError`]: the directory cannot be opened, or others can write to it.
    pub fn in_directory(directory: &Path) -> Result<Self, DesiredError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = open(directory, flags, Mode::empty()).map_err(failed("open", directory))?;
        let status = fstat(&opened).map_err(failed("look at", directory))?;
        if Uid::from_raw(status.st_uid) != nix::unistd::geteuid() || status.st_mode & 0o022 != 0 {
            return Err(DesiredError::Unfit {
                path: directory.to_owned(),
                what: "is a directory that others can write",
            });
        }
        Ok(Self {
            directory: opened,
            path: directory.join(NAME),
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wanted. Where there is no file, nobody has said anything yet.
    ///
    /// # Errors
    /// [`DesiredError`]: it cannot be read, or is not what was written.
    pub fn read(&self) -> Result<DesiredOf, DesiredError> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, NAME, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::ENOENT) => return Ok(DesiredOf::new()),
            Err(errno) => return Err(failed("open", &self.path)(errno)),
        };
        let status = fstat(&file).map_err(failed("look at", &self.path))?;
        let unfit = |what| DesiredError::Unfit {
            path: self.path.clone(),
            what,
        };
        if status.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(unfit("is not a regular file"));
        }
        if Uid::from_raw(status.st_uid) != nix::unistd::geteuid() || status.st_mode & 0o022 != 0 {
            return Err(unfit("could have been written by others"));
        }
        let mut text = Vec::new();
        let read = file.take(MOST + 1).read_to_end(&mut text);
        read.map_err(|source| DesiredError::File {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        self.understand(&text)
    }

    fn understand(&self, text: &[u8]) -> Result<DesiredOf, DesiredError> {
        let malformed = |detail: String| DesiredError::Malformed {
            path: self.path.clone(),
            detail,
        };
        if text.len() as u64 > MOST {
            return Err(malformed(format!("it is longer than {MOST} bytes")));
        }
        // A later version may have fields of its own.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head =
            serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
        if !(1..=VERSION).contains(&head.version) {
            return Err(DesiredError::TooNew {
                path: self.path.clone(),
                found: head.version,
            });
        }
        let mirror: Mirror =
            serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
        let workers = mirror.workers.into_iter().map(|(id, entry)| {
            let desired = Desired {
                running: entry.running,
                auto_restart: entry.auto_restart,
                restart: entry.restart,
                env: entry.env,
                reason: entry.reason,
                since_unix_ms: entry.since_unix_ms,
            };
            (id, desired)
        });
        Ok(workers.collect())
    }

    /// Keeps what is wanted. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`DesiredError`]; what was kept before is kept still.
    pub fn write(&self, wanted: &DesiredOf) -> Result<(), DesiredError> {
        let workers = wanted.iter().map(|(id, desired)| {
            let entry = Entry {
                running: desired.running,
                auto_restart: desired.auto_restart,
                restart: desired.restart,
                env: desired.env.clone(),
                reason: desired.reason,
                since_unix_ms: desired.since_unix_ms,
            };
            (id.clone(), entry)
        });
        let mirror = Mirror {
            version: VERSION,
            workers: workers.collect(),
        };
        let mut text = serde_json::to_vec_pretty(&mirror).map_err(|error| DesiredError::File {
            action: "write",
            path: self.path.clone(),
            source: error.into(),
        })?;
        text.push(b'\n');
        if text.len() as u64 > MOST {
            // It could not be read again.
            let source = io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it would be longer than {MOST} bytes"),
            );
            return Err(DesiredError::File {
                action: "keep what is wanted in",
                path: self.path.clone(),
                source,
            });
        }
        let replaced = self.replace(&text);
        if replaced.is_err() {
            // A part of it would only take up room on what is full already.
            let _unremoved = unlinkat(&self.directory, NEXT, UnlinkatFlags::NoRemoveDir);
        }
        replaced.map_err(|source| DesiredError::File {
            action: "keep what is wanted in",
            path: self.path.clone(),
            source,
        })
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        match unlinkat(&self.directory, NEXT, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut next = File::from(openat(&self.directory, NEXT, flags, mode)?);
        next.write_all(text)?;
        next.sync_all()?;
        renameat(&self.directory, NEXT, &self.directory, NAME)?;
        nix::unistd::fsync(&self.directory)?;
        Ok(())
    }
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(Errno) -> DesiredError + 'a {
    move |errno| DesiredError::File {
        action,
        path: path.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn place() -> (tempfile::TempDir, DesiredFile) {
        let directory = tempfile::tempdir().unwrap();
        let file = DesiredFile::in_directory(directory.path()).unwrap();
        (directory, file)
    }

    fn some() -> DesiredOf {
        let stopped = Desired {
            running: false,
            auto_restart: true,
            restart: AutoRestart {
                burst: Some(9),
                ..AutoRestart::default()
            },
            env: BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())]),
            reason: Some(StopReason::User),
            since_unix_ms: 7,
        };
        DesiredOf::from([
            ("a-1".to_owned(), stopped),
            ("b-1".to_owned(), Desired::UNSAID),
        ])
    }

    #[test]
    fn what_is_kept_is_read_again_and_nothing_else_lies_there() {
        let (directory, file) = place();
        assert_eq!(
            file.read().unwrap(),
            DesiredOf::new(),
            "nobody said anything"
        );
        file.write(&some()).unwrap();
        assert_eq!(file.read().unwrap(), some());
        file.write(&DesiredOf::new()).unwrap();
        assert_eq!(file.read().unwrap(), DesiredOf::new());
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_nothing() {
        let (_directory, file) = place();
        file.write(&some()).unwrap();
        let good = fs::read(file.path()).unwrap();
        for length in 0..good.len() - 1 {
            fs::write(file.path(), &good[..length]).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
            let error = file.read().expect_err("torn");
            assert!(
                matches!(error, DesiredError::Malformed { .. }),
                "{length}: {error}"
            );
        }
        for bad in [
            "{}",
            "[]",
            "{\"version\":1}",
            "{\"version\":1,\"workers\":{},\"x\":0}",
        ] {
            fs::write(file.path(), bad).unwrap();
            let error = file.read().expect_err(bad);
            assert!(
                matches!(error, DesiredError::Malformed { .. }),
                "{bad}: {error}"
            );
        }
        fs::write(file.path(), "{\"version\":3,\"all\":[]}").unwrap();
        let error = file.read().unwrap_err();
        assert!(
            matches!(error, DesiredError::TooNew { found: 3, .. }),
            "{error}"
        );
    }

    #[test]
    fn what_an_earlier_version_kept_is_read() {
        let (_directory, file) = place();
        let kept = r#"{"version":1,"workers":{"a-1":{"running":false,"auto_restart":true,"reason":"user","since_unix_ms":7}}}"#;
        fs::write(file.path(), kept).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let desired = &file.read().unwrap()["a-1"];
        assert!(!desired.running && desired.env.is_empty());
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written_and_secrets_are_not_shown() {
        let (_directory, file) = place();
        file.write(&some()).unwrap();
        let mut wanted = some();
        let long = "x".repeat(MOST as usize);
        let one = wanted.get_mut("a-1").unwrap();
        one.env.insert("LONG".to_owned(), long);
        assert!(file.write(&wanted).is_err());
        assert_eq!(file.read().unwrap(), some());
        let shown = format!("{:?}", some());
        assert!(
            shown.contains("TOKEN") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_writer_that_was_killed_half_way_leaves_what_was_kept_before() {
        let (directory, file) = place();
        file.write(&some()).unwrap();
        fs::write(directory.path().join(NEXT), "{\"vers").unwrap();
        assert_eq!(file.read().unwrap(), some());
        file.write(&DesiredOf::new()).unwrap();
        assert_eq!(file.read().unwrap(), DesiredOf::new());
    }

    #[test]
    fn what_others_could_have_written_is_not_believed() {
        let (directory, file) = place();
        file.write(&some()).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(file.read(), Err(DesiredError::Unfit { .. })));
        fs::remove_file(file.path()).unwrap();
        symlink("/etc/passwd", file.path()).unwrap();
        assert!(matches!(file.read(), Err(DesiredError::File { .. })));
        fs::remove_file(file.path()).unwrap();
        fs::create_dir(file.path()).unwrap();
        assert!(matches!(file.read(), Err(DesiredError::Unfit { .. })));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(DesiredFile::in_directory(directory.path()).is_err());
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was_kept_before() {
        let (_directory, file) = place();
        file.write(&some()).unwrap();
        fs::remove_file(file.path()).unwrap();
        // Nothing can take the place of a directory that is not empty.
        fs::create_dir_all(file.path().join("x")).unwrap();
        let error = file.write(&some()).unwrap_err();
        assert!(
            error.to_string().contains("cannot keep what is wanted"),
            "{error}"
        );
        assert!(!file.path().with_file_name(NEXT).exists());
    }
}
