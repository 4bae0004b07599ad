//! Finding the program: through the sandbox's own `PATH`, opened once.

use super::plan::Image;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat, stat};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A program that was found and opened.
#[derive(Debug)]
pub struct Program {
    /// As the program is to see it: relative when it was named so.
    name: PathBuf,
    path: PathBuf,
    file: OwnedFd,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Executed by its descriptor.
    Elf,
    /// Executed by its path: a script, or a format that binfmt_misc(5) knows.
    Other,
}

/// Why there is no program to execute.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No file of this name, in no directory of `PATH`.
    #[error("{name}: command not found: {place}")]
    NotFound {
        /// What was looked for.
        name: String,
        /// Where it is not.
        place: String,
    },
    /// The file is there, and cannot be executed.
    #[error("{}: cannot be executed: {reason}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl FindError {
    /// The exit status that shells give: 127 for what was not found, 126 for what cannot be executed.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
        }
    }
}

impl Program {
    /// Finds `name` as `execvp(3)` would: a name with a slash is a path, relative to `directory`; any other is looked for in the
    /// directories of `search_path`, where one that may not be executed (`allowed` says what the policy thinks of it) is passed
    /// over as one without execute bits is. Unlike there, what cannot be executed is never given to a shell.
    ///
    /// # Errors
    /// [`FindError`]
    pub fn find(
        name: &OsStr,
        search_path: &OsStr,
        directory: &Path,
        allowed: &dyn Fn(&Self) -> Result<(), String>,
    ) -> Result<Self, FindError> {
        let is_path = name.as_bytes().contains(&b'/');
        let candidates: Vec<PathBuf> = match (is_path, name.is_empty()) {
            (true, _) => vec![PathBuf::from(name)],
            (false, true) => Vec::new(),
            (false, false) => {
                let entries = search_path.as_bytes().split(|byte| *byte == b':');
                entries
                    .map(|entry| Path::new(OsStr::from_bytes(entry)).join(name))
                    .collect()
            }
        };
        let mut refused = None;
        for candidate in candidates {
            let reason = match Self::open(directory, &candidate) {
                Ok(program) => match allowed(&program) {
                    Ok(()) => return Ok(program),
                    Err(reason) => reason,
                },
                Err(Errno::ENOENT | Errno::ENOTDIR) => continue,
                // A directory of PATH that cannot be searched has nothing in it, as far as anybody can tell.
                Err(Errno::EACCES) if !is_path && stat(&directory.join(&candidate)).is_err() => {
                    continue;
                }
                Err(errno) => not_executable(errno),
            };
            let path = directory.join(&candidate);
            refused = refused.or(Some(FindError::NotExecutable { path, reason }));
        }
        Err(refused.unwrap_or_else(|| FindError::NotFound {
            name: name.to_string_lossy().into_owned(),
            place: match is_path {
                true => "no such file".to_owned(),
                false => format!("not in PATH={}", search_path.to_string_lossy()),
            },
        }))
    }

    fn open(directory: &Path, name: &Path) -> Result<Self, Errno> {
        let path = &directory.join(name);
        let readable = open(
            path,
            OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
            Mode::empty(),
        );
        let (file, can_read) = match readable {
            Ok(file) => (file, true),
            // A file that may be executed and not read.
            Err(Errno::EACCES) => (
                open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?,
                false,
            ),
            Err(errno) => return Err(errno),
        };
        let status = fstat(&file)?;
        let format = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
        if format == SFlag::S_IFDIR {
            return Err(Errno::EISDIR);
        }
        if format != SFlag::S_IFREG || status.st_mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        let mut magic = [0u8; 4];
        let kind = match can_read {
            true if nix::sys::uio::pread(&file, &mut magic, 0)? == 4 && magic == *b"\x7fELF" => {
                Kind::Elf
            }
            true if magic.starts_with(b"#!") => Kind::Other,
            // Neither an ELF file nor a script: only the kernel can say (binfmt_misc), by path.
            true => Kind::Other,
            false => Kind::Elf,
        };
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            file,
            kind,
        })
    }

    /// The same program, held once more.
    ///
    /// # Errors
    /// The errno of `fcntl(2)`.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        let file = sys::fds::duplicate_from(self.file.as_fd(), 3)?;
        Ok(Self {
            name: self.name.clone(),
            path: self.path.clone(),
            file,
            kind: self.kind,
        })
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    pub fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Whether it is executed by its path, which is then read again by the kernel and by its interpreter.
    pub fn is_executed_by_path(&self) -> bool {
        self.kind == Kind::Other
    }

    pub(super) fn into_image(self) -> Image {
        match (self.kind, CString::new(self.name.as_os_str().as_bytes())) {
            (Kind::Other, Ok(path)) => Image::Path(path),
            // A path with a NUL byte could not have been opened.
            (_, _) => Image::Descriptor(self.file),
        }
    }
}

fn not_executable(errno: Errno) -> String {
    match errno {
        Errno::EISDIR => "it is a directory".to_owned(),
        Errno::EACCES => "permission denied: it is no regular file with an execute bit, or a directory above it is closed".to_owned(),
        errno => errno.desc().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_elf_file_is_found_through_the_path_given() {
        let found = Program::find(
            OsStr::new("sh"),
            OsStr::new("/nowhere:/bin"),
            Path::new("/"),
            &|_| Ok(()),
        )
        .unwrap();
        assert_eq!(found.path(), Path::new("/bin/sh"));
        assert!(!found.is_executed_by_path());
    }

    #[test]
    fn a_script_is_executed_by_path_and_a_file_without_execute_bit_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::File::create(&script)
            .unwrap()
            .write_all(b"#!/bin/sh\n")
            .unwrap();
        let find = || {
            Program::find(
                OsStr::new("script"),
                directory.path().as_os_str(),
                Path::new("/"),
                &|_| Ok(()),
            )
        };
        assert_eq!(find().unwrap_err().exit_status(), 126);
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(find().unwrap().is_executed_by_path());
    }

    #[test]
    fn what_is_nowhere_gives_127_and_a_directory_126() {
        let find = |name: &str| {
            Program::find(
                OsStr::new(name),
                OsStr::new("/bin"),
                Path::new("/"),
                &|_| Ok(()),
            )
            .unwrap_err()
            .exit_status()
        };
        assert_eq!(find("no-such-command"), 127);
        assert_eq!(find("/no/such/command"), 127);
        assert_eq!(find(""), 127);
        assert_eq!(find("/usr"), 126);
    }
}
