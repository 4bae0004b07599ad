//! What a process is, and what it tries on others.

use crate::arguments::Arguments;
use crate::files::{errno, escaped, open, owned};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const SIGNALS: [(&str, i64); 14] = [
    ("none", 0),
    ("HUP", libc::SIGHUP as i64),
    ("INT", libc::SIGINT as i64),
    ("QUIT", libc::SIGQUIT as i64),
    ("KILL", libc::SIGKILL as i64),
    ("USR1", libc::SIGUSR1 as i64),
    ("USR2", libc::SIGUSR2 as i64),
    ("PIPE", libc::SIGPIPE as i64),
    ("ALRM", libc::SIGALRM as i64),
    ("TERM", libc::SIGTERM as i64),
    ("STOP", libc::SIGSTOP as i64),
    ("TSTP", libc::SIGTSTP as i64),
    ("CONT", libc::SIGCONT as i64),
    ("WINCH", libc::SIGWINCH as i64),
];

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    on_others(name, arguments).or_else(|| on_itself(name, arguments))
}

fn on_others(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "kill" => {
            let pid = arguments.number();
            done(call!(libc::SYS_kill, pid, arguments.flags(&SIGNALS)))
        }
        "tgkill" => {
            let pid = arguments.number();
            done(call!(libc::SYS_tgkill, pid, pid, arguments.flags(&SIGNALS)))
        }
        "tkill" => {
            let pid = arguments.number();
            done(call!(libc::SYS_tkill, pid, arguments.flags(&SIGNALS)))
        }
        "sigqueue" => {
            let (pid, signal) = (arguments.number(), arguments.flags(&SIGNALS));
            let mut info = [0i32; 32];
            info[0] = signal as i32;
            info[2] = -1; // SI_QUEUE
            done(call!(libc::SYS_rt_sigqueueinfo, pid, signal, info.as_ptr()))
        }
        "pidfd-kill" => {
            let (pid, signal) = (arguments.number(), arguments.flags(&SIGNALS));
            owned(call!(libc::SYS_pidfd_open, pid, 0)).and_then(|fd| {
                done(call!(
                    libc::SYS_pidfd_send_signal,
                    fd.as_raw_fd(),
                    signal,
                    0,
                    0
                ))
            })
        }
        "pidfd-open" => done(owned(call!(libc::SYS_pidfd_open, arguments.number(), 0))),
        "pidfd-getfd" => {
            let (pid, number) = (arguments.number(), arguments.number());
            owned(call!(libc::SYS_pidfd_open, pid, 0)).and_then(|fd| {
                done(owned(call!(
                    libc::SYS_pidfd_getfd,
                    fd.as_raw_fd(),
                    number,
                    0
                )))
            })
        }
        "ptrace-attach" => done(call!(
            libc::SYS_ptrace,
            libc::PTRACE_ATTACH,
            arguments.number(),
            0,
            0
        )),
        "ptrace-seize" => {
            let pid = arguments.number();
            done(call!(
                libc::SYS_ptrace,
                libc::PTRACE_SEIZE,
                pid,
                0,
                arguments.number_or(0)
            ))
        }
        "ptrace-traceme" => done(call!(libc::SYS_ptrace, libc::PTRACE_TRACEME, 0, 0, 0)),
        "vm-read" => memory(arguments, libc::SYS_process_vm_readv),
        "vm-write" => memory(arguments, libc::SYS_process_vm_writev),
        "madvise-other" => {
            let pid = arguments.number();
            owned(call!(libc::SYS_pidfd_open, pid, 0)).and_then(|fd| {
                let vector = [0x10000usize, 4096];
                done(call!(
                    libc::SYS_process_madvise,
                    fd.as_raw_fd(),
                    vector.as_ptr(),
                    1,
                    libc::MADV_COLD,
                    0
                ))
            })
        }
        "kcmp" => {
            let pid = arguments.number();
            done(call!(libc::SYS_kcmp, std::process::id(), pid, 0, 0, 0))
        }
        "setpriority" => {
            let pid = arguments.number();
            done(call!(
                libc::SYS_setpriority,
                libc::PRIO_PROCESS,
                pid,
                arguments.number()
            ))
        }
        "ioprio" => done(call!(libc::SYS_ioprio_set, 1, arguments.number(), 3 << 13)),
        "affinity" => {
            let mask = [1u64; 16];
            done(call!(
                libc::SYS_sched_setaffinity,
                arguments.number(),
                128,
                mask.as_ptr()
            ))
        }
        "scheduler" => {
            let priority = [0i32; 4];
            done(call!(
                libc::SYS_sched_setscheduler,
                arguments.number(),
                libc::SCHED_BATCH,
                priority.as_ptr()
            ))
        }
        // `prlimit PID RESOURCE SOFT HARD`
        "prlimit" => {
            let (pid, resource) = (arguments.number(), arguments.number());
            let limit = [arguments.number(), arguments.number()];
            done(call!(libc::SYS_prlimit64, pid, resource, limit.as_ptr(), 0))
        }
        _ => return None,
    })
}

fn on_itself(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "pid" => Ok(std::process::id().to_string()),
        "parent" => call!(libc::SYS_getppid).map(|pid| pid.to_string()),
        "group" => call!(libc::SYS_getpgid, 0).map(|pid| pid.to_string()),
        "session" => call!(libc::SYS_getsid, 0).map(|pid| pid.to_string()),
        "ids" => ids(),
        "setsid" => done(call!(libc::SYS_setsid)),
        "setpgid" => done(call!(libc::SYS_setpgid, 0, 0)),
        "setuid" => done(call!(libc::SYS_setuid, arguments.number())),
        // The one of which file systems know alone. It says nothing, but for what it was.
        "setfsuid" => done(call!(libc::SYS_setfsuid, arguments.number())),
        "setgroups" => {
            let group = arguments.number() as libc::gid_t;
            done(call!(libc::SYS_setgroups, 1, &raw const group))
        }
        "args" => Ok(arguments
            .rest()
            .iter()
            .map(|word| escaped(word.to_bytes()))
            .collect::<Vec<_>>()
            .join(" ")),
        "env" => environment(),
        "status" => status(&arguments.text()),
        "caps" => capabilities(),
        "limits" => limits(),
        "signals" => signals(),
        "setrlimit" => {
            let resource = arguments.number();
            let limit = [arguments.number(), arguments.number()];
            done(call!(libc::SYS_setrlimit, resource, limit.as_ptr()))
        }
        "exit" => std::process::exit(arguments.number() as i32),
        "raise" => done(call!(
            libc::SYS_kill,
            std::process::id(),
            arguments.flags(&SIGNALS)
        )),
        "ignore" => ignore(arguments.flags(&SIGNALS) as i32),
        "default" => disposition(arguments.flags(&SIGNALS) as i32, libc::SIG_DFL),
        // `touch-and-wait FILE OTHER`
        "touch-and-wait" => {
            let (own, other) = (arguments.text(), arguments.text());
            touch_and_wait(&own, &other).map(|()| String::new())
        }
        // Until a signal ends it. Tests wait for what they look for, never for this.
        "linger" => loop {
            std::thread::park_timeout(Duration::from_secs(3600));
        },
        "stop" => done(call!(libc::SYS_kill, std::process::id(), libc::SIGSTOP)),
        "fork" => forks(arguments.number(), false),
        "fork-wait" => forks(arguments.number(), true),
        "threads" => threads(arguments.number()),
        "daemonize" => daemonize(arguments),
        "background" => background(arguments),
        "burn" => burn(arguments.number()),
        "eat" => eat(arguments.number()),
        "open-many" => open_many(arguments.number()),
        _ => return None,
    })
}

/// `… PID ADDRESS`: one word.
fn memory(arguments: &mut Arguments, number: i64) -> Answer {
    let (pid, address) = (arguments.number(), arguments.number_or(0x10000));
    let mut word = 0u64;
    let local = [&raw mut word as usize, 8];
    let remote = [address as usize, 8];
    done(call!(number, pid, local.as_ptr(), 1, remote.as_ptr(), 1, 0))
}

fn ids() -> Answer {
    let [mut r, mut e, mut s] = [0u32; 3];
    let [mut rg, mut eg, mut sg] = [0u32; 3];
    call!(libc::SYS_getresuid, &raw mut r, &raw mut e, &raw mut s)?;
    call!(libc::SYS_getresgid, &raw mut rg, &raw mut eg, &raw mut sg)?;
    Ok(format!("uid={r},{e},{s} gid={rg},{eg},{sg}"))
}

fn environment() -> Answer {
    use std::os::unix::ffi::OsStrExt;
    let mut pairs: Vec<String> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value.as_bytes())))
        .collect();
    pairs.sort();
    Ok(pairs.join(" "))
}

/// A field of /proc/self/status, where that may be read.
fn status(field: &str) -> Answer {
    let text = std::fs::read_to_string("/proc/self/status").map_err(errno)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
        .ok_or(Errno::ENOENT)
}

/// Effective, permitted, inheritable; bounding and ambient; and whether new privileges can be had. Asked of the kernel, not of /proc.
fn capabilities() -> Answer {
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    call!(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr())?;
    let whole = |low: usize| u64::from(data[low]) | u64::from(data[low + 3]) << 32;
    let held = |option: i32, argument: i32| {
        (0..64).fold(0u64, |set, number| {
            let (second, third) = if argument < 0 {
                (number, 0)
            } else {
                (argument as u64, number)
            };
            match call!(libc::SYS_prctl, option, second, third, 0, 0) {
                Ok(1) => set | 1 << number,
                _ => set,
            }
        })
    };
    let bounding = held(libc::PR_CAPBSET_READ, -1);
    let ambient = held(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET);
    let sealed = call!(libc::SYS_prctl, libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)?;
    Ok(format!(
        "effective={:x} permitted={:x} inheritable={:x} bounding={bounding:x} ambient={ambient:x} no_new_privs={sealed}",
        whole(0),
        whole(1),
        whole(2)
    ))
}

fn limits() -> Answer {
    let names = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];
    let mut found = Vec::new();
    for (resource, name) in names.iter().enumerate() {
        let mut limit = [0u64; 2];
        call!(libc::SYS_prlimit64, 0, resource, 0, limit.as_mut_ptr())?;
        let shown = limit.map(|value| {
            if value == u64::MAX {
                "unlimited".to_owned()
            } else {
                value.to_string()
            }
        });
        found.push(format!("{name}={}/{}", shown[0], shown[1]));
    }
    Ok(found.join(" "))
}

/// Which signals are blocked, and which are ignored, as masks.
fn signals() -> Answer {
    let mut blocked = 0u64;
    call!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_BLOCK,
        0,
        &raw mut blocked,
        8
    )?;
    let ignored = (1..=64).fold(0u64, |set, signal| {
        // `struct sigaction` of the kernel begins with the handler.
        let mut action = [0u64; 4];
        match call!(libc::SYS_rt_sigaction, signal, 0, action.as_mut_ptr(), 8) {
            Ok(_) if action[0] == libc::SIG_IGN as u64 => set | 1 << (signal - 1),
            _ => set,
        }
    });
    Ok(format!("blocked={blocked:x} ignored={ignored:x}"))
}

fn ignore(signal: i32) -> Answer {
    disposition(signal, libc::SIG_IGN)
}

fn disposition(signal: i32, handler: usize) -> Answer {
    // SAFETY: both dispositions are the kernel's own; no code of ours will run.
    let old = unsafe { libc::signal(signal, handler) };
    if old == libc::SIG_ERR {
        Err(Errno::last())
    } else {
        Ok(String::new())
    }
}

/// Writes its pid to `own`, then waits until `other` is there.
pub fn touch_and_wait(own: &str, other: &str) -> Result<(), Errno> {
    announce(own)?;
    while !std::path::Path::new(other).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Writes our pid, so that whoever sees the file sees the whole of it.
fn announce(file: &str) -> Result<(), Errno> {
    let whole = format!("{file}.part");
    let mut open = std::fs::File::create(&whole).map_err(errno)?;
    write!(open, "{}", std::process::id()).map_err(errno)?;
    std::fs::rename(&whole, file).map_err(errno)
}

/// `fork`, from a process with one thread.
pub fn fork() -> Result<i64, Errno> {
    call!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)
}

/// Starts that many children that live until they are killed, or, when `wait`, end at once and are waited for. The answer is
/// how many there were, or why there were no more.
fn forks(count: i64, wait: bool) -> Answer {
    for made in 0..count {
        match fork() {
            Ok(0) if wait => std::process::exit(0),
            Ok(0) => loop {
                std::thread::park_timeout(Duration::from_secs(3600));
            },
            Ok(pid) if wait => drop(call!(libc::SYS_wait4, pid, 0, 0, 0)?),
            Ok(_) => {}
            Err(error) => return Ok(format!("{made} then {error:?}")),
        }
    }
    Ok(count.to_string())
}

fn threads(count: i64) -> Answer {
    for made in 0..count {
        let started = std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
            loop {
                std::thread::park();
            }
        });
        if let Err(error) = started {
            return Ok(format!("{made} then {:?}", errno(error)));
        }
    }
    Ok(count.to_string())
}

/// `daemonize FILE`: leaves a process that nobody waits for, in a session of its own, ignoring what can be ignored; its pid
/// stands in FILE.
fn daemonize(arguments: &mut Arguments) -> Answer {
    let file = arguments.text();
    let first = fork()?;
    if first != 0 {
        call!(libc::SYS_wait4, first, 0, 0, 0)?;
        return Ok(String::new());
    }
    let _led = call!(libc::SYS_setsid);
    if fork() != Ok(0) {
        std::process::exit(0);
    }
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let _ignored = ignore(signal);
    }
    let _announced = announce(&file);
    loop {
        std::thread::park_timeout(Duration::from_secs(3600));
    }
}

/// `background FILE`: a child in our own group and session that lingers; its pid stands in FILE.
fn background(arguments: &mut Arguments) -> Answer {
    let file = arguments.text();
    if fork()? == 0 {
        let _announced = announce(&file);
        loop {
            std::thread::park_timeout(Duration::from_secs(3600));
        }
    }
    Ok(String::new())
}

fn burn(seconds: i64) -> Answer {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    Ok(String::new())
}

/// Touches that many MiB, and says how many it got.
fn eat(mebibytes: i64) -> Answer {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    for had in 0..mebibytes {
        if let Err(error) = call!(
            libc::SYS_mmap,
            0,
            1 << 20,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1i64,
            0
        ) {
            return Ok(format!("{had} then {error:?}"));
        }
    }
    Ok(mebibytes.to_string())
}

fn open_many(count: i64) -> Answer {
    for had in 0..count {
        match open(c"/dev/null", libc::O_RDONLY) {
            Ok(fd) => std::mem::forget(fd),
            Err(error) => return Ok(format!("{had} then {error:?}")),
        }
    }
    Ok(count.to_string())
}
