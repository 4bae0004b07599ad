//! What it costs a program to be given a file.

use crate::built::Built;
use crate::paired::{Subject, measure};
use crate::table;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 60;
/// Grants in one round.
const COUNT: u32 = 500;

/// A program that asks for files as often as it is told to: a line `COUNT DEPTH` is answered by the nanoseconds it took.
struct Asker {
    child: Child,
    tell: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Asker {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let tell = child.stdin.take();
        let hear = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        Self { child, tell, hear }
    }

    /// What one grant took, of `COUNT` with so many asked for at a time.
    fn ask(&mut self, depth: u32) -> Duration {
        let tell = self.tell.as_mut().expect("it is told until it is dropped");
        writeln!(tell, "{COUNT} {depth}").expect("the asker listens");
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("the asker speaks");
        let nanos = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the asker said {line:?}"));
        Duration::from_nanos(nanos) / COUNT
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.tell = None;
        let status = self.child.wait().expect("our own child can be waited for");
        assert!(
            status.success() || std::thread::panicking(),
            "an asker failed: {status}"
        );
    }
}

pub fn rows(built: &Built) {
    if let Err(reason) = built.best() {
        return table::missing("grant", &reason);
    }
    compare(built, "grant, unpinned", 1, Some(1.5));
    compare(built, "grant, 20 asked for at a time", 20, None);
    let everywhere = sched_getaffinity(Pid::from_raw(0)).expect("our own affinity");
    let mut one = CpuSet::new();
    one.set(0).expect("there is a first processor");
    match sched_setaffinity(Pid::from_raw(0), &one) {
        Ok(()) => {
            // Whoever is started now stays on it.
            compare(built, "grant, one processor", 1, Some(2.0));
            compare(built, "grant, one processor, 20 at a time", 20, None);
            sched_setaffinity(Pid::from_raw(0), &everywhere).expect("our own affinity");
        }
        Err(errno) => table::missing("grant, one processor", &errno.to_string()),
    }
}

fn compare(built: &Built, name: &str, depth: u32, goal: Option<f64>) {
    let pair = built.fixed.as_ref().unwrap_or(&built.dynamic);
    let file = built.sub("granted").join("file");
    std::fs::write(&file, b"granted").expect("the directory is ours");
    let mut floor = Asker::start(built.command(&pair.floor).arg("grants").arg(&file));
    let mut real = Asker::start(
        built
            .command(&pair.supervise)
            .arg("--policy")
            .arg(policy(built, &pair.asker))
            .arg("--")
            .arg(&pair.asker)
            .arg(&file),
    );
    let samples = measure(
        ROUNDS,
        vec![
            Subject::new("grant", || real.ask(depth)),
            Subject::new("floor", || floor.ask(depth)),
        ],
    );
    table::row(name, &samples[0], &samples[1], goal);
    println!(
        "{:<44} {:.0} grants a second",
        "",
        1.0 / samples[0].median().as_secs_f64()
    );
}

/// A policy under which the asker runs, and the files of one directory are to be had over the socket only.
fn policy(built: &Built, asker: &Path) -> PathBuf {
    let path = built.place.path().join("grants.toml");
    let text = format!(
        "version = 1\n[fs]\nread = [\"$PWD\"]\nexec = [{asker:?}]\n[[request]]\npath = {:?}\naccess = [\"read\"]\ndecision = \"allow\"\n",
        built.sub("granted")
    );
    std::fs::write(&path, text).expect("the directory is ours");
    path
}
