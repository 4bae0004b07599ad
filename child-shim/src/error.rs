//! Why a file could not be had.

use nix::errno::Errno;
use protocol::{PathError, Refused};

/// Why a file could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This process is in no sandbox, or has lost every way to its supervisor.
    #[error("there is no supervisor to ask")]
    NoDoor,
    /// The supervisor, or the operator behind it, refused.
    #[error("refused: {}{}", .0.code, rule(.0))]
    Refused(Refused),
    /// The kernel refused, and the supervisor was not asked.
    #[error("{0}")]
    Native(Errno),
    /// No such path can be asked for.
    #[error("{0}")]
    Path(#[from] PathError),
    /// No `open` could do that.
    #[error("{0}")]
    Contradiction(&'static str),
    /// The connection to the supervisor failed.
    #[error("the supervisor cannot be reached: {0}")]
    Socket(#[from] socket::Error),
}

impl Error {
    /// What `open` would have given.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoDoor => Errno::EACCES,
            Self::Refused(refused) => Errno::from_raw(refused.errno),
            Self::Native(errno) => *errno,
            Self::Path(PathError::Empty) => Errno::ENOENT,
            Self::Path(PathError::TooLong) => Errno::ENAMETOOLONG,
            Self::Path(_) | Self::Contradiction(_) => Errno::EINVAL,
            Self::Socket(socket::Error::Timeout) => Errno::ETIMEDOUT,
            Self::Socket(socket::Error::Io { source, .. }) => *source,
            Self::Socket(_) => Errno::EIO,
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = Self::from(error.errno()).kind();
        Self::new(kind, error)
    }
}

/// Where the refusal is written, and what else is said of it.
fn rule(refused: &Refused) -> String {
    let rule = refused.rule.as_ref().map(|rule| format!(" by {rule}"));
    let detail = refused.detail.as_ref().map(|detail| format!(": {detail}"));
    format!("{}{}", rule.unwrap_or_default(), detail.unwrap_or_default())
}
