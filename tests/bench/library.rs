//! What a launch costs in a process that lives long and has prepared everything.

use crate::built::Built;
use crate::law;
use crate::paired::{Subject, measure};
use crate::start::{TRUE, time};
use crate::table;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::launch::{Command, Exit, Orphans, Program, Progress, launch};
use supervisor::sandbox::Confinement;

const ROUNDS: usize = 400;

pub fn rows(built: &Built) {
    let confinement = match law::confinement(&law::ruleset(built)) {
        Ok(confinement) => confinement,
        Err(reason) => return table::missing("launch in a library", &reason),
    };
    let program = Program::find(
        OsStr::new(TRUE),
        OsStr::new(""),
        Path::new("/"),
        &|_| Ok(()),
    )
    .expect("the program is there");
    let mut bare = std::process::Command::new(TRUE);
    bare.env_clear();
    let samples = measure(
        ROUNDS,
        vec![
            Subject::new("launch in a library", || one(&program, &confinement)),
            // posix_spawn: a clone that shares memory, and an exec.
            Subject::new("bare clone and exec", || time(&mut bare)),
        ],
    );
    table::row("launch in a library", &samples[0], &samples[1], Some(1.4));
}

fn one(program: &Program, confinement: &Arc<Confinement>) -> Duration {
    let start = Instant::now();
    let command = Command {
        program: program.try_clone().expect("a descriptor"),
        argv: vec![CString::from(c"true")],
        envp: Vec::new(),
        working_directory: File::open("/usr").expect("a directory").into(),
        pass: Vec::new(),
        streams: [None, None, None],
        terminal: None,
        signal_mask: 0,
        orphans: Orphans::Kill,
    };
    let child = launch(command, Arc::clone(confinement)).unwrap_or_else(|error| panic!("{error}"));
    let ended = child.wait();
    let took = start.elapsed();
    assert_eq!(ended, Ok(Progress::Gone(Exit::Code(0))));
    took
}
