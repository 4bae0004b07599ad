//! What a start costs, an open, and programs that do something.

use crate::beside::Extent;
use crate::beside::results::Results;
use crate::beside::subjects::{Job, Subject};
use crate::built::Built;
use crate::paired::{Subject as Timed, measure_after};
use crate::start::{TRUE, is_installed};
use crate::told::Told;
use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Opens that are timed together.
const OPENS: u32 = 500;

/// Programs, by what they need.
const PROGRAMS: [(&str, &str, &str); 4] = [
    (
        "cargo build of a small crate",
        "cargo",
        "rm -rf hello/target && exec cargo build --quiet --offline --manifest-path hello/Cargo.toml",
    ),
    (
        "git status, 10,000 files",
        "git",
        "exec git -C repository status --porcelain",
    ),
    (
        "tar c, 10,000 files",
        "tar",
        "tar cf - tree | cat >/dev/null",
    ),
    (
        "tar x, 10,000 files",
        "tar",
        // In memory, and away again at once.
        "mkdir \"$TMPDIR/x\" && tar xf tree.tar -C \"$TMPDIR/x\" && rm -rf \"$TMPDIR/x\"",
    ),
];

/// Something to time, which may stop working.
pub type Work<'a> = Box<dyn FnMut() -> Result<Duration, String> + 'a>;

/// All rows but those about many at once.
pub fn rows<'a>(
    built: &'a Built,
    subjects: &'a [Subject],
    floor: &'a Path,
    extent: &Extent,
    results: &mut Results,
) {
    let plain = |one: &&Subject| one.job == Job::Plain;
    // How it was linked makes a difference for starting only.
    let once = |one: &&Subject| plain(one) && !one.name.ends_with("dynamic");
    let denying = |one: &&Subject| one.is_bare() || one.job == Job::Denying;
    let started =
        |one: &&Subject| one.is_bare() || !one.name.starts_with("supervise") || plain(one);
    let start = |one: &Subject| -> Work<'_> {
        let mut command = one.command(built, &[TRUE]);
        Box::new(move || timed(&mut command))
    };
    let of = |which: &dyn Fn(&&Subject) -> bool| subjects.iter().filter(which).collect::<Vec<_>>();
    row(
        "start of /usr/bin/true",
        of(&started),
        &start,
        extent,
        results,
    );
    let opened = built.sub("programs").join("opened");
    let outside = built.sub("outside").join("there");
    for path in [&opened, &outside] {
        std::fs::write(path, "opened\n").expect("the directory is ours");
    }
    let allowed = |one| told(built, one, floor, "opens", &opened);
    row(
        "an open that is allowed",
        of(&once),
        &allowed,
        extent,
        results,
    );
    row(
        "an open beside what is denied",
        of(&denying),
        &allowed,
        extent,
        results,
    );
    // Without a sandbox nothing is refused: what that costs is held against an open.
    let refused = |one: &'a Subject| match one.is_bare() {
        true => told(built, one, floor, "opens", &opened),
        false => told(built, one, floor, "refused", &outside),
    };
    row(
        "an open that is refused",
        of(&once),
        &refused,
        extent,
        results,
    );
    for (what, needs, script) in PROGRAMS {
        if !is_installed(needs) {
            eprintln!("{what}: {needs} is not installed");
            continue;
        }
        let run = |one: &Subject| -> Work<'_> {
            // Some have a directory for it of their own, in which that is not so.
            let tmp = built.in_memory("tmp").display().to_string();
            let script = match one.is_peer {
                true => script.replace("$TMPDIR", &tmp),
                false => script.to_owned(),
            };
            let mut command = one.command(built, &["/bin/sh", "-c", &script]);
            command.env("TMPDIR", built.in_memory("tmp"));
            Box::new(move || timed(&mut command))
        };
        row(what, of(&once), &run, extent, results);
    }
}

/// Measures one thing, done by each of them in turn.
pub fn row<'a: 'b, 'b>(
    what: &str,
    subjects: Vec<&'a Subject>,
    work: &dyn Fn(&'a Subject) -> Work<'b>,
    extent: &Extent,
    results: &mut Results,
) {
    let mut cannot: Vec<(String, String)> = Vec::new();
    let mut able: Vec<(&Subject, Work<'b>)> = Vec::new();
    let mut round = Duration::ZERO;
    for subject in subjects {
        let mut work = work(subject);
        // Twice: what is only slow for the first time is not slow.
        let tried = work().and_then(|_| work());
        match tried {
            Ok(took) => {
                round += took.max(Duration::from_micros(10));
                able.push((subject, work));
            }
            Err(why) => cannot.push((subject.name.clone(), why)),
        }
    }
    let affordable = extent.row.as_nanos() / round.as_nanos().max(1);
    let rounds = (affordable as usize).clamp(extent.fewest, extent.most);
    let failed = RefCell::new(Vec::new());
    let timed = able.iter_mut().map(|(subject, work)| {
        let failed = &failed;
        Timed::new(&subject.name, move || {
            work().unwrap_or_else(|why| {
                failed.borrow_mut().push((subject.name.clone(), why));
                Duration::from_nanos(1)
            })
        })
    });
    let samples = measure_after(1, rounds, timed.collect());
    let mut failed = failed.into_inner();
    failed.dedup_by(|one, other| one.0 == other.0);
    let samples: Vec<_> = samples
        .into_iter()
        .filter(|sample| !failed.iter().any(|(name, _)| *name == sample.name))
        .collect();
    cannot.extend(failed);
    results.times(what, rounds, &samples, cannot);
}

fn timed(command: &mut Command) -> Result<Duration, String> {
    let start = Instant::now();
    let status = command.status();
    let took = start.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => Err(format!(
            "not measured: as it is told here it ends with {status}"
        )),
        Err(error) => Err(format!(
            "not measured: as it is told here it ends with {error}"
        )),
    }
}

/// Opens a file over and over in one process that stays.
fn told<'a>(
    built: &'a Built,
    subject: &'a Subject,
    floor: &'a Path,
    act: &'a str,
    path: &'a Path,
) -> Work<'a> {
    let command = || {
        let words = [
            floor.as_os_str(),
            act.as_ref(),
            path.as_os_str(),
            "1".as_ref(),
        ];
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        subject.command(built, &words)
    };
    // One that is told nothing says whether it can be done at all.
    let tried = command()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match tried {
        Ok(status) if status.success() => {
            let mut told = Told::start(&mut command());
            Box::new(move || {
                let took = told.heard(&OPENS.to_string());
                Ok(took.ok_or("it ended, or said something else")? / OPENS)
            })
        }
        Ok(status) => Box::new(move || {
            Err(format!(
                "not measured: as it is told here it ends with {status}"
            ))
        }),
        Err(error) => Box::new(move || {
            Err(format!(
                "not measured: as it is told here it ends with {error}"
            ))
        }),
    }
}
