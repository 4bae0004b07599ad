//! The rest of the kernel: namespaces, mounts, keys, foreign ABIs, terminals, tracing, filters.

use crate::arguments::Arguments;
use crate::files::{open, owned};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::os::fd::AsRawFd;

const CLONE: [(&str, i64); 9] = [
    ("newuser", 0x1000_0000),
    ("newns", 0x0002_0000),
    ("newpid", 0x2000_0000),
    ("newnet", 0x4000_0000),
    ("newipc", 0x0800_0000),
    ("newuts", 0x0400_0000),
    ("newcgroup", 0x0200_0000),
    ("newtime", 0x0000_0080),
    ("none", 0),
];

/// Requests of terminals, and one of the generic files.
const IOCTLS: [(&str, i64); 10] = [
    ("TIOCSTI", 0x5412),
    ("TIOCLINUX", 0x541c),
    ("TIOCSCTTY", 0x540e),
    ("TIOCSPGRP", 0x5410),
    ("TIOCSETD", 0x5423),
    ("TIOCCONS", 0x541d),
    ("TIOCNOTTY", 0x5422),
    ("TCGETS", 0x5401),
    ("TIOCGWINSZ", 0x5413),
    ("FIOASYNC", 0x5452),
];

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    namespaces(name, arguments)
        .or_else(|| administration(name, arguments))
        .or_else(|| abis(name, arguments))
        .or_else(|| memory_and_messages(name, arguments))
}

fn namespaces(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "unshare" => done(call!(libc::SYS_unshare, arguments.flags(&CLONE))),
        "clone" => {
            let flags = arguments.flags(&CLONE);
            let result = call!(libc::SYS_clone, flags | libc::SIGCHLD as i64, 0, 0, 0, 0);
            ended(result)
        }
        "clone3" => {
            let flags = arguments.flags(&CLONE);
            let mut request = [0u64; 11];
            request[0] = flags as u64;
            request[4] = libc::SIGCHLD as u64;
            ended(call!(libc::SYS_clone3, request.as_mut_ptr(), 88))
        }
        // `setns PATH FLAGS`; flags may have bits above the low 32.
        "setns" => {
            let (path, flags) = (arguments.path(), arguments.flags(&CLONE));
            open(&path, libc::O_RDONLY)
                .and_then(|fd| done(call!(libc::SYS_setns, fd.as_raw_fd(), flags)))
        }
        "chroot" => done(call!(libc::SYS_chroot, arguments.path().as_ptr())),
        "pivot-root" => {
            let path = arguments.path();
            done(call!(libc::SYS_pivot_root, path.as_ptr(), path.as_ptr()))
        }
        // `mount SOURCE TARGET TYPE`
        "mount" => {
            let (source, target, kind) = (arguments.path(), arguments.path(), arguments.path());
            done(call!(
                libc::SYS_mount,
                source.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                0,
                0
            ))
        }
        "bind-mount" => {
            let (source, target) = (arguments.path(), arguments.path());
            done(call!(
                libc::SYS_mount,
                source.as_ptr(),
                target.as_ptr(),
                0,
                libc::MS_BIND,
                0
            ))
        }
        "umount" => done(call!(libc::SYS_umount2, arguments.path().as_ptr(), 0)),
        "fsopen" => done(owned(call!(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0))),
        "open-tree" => {
            let path = arguments.path();
            done(owned(call!(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                path.as_ptr(),
                1
            )))
        }
        "move-mount" => {
            let (from, to) = (arguments.path(), arguments.path());
            done(call!(
                libc::SYS_move_mount,
                libc::AT_FDCWD,
                from.as_ptr(),
                libc::AT_FDCWD,
                to.as_ptr(),
                0
            ))
        }
        "mount-setattr" => {
            let attributes = [0u64; 4];
            let path = arguments.path();
            done(call!(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                path.as_ptr(),
                0,
                attributes.as_ptr(),
                32
            ))
        }
        _ => return None,
    })
}

/// A clone that succeeded ends its child at once and waits for it.
fn ended(result: Result<i64, Errno>) -> Answer {
    match result? {
        0 => std::process::exit(0),
        pid => done(call!(libc::SYS_wait4, pid, 0, 0, 0)),
    }
}

fn administration(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "bpf" => {
            let attributes = [1u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            done(owned(call!(libc::SYS_bpf, 0, attributes.as_ptr(), 64)))
        }
        "perf" => {
            let mut attributes = [0u64; 16];
            attributes[0] = 1 | 128 << 32; // software, size
            attributes[5] = 0x60; // exclude kernel and hypervisor
            done(owned(call!(
                libc::SYS_perf_event_open,
                attributes.as_ptr(),
                0,
                -1i64,
                -1i64,
                0
            )))
        }
        "userfaultfd" => done(owned(call!(libc::SYS_userfaultfd, arguments.number_or(0)))),
        "io-uring" => {
            let mut parameters = [0u64; 15];
            done(owned(call!(
                libc::SYS_io_uring_setup,
                4,
                parameters.as_mut_ptr()
            )))
        }
        "add-key" => done(call!(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"probe".as_ptr(),
            c"x".as_ptr(),
            1,
            -1i64 // the thread's keyring
        )),
        "request-key" => done(call!(
            libc::SYS_request_key,
            c"user".as_ptr(),
            c"probe".as_ptr(),
            0,
            0
        )),
        "keyctl" => done(call!(libc::SYS_keyctl, 0, -3i64, 1)), // the id of the session's keyring
        "kexec" => done(call!(libc::SYS_kexec_load, 0, 0, 0, 0)),
        "init-module" => done(call!(libc::SYS_init_module, c"".as_ptr(), 0, c"".as_ptr())),
        "delete-module" => done(call!(
            libc::SYS_delete_module,
            c"probe".as_ptr(),
            libc::O_NONBLOCK
        )),
        "swapon" => done(call!(libc::SYS_swapon, arguments.path().as_ptr(), 0)),
        "reboot" => done(call!(libc::SYS_reboot, 0, 0, 0, 0)), // wrong magic: never does anything
        "syslog" => call!(libc::SYS_syslog, 10, 0, 0).map(|_| String::new()),
        // Longer than any name: never does anything.
        "sethostname" => done(call!(libc::SYS_sethostname, c"".as_ptr(), 65536)),
        "settime" => done(call!(libc::SYS_clock_settime, 99, [0i64; 2].as_ptr())), // no such clock
        "quotactl" => done(call!(libc::SYS_quotactl, 0, 0, 0, 0)),
        "acct" => done(call!(libc::SYS_acct, 0)),
        "personality" => {
            call!(libc::SYS_personality, arguments.number()).map(|old| format!("{old:x}"))
        }
        "landlock-abi" => {
            call!(libc::SYS_landlock_create_ruleset, 0, 0, 1).map(|abi| abi.to_string())
        }
        "seccomp-listener" => filter(libc::SECCOMP_RET_ALLOW, 8).map(|_| String::new()),
        "seccomp-trap" => filter(libc::SECCOMP_RET_TRAP, 0).map(|_| String::new()),
        // Answers a call of its own through whatever descriptor is a listener.
        "notify-answer" => {
            let mut response = [0u64; 3];
            done(call!(
                libc::SYS_ioctl,
                arguments.number(),
                0xc018_2101u32,
                response.as_mut_ptr()
            ))
        }
        _ => return None,
    })
}

/// Installs a filter that answers getpid(2) with `action` and lets all else pass.
fn filter(action: u32, flags: u64) -> Result<i64, Errno> {
    let getpid = libc::SYS_getpid as u32;
    let step = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let program = [
        step(0x20, 0, 0, 0), // load the number
        step(0x15, 0, 1, getpid),
        step(0x06, 0, 0, action),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr() as *mut _,
    };
    call!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    call!(
        libc::SYS_seccomp,
        libc::SECCOMP_SET_MODE_FILTER,
        flags,
        &raw const header
    )
}

fn abis(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        // `raw NUMBER ARGUMENTS…`, any number at all.
        "raw" => {
            let given = numbers(arguments);
            call!(
                given[0], given[1], given[2], given[3], given[4], given[5], given[6]
            )
            .map(|value| value.to_string())
        }
        "x32" => {
            let given = numbers(arguments);
            call!(
                given[0] | 0x4000_0000,
                given[1],
                given[2],
                given[3],
                given[4],
                given[5],
                given[6]
            )
            .map(|value| value.to_string())
        }
        "int80" => {
            let given = numbers(arguments);
            int80([given[0], given[1], given[2], given[3]])
        }
        // `int80-path NUMBER PATH ARGUMENTS…`: a call of the old ABI whose first argument is a path.
        "int80-path" => {
            let (number, path) = (arguments.number(), arguments.path());
            let rest = numbers(arguments);
            low(path.to_bytes_with_nul())
                .and_then(|address| int80([number, address, rest[0], rest[1]]))
        }
        "prctl" => {
            let given = numbers(arguments);
            call!(
                libc::SYS_prctl,
                given[0],
                given[1],
                given[2],
                given[3],
                given[4]
            )
            .map(|value| value.to_string())
        }
        // `ioctl FD REQUEST [BITS]`: with bits above the low 32 that the kernel does not look at.
        "ioctl" => {
            let (fd, request) = (arguments.number(), arguments.flags(&IOCTLS));
            let high = arguments.number_or(0);
            let mut argument = [0u64; 16];
            argument[0] = u64::from(b'#');
            done(call!(
                libc::SYS_ioctl,
                fd,
                request | high << 32,
                argument.as_mut_ptr()
            ))
        }
        // Puts our own process group into the foreground of the terminal.
        "foreground" => {
            let fd = arguments.number();
            let group = std::process::id();
            call!(libc::SYS_setpgid, 0, 0).and_then(|_| {
                done(call!(
                    libc::SYS_ioctl,
                    fd,
                    libc::TIOCSPGRP,
                    &raw const group
                ))
            })
        }
        // `sigio PID WAY`: has the kernel send SIGKILL to somebody else when there is something to read.
        "sigio" => signal_by_input(arguments.number(), &arguments.text()),
        // `fcntl FD COMMAND ARGUMENT`
        "fcntl" => {
            let (fd, command) = (
                arguments.number(),
                arguments.flags(&[
                    ("F_SETOWN", libc::F_SETOWN as i64),
                    ("F_SETSIG", 10),
                    ("F_SETFL", libc::F_SETFL as i64),
                    ("F_GETFL", libc::F_GETFL as i64),
                ]),
            );
            call!(libc::SYS_fcntl, fd, command, arguments.number_or(0))
                .map(|value| value.to_string())
        }
        _ => return None,
    })
}

fn signal_by_input(pid: i64, way: &str) -> Answer {
    let mut ends = [0i32; 2];
    call!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_STREAM,
        0,
        ends.as_mut_ptr()
    )?;
    let [watched, other] = ends;
    let set = |command: i32, argument: usize| call!(libc::SYS_fcntl, watched, command, argument);
    match way {
        "own" => set(libc::F_SETOWN, pid as usize)?,
        "group" => set(libc::F_SETOWN, -pid as usize)?,
        "own-ex" => {
            // F_SETOWN_EX, F_OWNER_PID
            let owner = [1i32, pid as i32];
            set(15, owner.as_ptr() as usize)?
        }
        "ioctl" => {
            let owner = pid as i32;
            call!(libc::SYS_ioctl, watched, 0x8901u32, &raw const owner)?
        }
        _ => crate::arguments::misused("there is no such way"),
    };
    set(10, libc::SIGKILL as usize)?; // F_SETSIG
    set(libc::F_SETFL, (libc::O_ASYNC | libc::O_NONBLOCK) as usize)?;
    done(call!(libc::SYS_write, other, c"x".as_ptr(), 1))
}

/// Up to seven numbers; what is not given is 0.
fn numbers(arguments: &mut Arguments) -> [i64; 7] {
    std::array::from_fn(|_| arguments.number_or(0))
}

/// A copy of `bytes` where an address fits in 32 bits.
fn low(bytes: &[u8]) -> Result<i64, Errno> {
    #[cfg(target_arch = "x86_64")]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    #[cfg(not(target_arch = "x86_64"))]
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let address = call!(
        libc::SYS_mmap,
        0,
        8192,
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        -1i64,
        0
    )?;
    assert!(bytes.len() <= 8192, "a path of the probe fits in two pages");
    // SAFETY: the mapping just made has 8192 bytes, is writable and is never unmapped.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
    Ok(address)
}

#[cfg(target_arch = "x86_64")]
fn int80(words: [i64; 4]) -> Answer {
    let result: i32;
    // SAFETY: `int 0x80` takes its number in eax and arguments in ebx, ecx, edx; rbx is saved around it since the compiler may
    // hold it, and the kernel may zero r8 to r11. Addresses are in the low 4 GiB.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) words[1] => _,
            inlateout("eax") words[0] as i32 => result,
            in("ecx") words[2] as i32,
            in("edx") words[3] as i32,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    if (-4095..0).contains(&result) {
        Err(Errno::from_raw(-result))
    } else {
        Ok(result.to_string())
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: [i64; 4]) -> Answer {
    Err(Errno::ENOSYS)
}

fn memory_and_messages(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        // An existing segment by its key, or a new one for `create`.
        "shmget" => {
            let key = arguments.number();
            let flags = arguments.flags_or(&[("create", 0o1600), ("exclusive", 0o3600)], 0);
            call!(libc::SYS_shmget, key, 4096, flags).map(|id| id.to_string())
        }
        "shmat" => done(call!(libc::SYS_shmat, arguments.number(), 0, 0)),
        "shm-remove" => done(call!(
            libc::SYS_shmctl,
            arguments.number(),
            libc::IPC_RMID,
            0
        )),
        "semget" => done(call!(
            libc::SYS_semget,
            arguments.number(),
            1,
            arguments.number_or(0)
        )),
        "msgget" => done(call!(
            libc::SYS_msgget,
            arguments.number(),
            arguments.number_or(0)
        )),
        // `mq-open NAME [create]`, the name without its slash.
        "mq-open" => {
            let name = arguments.path();
            let flags = arguments.flags_or(&[("create", libc::O_CREAT as i64)], 0);
            done(owned(call!(
                libc::SYS_mq_open,
                name.as_ptr(),
                flags | libc::O_RDWR as i64,
                0o600,
                0
            )))
        }
        "mq-unlink" => done(call!(libc::SYS_mq_unlink, arguments.path().as_ptr())),
        "memfd-secret" => done(owned(call!(libc::SYS_memfd_secret, 0))),
        _ => return None,
    })
}
