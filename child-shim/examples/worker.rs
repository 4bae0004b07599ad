//! A worker: answers each job with the job itself. `ask` asks for a name first, `fail` and `panic` fail, `wait PATH` waits for a file,
//! and `read PATH` reads one, however long that takes.

use std::path::Path;
use std::time::Duration;

use child_shim::worker::{Job, Outcome, Step, Worker};

fn work(job: Job) -> Outcome {
    match &job.step {
        Step::Continue(name) => Outcome::Done(name.clone()),
        Step::Run(what) => match what.as_str().unwrap_or_default() {
            "ask" => Outcome::Wait("name?".into()),
            "fail" => Outcome::Failed("as it was told to".to_owned()),
            "panic" => panic!("as it was told to"),
            text => match text.split_once(' ') {
                Some(("wait", path)) => wait_for(Path::new(path), &job),
                Some(("read", path)) => match std::fs::read_to_string(path) {
                    Ok(text) => Outcome::Done(text.into()),
                    Err(error) => Outcome::Failed(error.to_string()),
                },
                _ => Outcome::Done(what.clone()),
            },
        },
    }
}

fn wait_for(path: &Path, job: &Job) -> Outcome {
    while !path.exists() {
        if job.is_cancelled() {
            return Outcome::Failed("stopped".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Outcome::Done("it is there".into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ending = Worker::inherited()?.named("example", "1").serve(work)?;
    eprintln!("ended: {ending:?}");
    Ok(())
}
