//! The same over and over until a file says that it is enough: what a program sees while those who answer it are killed. Each act says
//! how often it was done, or what came first that must not come.

use crate::arguments::Arguments;
use crate::files::{errno, open};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        // `steady-opens STOP GIVEN DENIED`: a file that holds `content`, and one that is refused.
        "steady-opens" => {
            let (stop, given, denied) = (arguments.path(), arguments.path(), arguments.path());
            opens(&stop, &given, &denied)
        }
        // `steady-names STOP`: names made, moved, exchanged, linked and removed in a directory of its own.
        "steady-names" => names(&arguments.path()),
        // `steady-sockets STOP`: socket files made, connected to and removed, attributes made and removed.
        "steady-sockets" => sockets(&arguments.path()),
        // `steady-asks STOP PATH`: a file that holds `content`, asked for over the socket.
        "steady-asks" => {
            let (stop, path) = (arguments.path(), arguments.text());
            asks(&stop, &path)
        }
        _ => return None,
    })
}

fn is_over(stop: &CStr) -> bool {
    Path::new(std::ffi::OsStr::from_bytes(stop.to_bytes())).exists()
}

fn wrong(what: &str, times: u64) -> Answer {
    Ok(format!("WRONG {what} after {times}"))
}

fn opens(stop: &CStr, given: &CStr, denied: &CStr) -> Answer {
    let mut times = 0;
    while !is_over(stop) {
        for _ in 0..50 {
            let mut text = String::new();
            let file = match open(given, libc::O_RDONLY) {
                Ok(file) => file,
                Err(errno) => return wrong(&format!("open {errno:?}"), times),
            };
            if let Err(error) = std::fs::File::from(file).read_to_string(&mut text) {
                return wrong(&format!("read {error}"), times);
            }
            if text != "content" {
                return wrong(&format!("content {text:?}"), times);
            }
            match open(denied, libc::O_RDONLY).err() {
                Some(Errno::EACCES) => {}
                other => return wrong(&format!("denied {other:?}"), times),
            }
            times += 1;
        }
    }
    Ok(times.to_string())
}

fn names(stop: &CStr) -> Answer {
    let directory = format!("names-of-{}", std::process::id());
    std::fs::create_dir(&directory).map_err(errno)?;
    let path = |name: &str| CString::new(format!("{directory}/{name}")).expect("no zero in it");
    let (a, b, c, d) = (path("a"), path("b"), path("c"), path("d"));
    let here = libc::AT_FDCWD;
    let exclusive = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    let mut times = 0;
    while !is_over(stop) {
        for _ in 0..10 {
            type Step<'a> = (&'a str, &'a dyn Fn() -> Result<i64, Errno>);
            let steps: [Step<'_>; 12] = [
                ("mkdir d", &|| {
                    call!(libc::SYS_mkdirat, here, d.as_ptr(), 0o755)
                }),
                ("create a", &|| {
                    let file = call!(libc::SYS_openat, here, a.as_ptr(), exclusive, 0o644)?;
                    call!(libc::SYS_close, file)
                }),
                ("rename a b", &|| {
                    call!(libc::SYS_renameat2, here, a.as_ptr(), here, b.as_ptr(), 0)
                }),
                ("link b a", &|| {
                    call!(libc::SYS_linkat, here, b.as_ptr(), here, a.as_ptr(), 0)
                }),
                ("symlink c", &|| {
                    call!(libc::SYS_symlinkat, c"target".as_ptr(), here, c.as_ptr())
                }),
                ("exchange b c", &|| {
                    let exchange = libc::RENAME_EXCHANGE;
                    call!(
                        libc::SYS_renameat2,
                        here,
                        b.as_ptr(),
                        here,
                        c.as_ptr(),
                        exchange
                    )
                }),
                ("b is the link", &|| {
                    let mut target = [0u8; 16];
                    call!(
                        libc::SYS_readlinkat,
                        here,
                        b.as_ptr(),
                        target.as_mut_ptr(),
                        16
                    )
                }),
                ("unlink a", &|| {
                    call!(libc::SYS_unlinkat, here, a.as_ptr(), 0)
                }),
                ("rename c a", &|| {
                    call!(
                        libc::SYS_renameat2,
                        here,
                        c.as_ptr(),
                        here,
                        a.as_ptr(),
                        libc::RENAME_NOREPLACE
                    )
                }),
                ("unlink a again", &|| {
                    call!(libc::SYS_unlinkat, here, a.as_ptr(), 0)
                }),
                ("unlink b", &|| {
                    call!(libc::SYS_unlinkat, here, b.as_ptr(), 0)
                }),
                ("rmdir d", &|| {
                    call!(libc::SYS_unlinkat, here, d.as_ptr(), libc::AT_REMOVEDIR)
                }),
            ];
            for (what, step) in steps {
                if let Err(errno) = step() {
                    return wrong(&format!("{what} {errno:?}"), times);
                }
            }
            times += 1;
        }
    }
    Ok(times.to_string())
}

fn sockets(stop: &CStr) -> Answer {
    use std::os::unix::net::{UnixListener, UnixStream};
    let directory = format!("sockets-of-{}", std::process::id());
    std::fs::create_dir(&directory).map_err(errno)?;
    let (name, file) = (format!("{directory}/s"), format!("{directory}/f"));
    std::fs::write(&file, "").map_err(errno)?;
    let path = CString::new(file).expect("no zero in it");
    let attribute = c"user.probe";
    let mut times = 0;
    while !is_over(stop) {
        for _ in 0..10 {
            let listener = match UnixListener::bind(&name) {
                Ok(listener) => listener,
                Err(error) => return wrong(&format!("bind {error}"), times),
            };
            if let Err(error) = UnixStream::connect(&name) {
                return wrong(&format!("connect {error}"), times);
            }
            if let Err(error) = listener.accept() {
                return wrong(&format!("accept {error}"), times);
            }
            if let Err(error) = std::fs::remove_file(&name) {
                return wrong(&format!("unlink {error}"), times);
            }
            let create = libc::XATTR_CREATE;
            let set = call!(
                libc::SYS_setxattr,
                path.as_ptr(),
                attribute.as_ptr(),
                c"x".as_ptr(),
                1,
                create
            );
            if let Err(errno) = set {
                return wrong(&format!("setxattr {errno:?}"), times);
            }
            if let Err(errno) = call!(libc::SYS_removexattr, path.as_ptr(), attribute.as_ptr()) {
                return wrong(&format!("removexattr {errno:?}"), times);
            }
            times += 1;
        }
    }
    Ok(times.to_string())
}

fn asks(stop: &CStr, path: &str) -> Answer {
    let client = match child_shim::connect() {
        Ok(client) => client,
        Err(error) => return wrong(&format!("connect {error}"), 0),
    };
    let mut times = 0;
    while !is_over(stop) {
        for _ in 0..20 {
            let mut text = String::new();
            let mut file = match client.open(path, &child_shim::OpenOptions::new().read(true)) {
                Ok(file) => file,
                Err(error) => return wrong(&format!("ask {error}"), times),
            };
            file.read_to_string(&mut text).map_err(errno)?;
            if text != "content" {
                return wrong(&format!("content {text:?}"), times);
            }
            times += 1;
        }
    }
    Ok(times.to_string())
}
