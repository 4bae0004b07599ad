//! A frame: the length of its text as four bytes, big-endian, then the text.

use serde::Serialize;

use crate::Error;

/// The most bytes of text in a frame, in either direction.
pub const MAX: usize = 64 * 1024;

/// The bytes of the length.
pub const HEADER: usize = 4;

/// The length of the text that follows a header, if it may follow.
///
/// # Errors
/// [`Error::Empty`] and [`Error::TooLarge`]; the stream cannot be used any further.
pub fn length(header: [u8; HEADER]) -> Result<usize, Error> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    match length {
        0 => Err(Error::Empty),
        1..=MAX => Ok(length),
        _ => Err(Error::TooLarge { length }),
    }
}

/// Appends a frame with `message` as its text; leaves `out` as it was when there is an error.
pub(crate) fn append(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let written = serde_json::to_writer(&mut *out, message).map_err(Error::malformed);
    let length = out.len() - start - HEADER;
    let checked = written.and_then(|()| match u32::try_from(length) {
        Ok(short) if length <= MAX => Ok(short),
        _ => Err(Error::TooLarge { length }),
    });
    match checked {
        Ok(short) => out[start..start + HEADER].copy_from_slice(&short.to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    checked.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_checked_before_anything_is_done_with_it() {
        assert_eq!(length([0, 0, 0, 0]), Err(Error::Empty));
        assert_eq!(length([0, 0, 0, 1]), Ok(1));
        assert_eq!(length([0, 1, 0, 0]), Ok(MAX));
        assert_eq!(
            length([0, 1, 0, 1]),
            Err(Error::TooLarge { length: MAX + 1 })
        );
        assert_eq!(
            length([0xff; 4]),
            Err(Error::TooLarge {
                length: 0xffff_ffff
            })
        );
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        let mut out = b"before".to_vec();
        assert_eq!(
            append(&mut out, &"x".repeat(MAX - 1)),
            Err(Error::TooLarge { length: MAX + 1 })
        );
        assert_eq!(out, b"before");
        assert_eq!(append(&mut out, &"x".repeat(MAX - 2)), Ok(()));
        assert_eq!(out[6..10], [0, 1, 0, 0]);
        assert_eq!(out.len(), 6 + HEADER + MAX);
    }
}
