//! The mode of a stream as flags of `open`.

use std::ffi::{CStr, c_int};

/// The flags of `fopen`'s mode; `None` for what it would not take.
pub(crate) fn flags(mode: &CStr) -> Option<c_int> {
    let (kind, rest) = mode.to_bytes().split_first()?;
    let create = match kind {
        b'r' => 0,
        b'w' => libc::O_CREAT | libc::O_TRUNC,
        b'a' => libc::O_CREAT | libc::O_APPEND,
        _ => return None,
    };
    // After a comma comes a character set.
    let rest = rest.split(|byte| *byte == b',').next().unwrap_or_default();
    let has = |letter: u8| rest.contains(&letter);
    let access = match (has(b'+'), create) {
        (true, _) => libc::O_RDWR,
        (false, 0) => libc::O_RDONLY,
        (false, _) => libc::O_WRONLY,
    };
    let when = |letter: u8, flag: c_int| if has(letter) { flag } else { 0 };
    Some(access | create | when(b'x', libc::O_EXCL) | when(b'e', libc::O_CLOEXEC))
}

#[cfg(test)]
mod tests {
    use super::flags;
    use libc::{O_APPEND, O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};

    #[test]
    fn a_mode_means_what_it_means_to_fopen() {
        for (mode, meant) in [
            (c"r", O_RDONLY),
            (c"rb", O_RDONLY),
            (c"r+", O_RDWR),
            (c"rbe", O_RDONLY | O_CLOEXEC),
            (c"w", O_WRONLY | O_CREAT | O_TRUNC),
            (c"wx", O_WRONLY | O_CREAT | O_TRUNC | O_EXCL),
            (c"w+b", O_RDWR | O_CREAT | O_TRUNC),
            (c"a", O_WRONLY | O_CREAT | O_APPEND),
            (c"ab+", O_RDWR | O_CREAT | O_APPEND),
            (c"r,ccs=ex+", O_RDONLY),
        ] {
            assert_eq!(flags(mode), Some(meant), "{mode:?}");
        }
        assert_eq!(flags(c""), None);
        assert_eq!(flags(c"+r"), None);
    }
}
