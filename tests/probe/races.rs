//! Two threads against one check: what is looked at is changed before it is used.

use crate::arguments::Arguments;
use crate::files::{AT_FDCWD, errno, open, owned};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "race-name" => race_name(arguments),
        "race-swap" => race_swap(arguments),
        _ => return None,
    })
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
fn is_hit(fd: std::os::fd::OwnedFd) -> Result<bool, Errno> {
    let mut start = Vec::new();
    File::from(fd)
        .take(3)
        .read_to_end(&mut start)
        .map_err(errno)?;
    Ok(start == b"HIT")
}

/// `race-name ALLOWED FORBIDDEN TRIES`: opens a name that another thread keeps rewriting, byte by byte, from one path to the other.
/// Both paths have the same length.
fn race_name(arguments: &mut Arguments) -> Answer {
    let (allowed, forbidden, tries) = (arguments.path(), arguments.path(), arguments.number());
    let [first, second] = [&allowed, &forbidden].map(|path| path.to_bytes_with_nul());
    if first.len() != second.len() {
        crate::arguments::misused("race-name wants two paths of the same length");
    }
    let name: Vec<AtomicU8> = first.iter().map(|byte| AtomicU8::new(*byte)).collect();
    let over = AtomicBool::new(false);
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for path in [second, first] {
                    for (cell, byte) in name.iter().zip(path) {
                        cell.store(*byte, Ordering::Relaxed);
                    }
                }
            }
        });
        for _ in 0..tries {
            let opened = owned(call!(
                libc::SYS_openat,
                AT_FDCWD,
                name.as_ptr(),
                libc::O_RDONLY,
                0
            ));
            tally.count(opened.and_then(is_hit));
        }
        over.store(true, Ordering::Relaxed);
    });
    tally.answer()
}

/// `race-swap ONE OTHER OPENED TRIES`: two names change places all the time while a path that leads through them is opened.
fn race_swap(arguments: &mut Arguments) -> Answer {
    let (one, other) = (arguments.path(), arguments.path());
    let (opened, tries) = (arguments.path(), arguments.number());
    let over = AtomicBool::new(false);
    let mut tally = Tally::default();
    let exchange = |a: &CStr, b: &CStr| {
        call!(
            libc::SYS_renameat2,
            AT_FDCWD,
            a.as_ptr(),
            AT_FDCWD,
            b.as_ptr(),
            libc::RENAME_EXCHANGE
        )
    };
    let mut swapped = exchange(&one, &other);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut last = Ok(0);
            while !over.load(Ordering::Relaxed) {
                last = exchange(&one, &other);
            }
            last
        });
        for _ in 0..tries {
            tally.count(open(&opened, libc::O_RDONLY).and_then(is_hit));
        }
        over.store(true, Ordering::Relaxed);
        swapped = swapped.and(swapper.join().unwrap_or(Err(Errno::EIO)));
    });
    // A race that was never run proves nothing.
    swapped.and_then(|_| tally.answer())
}
