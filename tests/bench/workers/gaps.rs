//! How long a worker that opens all the time is without answers when the daemon is killed.

use super::kept::{Kept, Kind};
use crate::built::{Built, Pair};
use crate::table;
use nix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::time::{Duration, Instant};

const KILLS: usize = 30;
const GOAL: Duration = Duration::from_millis(50);
/// How many others there are that do nothing.
const OTHERS: [usize; 2] = [0, 99];

pub fn rows(built: &Built, pair: &Pair) {
    for others in OTHERS {
        let name = format!("no answer, {} workers", others + 1);
        match measure(built, pair, others) {
            Ok(gaps) => table::spread(&name, &gaps, GOAL),
            Err(reason) => table::missing(&name, &reason),
        }
    }
}

fn measure(built: &Built, pair: &Pair, others: usize) -> Result<Vec<Duration>, String> {
    let asked = built.in_memory("asked");
    let file = asked.join("file");
    std::fs::write(&file, b"asked for").map_err(|error| error.to_string())?;
    let opener = Kind {
        name: "w",
        program: &pair.floor,
        arguments: ["gaps", &file.to_string_lossy(), "notes"]
            .map(str::to_owned)
            .to_vec(),
        count: 1,
        speaks: false,
        asks: Some(&asked),
    };
    let idle = Kind {
        name: "idle",
        program: &pair.floor,
        arguments: vec!["idle".to_owned()],
        count: others.max(1),
        speaks: false,
        asks: None,
    };
    let mut kinds = vec![idle, opener];
    if others == 0 {
        kinds.remove(0);
    }
    let mut kept = Kept::start(built, pair, &format!("gaps-{others}"), &kinds)?;
    let notes = kept.own("w-1").join("notes");
    let mut gaps = Vec::new();
    for _ in 0..KILLS {
        let before = now()?;
        kept.kill_daemon()?;
        kept.wait_for_all(others + 1)?;
        gaps.push(longest_since(&notes, before)?);
    }
    gaps.sort_unstable();
    Ok(gaps)
}

fn now() -> Result<u64, String> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_err(|errno| errno.to_string())?;
    u64::try_from(Duration::from(time).as_nanos()).map_err(|error| error.to_string())
}

/// The longest gap that ended after that time. There is one: nobody is answered while there is no daemon.
fn longest_since(notes: &Path, time: u64) -> Result<Duration, String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let bytes = std::fs::read(notes);
        let bytes = bytes.map_err(|error| format!("{}: {error}", notes.display()))?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
        let noted = bytes
            .chunks_exact(16)
            .map(|note| (number(&note[..8]), number(&note[8..])));
        let since = noted.filter(|(ended, _)| *ended > time);
        if let Some(longest) = since.map(|(_, gap)| gap).max() {
            return Ok(Duration::from_nanos(longest));
        }
        if Instant::now() > deadline {
            return Err("nobody was without an answer".to_owned());
        }
        std::thread::yield_now();
    }
}
