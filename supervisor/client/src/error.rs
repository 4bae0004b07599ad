//! Why there is no file.

use protocol::Refused;

/// Why a request brought no file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This process is in no sandbox, or its supervisor has no name.
    #[error("there is no supervisor to ask")]
    NoDoor,
    /// The supervisor, or the operator behind it, refused.
    #[error("refused: {}", .0.code)]
    Refused(Refused),
    /// The connection failed.
    #[error("the supervisor cannot be reached: {0}")]
    Socket(#[from] socket::Error),
}
