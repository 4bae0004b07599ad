//! Names: making, moving, linking and removing them.

use crate::arguments::Arguments;
use crate::files::{AT_FDCWD, magic_link, open};
use crate::{Answer, call, done};
use std::os::fd::AsRawFd;

const RENAME: [(&str, i64); 4] = [
    ("none", 0),
    ("noreplace", 1),
    ("exchange", 2),
    ("whiteout", 4),
];

pub const KINDS: [(&str, i64); 5] = [
    ("fifo", libc::S_IFIFO as i64),
    ("socket", libc::S_IFSOCK as i64),
    ("file", libc::S_IFREG as i64),
    ("character", libc::S_IFCHR as i64),
    ("block", libc::S_IFBLK as i64),
];

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "mkdir" => {
            let path = arguments.path();
            done(call!(
                libc::SYS_mkdirat,
                AT_FDCWD,
                path.as_ptr(),
                arguments.mode_or(0o700)
            ))
        }
        // `mknod PATH KIND [DEVICE]`
        "mknod" => {
            let (path, kind) = (arguments.path(), arguments.flags(&KINDS));
            let device = arguments.number_or(0);
            done(call!(
                libc::SYS_mknodat,
                AT_FDCWD,
                path.as_ptr(),
                kind | 0o600,
                device
            ))
        }
        "unlink" => done(call!(
            libc::SYS_unlinkat,
            AT_FDCWD,
            arguments.path().as_ptr(),
            0
        )),
        "rmdir" => {
            let path = arguments.path();
            done(call!(
                libc::SYS_unlinkat,
                AT_FDCWD,
                path.as_ptr(),
                libc::AT_REMOVEDIR
            ))
        }
        // `rename FROM TO [noreplace|exchange|whiteout]`
        "rename" => {
            let (from, to) = (arguments.path(), arguments.path());
            let flags = arguments.flags_or(&RENAME, 0);
            done(call!(
                libc::SYS_renameat2,
                AT_FDCWD,
                from.as_ptr(),
                AT_FDCWD,
                to.as_ptr(),
                flags
            ))
        }
        "link" => two(arguments, |from, to| {
            done(call!(libc::SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0))
        }),
        // A name for the object behind a descriptor that was opened for nothing.
        "link-fd" => {
            let (from, to) = (arguments.path(), arguments.path());
            open(&from, libc::O_PATH).and_then(|fd| {
                done(call!(
                    libc::SYS_linkat,
                    fd.as_raw_fd(),
                    c"".as_ptr(),
                    AT_FDCWD,
                    to.as_ptr(),
                    libc::AT_EMPTY_PATH
                ))
            })
        }
        // What a symbolic link leads to.
        "link-follow" => two(arguments, |from, to| {
            let follow = libc::AT_SYMLINK_FOLLOW;
            done(call!(
                libc::SYS_linkat,
                AT_FDCWD,
                from,
                AT_FDCWD,
                to,
                follow
            ))
        }),
        "link-magic" => {
            let (from, to) = (arguments.path(), arguments.path());
            open(&from, libc::O_PATH).and_then(|fd| {
                let magic = magic_link(&fd);
                done(call!(
                    libc::SYS_linkat,
                    AT_FDCWD,
                    magic.as_ptr(),
                    AT_FDCWD,
                    to.as_ptr(),
                    libc::AT_SYMLINK_FOLLOW
                ))
            })
        }
        "symlink" => two(arguments, |target, link| {
            done(call!(libc::SYS_symlinkat, target, AT_FDCWD, link))
        }),
        _ => return None,
    })
}

pub fn two(
    arguments: &mut Arguments,
    act: impl Fn(*const libc::c_char, *const libc::c_char) -> Answer,
) -> Answer {
    let (first, second) = (arguments.path(), arguments.path());
    act(first.as_ptr(), second.as_ptr())
}
