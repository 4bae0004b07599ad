//! How long workers that open all the time are without answers when the daemon is killed.

use super::kept::{Kept, Kind};
use crate::built::{Built, Pair};
use crate::table;
use nix::time::{ClockId, clock_gettime};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KILLS: usize = 30;
const GOAL: Duration = Duration::from_millis(50);
/// How many others there are that do nothing.
const OTHERS: [usize; 2] = [0, 99];
/// In microseconds, between two opens of the one.
const PAUSE: u32 = 200;
/// How many there are where all of them open, and their pause: together they leave most of two processors to who answers them.
const BUSY: usize = 100;
const BUSY_PAUSE: u32 = 20_000;

pub fn rows(built: &Built, pair: &Pair) {
    for others in OTHERS {
        let name = format!("no answer, {} workers", others + 1);
        match measure(built, pair, others) {
            Ok(gaps) => table::spread(&name, &gaps, GOAL),
            Err(reason) => table::missing(&name, &reason),
        }
    }
    let name = format!("next answer, {BUSY} workers that open");
    match measure_busy(built, pair) {
        Ok((first, last)) => {
            table::spread(&name, &first, GOAL);
            table::spread("  to the last of them", &last, GOAL);
        }
        Err(reason) => table::missing(&name, &reason),
    }
}

/// Workers that open what they are given, and note when they were without.
fn openers<'a>(pair: &'a Pair, asked: &'a Path, count: usize, pause: u32) -> Kind<'a> {
    let file = asked.join("file");
    Kind {
        name: "w",
        program: &pair.floor,
        arguments: vec![
            "gaps".to_owned(),
            file.to_string_lossy().into_owned(),
            "notes".to_owned(),
            pause.to_string(),
        ],
        count,
        speaks: false,
        asks: Some(asked),
    }
}

/// The directory with the file that they open.
fn asked_for(built: &Built) -> Result<PathBuf, String> {
    let asked = built.in_memory("asked");
    let written = std::fs::write(asked.join("file"), b"asked for");
    written.map_err(|error| error.to_string())?;
    Ok(asked)
}

/// How long it is from each kill to the first answer that a worker has waited for, and until all have theirs.
fn measure_busy(built: &Built, pair: &Pair) -> Result<(Vec<Duration>, Vec<Duration>), String> {
    let asked = asked_for(built)?;
    let kinds = [openers(pair, &asked, BUSY, BUSY_PAUSE)];
    let mut kept = Kept::start(built, pair, "busy", &kinds)?;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        let (took, _) = kept.kill_daemon()?;
        let killed = now()?.saturating_sub(took.as_nanos() as u64);
        kept.wait_for_all(BUSY)?;
        let mut answered = Vec::new();
        for worker in 1..=BUSY {
            let notes = kept.own(&format!("w-{worker}")).join("notes");
            let ended = noted_since(&notes, killed)?.map(|(ended, _)| ended).min();
            answered.extend(ended.map(|ended| Duration::from_nanos(ended - killed)));
        }
        first.extend(answered.iter().min());
        last.extend(answered.iter().max());
    }
    first.sort_unstable();
    last.sort_unstable();
    match first.is_empty() {
        true => Err("nobody was without an answer".to_owned()),
        false => Ok((first, last)),
    }
}

fn measure(built: &Built, pair: &Pair, others: usize) -> Result<Vec<Duration>, String> {
    let asked = asked_for(built)?;
    let opener = openers(pair, &asked, 1, PAUSE);
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
        let since = noted_since(notes, time)?;
        if let Some(longest) = since.map(|(_, gap)| gap).max() {
            return Ok(Duration::from_nanos(longest));
        }
        if Instant::now() > deadline {
            return Err("nobody was without an answer".to_owned());
        }
        std::thread::yield_now();
    }
}

/// The gaps that ended after that time: when, and how long they were.
fn noted_since(notes: &Path, time: u64) -> Result<impl Iterator<Item = (u64, u64)>, String> {
    let bytes = match std::fs::read(notes) {
        // Who has just begun has noted nothing.
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| format!("{}: {error}", notes.display()))?,
    };
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    let noted: Vec<_> = bytes
        .chunks_exact(16)
        .map(|note| (number(&note[..8]), number(&note[8..])))
        .collect();
    Ok(noted.into_iter().filter(move |(ended, _)| *ended > time))
}
