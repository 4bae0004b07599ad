//! What it costs a program that an open of it is trapped: let through to the kernel, or done by the supervisor.

use crate::built::{Built, Pair};
use crate::paired::{Subject, measure};
use crate::processor;
use crate::table;
use crate::told::Told;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 40;
/// Opens in one round, by all processes together.
const COUNT: u32 = 1920;
const PROCESSES: [u32; 3] = [1, 8, 64];

/// How trapped opens are answered, under which policy, and how far from the floor that may be: unpinned, on one processor.
struct Way {
    name: &'static str,
    /// The floor with all that no supervisor can leave undone.
    careful: &'static str,
    policy: &'static str,
    goals: [f64; 2],
}

const WAYS: [Way; 2] = [
    Way {
        name: "continued",
        careful: "looked",
        // Reads are trapped for what is asked about elsewhere; all that is opened here is the kernel's to grant.
        policy: "ask_read = [\"PLACE/asked\"]\nread = [\"$PWD\"]",
        goals: [1.3, 1.3],
    },
    Way {
        name: "injected",
        careful: "located",
        // A pattern at any depth leaves the whole tree to the supervisor.
        policy: "read = [\"$PWD\"]\ndeny = [\"$PWD/**/*.never\"]",
        goals: [1.3, 1.8],
    },
];

pub fn rows(built: &Built) {
    let pair = match built.best() {
        Ok(pair) => pair,
        Err(reason) => return table::missing("calls", &reason),
    };
    let file = built.sub("work").join("opened");
    std::fs::write(&file, b"opened").expect("the directory is ours");
    built.sub("asked");
    for way in &WAYS {
        for processes in PROCESSES {
            compare(built, pair, way, &file, processes, false);
        }
        let pinned = processor::on_one(|| compare(built, pair, way, &file, 1, true));
        if let Err(reason) = pinned {
            table::missing("calls, one processor", &reason);
        }
    }
}

fn compare(built: &Built, pair: &Pair, way: &Way, file: &Path, processes: u32, is_pinned: bool) {
    let opens = |command: &mut Command| {
        command.arg("opens").arg(file).arg(processes.to_string());
        Told::start(command)
    };
    let mut bare = opens(&mut built.command(&pair.floor));
    let floor = |how: &str| {
        let mut command = built.command(&pair.floor);
        Told::start(command.arg(how).arg(file).arg(processes.to_string()))
    };
    let mut careful = floor(way.careful);
    let mut floor = floor(way.name);
    let mut real = opens(
        built
            .command(&pair.supervise)
            .arg("--quiet")
            .arg("--policy")
            .arg(policy(built, pair, way))
            .arg("--")
            .arg(&pair.floor),
    );
    let each = |told: &mut Told| told.tell(&COUNT.to_string()) / COUNT;
    let spent = |told: &mut Told| told.spent(&COUNT.to_string()) / COUNT;
    let place = match (is_pinned, processes) {
        (true, _) => "one processor".to_owned(),
        (false, 1) => "unpinned".to_owned(),
        (false, _) => format!("{processes} processes"),
    };
    let name = format!("open {}, {place}", way.name);
    let goal = (processes == 1).then_some(way.goals[usize::from(is_pinned)]);
    let mut told = [&mut real, &mut floor, &mut careful, &mut bare];
    rows_of(&name, goal, &mut told, &each);
    if is_pinned {
        // On a machine that does other things as well, the time on the clock is mostly theirs.
        let name = format!("open {}, processor time", way.name);
        rows_of(&name, goal, &mut told, &spent);
    }
}

/// What an open takes, against the floor and the floor with care and no trap at all; and what care alone costs.
fn rows_of(
    name: &str,
    goal: Option<f64>,
    told: &mut [&mut Told; 4],
    each: &dyn Fn(&mut Told) -> Duration,
) {
    let names = ["open", "floor", "a careful floor", "untrapped"];
    let subjects = names.into_iter().zip(told);
    let subjects = subjects.map(|(name, told)| Subject::new(name, || each(told)));
    let [real, floor, careful, bare] = &measure(ROUNDS, subjects.collect())[..] else {
        unreachable!("a sample for each");
    };
    table::row(name, real, floor, goal);
    table::row(name, real, careful, None);
    table::row(name, real, bare, None);
    table::row(&format!("{name}, a careful floor"), careful, floor, goal);
}

fn policy(built: &Built, pair: &Pair, way: &Way) -> PathBuf {
    let path = built.place.path().join(format!("{}.toml", way.name));
    let text = format!(
        "version = 1\n[fs]\nexec = [{:?}]\n{}\n",
        pair.floor,
        way.policy
            .replace("PLACE", &built.place.path().display().to_string())
    );
    std::fs::write(&path, text).expect("the directory is ours");
    path
}
