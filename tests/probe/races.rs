//! Two threads against one check: what is looked at is changed before it is used.

use crate::arguments::{Arguments, misused};
use crate::files::{AT_FDCWD, errno, open, owned};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::{CStr, CString, c_char};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "race-name" => race_name(arguments),
        "race-swap" => race_swap(arguments),
        "race-name-shared" => race_name_shared(arguments),
        "storm-open" => storm_open(arguments),
        "race-exec" => race_exec(arguments),
        "race-chmod" => race_chmod(arguments),
        "race-chmod-swap" => race_chmod_swap(arguments),
        "race-fchmod" => race_fchmod(arguments),
        "race-connect-unix" => race_connect_unix(arguments),
        "race-connect-tcp" => race_connect_tcp(arguments),
        "exit-as" => exit_as(arguments.number()),
        _ => return None,
    })
}

/// How many tries succeeded.
pub fn tries(count: i64, mut attempt: impl FnMut() -> Result<i64, Errno>) -> Answer {
    let succeeded = (0..count).filter(|_| attempt().is_ok()).count();
    Ok(format!("succeeded={succeeded}"))
}

/// Does `attempt` while another thread does `disturb` all the time.
pub fn against<T>(disturb: impl Fn() + Sync, attempt: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                disturb();
            }
        });
        let result = attempt();
        over.store(true, Ordering::Relaxed);
        result
    })
}

/// Memory that holds one of two texts of the same length, or a mixture.
pub struct Wavering {
    pub cells: Vec<AtomicU8>,
    texts: [Vec<u8>; 2],
}

impl Wavering {
    pub fn new(one: Vec<u8>, other: Vec<u8>) -> Self {
        if one.len() != other.len() {
            misused("both must be of the same length");
        }
        Self {
            cells: one.iter().map(|byte| AtomicU8::new(*byte)).collect(),
            texts: [other, one],
        }
    }

    pub fn waver(&self) {
        self.waver_in(&self.cells);
    }

    /// The same in other memory.
    pub fn waver_in(&self, cells: &[AtomicU8]) {
        for text in &self.texts {
            for (cell, byte) in cells.iter().zip(text) {
                cell.store(*byte, Ordering::Relaxed);
            }
        }
    }

    /// A call on a socket with the address that this is.
    pub fn with(&self, call: i64, socket: &OwnedFd) -> Result<i64, Errno> {
        let (address, length) = (self.cells.as_ptr(), self.cells.len());
        call!(call, socket.as_raw_fd(), address, length)
    }
}

/// Two names change places.
pub fn exchange(one: &CStr, other: &CStr) -> Result<i64, Errno> {
    let (one, other) = (one.as_ptr(), other.as_ptr());
    let flags = libc::RENAME_EXCHANGE;
    call!(libc::SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, flags)
}

/// How often each thing came out of the tries.
#[derive(Default)]
struct Tally {
    wanted: u64,
    hit: u64,
    refused: u64,
}

impl Tally {
    fn count(&mut self, outcome: Result<bool, Errno>) {
        match outcome {
            Ok(true) => self.hit += 1,
            Ok(false) => self.wanted += 1,
            Err(_) => self.refused += 1,
        }
    }

    fn answer(&self) -> Answer {
        Ok(format!(
            "hit={} allowed={} refused={}",
            self.hit, self.wanted, self.refused
        ))
    }
}

/// Whether the file begins with `HIT`: tests write that into what must never be opened.
fn is_hit(fd: OwnedFd) -> Result<bool, Errno> {
    let mut start = Vec::new();
    File::from(fd)
        .take(3)
        .read_to_end(&mut start)
        .map_err(errno)?;
    Ok(start == b"HIT")
}

/// `ALLOWED FORBIDDEN TRIES`: two names of the same length, between which one wavers.
fn wavering(arguments: &mut Arguments) -> (CString, Wavering, i64) {
    let [allowed, forbidden] = [arguments.path(), arguments.path()];
    let texts = [&allowed, &forbidden].map(|path| path.as_bytes_with_nul().to_vec());
    let [one, other] = texts;
    (allowed, Wavering::new(one, other), arguments.number())
}

/// What came of trying something that often.
fn tally(tries: i64, attempt: impl Fn() -> Result<bool, Errno>) -> Answer {
    let mut tally = Tally::default();
    for _ in 0..tries {
        tally.count(attempt());
    }
    tally.answer()
}

/// Opens what a name says by then; whether that was never to be opened.
fn opened(name: *const c_char) -> Result<bool, Errno> {
    let flags = libc::O_RDONLY;
    owned(call!(libc::SYS_openat, AT_FDCWD, name, flags, 0)).and_then(is_hit)
}

/// `race-name ALLOWED FORBIDDEN TRIES`: opens a name that another thread keeps rewriting.
fn race_name(arguments: &mut Arguments) -> Answer {
    let (_, name, tries) = wavering(arguments);
    let path = name.cells.as_ptr().cast();
    against(|| name.waver(), || tally(tries, || opened(path)))
}

/// `race-name-shared ALLOWED FORBIDDEN TRIES`: the same, with another process that rewrites the name, in memory that both share.
fn race_name_shared(arguments: &mut Arguments) -> Answer {
    let (_, name, tries) = wavering(arguments);
    let shared = call!(
        libc::SYS_mmap,
        0,
        libc::PATH_MAX,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        usize::MAX,
        0
    )?;
    // SAFETY: memory that was just mapped, for good, and longer than any path that the kernel takes; bytes that are zero are atomics,
    // and two processes may share those.
    let cells = unsafe { std::slice::from_raw_parts(shared as *const AtomicU8, name.cells.len()) };
    name.waver_in(cells);
    let other = call!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)?;
    if other == 0 {
        loop {
            name.waver_in(cells);
        }
    }
    let answer = tally(tries, || opened(cells.as_ptr().cast()));
    call!(libc::SYS_kill, other, libc::SIGKILL)?;
    call!(libc::SYS_wait4, other, 0, 0, 0)?;
    answer
}

/// How many signals came.
static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// `storm-open PATH TRIES RESTARTS`: opens a file while a timer interrupts, with a handler that has calls restarted (1) or not (0). An
/// open is wrong when its descriptor is not that file, or is one of the first three.
fn storm_open(arguments: &mut Arguments) -> Answer {
    let (path, tries, restarts) = (arguments.path(), arguments.number(), arguments.number());
    let name = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    let inode = std::fs::metadata(name).map_err(errno)?.ino();
    // SAFETY: all zeroes is a valid sigaction, whose handler is then set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_signal as *const () as usize;
    action.sa_flags = if restarts == 1 { libc::SA_RESTART } else { 0 };
    // SAFETY: the action lives, and its handler does nothing but count.
    Errno::result(unsafe {
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
    })?;
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 300,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    call!(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0)?;
    let (mut opened, mut interrupted, mut wrong) = (0u64, 0u64, 0u64);
    for _ in 0..tries {
        match open(&path, libc::O_RDONLY) {
            Ok(fd) => {
                let number = fd.as_raw_fd();
                let found = File::from(fd).metadata().map(|known| known.ino());
                match found {
                    Ok(found) if found == inode && number > 2 => opened += 1,
                    _ => wrong += 1,
                }
            }
            Err(Errno::EINTR) => interrupted += 1,
            Err(_) => wrong += 1,
        }
    }
    let signals = SIGNALS.load(Ordering::Relaxed);
    Ok(format!(
        "opened={opened} interrupted={interrupted} wrong={wrong} signals={signals}"
    ))
}

/// `race-swap ONE OTHER OPENED TRIES [SECONDS]`: two names change places all the time while a path that leads through them is
/// opened: that often, and for that long.
fn race_swap(arguments: &mut Arguments) -> Answer {
    let (one, other) = (arguments.path(), arguments.path());
    let (opened, tries) = (arguments.path(), arguments.number());
    let end = Instant::now() + Duration::from_secs(arguments.number_or(0) as u64);
    let over = AtomicBool::new(false);
    let mut tally = Tally::default();
    let mut swapped = exchange(&one, &other);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut last = Ok(0);
            while !over.load(Ordering::Relaxed) {
                last = exchange(&one, &other);
            }
            last
        });
        let mut done = 0;
        while done < tries || Instant::now() < end {
            tally.count(open(&opened, libc::O_RDONLY).and_then(is_hit));
            done += 1;
        }
        over.store(true, Ordering::Relaxed);
        swapped = swapped.and(swapper.join().unwrap_or(Err(Errno::EIO)));
    });
    // A race that was never run proves nothing.
    swapped.and_then(|_| tally.answer())
}

/// `exit-as INODE`: ends at once and says nothing, with 0 if this program is that file and with 9 if it is not.
fn exit_as(inode: i64) -> ! {
    let own = std::fs::metadata("/proc/self/exe").map(|own| own.ino() == inode as u64);
    std::process::exit(own.map_or(1, |is_it| if is_it { 0 } else { 9 }))
}

/// `race-exec ALLOWED FORBIDDEN TRIES`: starts a program by a name that another thread keeps rewriting. Both are copies of this
/// program; which of them it became a program can tell.
fn race_exec(arguments: &mut Arguments) -> Answer {
    let (allowed, name, tries) = wavering(arguments);
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(allowed.to_bytes()));
    let inode = std::fs::metadata(path).map_err(errno)?.ino().to_string();
    let inode = CString::new(inode).map_err(|_| Errno::EINVAL)?;
    let words = [c"race".as_ptr(), c"exit-as".as_ptr(), inode.as_ptr()];
    let argv = words.map(<*const c_char>::cast_mut);
    let argv = [argv[0], argv[1], argv[2], std::ptr::null_mut()];
    let envp = [std::ptr::null_mut()];
    let path = name.cells.as_ptr().cast();
    let attempt = || spawned(path, &argv, &envp);
    against(|| name.waver(), || tally(tries, attempt))
}

/// Starts a program as programs do, in a child that shares this memory until it is another program, and so executes what the
/// path says by then. Whether it was the wrong one.
fn spawned(path: *const c_char, argv: &[*mut c_char], envp: &[*mut c_char]) -> Result<bool, Errno> {
    let mut pid = 0;
    // SAFETY: all arrays end with a null and live, as does what they point to; the path always ends with a zero byte, whatever
    // stands before it.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path,
            std::ptr::null(),
            std::ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    if result != 0 {
        return Err(Errno::from_raw(result));
    }
    let mut status = 0i32;
    call!(libc::SYS_wait4, pid, &raw mut status, 0, 0)?;
    Ok(libc::WEXITSTATUS(status) == 9)
}

/// `race-chmod ALLOWED FORBIDDEN MODE TRIES`: the name is rewritten all the time.
fn race_chmod(arguments: &mut Arguments) -> Answer {
    let [one, other] = [arguments.path(), arguments.path()].map(CString::into_bytes_with_nul);
    let (mode, count) = (arguments.mode(), arguments.number());
    let name = Wavering::new(one, other);
    against(
        || name.waver(),
        || {
            tries(count, || {
                call!(libc::SYS_fchmodat, AT_FDCWD, name.cells.as_ptr(), mode)
            })
        },
    )
}

/// `race-chmod-swap ONE OTHER PATH MODE TRIES`: two names change places all the time while a path leads through them.
fn race_chmod_swap(arguments: &mut Arguments) -> Answer {
    let (one, other, path) = (arguments.path(), arguments.path(), arguments.path());
    let (mode, count) = (arguments.mode(), arguments.number());
    // A race that cannot be run proves nothing.
    exchange(&one, &other)?;
    against(
        || {
            let _exchanged = exchange(&one, &other);
        },
        || {
            tries(count, || {
                call!(libc::SYS_fchmodat, AT_FDCWD, path.as_ptr(), mode)
            })
        },
    )
}

/// `race-fchmod ALLOWED FORBIDDEN MODE TRIES`: the number means now the one file, now the other.
fn race_fchmod(arguments: &mut Arguments) -> Answer {
    let open_both = |path: CString| open(&path, libc::O_RDONLY);
    let (one, other) = (open_both(arguments.path())?, open_both(arguments.path())?);
    let (mode, count) = (arguments.mode(), arguments.number());
    let number: OwnedFd = owned(call!(libc::SYS_dup, one.as_raw_fd()))?;
    let becomes = |fd: &OwnedFd| call!(libc::SYS_dup3, fd.as_raw_fd(), number.as_raw_fd(), 0);
    against(
        || {
            let _both = [becomes(&other), becomes(&one)];
        },
        || tries(count, || call!(libc::SYS_fchmod, number.as_raw_fd(), mode)),
    )
}

/// `race-connect-unix ALLOWED FORBIDDEN TRIES`: the address is rewritten all the time.
fn race_connect_unix(arguments: &mut Arguments) -> Answer {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    let address = |path: CString| [family.as_slice(), path.to_bytes_with_nul()].concat();
    let address = Wavering::new(address(arguments.path()), address(arguments.path()));
    race_connect(&address, libc::AF_UNIX, arguments.number())
}

/// `race-connect-tcp ALLOWED FORBIDDEN TRIES`: as above, with ports of 127.0.0.1.
fn race_connect_tcp(arguments: &mut Arguments) -> Answer {
    let address = |port: i64| {
        let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        bytes.extend((port as u16).to_be_bytes());
        bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let address = Wavering::new(address(arguments.number()), address(arguments.number()));
    race_connect(&address, libc::AF_INET, arguments.number())
}

fn race_connect(address: &Wavering, family: i32, count: i64) -> Answer {
    against(
        || address.waver(),
        || {
            tries(count, || {
                let socket = owned(call!(libc::SYS_socket, family, libc::SOCK_STREAM, 0))?;
                address.with(libc::SYS_connect, &socket)
            })
        },
    )
}
