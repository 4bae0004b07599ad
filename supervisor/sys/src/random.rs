//! Random bytes of the kernel's, for programs that link as little as they can.

use nix::errno::Errno;

/// Fills `bytes`, of which there are at most 256.
///
/// # Errors
/// The errno of `getentropy(3)`: `EIO` when there are more.
pub fn fill(bytes: &mut [u8]) -> Result<(), Errno> {
    // SAFETY: writes `bytes.len()` bytes to `bytes`, which has that many.
    let result = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_two_are_alike() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        super::fill(&mut one).unwrap();
        super::fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert_ne!(one, [0; 32]);
        assert!(super::fill(&mut [0; 257]).is_err());
    }
}
