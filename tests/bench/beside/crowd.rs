//! Many sandboxes at once: how long until all of them are there and gone again, and what memory their supervisors take.

use crate::beside::Extent;
use crate::beside::jobs::{Work, row};
use crate::beside::results::{Cell, Results};
use crate::beside::subjects::{Job, Subject};
use crate::built::Built;
use crate::told::Told;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than that nobody waits for one crowd.
const LONGEST: Duration = Duration::from_secs(15);

/// What was seen of one crowd.
struct Seen {
    /// Until all were there and gone again.
    lasted: Duration,
    /// Memory of the supervisors' side, in all.
    kib: u64,
    /// Processes of that side.
    processes: usize,
    /// How much less memory was free while all were there.
    taken: u64,
}

/// The rows. One at a time comes first: it says how many there is room for.
pub fn rows<'a>(
    built: &'a Built,
    subjects: &'a [Subject],
    floor: &'a Path,
    extent: &Extent,
    results: &mut Results,
) {
    let once = |one: &&Subject| one.job == Job::Plain && !one.name.ends_with("dynamic");
    let mut able: Vec<&Subject> = subjects.iter().filter(once).collect();
    let seen: RefCell<BTreeMap<String, Vec<Seen>>> = RefCell::default();
    let mut before = 1;
    for count in std::iter::once(1).chain(extent.crowds.iter().copied()) {
        let mut cannot = Vec::new();
        able.retain(|one| {
            let seen = seen.borrow();
            let last = seen.get(&one.name).and_then(|all| all.last());
            match last.and_then(|last| no_room(last, count / before)) {
                Some(why) => cannot.push((one.name.clone(), Cell::Cannot(why))),
                None => return true,
            }
            false
        });
        seen.borrow_mut().clear();
        let gathering = |one: &'a Subject| -> Work<'_> {
            let (name, seen) = (one.name.clone(), &seen);
            Box::new(move || {
                let found = gather(built, one, floor, count)?;
                let lasted = found.lasted;
                seen.borrow_mut()
                    .entry(name.clone())
                    .or_default()
                    .push(found);
                Ok(lasted)
            })
        };
        let extent = Extent {
            row: if count == 1 {
                extent.row / 8
            } else {
                extent.row
            },
            fewest: if count == 1 { extent.fewest } else { 3 },
            most: 20,
            crowds: Vec::new(),
        };
        let what = match count {
            1 => "one, there and gone again".to_owned(),
            _ => format!("{count} at once, all there and gone again"),
        };
        row(&what, able.clone(), &gathering, &extent, results);
        let mut cells = cannot;
        for (name, all) in seen.borrow().iter() {
            let mut kib: Vec<u64> = all.iter().map(|one| one.kib / count as u64).collect();
            kib.sort_unstable();
            let cell = Cell::Holds {
                kib: [kib[kib.len() / 2], kib[0], kib[kib.len() - 1]],
                processes: all[0].processes / count,
            };
            cells.push((name.clone(), cell));
        }
        let what = match count {
            1 => "memory of the supervisor's side".to_owned(),
            _ => format!("the same of each of {count}"),
        };
        results.row(&what, cells);
        before = count;
    }
}

/// Why so many more of them are not tried.
fn no_room(last: &Seen, more: usize) -> Option<String> {
    let free = available();
    let wanted = last.taken.max(last.kib) * more as u64;
    if last.lasted * more as u32 > LONGEST {
        return Some(format!(
            "not tried: it would take longer than {} s",
            LONGEST.as_secs()
        ));
    }
    (wanted > free / 2).then(|| {
        format!(
            "not tried: it would take {} of {} MiB",
            wanted >> 10,
            free >> 10
        )
    })
}

/// Has so many there at once, each answering once.
fn gather(built: &Built, one: &Subject, floor: &Path, count: usize) -> Result<Seen, String> {
    let file = built.sub("programs").join("opened");
    let words = [floor, Path::new("opens"), &file, Path::new("1")];
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let free = available();
    let start = Instant::now();
    let mut all: Vec<Told> = (0..count)
        .map(|_| Told::start(&mut one.command(built, &words)))
        .collect();
    let are_there = all.iter_mut().filter_map(|told| told.heard("1")).count();
    let there = start.elapsed();
    let taken = free.saturating_sub(available());
    let metadata = std::fs::metadata(floor).map_err(|error| error.to_string())?;
    let floor = (metadata.dev(), metadata.ino());
    let sides = all
        .iter()
        .map(|told| side(told.id(), floor, one.shares_memory));
    let (kib, processes) = sides.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let start = Instant::now();
    let have_ended = all
        .into_iter()
        .map(Told::end)
        .filter(|is_well| *is_well)
        .count();
    if are_there < count || have_ended < count {
        return Err(format!(
            "{are_there} of {count} came, {have_ended} ended well"
        ));
    }
    Ok(Seen {
        lasted: there + start.elapsed(),
        kib,
        processes,
        taken,
    })
}

/// What would come back if the supervisor's side of a process ended, in KiB, and how many processes that is: all from `pid` downwards
/// that are not the program that was asked for.
fn side(pid: u32, program: (u64, u64), shares_memory: bool) -> (u64, usize) {
    let executed = std::fs::metadata(format!("/proc/{pid}/exe"));
    let is_program = executed.is_ok_and(|file| (file.dev(), file.ino()) == program);
    let (mut kib, mut processes) = match is_program {
        true => return (0, 0),
        false => (private(pid), 1),
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    for task in tasks.flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
        {
            let (more, others) = side(child, program, shares_memory);
            // The guardian runs on the memory of the supervisor.
            kib += if shares_memory { 0 } else { more };
            processes += others;
        }
    }
    (kib, processes)
}

fn private(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/smaps_rollup"), "Private_Dirty:")
}

fn available() -> u64 {
    field("/proc/meminfo", "MemAvailable:")
}

/// A line of such a file, in KiB.
fn field(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    value.unwrap_or(0)
}
