//! Calls that only x86-64 has: each has a successor, which other architectures have alone.

use crate::arguments::Arguments;
use crate::files::{AT_FDCWD, OPEN, escaped, owned};
use crate::links::{KINDS, two};
use crate::metadata::THEN;
use crate::{Answer, call, done};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "open-legacy" => {
            let (path, flags) = (arguments.path(), arguments.flags(&OPEN));
            done(owned(call!(
                libc::SYS_open,
                path.as_ptr(),
                flags,
                arguments.mode_or(0o600)
            )))
        }
        "creat" => done(owned(call!(
            libc::SYS_creat,
            arguments.path().as_ptr(),
            0o600
        ))),
        "access-legacy" => done(call!(
            libc::SYS_access,
            arguments.path().as_ptr(),
            arguments.number()
        )),
        "stat-legacy" => {
            let mut stat = [0u64; 32];
            done(call!(
                libc::SYS_stat,
                arguments.path().as_ptr(),
                stat.as_mut_ptr()
            ))
        }
        "readlink-legacy" => {
            let mut buffer = [0u8; 4096];
            let path = arguments.path();
            call!(
                libc::SYS_readlink,
                path.as_ptr(),
                buffer.as_mut_ptr(),
                buffer.len()
            )
            .map(|length| escaped(&buffer[..length as usize]))
        }
        "rename-legacy" => two(arguments, |from, to| {
            done(call!(libc::SYS_rename, from, to))
        }),
        "link-legacy" => two(arguments, |from, to| done(call!(libc::SYS_link, from, to))),
        "symlink-legacy" => two(arguments, |from, to| {
            done(call!(libc::SYS_symlink, from, to))
        }),
        "unlink-legacy" => done(call!(libc::SYS_unlink, arguments.path().as_ptr())),
        "rmdir-legacy" => done(call!(libc::SYS_rmdir, arguments.path().as_ptr())),
        "mkdir-legacy" => done(call!(libc::SYS_mkdir, arguments.path().as_ptr(), 0o700)),
        "mknod-legacy" => {
            let (path, kind) = (arguments.path(), arguments.flags(&KINDS));
            done(call!(
                libc::SYS_mknod,
                path.as_ptr(),
                kind | 0o600,
                arguments.number_or(0)
            ))
        }
        "chmod" => {
            let path = arguments.path();
            done(call!(libc::SYS_chmod, path.as_ptr(), arguments.mode()))
        }
        "chown" => {
            let path = arguments.path();
            done(call!(
                libc::SYS_chown,
                path.as_ptr(),
                arguments.number(),
                arguments.number()
            ))
        }
        "lchown" => {
            let path = arguments.path();
            done(call!(
                libc::SYS_lchown,
                path.as_ptr(),
                arguments.number(),
                arguments.number()
            ))
        }
        "utime" => done(call!(
            libc::SYS_utime,
            arguments.path().as_ptr(),
            [THEN[0]; 2].as_ptr()
        )),
        "utimes" => done(call!(
            libc::SYS_utimes,
            arguments.path().as_ptr(),
            THEN.as_ptr()
        )),
        "futimesat" => done(call!(
            libc::SYS_futimesat,
            AT_FDCWD,
            arguments.path().as_ptr(),
            THEN.as_ptr()
        )),
        _ => return None,
    })
}
