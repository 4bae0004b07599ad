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

/// How many requests are made, and how often. A scheduler that finds two processes idle for most of the time may keep both on the
/// processor where one has woken the other, and divide them when they are busy: an echo alone then takes three or four times as long.
/// So what is compared is equally busy.
#[derive(Clone, Copy)]
struct Pace {
    name: &'static str,
    rounds: usize,
    /// Requests of ours in a round.
    ours: u32,
    /// And of the floor, which are over sooner.
    floor: u32,
    /// Before each.
    rest: Duration,
}

/// A few requests, and then nothing for a while.
const NOW_AND_THEN: Pace = Pace {
    name: ", now and then",
    rounds: ROUNDS,
    ours: 50,
    floor: 50,
    rest: Duration::from_millis(20),
};
/// One after the other, for so long that it is known.
const WITHOUT_END: Pace = Pace {
    name: ", without end",
    rounds: 12,
    ours: 8_000,
    floor: 10_000,
    rest: Duration::ZERO,
};
/// Where there is nothing to choose.
const ONE_PROCESSOR: Pace = Pace {
    name: ", one processor",
    rounds: ROUNDS,
    ours: 200,
    floor: 200,
    rest: Duration::ZERO,
};
const WORKER: &str = "w-1";
const TEXT: &str = "forty characters of work, more or less..";

pub fn rows(built: &Built, pair: &Pair) {
    report(with_worker(built, pair, "jobs", |kept, runtime| {
        for pace in [NOW_AND_THEN, WITHOUT_END] {
            requests(built, pair, kept, runtime, Took::Time, pace)?;
        }
        sandboxes(built, pair, kept, runtime)
    }));
    // Whoever is started meanwhile stays there too.
    let pinned = processor::on_one(|| {
        report(with_worker(built, pair, "pinned", |kept, runtime| {
            requests(built, pair, kept, runtime, Took::Time, ONE_PROCESSOR)?;
            let work = Pace {
                name: ", its work",
                ..ONE_PROCESSOR
            };
            requests(built, pair, kept, runtime, Took::Work, work)
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
    fn of(self, processes: &[u32], count: u32, requests: impl FnOnce()) -> Duration {
        let worked = || {
            let each = processes.iter().map(|process| processor::worked(*process));
            each.sum::<Result<Duration, String>>()
                .expect("both sides are there")
        };
        match self {
            Self::Time => {
                let start = Instant::now();
                requests();
                start.elapsed() / count
            }
            Self::Work => {
                let before = worked();
                requests();
                (worked() - before) / count
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
    pace: Pace,
) -> Result<(), String> {
    for (name, request) in [("job at a worker", run()), ("status of a worker", status())] {
        let name = format!("{name}{}", pace.name);
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
        let rest = || std::thread::sleep(pace.rest);
        let samples = measure(
            pace.rounds,
            vec![
                Subject::new("client", || {
                    rest();
                    took.of(&ours, pace.ours, || {
                        runtime.block_on(async {
                            for _ in 0..pace.ours {
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
                    rest();
                    let mut said = Duration::ZERO;
                    let work = took.of(&both, pace.floor, || {
                        said = floor.borrow_mut().tell(&pace.floor.to_string()) / pace.floor;
                    });
                    match took {
                        Took::Time => said,
                        Took::Work => work,
                    }
                }),
                Subject::new("lines", || {
                    rest();
                    took.of(&ours, pace.ours, || {
                        for _ in 0..pace.ours {
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
