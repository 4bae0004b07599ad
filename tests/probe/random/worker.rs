//! One process that makes calls until it breaks, or has made enough.

use super::calls::{self, Kind};
use super::words::{MADE, in_place};
use super::{Chance, Report};
use std::ffi::CString;
use std::sync::atomic::Ordering;

const PAGE: usize = 4096;

/// Memory that may be written to, and is looked at after each call.
const PAGES: usize = 8;

/// After so many calls it ends, and another begins in a clean state.
const LIFE: u64 = 2000;

/// Every so many calls what was removed is made again.
const AGAIN: u64 = 100;

/// No descriptor has a higher number.
const DESCRIPTORS: i64 = 48;

/// A system call, whatever comes of it.
macro_rules! tried {
    ($($argument:expr),+ $(,)?) => {{
        // SAFETY: this process exists to be broken by calls, and shares nothing with others but counters that are atomic. What it
        // gives the kernel to write to is memory that it has for that, or none at all.
        unsafe { libc::syscall($($argument),+) }
    }};
}

struct Worker<'w> {
    chance: Chance,
    mark: &'w [u8],
    directories: [&'w str; 2],
    tasks: [i64; 4],
    /// Pages that can be written, one that cannot, one that is not there, one that can, one that is not there.
    memory: usize,
    /// What is read to be looked at, apart from what calls are given.
    looked_at: usize,
    report: &'w Report,
}

/// Makes calls until enough were made by all.
pub fn run(
    seed: u64,
    count: u64,
    mark: &[u8],
    directories: [&str; 2],
    pid: i64,
    report: &Report,
) -> ! {
    let parent = tried!(libc::SYS_getppid);
    tried!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    if let Some(mut worker) = Worker::new(
        seed,
        mark,
        directories,
        [0, pid, 1, i64::from(i32::MAX)],
        report,
    ) {
        worker.tasks[0] = tried!(libc::SYS_getpid);
        worker.prepare();
        worker.settle();
        for made in 0..LIFE {
            if report.made.load(Ordering::Relaxed) >= count || tried!(libc::SYS_getppid) != parent {
                break;
            }
            if made % AGAIN == 0 {
                worker.look_at_all();
                worker.prepare();
            }
            worker.call();
        }
        worker.look_at_all();
        // For those that come later.
        worker.prepare();
    }
    tried!(libc::SYS_exit_group, 0);
    std::process::abort()
}

extern "C" fn heard(_: libc::c_int) {}

fn mapped(length: usize) -> Option<usize> {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let memory = tried!(libc::SYS_mmap, 0, length, protection, flags, -1, 0);
    (memory > 0).then_some(memory as usize)
}

/// Writes into the memory of a worker.
fn put(at: usize, bytes: &[u8]) {
    // SAFETY: every caller names a place in pages that were mapped to be written, with as much room behind it; if calls have made them
    // something else meanwhile, this process ends here.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) }
}

/// Whether the mark stands in that memory.
fn holds(at: usize, length: usize, mark: &[u8]) -> bool {
    // SAFETY: as above; the C library looks for bytes and changes none.
    let found = unsafe { libc::memmem(at as *const _, length, mark.as_ptr().cast(), mark.len()) };
    !found.is_null()
}

impl<'w> Worker<'w> {
    fn new(
        seed: u64,
        mark: &'w [u8],
        directories: [&'w str; 2],
        tasks: [i64; 4],
        report: &'w Report,
    ) -> Option<Self> {
        let memory = mapped((PAGES + 4) * PAGE)?;
        let mut chance = Chance(seed);
        let noise: Vec<u8> = (0..PAGES * PAGE).map(|_| chance.next() as u8).collect();
        put(memory, &noise);
        put(memory + PAGES * PAGE, b"sub/mine\0");
        let page = |number| memory + (PAGES + number) * PAGE;
        tried!(libc::SYS_mprotect, page(0), PAGE, libc::PROT_READ);
        tried!(libc::SYS_mprotect, page(1), PAGE, libc::PROT_NONE);
        tried!(libc::SYS_mprotect, page(3), PAGE, libc::PROT_NONE);
        Some(Self {
            chance,
            mark,
            directories,
            tasks,
            memory,
            looked_at: mapped(PAGE)?,
            report,
        })
    }

    /// What it must not use up, and what ends calls that wait.
    fn settle(&self) {
        let most = |limit: u32, most: u64| {
            let both = [most, most];
            tried!(libc::SYS_prlimit64, 0, limit, both.as_ptr(), 0);
        };
        most(libc::RLIMIT_AS, 1 << 30);
        most(libc::RLIMIT_NOFILE, DESCRIPTORS as u64);
        most(libc::RLIMIT_CORE, 0);
        // SAFETY: all zeroes is a valid sigaction, whose handler is then set, and does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = heard as *const () as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        }
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: 20_000,
        };
        let timer = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        tried!(libc::SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0);
    }

    /// Descriptors of many kinds, and names for things.
    fn prepare(&mut self) {
        let path = |name: &str| CString::new(in_place(name, self.directories)).unwrap_or_default();
        let at = libc::AT_FDCWD;
        tried!(libc::SYS_chdir, path("W").as_ptr());
        tried!(libc::SYS_umask, 0o022);
        for directory in ["W", "sub", "sub/deep"] {
            tried!(libc::SYS_mkdirat, at, path(directory).as_ptr(), 0o755);
            // It may have locked itself out.
            tried!(libc::SYS_fchmodat, at, path(directory).as_ptr(), 0o755);
        }
        for (name, target) in MADE {
            let name = path(name);
            match target {
                Some(target) => {
                    let target = path(target);
                    tried!(libc::SYS_symlinkat, target.as_ptr(), at, name.as_ptr());
                }
                None => {
                    // It may have made a FIFO there, whose other end nobody opens.
                    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_NONBLOCK;
                    let made = tried!(libc::SYS_openat, at, name.as_ptr(), flags, 0o644);
                    tried!(libc::SYS_close, made);
                }
            }
        }
        tried!(libc::SYS_close_range, 8, u32::MAX, 0);
        // What is written to them nobody reads; nor is it a device, which others have too.
        let nobody = tried!(
            libc::SYS_memfd_create,
            c"nobody".as_ptr(),
            libc::MFD_NOEXEC_SEAL
        );
        for stream in 0..3 {
            tried!(libc::SYS_dup3, nobody, stream, 0);
        }
        for (name, flags) in [
            ("W", libc::O_PATH),
            ("sub", libc::O_RDONLY),
            ("sub/mine", libc::O_RDWR),
            ("O/given/file", libc::O_RDONLY),
            ("O/given", libc::O_RDONLY),
            ("O/file", libc::O_PATH),
            ("O", libc::O_PATH),
            ("secret", libc::O_PATH),
            ("secret/key", libc::O_PATH),
            (".git/hooks", libc::O_RDONLY),
            ("sub/.env", libc::O_PATH),
        ] {
            tried!(
                libc::SYS_openat,
                at,
                path(name).as_ptr(),
                flags | libc::O_NONBLOCK
            );
        }
        let place = self.memory;
        tried!(libc::SYS_pipe2, place, libc::O_NONBLOCK);
        tried!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0);
        tried!(
            libc::SYS_socketpair,
            libc::AF_UNIX,
            libc::SOCK_STREAM,
            0,
            place
        );
        tried!(libc::SYS_inotify_init1, libc::IN_NONBLOCK);
    }

    /// One call, and a look at what it gave.
    fn call(&mut self) {
        let chance = &mut self.chance;
        let (number, kinds) = match chance.one_in(4) {
            true => (
                chance.below(calls::BEHIND_LAST) as i64,
                [Kind::Any; 6].as_slice(),
            ),
            false => chance.pick(calls::KNOWN),
        };
        let number = number as libc::c_long;
        let is_any = kinds == [Kind::Any; 6];
        // Of a call that is known, all that it is given is meant.
        if !calls::is_made(number) || is_any && !calls::may_be_strange(number) {
            return;
        }
        let mut given = [0u64; 6];
        for (place, value) in given.iter_mut().enumerate() {
            let kind = kinds.get(place).copied().unwrap_or(Kind::Any);
            let is_strange = calls::may_be_strange(number) && self.chance.one_in(40);
            let kind = if is_strange { Kind::Any } else { kind };
            *value = self.argument(kind, place);
        }
        let [a, b, c, d, e, f] = given;
        let result = tried!(number, a, b, c, d, e, f);
        self.report.made.fetch_add(1, Ordering::Relaxed);
        if result >= 0 {
            self.report.succeeded.fetch_add(1, Ordering::Relaxed);
        }
        // One that made a process after all.
        if tried!(libc::SYS_getpid) != self.tasks[0] {
            tried!(libc::SYS_exit_group, 0);
        }
        if holds(self.memory, PAGES * PAGE, self.mark) {
            self.found(number, 1);
        }
        if (0..DESCRIPTORS).contains(&result) {
            self.look_at(number, result);
        }
    }

    fn found(&self, number: libc::c_long, place: u64) {
        self.report.place.store(place, Ordering::Relaxed);
        self.report.found.store(number + 1, Ordering::Relaxed);
        tried!(libc::SYS_exit_group, 1);
    }

    fn look_at_all(&self) {
        for fd in 0..DESCRIPTORS {
            self.look_at(-1, fd);
        }
    }

    /// Whether a descriptor gives the mark: a file its content, a directory its names.
    fn look_at(&self, number: libc::c_long, fd: i64) {
        let status = tried!(libc::SYS_fcntl, fd, libc::F_GETFL);
        if status < 0 || status & i64::from(libc::O_PATH) != 0 {
            return;
        }
        let read = tried!(libc::SYS_pread64, fd, self.looked_at, PAGE, 0);
        if read > 0 && holds(self.looked_at, read as usize, self.mark) {
            self.found(number, 2);
        }
        // Only a directory has names.
        if read < 0 && tried!(libc::SYS_lseek, fd, 0, libc::SEEK_SET) == 0 {
            let read = tried!(libc::SYS_getdents64, fd, self.looked_at, PAGE);
            if read > 0 && holds(self.looked_at, read as usize, self.mark) {
                self.found(number, 3);
            }
        }
    }

    fn argument(&mut self, kind: Kind, place: usize) -> u64 {
        match kind {
            Kind::Fd => self.descriptor(),
            Kind::Base => match self.chance.one_in(3) {
                true => self.descriptor(),
                false => libc::AT_FDCWD as u64,
            },
            Kind::Path => {
                let name = self.chance.name(self.directories);
                self.text(&name, place)
            }
            Kind::Attribute => {
                let name = self.chance.attribute();
                self.text(name, place)
            }
            Kind::Flags => self.chance.open_flags(),
            Kind::Mode => self.chance.mode(),
            Kind::AtFlags => self.chance.at_flags(),
            Kind::Memory => self.pointer(),
            Kind::Size => self.chance.size(),
            Kind::Small => self.chance.small(),
            Kind::Length => self.chance.length(),
            Kind::Owner => self.chance.owner(),
            Kind::Request => self.chance.request(),
            Kind::Address => self.address(place),
            Kind::How => {
                let resolve = match self.chance.one_in(2) {
                    true => 0,
                    false => 1 << self.chance.below(7),
                };
                let how = [
                    self.chance.open_flags(),
                    self.chance.mode() & 0o777,
                    resolve,
                ];
                self.words(&how, place)
            }
            Kind::Vector => {
                let both = [self.pointer(), self.chance.size(), self.pointer(), 64];
                self.words(&both, place)
            }
            Kind::Message => {
                let vector = [self.memory as u64, 64];
                let vector = self.words(&vector, 5);
                let message = [0, 0, vector, 1, self.pointer(), self.chance.length(), 0];
                self.words(&message, place)
            }
            Kind::Task => self.chance.pick(&self.tasks) as u64,
            // Those that end it would end it too often.
            Kind::Signal => {
                self.chance
                    .pick(&[0, 0, libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD, 99])
                    as u64
            }
            Kind::Any => match self.chance.below(8) {
                0 => self.descriptor(),
                1 | 2 => self.pointer(),
                3 => self.chance.size(),
                4 => self.chance.open_flags(),
                5 => self.argument(Kind::Path, place),
                6 => 1 << self.chance.below(64),
                _ => self.chance.small(),
            },
        }
    }

    fn descriptor(&mut self) -> u64 {
        match self.chance.below(30) {
            0 => u64::MAX,
            1 => self.chance.below(1000) as u64,
            _ => self.chance.below(26) as u64,
        }
    }

    /// Somewhere in the pages, at an edge of them, or nowhere.
    fn pointer(&mut self) -> u64 {
        let pages = PAGES * PAGE;
        let at = match self.chance.below(20) {
            0 => return 0,
            1 => {
                return self
                    .chance
                    .pick(&[1, 8, 0xdead_0000, 1 << 47, u64::MAX - 4095]);
            }
            // What cannot be written, what is not there, and over the edge to it.
            2 => pages,
            3 => pages + PAGE,
            4 => pages + PAGE - 8,
            5 => pages + 3 * PAGE - self.chance.below(64),
            _ => self.chance.below(pages - PAGE) & !7,
        };
        (self.memory + at) as u64
    }

    /// Text, mostly with its end; sometimes it goes on where no memory is.
    fn text(&mut self, text: &str, place: usize) -> u64 {
        let pages = PAGES * PAGE;
        let at = match self.chance.below(40) {
            0 => return self.pointer(),
            1 => {
                let edge = self.memory + pages + 3 * PAGE;
                let start = edge - text.len().min(PAGE);
                put(start, &text.as_bytes()[..text.len().min(PAGE)]);
                return start as u64;
            }
            2 => pages,
            // Each argument has a place of its own, and one too many runs into the next.
            _ => place * PAGE,
        };
        if at < pages {
            let text = &text.as_bytes()[..text.len().min(2 * PAGE - 1)];
            put(self.memory + at, &[text, b"\0"].concat());
        }
        (self.memory + at) as u64
    }

    fn words(&mut self, words: &[u64], place: usize) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let at = self.memory + place * PAGE + PAGE / 2;
        put(at, &bytes);
        at as u64
    }

    /// Of a Unix socket by its path or without one, or of this machine.
    fn address(&mut self, place: usize) -> u64 {
        let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
        match self.chance.below(6) {
            0 => bytes.extend(b"\0supervise-nobody"),
            1 => {
                bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
                bytes.extend([0, 80, 127, 0, 0, 1]);
            }
            _ => {
                let name = self.chance.name(self.directories);
                bytes.extend(&name.as_bytes()[..name.len().min(107)]);
            }
        }
        bytes.resize(110, 0);
        let at = self.memory + place * PAGE + PAGE / 2;
        put(at, &bytes);
        at as u64
    }
}
