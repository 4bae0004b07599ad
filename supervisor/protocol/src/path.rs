//! The path of a request: bytes, since that is what a path is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An absolute path as a stranger wrote it: no NUL, and short enough for the kernel.
///
/// Having one proves nothing about what lies there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestedPath(Vec<u8>);

/// Why bytes are not a path that may be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is none.
    #[error("an empty path")]
    Empty,
    /// It does not begin with `/`: the supervisor has no directory of the sender's to start from.
    #[error("a relative path")]
    Relative,
    /// It would end early for the kernel.
    #[error("a path with a NUL byte")]
    Nul,
    /// It is longer than [`RequestedPath::MAX`].
    #[error("a path of more than {} bytes", RequestedPath::MAX)]
    TooLong,
}

impl RequestedPath {
    /// `PATH_MAX` without the terminating NUL.
    pub const MAX: usize = 4095;

    /// Takes the bytes of a path.
    ///
    /// # Errors
    /// See [`PathError`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        match bytes.first() {
            None => Err(PathError::Empty),
            Some(_) if bytes.len() > Self::MAX => Err(PathError::TooLong),
            Some(_) if bytes.contains(&0) => Err(PathError::Nul),
            Some(b'/') => Ok(Self(bytes)),
            Some(_) => Err(PathError::Relative),
        }
    }

    /// The path as the kernel takes it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text, or else in base64: the two forms that it has in a message.
    pub(crate) fn to_wire(&self) -> (Option<&str>, Option<String>) {
        match std::str::from_utf8(&self.0) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(STANDARD.encode(&self.0))),
        }
    }

    /// From the two forms, of which one must be there.
    pub(crate) fn from_wire(text: Option<&str>, coded: Option<&str>) -> Result<Self, String> {
        let bytes = match (text, coded) {
            (Some(text), None) => text.as_bytes().to_vec(),
            (None, Some(coded)) => STANDARD
                .decode(coded)
                .map_err(|error| format!("path_b64: {error}"))?,
            (None, None) => return Err("missing field `path` (or `path_b64`)".to_owned()),
            (Some(_), Some(_)) => return Err("both `path` and `path_b64`".to_owned()),
        };
        Self::new(bytes).map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for RequestedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_would_take_as_an_absolute_path_is_one() {
        assert_eq!(RequestedPath::new(""), Err(PathError::Empty));
        assert_eq!(RequestedPath::new("data/a"), Err(PathError::Relative));
        assert_eq!(RequestedPath::new("/data\0/a"), Err(PathError::Nul));
        assert_eq!(
            RequestedPath::new(vec![b'/'; 4096]),
            Err(PathError::TooLong)
        );
        assert!(RequestedPath::new(vec![b'/'; 4095]).is_ok());
        assert!(RequestedPath::new(b"/\xff".as_slice()).is_ok());
    }

    #[test]
    fn a_path_that_is_no_text_goes_in_base64() {
        let path = RequestedPath::new(b"/\xff".as_slice()).expect("a path");
        assert_eq!(path.to_wire(), (None, Some("L/8=".to_owned())));
        assert_eq!(RequestedPath::from_wire(None, Some("L/8=")), Ok(path));
        assert!(
            RequestedPath::from_wire(None, Some("L/8")).is_err(),
            "padding is part of it"
        );
        assert!(
            RequestedPath::from_wire(None, Some("L/9=")).is_err(),
            "one spelling per path"
        );
        assert!(RequestedPath::from_wire(None, None).is_err());
        assert!(RequestedPath::from_wire(Some("/a"), Some("L/8=")).is_err());
    }
}
