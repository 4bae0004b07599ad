//! Opening, reading, writing, listing and executing.

use crate::arguments::{Arguments, misused};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub const AT_FDCWD: i32 = libc::AT_FDCWD;

pub const OPEN: [(&str, i64); 22] = [
    ("r", libc::O_RDONLY as i64),
    ("w", libc::O_WRONLY as i64),
    ("rw", libc::O_RDWR as i64),
    ("rdonly", libc::O_RDONLY as i64),
    ("wronly", libc::O_WRONLY as i64),
    ("rdwr", libc::O_RDWR as i64),
    ("creat", libc::O_CREAT as i64),
    ("excl", libc::O_EXCL as i64),
    ("trunc", libc::O_TRUNC as i64),
    ("append", libc::O_APPEND as i64),
    ("path", libc::O_PATH as i64),
    ("directory", libc::O_DIRECTORY as i64),
    ("nofollow", libc::O_NOFOLLOW as i64),
    ("cloexec", libc::O_CLOEXEC as i64),
    ("nonblock", libc::O_NONBLOCK as i64),
    ("noctty", libc::O_NOCTTY as i64),
    ("noatime", libc::O_NOATIME as i64),
    ("tmpfile", libc::O_TMPFILE as i64),
    ("sync", libc::O_SYNC as i64),
    ("direct", libc::O_DIRECT as i64),
    ("async", libc::O_ASYNC as i64),
    ("none", 0),
];

const RESOLVE: [(&str, i64); 6] = [
    ("none", 0),
    ("no_xdev", 0x01),
    ("no_magiclinks", 0x02),
    ("no_symlinks", 0x04),
    ("beneath", 0x08),
    ("in_root", 0x10),
];

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "open" => {
            let (path, flags) = (arguments.path(), arguments.flags(&OPEN));
            done(open_with_mode(
                &path,
                flags as i32,
                arguments.mode_or(0o600),
            ))
        }
        // The same, and the descriptor stays open for the acts that follow.
        "hold" => {
            let (path, flags) = (arguments.path(), arguments.flags(&OPEN));
            open(&path, flags as i32).map(|fd| {
                let number = fd.as_raw_fd();
                std::mem::forget(fd);
                number.to_string()
            })
        }
        // `hold-as NUMBER PATH FLAGS`: at a number that nothing else has.
        "hold-as" => {
            let (number, path) = (arguments.number(), arguments.path());
            let flags = arguments.flags(&OPEN);
            open(&path, flags as i32)
                .and_then(|fd| done(call!(libc::SYS_dup3, fd.as_raw_fd(), number, 0)))
        }
        "openat" => {
            let (directory, path, flags) =
                (arguments.path(), arguments.path(), arguments.flags(&OPEN));
            open(&directory, libc::O_PATH | libc::O_DIRECTORY).and_then(|fd| {
                done(owned(call!(
                    libc::SYS_openat,
                    fd.as_raw_fd(),
                    path.as_ptr(),
                    flags,
                    0o600
                )))
            })
        }
        "openat-fd" => {
            let (fd, path, flags) = (arguments.number(), arguments.path(), arguments.flags(&OPEN));
            done(owned(call!(
                libc::SYS_openat,
                fd,
                path.as_ptr(),
                flags,
                0o600
            )))
        }
        "openat2" => openat2(arguments),
        "reopen" => {
            let (path, first, second) = (
                arguments.path(),
                arguments.flags(&OPEN),
                arguments.flags(&OPEN),
            );
            open(&path, first as i32).and_then(|fd| done(open(&magic_link(&fd), second as i32)))
        }
        "read" => read(&arguments.path()).map(|bytes| escaped(&bytes)),
        "read-fd" => read_fd(arguments.number() as i32).map(|bytes| escaped(&bytes)),
        "write" => write(arguments, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC),
        "append" => write(arguments, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND),
        "overwrite" => write(arguments, libc::O_WRONLY),
        "write-fd" => {
            let (fd, text) = (arguments.number(), arguments.text());
            call!(libc::SYS_write, fd, text.as_ptr(), text.len()).map(|length| length.to_string())
        }
        "truncate" => {
            let path = arguments.path();
            done(call!(libc::SYS_truncate, path.as_ptr(), arguments.number()))
        }
        "ftruncate" => {
            let (path, length) = (arguments.path(), arguments.number());
            open(&path, libc::O_WRONLY)
                .and_then(|fd| done(call!(libc::SYS_ftruncate, fd.as_raw_fd(), length)))
        }
        "fill" => fill(&arguments.path()),
        "fallocate" => {
            let (path, length) = (arguments.path(), arguments.number());
            open(&path, libc::O_WRONLY | libc::O_CREAT)
                .and_then(|fd| done(call!(libc::SYS_fallocate, fd.as_raw_fd(), 0, 0, length)))
        }
        "stat" => stat(&arguments.path(), 0),
        "lstat" => stat(&arguments.path(), libc::AT_SYMLINK_NOFOLLOW),
        "access" => {
            let (path, mode) = (arguments.path(), arguments.number());
            done(call!(libc::SYS_faccessat, AT_FDCWD, path.as_ptr(), mode))
        }
        "readlink" => {
            let (path, mut buffer) = (arguments.path(), [0u8; 4096]);
            call!(
                libc::SYS_readlinkat,
                AT_FDCWD,
                path.as_ptr(),
                buffer.as_mut_ptr(),
                buffer.len()
            )
            .map(|length| escaped(&buffer[..length as usize]))
        }
        "list" => list(&arguments.path()),
        "chdir" => done(call!(libc::SYS_chdir, arguments.path().as_ptr())),
        "fchdir" => open(&arguments.path(), libc::O_PATH | libc::O_DIRECTORY)
            .and_then(|fd| done(call!(libc::SYS_fchdir, fd.as_raw_fd()))),
        "cwd" => {
            let mut buffer = [0u8; 8192];
            call!(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len())
                .map(|length| escaped(&buffer[..length as usize - 1]))
        }
        "umask" => call!(libc::SYS_umask, arguments.mode()).map(|old| format!("{old:03o}")),
        "copy" => between(arguments, |from, to| {
            call!(libc::SYS_copy_file_range, from, 0, to, 0, 1 << 20, 0).map(drop)
        }),
        "sendfile" => between(arguments, |from, to| {
            call!(libc::SYS_sendfile, to, from, 0, 1 << 20).map(drop)
        }),
        "reflink" => between(arguments, |from, to| {
            call!(libc::SYS_ioctl, to, 0x4004_9409u32, from).map(drop) // FICLONE
        }),
        "map" => map(arguments),
        "lease" => {
            let path = arguments.path();
            let kind = arguments.flags(&[
                ("read", libc::F_RDLCK as i64),
                ("write", libc::F_WRLCK as i64),
            ]);
            open(&path, libc::O_RDONLY).and_then(|fd| {
                done(call!(
                    libc::SYS_fcntl,
                    fd.as_raw_fd(),
                    libc::F_SETLEASE,
                    kind
                ))
            })
        }
        "dnotify" => open(&arguments.path(), libc::O_RDONLY)
            .and_then(|fd| done(call!(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_NOTIFY, 2))),
        "inotify" => {
            let path = arguments.path();
            owned(call!(libc::SYS_inotify_init1, 0)).and_then(|fd| {
                done(call!(
                    libc::SYS_inotify_add_watch,
                    fd.as_raw_fd(),
                    path.as_ptr(),
                    libc::IN_ALL_EVENTS
                ))
            })
        }
        // `inotify-hear PATH`: what is told when the file is written to.
        "inotify-hear" => {
            let path = arguments.path();
            owned(call!(libc::SYS_inotify_init1, libc::IN_NONBLOCK)).and_then(|fd| {
                call!(
                    libc::SYS_inotify_add_watch,
                    fd.as_raw_fd(),
                    path.as_ptr(),
                    libc::IN_MODIFY
                )?;
                let mut file = File::from(open(&path, libc::O_WRONLY | libc::O_APPEND)?);
                file.write_all(b"x").map_err(errno)?;
                let mut event = [0u8; 16];
                File::from(fd).read_exact(&mut event).map_err(errno)?;
                Ok(format!("wd={} mask={}", event[0], event[4]))
            })
        }
        "fanotify" => {
            let path = arguments.path();
            owned(call!(libc::SYS_fanotify_init, libc::FAN_REPORT_FID, 0)).and_then(|fd| {
                done(call!(
                    libc::SYS_fanotify_mark,
                    fd.as_raw_fd(),
                    libc::FAN_MARK_ADD,
                    libc::FAN_MODIFY,
                    AT_FDCWD,
                    path.as_ptr()
                ))
            })
        }
        "handle" => handle(&arguments.path()).map(|_| String::new()),
        "open-handle" => open_handle(arguments),
        "fds" => fds(),
        "exec" => exec(arguments),
        "exec-fd" => exec_fd(arguments),
        "exec-magic" => exec_magic(arguments),
        "exec-memfd" => exec_memfd(arguments),
        "memfd" => {
            let flags =
                arguments.flags(&[("none", 0), ("noexec", 8), ("exec", 16), ("sealing", 2)]);
            done(owned(call!(
                libc::SYS_memfd_create,
                c"probe".as_ptr(),
                flags
            )))
        }
        _ => return None,
    })
}

/// Makes the descriptor that a call returned ours.
pub fn owned(result: Result<i64, Errno>) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel just returned this number for a new descriptor, which nobody else here knows.
    result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

pub fn open(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    open_with_mode(path, flags, 0o600)
}

fn open_with_mode(path: &CStr, flags: i32, mode: u32) -> Result<OwnedFd, Errno> {
    owned(call!(
        libc::SYS_openat,
        AT_FDCWD,
        path.as_ptr(),
        flags,
        mode
    ))
}

pub fn magic_link(fd: &OwnedFd) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("no zero byte")
}

/// `openat2 PATH FLAGS [RESOLVE [SIZE]]`.
fn openat2(arguments: &mut Arguments) -> Answer {
    let (path, flags) = (arguments.path(), arguments.flags(&OPEN));
    let resolve = arguments.flags_or(&RESOLVE, 0);
    let size = arguments.number_or(24);
    let mode = if flags & libc::O_CREAT as i64 != 0 {
        0o600
    } else {
        0
    };
    // Room for sizes of kernels to come, as the call reads `size` bytes.
    let mut how = vec![0u64; (size as usize).div_ceil(8).max(3)];
    how[..3].copy_from_slice(&[flags as u64, mode, resolve as u64]);
    done(owned(call!(
        libc::SYS_openat2,
        AT_FDCWD,
        path.as_ptr(),
        how.as_ptr(),
        size
    )))
}

fn read(path: &CStr) -> Result<Vec<u8>, Errno> {
    open(path, libc::O_RDONLY).and_then(|fd| take(&mut File::from(fd)))
}

fn read_fd(fd: i32) -> Result<Vec<u8>, Errno> {
    owned(call!(libc::SYS_dup, fd)).and_then(|fd| take(&mut File::from(fd)))
}

fn take(file: &mut File) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    // Devices have no end.
    let result = file.take(1 << 20).read_to_end(&mut bytes);
    result.map(|_| bytes).map_err(errno)
}

pub fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

fn write(arguments: &mut Arguments, flags: i32) -> Answer {
    let (path, text) = (arguments.path(), arguments.text());
    let mut file = File::from(open_with_mode(&path, flags, 0o666)?);
    done(file.write_all(text.as_bytes()).map_err(errno))
}

/// Writes until the kernel says no; the answer is why.
fn fill(path: &CStr) -> Answer {
    let mut file = File::from(open(path, libc::O_WRONLY | libc::O_CREAT)?);
    loop {
        file.write_all(&[0; 1 << 16]).map_err(errno)?;
    }
}

fn between(arguments: &mut Arguments, act: impl Fn(i32, i32) -> Result<(), Errno>) -> Answer {
    let (from, to) = (arguments.path(), arguments.path());
    let from = open(&from, libc::O_RDONLY)?;
    let to = open(&to, libc::O_RDWR)?;
    done(act(from.as_raw_fd(), to.as_raw_fd()))
}

/// Mode, owner and size: what a test compares before and after.
fn stat(path: &CStr, flags: i32) -> Answer {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    call!(
        libc::SYS_newfstatat,
        AT_FDCWD,
        path.as_ptr(),
        stat.as_mut_ptr(),
        flags
    )?;
    // SAFETY: all zeroes is a valid `struct stat`, and the kernel has filled it in.
    let stat = unsafe { stat.assume_init() };
    Ok(format!(
        "mode={:o} uid={} gid={} size={}",
        stat.st_mode, stat.st_uid, stat.st_gid, stat.st_size
    ))
}

fn list(path: &CStr) -> Answer {
    names_in(open(path, libc::O_RDONLY | libc::O_DIRECTORY)?)
}

pub fn names_in(fd: OwnedFd) -> Answer {
    let mut directory = nix::dir::Dir::from_fd(fd)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let name = escaped(entry?.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.join(" "))
}

pub fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// `map PATH PROTECTION`: maps the first page, opened read-only.
fn map(arguments: &mut Arguments) -> Answer {
    let path = arguments.path();
    let protection = arguments.flags(&[
        ("read", libc::PROT_READ as i64),
        ("write", libc::PROT_WRITE as i64),
        ("exec", libc::PROT_EXEC as i64),
    ]);
    let fd = open(&path, libc::O_RDONLY)?;
    done(call!(
        libc::SYS_mmap,
        0,
        4096,
        protection,
        libc::MAP_PRIVATE,
        fd.as_raw_fd(),
        0
    ))
}

/// `struct file_handle` with the most room that the kernel ever fills.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; 128],
}

fn handle(path: &CStr) -> Result<Handle, Errno> {
    let mut handle = Handle {
        bytes: 128,
        kind: 0,
        data: [0; 128],
    };
    let mut mount = 0i32;
    call!(
        libc::SYS_name_to_handle_at,
        AT_FDCWD,
        path.as_ptr(),
        &raw mut handle,
        &raw mut mount,
        0
    )?;
    Ok(handle)
}

/// `open-handle MOUNT PATH`: opens `PATH` by its handle, as it lies on the file system of `MOUNT`.
fn open_handle(arguments: &mut Arguments) -> Answer {
    let (mount, path) = (arguments.path(), arguments.path());
    let mount = open(&mount, libc::O_RDONLY)?;
    let mut handle = handle(&path)?;
    done(owned(call!(
        libc::SYS_open_by_handle_at,
        mount.as_raw_fd(),
        &raw mut handle,
        libc::O_RDONLY
    )))
}

/// Every open descriptor and what it is, but for the one that lists them.
fn fds() -> Answer {
    let own = open(c"/proc/self/fd", libc::O_RDONLY | libc::O_DIRECTORY).map(|fd| fd.as_raw_fd());
    let names = match own {
        Ok(_) => list(c"/proc/self/fd")?,
        // Where /proc is refused: ask for each number that could be one.
        Err(_) => (0..65536)
            .filter(|fd| call!(libc::SYS_fcntl, *fd, libc::F_GETFD).is_ok())
            .map(|fd: i32| fd.to_string())
            .collect::<Vec<_>>()
            .join(" "),
    };
    let mut numbers: Vec<i32> = names
        .split(' ')
        .filter_map(|name| name.parse().ok())
        .collect();
    numbers.retain(|fd| call!(libc::SYS_fcntl, *fd, libc::F_GETFD).is_ok());
    numbers.sort_unstable();
    let texts: Vec<String> = numbers.iter().map(i32::to_string).collect();
    Ok(texts.join(" "))
}

/// The words and a null at the end, as `execve` takes them.
fn vector(words: &[CString]) -> Vec<*const libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn environment() -> Vec<CString> {
    use std::os::unix::ffi::OsStrExt;
    std::env::vars_os()
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .filter_map(|pair| CString::new(pair).ok())
        .collect()
}

/// Becomes the program at `path` seen from `fd`.
pub fn run(fd: i32, path: &CStr, words: &[CString], flags: i32) -> Answer {
    let environment = environment();
    let (argv, envp) = (vector(words), vector(&environment));
    done(call!(
        libc::SYS_execveat,
        fd,
        path.as_ptr(),
        argv.as_ptr(),
        envp.as_ptr(),
        flags
    ))
}

/// `exec PATH WORDS…`: becomes that program; only a refusal is answered.
fn exec(arguments: &mut Arguments) -> Answer {
    program(&arguments.rest())
}

/// Becomes a program.
pub fn program(words: &[CString]) -> Answer {
    let Some(path) = words.first() else {
        misused("exec needs a program");
    };
    let environment = environment();
    let (argv, envp) = (vector(words), vector(&environment));
    done(call!(
        libc::SYS_execve,
        path.as_ptr(),
        argv.as_ptr(),
        envp.as_ptr()
    ))
}

fn exec_fd(arguments: &mut Arguments) -> Answer {
    let words = arguments.rest();
    let fd = open(&words[0], libc::O_PATH)?;
    run(fd.as_raw_fd(), c"", &words, libc::AT_EMPTY_PATH)
}

fn exec_magic(arguments: &mut Arguments) -> Answer {
    let words = arguments.rest();
    let fd = open(&words[0], libc::O_RDONLY)?;
    run(AT_FDCWD, &magic_link(&fd), &words, 0)
}

fn exec_memfd(arguments: &mut Arguments) -> Answer {
    let words = arguments.rest();
    let mut program = File::from(open(&words[0], libc::O_RDONLY)?);
    let fd = owned(call!(libc::SYS_memfd_create, c"probe".as_ptr(), 0))?;
    let mut file = File::from(fd);
    std::io::copy(&mut program, &mut file).map_err(errno)?;
    run(file.as_raw_fd(), c"", &words, libc::AT_EMPTY_PATH)
}
