//! Modes, owners, times and attributes, by every call that can change them.

use crate::arguments::Arguments;
use crate::files::{AT_FDCWD, escaped, magic_link, open};
use crate::{Answer, call, done};
use std::os::fd::AsRawFd;

const AT: [(&str, i64); 3] = [
    ("none", 0),
    ("nofollow", libc::AT_SYMLINK_NOFOLLOW as i64),
    ("empty", libc::AT_EMPTY_PATH as i64),
];

/// 2001-09-09, twice: a time that nothing has by chance.
pub const THEN: [i64; 4] = [1_000_000_000, 0, 1_000_000_000, 0];

// Numbers that are the same on every architecture, some newer than libc's tables.
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "fchmodat" => {
            let path = arguments.path();
            done(call!(
                libc::SYS_fchmodat,
                AT_FDCWD,
                path.as_ptr(),
                arguments.mode()
            ))
        }
        // `fchmodat2 PATH MODE [nofollow]`
        "fchmodat2" => {
            let (path, mode) = (arguments.path(), arguments.mode());
            done(call!(
                SYS_FCHMODAT2,
                AT_FDCWD,
                path.as_ptr(),
                mode,
                arguments.flags_or(&AT, 0)
            ))
        }
        "fchmod" => {
            let (path, mode) = (arguments.path(), arguments.mode());
            open(&path, libc::O_RDONLY)
                .and_then(|fd| done(call!(libc::SYS_fchmod, fd.as_raw_fd(), mode)))
        }
        "chmod-magic" => {
            let (path, mode) = (arguments.path(), arguments.mode());
            open(&path, libc::O_PATH).and_then(|fd| {
                done(call!(
                    libc::SYS_fchmodat,
                    AT_FDCWD,
                    magic_link(&fd).as_ptr(),
                    mode
                ))
            })
        }
        // `fchownat PATH UID GID [nofollow]`
        "fchownat" => {
            let (path, uid, gid) = (arguments.path(), arguments.number(), arguments.number());
            let flags = arguments.flags_or(&AT, 0);
            done(call!(
                libc::SYS_fchownat,
                AT_FDCWD,
                path.as_ptr(),
                uid,
                gid,
                flags
            ))
        }
        "fchown" => {
            let (path, uid, gid) = (arguments.path(), arguments.number(), arguments.number());
            open(&path, libc::O_RDONLY)
                .and_then(|fd| done(call!(libc::SYS_fchown, fd.as_raw_fd(), uid, gid)))
        }
        "utimensat" => {
            let path = arguments.path();
            let flags = arguments.flags_or(&AT, 0);
            done(call!(
                libc::SYS_utimensat,
                AT_FDCWD,
                path.as_ptr(),
                THEN.as_ptr(),
                flags
            ))
        }
        "futimens" => open(&arguments.path(), libc::O_RDONLY).and_then(|fd| {
            done(call!(
                libc::SYS_utimensat,
                fd.as_raw_fd(),
                0,
                THEN.as_ptr(),
                0
            ))
        }),
        "mtime" => {
            let mut stat = [0i64; 32];
            let path = arguments.path();
            call!(
                libc::SYS_newfstatat,
                AT_FDCWD,
                path.as_ptr(),
                stat.as_mut_ptr(),
                0
            )
            // st_mtime, on both layouts in use.
            .map(|_| stat[11].to_string())
        }
        "setxattr" => xattr(arguments, |path, name, value| {
            done(call!(
                libc::SYS_setxattr,
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                value.len(),
                0
            ))
        }),
        "lsetxattr" => xattr(arguments, |path, name, value| {
            done(call!(
                libc::SYS_lsetxattr,
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                value.len(),
                0
            ))
        }),
        "fsetxattr" => xattr(arguments, |path, name, value| {
            let fd = open(path, libc::O_RDONLY)?;
            done(call!(
                libc::SYS_fsetxattr,
                fd.as_raw_fd(),
                name.as_ptr(),
                value.as_ptr(),
                value.len(),
                0
            ))
        }),
        "setxattrat" => xattr(arguments, |path, name, value| {
            let given = [value.as_ptr() as u64, value.len() as u64];
            done(call!(
                SYS_SETXATTRAT,
                AT_FDCWD,
                path.as_ptr(),
                0,
                name.as_ptr(),
                given.as_ptr(),
                16
            ))
        }),
        "removexattr" => {
            let (path, name) = (arguments.path(), arguments.path());
            done(call!(libc::SYS_removexattr, path.as_ptr(), name.as_ptr()))
        }
        "lremovexattr" => {
            let (path, name) = (arguments.path(), arguments.path());
            done(call!(libc::SYS_lremovexattr, path.as_ptr(), name.as_ptr()))
        }
        "fremovexattr" => {
            let (path, name) = (arguments.path(), arguments.path());
            open(&path, libc::O_RDONLY)
                .and_then(|fd| done(call!(libc::SYS_fremovexattr, fd.as_raw_fd(), name.as_ptr())))
        }
        "removexattrat" => {
            let (path, name) = (arguments.path(), arguments.path());
            done(call!(
                SYS_REMOVEXATTRAT,
                AT_FDCWD,
                path.as_ptr(),
                0,
                name.as_ptr()
            ))
        }
        "getxattr" => {
            let (path, name, mut value) = (arguments.path(), arguments.path(), [0u8; 256]);
            call!(
                libc::SYS_getxattr,
                path.as_ptr(),
                name.as_ptr(),
                value.as_mut_ptr(),
                value.len()
            )
            .map(|length| escaped(&value[..length as usize]))
        }
        // The requests of linux/fs.h and linux/fsverity.h that work on a descriptor which cannot write.
        "ioctl-setflags" => on_read_only(arguments, 0x4008_6602, &[0x40, 0]), // FS_IOC_SETFLAGS, FS_NODUMP_FL
        "ioctl-setxattr" => on_read_only(arguments, 0x401c_5820, &[0; 4]),    // FS_IOC_FSSETXATTR
        "ioctl-verity" => on_read_only(arguments, 0x4080_6685, &[1; 16]), // FS_IOC_ENABLE_VERITY
        "ioctl-zero" => on_read_only(arguments, 0x4030_5839, &[0; 6]),    // FS_IOC_ZERO_RANGE
        "file-setattr" => {
            let attributes = [0u64; 3];
            let path = arguments.path();
            done(call!(
                SYS_FILE_SETATTR,
                AT_FDCWD,
                path.as_ptr(),
                attributes.as_ptr(),
                24,
                0
            ))
        }
        _ => return None,
    })
}

/// `… PATH NAME VALUE`.
fn xattr(
    arguments: &mut Arguments,
    act: impl Fn(&std::ffi::CStr, &std::ffi::CStr, &str) -> Answer,
) -> Answer {
    let (path, name, value) = (arguments.path(), arguments.path(), arguments.text());
    act(&path, &name, &value)
}

fn on_read_only(arguments: &mut Arguments, request: u32, argument: &[u64]) -> Answer {
    let fd = open(&arguments.path(), libc::O_RDONLY)?;
    done(call!(
        libc::SYS_ioctl,
        fd.as_raw_fd(),
        request,
        argument.as_ptr()
    ))
}
