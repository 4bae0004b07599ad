//! Policy files: read once, from a descriptor of a plain file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::policy::{Library, PolicyText};

/// A policy that is larger is a mistake.
const LARGEST: u64 = 1 << 20;

/// The policy files of the file system.
#[derive(Clone, Copy, Debug)]
pub struct PolicyFiles;

impl Library for PolicyFiles {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        // Not blocking: a FIFO would keep us waiting for a writer before it could be refused.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            .map_err(
                |error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::ELOOP => "it is a symbolic link; name the file itself".to_owned(),
                    errno => errno.desc().to_owned(),
                },
            )?;
        let known = file.metadata().map_err(|error| error.to_string())?;
        if !known.is_file() {
            return Err("it is not a regular file".to_owned());
        }
        let mut bytes = Vec::new();
        // The size is not believed: the file may grow while it is read.
        Read::take(&file, LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        if bytes.len() as u64 > LARGEST {
            return Err("it is larger than 1 MiB".to_owned());
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            format!("it is not UTF-8 text (byte {at})")
        })?;
        Ok(PolicyText {
            text,
            path: place(&file)?,
        })
    }
}

/// Policy files that are read once for a worker, and again for whoever goes on with it: what was read is remembered, and what is
/// remembered is not read.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    texts: BTreeMap<PathBuf, PolicyText>,
    /// Only what is remembered is there.
    is_closed: bool,
}

impl Remembered {
    /// With what was remembered: by the name under which it was asked for, where it was, and its text. Nothing else is there.
    pub fn only(texts: impl IntoIterator<Item = (PathBuf, PolicyText)>) -> Self {
        Self {
            texts: texts.into_iter().collect(),
            is_closed: true,
        }
    }

    /// What was read, by the name under which it was asked for.
    pub fn texts(&self) -> impl Iterator<Item = (&Path, &PolicyText)> {
        self.texts.iter().map(|(name, text)| (&**name, text))
    }
}

impl Library for Remembered {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        match self.texts.get(path) {
            Some(text) => Ok(text.clone()),
            None if self.is_closed => {
                Err("it was not there when the worker was started".to_owned())
            }
            None => {
                let text = PolicyFiles.text(path)?;
                self.texts.insert(path.to_owned(), text.clone());
                Ok(text)
            }
        }
    }
}

/// Where the file is that was opened, whatever its name leads to by now.
fn place(file: &File) -> Result<PathBuf, String> {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .map_err(|error| format!("its place cannot be found: {error}"))
}
