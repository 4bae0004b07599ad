//! Calls at random: each number that there is, with arguments of which some make sense, by processes that may break themselves at any
//! time. Each looks at whatever it got for a mark that stands only in what it may not read.

mod calls;
mod words;
mod worker;

use crate::arguments::{Arguments, misused};
use crate::processes::{fork, touch_and_wait};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CString;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long nothing may come of a process before it is taken for one that waits for ever.
const STALLED: Duration = Duration::from_secs(2);

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "random-calls" => random_calls(arguments),
        // `linger-until OWN OTHER`: announces itself in OWN, and goes on when OTHER is there.
        "linger-until" => {
            let (own, other) = (arguments.text(), arguments.text());
            done(touch_and_wait(&own, &other))
        }
        _ => return None,
    })
}

/// What processes share that know nothing else of each other.
#[derive(Default)]
pub struct Report {
    /// How many calls were made.
    made: AtomicU64,
    /// How many of them succeeded.
    succeeded: AtomicU64,
    /// The call, plus one, after which the mark was found.
    found: AtomicI64,
    /// What was found: where the mark stood.
    place: AtomicU64,
}

/// `random-calls SEED COUNT MARK WORK OUTSIDE PID`: that many calls. MARK is in hexadecimal, each byte of it turned over, lest it stand in
/// our own command line; WORK is the directory that may be written, OUTSIDE one beside it, PID a process outside.
fn random_calls(arguments: &mut Arguments) -> Answer {
    let (mut seed, count) = (arguments.number() as u64, arguments.number() as u64);
    let mark = turned_over(&arguments.text());
    let [work, outside] = [arguments.text(), arguments.text()];
    let pid = arguments.number();
    let report = shared()?;
    let (mut started, mut killed) = (0u64, 0u64);
    while report.made.load(Ordering::Relaxed) < count {
        let worker = fork()?;
        if worker == 0 {
            worker::run(seed, count, &mark, [&work, &outside], pid, report);
        }
        killed += u64::from(!ended(worker, report)?);
        seed += 1;
        started += 1;
        let found = report.found.load(Ordering::Relaxed);
        if found != 0 {
            let place = report.place.load(Ordering::Relaxed);
            return Ok(format!(
                "FOUND call={} place={place} seed={}",
                found - 1,
                seed - 1
            ));
        }
    }
    // One that was ended has tidied nothing up.
    let path = CString::new(work).map_err(|_| Errno::EINVAL)?;
    call!(libc::SYS_fchmodat, libc::AT_FDCWD, path.as_ptr(), 0o755)?;
    call!(libc::SYS_chdir, path.as_ptr())?;
    let made = report.made.load(Ordering::Relaxed);
    let succeeded = report.succeeded.load(Ordering::Relaxed);
    Ok(format!(
        "made={made} succeeded={succeeded} processes={started} stalled={killed}"
    ))
}

fn turned_over(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..text.len() / 2).map(|at| byte(2 * at)).collect();
    let bytes = bytes.unwrap_or_else(|_| misused("the mark is hexadecimal"));
    bytes.into_iter().map(|byte| !byte).collect()
}

/// A report in memory that stays the same memory in children.
fn shared() -> Result<&'static Report, Errno> {
    let memory = call!(
        libc::SYS_mmap,
        0,
        size_of::<Report>(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        usize::MAX,
        0
    )?;
    // SAFETY: memory that was just mapped, for good, and large enough; bytes that are zero are atomics, and processes may share those.
    Ok(unsafe { &*(memory as *const Report) })
}

/// Waits for the end of a process, and makes it when nothing comes of it any more. Whether it ended by itself.
fn ended(worker: i64, report: &Report) -> Result<bool, Errno> {
    let (mut before, mut since) = (report.made.load(Ordering::Relaxed), Instant::now());
    let mut by_itself = true;
    loop {
        let gone = call!(libc::SYS_wait4, worker, 0, libc::WNOHANG, 0);
        match gone {
            Ok(0) => {}
            // Or somebody else's.
            Ok(_) | Err(Errno::ECHILD) => return Ok(by_itself),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let made = report.made.load(Ordering::Relaxed);
        if made != before {
            (before, since) = (made, Instant::now());
        } else if since.elapsed() > STALLED {
            by_itself = false;
            call!(libc::SYS_kill, worker, libc::SIGKILL)?;
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Numbers that look random, and are the same again for the same seed.
pub struct Chance(u64);

impl Chance {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())]
    }
}
