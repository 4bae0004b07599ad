//! A job for a worker that is there, against the bytes alone, and against a sandbox of its own.

use super::kept::{Kept, Kind};
use crate::built::{Built, Pair};
use crate::paired::{Subject, measure};
use crate::processor;
use crate::table;
use crate::told::Told;
use client::{Options, PersistentIpcClientHandle, PoolClient};
use protocol::Numbered;
use protocol::pool::{PoolRequest, VERSION};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ROUNDS: usize = 60;
/// Requests in one round.
const COUNT: u32 = 200;
const WORKER: &str = "w-1";
const TEXT: &str = "forty characters of work, more or less..";

pub fn rows(built: &Built, pair: &Pair) {
    report(with_worker(built, pair, "jobs", |kept, runtime| {
        requests(built, pair, kept, runtime, Took::Time, "")?;
        sandboxes(built, pair, kept, runtime)
    }));
    // Whoever is started meanwhile stays there too.
    let pinned = processor::on_one(|| {
        report(with_worker(built, pair, "pinned", |kept, runtime| {
            requests(built, pair, kept, runtime, Took::Time, ", one processor")?;
            requests(built, pair, kept, runtime, Took::Work, ", its work")
        }));
    });
    report(pinned);
}

fn report(made: Result<(), String>) {
    if let Err(reason) = made {
        table::missing("job", &reason);
    }
}

fn with_worker(
    built: &Built,
    pair: &Pair,
    name: &str,
    measure: impl FnOnce(&Kept, &Runtime) -> Result<(), String>,
) -> Result<(), String> {
    let kind = Kind {
        name: "w",
        program: &pair.worker,
        arguments: Vec::new(),
        count: 1,
        speaks: true,
        asks: None,
    };
    let kept = Kept::start(built, pair, name, &[kind])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    measure(&kept, &runtime.map_err(|error| error.to_string())?)
}

/// What is measured of so many requests.
#[derive(Clone, Copy)]
enum Took {
    /// How long they took.
    Time,
    /// What both sides worked on processors, which others that work at the same time do not change.
    Work,
}

impl Took {
    /// Of one of them.
    fn of(self, processes: &[u32], requests: impl FnOnce()) -> Duration {
        let worked = || {
            let each = processes.iter().map(|process| processor::worked(*process));
            each.sum::<Result<Duration, String>>()
                .expect("both sides are there")
        };
        match self {
            Self::Time => {
                let start = Instant::now();
                requests();
                start.elapsed() / COUNT
            }
            Self::Work => {
                let before = worked();
                requests();
                (worked() - before) / COUNT
            }
        }
    }
}

fn run() -> PoolRequest {
    PoolRequest::Run {
        job: TEXT.into(),
        deadline_ms: None,
        queue_ms: None,
        sid: None,
    }
}

fn status() -> PoolRequest {
    PoolRequest::Status {
        include_history: false,
    }
}

fn requests(
    built: &Built,
    pair: &Pair,
    kept: &Kept,
    runtime: &Runtime,
    took: Took,
    place: &str,
) -> Result<(), String> {
    for (name, request) in [("job at a worker", run()), ("status of a worker", status())] {
        let name = format!("{name}{place}");
        let mut raw = Raw::connect(kept)?;
        let (there, back) = raw.sizes(&request)?;
        let mut floor = built.command(&pair.floor);
        floor.args(["echo", &there.to_string(), &back.to_string()]);
        let floor = RefCell::new(Told::start(&mut floor));
        // Once told, it has its child.
        floor.borrow_mut().tell("1");
        let both = floor.borrow().processes();
        let ours = [std::process::id(), kept.worker(WORKER)?];
        let client = runtime.block_on(PoolClient::connect(kept.endpoint(WORKER)));
        let client = client.map_err(|error| error.to_string())?;
        let samples = measure(
            ROUNDS,
            vec![
                Subject::new("client", || {
                    took.of(&ours, || {
                        runtime.block_on(async {
                            for _ in 0..COUNT {
                                let answer = client.send_request(request.clone()).await;
                                answer
                                    .expect("the worker is there")
                                    .outcome
                                    .expect("it works");
                            }
                        });
                    })
                }),
                Subject::new("an echo", || {
                    let mut said = Duration::ZERO;
                    let work = took.of(&both, || {
                        said = floor.borrow_mut().tell(&COUNT.to_string()) / COUNT;
                    });
                    match took {
                        Took::Time => said,
                        Took::Work => work,
                    }
                }),
                Subject::new("lines", || {
                    took.of(&ours, || {
                        for _ in 0..COUNT {
                            raw.ask(&request).expect("the worker is there");
                        }
                    })
                }),
            ],
        );
        table::row(&name, &samples[0], &samples[1], Some(1.5));
        table::row(&format!("{name}, by lines"), &samples[2], &samples[1], None);
    }
    Ok(())
}

/// A client that does nothing but write lines and read them.
struct Raw {
    stream: BufReader<UnixStream>,
    next: u64,
}

impl Raw {
    fn connect(kept: &Kept) -> Result<Self, String> {
        let stream = UnixStream::connect(kept.endpoint(WORKER));
        let stream = stream.map_err(|error| error.to_string())?;
        let mut raw = Self {
            stream: BufReader::new(stream),
            next: 1,
        };
        raw.ask(&PoolRequest::Handshake { version: VERSION })?;
        Ok(raw)
    }

    /// The lengths of both lines.
    fn ask(&mut self, request: &PoolRequest) -> Result<(usize, usize), String> {
        let (id, req) = (self.next, request.clone());
        self.next += 1;
        let mut line = Vec::new();
        let encoded = Numbered { id, req }.encode(&mut line);
        encoded.map_err(|error| error.to_string())?;
        let written = self.stream.get_mut().write_all(&line);
        written.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        let read = self.stream.read_until(b'\n', &mut answer);
        match read.map_err(|error| error.to_string())? {
            0 => Err("the worker is gone".to_owned()),
            read => Ok((line.len(), read)),
        }
    }

    /// Those of such a request, as they are after some of them.
    fn sizes(&mut self, request: &PoolRequest) -> Result<(usize, usize), String> {
        for _ in 0..1000 {
            self.ask(request)?;
        }
        self.ask(request)
    }
}

/// The same through the daemon, and in a new sandbox.
fn sandboxes(built: &Built, pair: &Pair, kept: &Kept, runtime: &Runtime) -> Result<(), String> {
    let handle = {
        let _inside = runtime.enter();
        PersistentIpcClientHandle::spawn(kept.control(), Options::default())
    };
    if !runtime.block_on(handle.wait_for_connected(Duration::from_secs(10))) {
        return Err("no connection to the daemon".to_owned());
    }
    let policy = built.place.path().join("fresh.toml");
    let text = format!(
        "version = 1\n[fs]\nread = [\"$PWD\"]\nexec = [{:?}]\n",
        pair.floor
    );
    std::fs::write(&policy, text).map_err(|error| error.to_string())?;
    let mut fresh = built.command(&pair.supervise);
    fresh
        .arg("--policy")
        .arg(&policy)
        .arg("--")
        .arg(&pair.floor)
        .args(["job", TEXT]);
    let samples = measure(
        ROUNDS,
        vec![
            Subject::new("daemon", || {
                let start = Instant::now();
                let answer = runtime.block_on(handle.run(TEXT.into(), None, None));
                answer.expect("the worker is there");
                start.elapsed()
            }),
            Subject::new("a sandbox of its own", || crate::start::time(&mut fresh)),
        ],
    );
    table::row("job at the daemon", &samples[0], &samples[1], Some(1.0));
    Ok(())
}
