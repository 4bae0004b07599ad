//! Random bytes of the kernel's, for programs that link as little as they can.

use nix::errno::Errno;

/// As many are never delivered in part (getrandom(2)).
const MOST: usize = 256;

/// Fills `bytes`, of which there are at most 256.
///
/// # Errors
/// The errno of `getrandom(2)`; `EIO` when there are more, as `getentropy(3)` has it, which stands in for it elsewhere.
pub fn fill(bytes: &mut [u8]) -> Result<(), Errno> {
    if bytes.len() > MOST {
        return Err(Errno::EIO);
    }
    loop {
        match Errno::result(ask(bytes)) {
            // Waiting for the kernel's first random bytes, soon after it began.
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// By its number: the standard library names `getrandom` weakly, and where all of a static program is optimized as one, so does
/// everybody. Then nothing brings in the function, and what would be called is at address 0.
#[cfg(target_os = "linux")]
fn ask(bytes: &mut [u8]) -> libc::c_long {
    // SAFETY: writes `bytes.len()` bytes to `bytes`, which has that many.
    unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) }
}

#[cfg(not(target_os = "linux"))]
fn ask(bytes: &mut [u8]) -> i32 {
    // SAFETY: writes `bytes.len()` bytes to `bytes`, which has that many.
    unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) }
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
