//! Clients that give jobs, and count what becomes of each, while those who answer them are killed.
//!
//! A job is its session's name, and its worker writes that down when it does it. A client that loses its daemon asks the next one
//! what came of the job, and gives it again only when nobody has it: so a job that is lost is never answered, and one that is done
//! twice stands there twice.

use crate::house::House;
use crate::seen::random_below;
use client::{Backoff, ControlError, Options, PersistentIpcClientHandle as Handle};
use protocol::FaultCode;
use protocol::control::ControlRequest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the worker in Python is made to do before each job. Half a moment later it is killed in the midst of it, or not.
pub const NOTES: &str = r#"
    with open(os.environ["SUPERVISE_WORKER_DIR"] + "/done", "a") as done:
        done.write(text + "\n")
    time.sleep(secrets.randbelow(4) / 1000)
"#;

/// What became of the jobs.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered with what was to come out.
    pub answered: Vec<String>,
    /// The worker that had it was gone, and the client was told.
    pub gone: Vec<String>,
    /// What nobody should ever be told.
    pub wrong: Vec<String>,
    /// Times that it was not known what came of a job, and had to be asked for.
    pub asked_again: u64,
}

/// Clients at work.
pub struct Load {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

const CLIENTS: u32 = 6;

impl Load {
    /// Begins to give jobs to that daemon. `is_mortal`: workers die too, and what they had is lost with them, and said to be.
    pub fn begin(house: &House, is_mortal: bool) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (socket, stop) = (house.socket(), Arc::clone(&over));
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let tasks = tokio::task::LocalSet::new();
            let all = tasks.run_until(async move {
                let at_once = Backoff {
                    first: Duration::from_millis(2),
                    longest: Duration::from_millis(50),
                    attempts: None,
                };
                let options = Options {
                    backoff: at_once,
                    ..Options::default()
                };
                let handle = Rc::new(Handle::spawn(socket, options));
                let mut clients = Vec::new();
                for number in 0..CLIENTS {
                    let (handle, stop) = (Rc::clone(&handle), Arc::clone(&stop));
                    let client = give_jobs(number, handle, stop, is_mortal);
                    clients.push(tokio::task::spawn_local(client));
                }
                let mut all = Tally::default();
                for client in clients {
                    let one = client.await.expect("a client does not panic");
                    all.answered.extend(one.answered);
                    all.gone.extend(one.gone);
                    all.wrong.extend(one.wrong);
                    all.asked_again += one.asked_again;
                }
                all
            });
            runtime.expect("a runtime").block_on(all)
        };
        let thread = std::thread::spawn(work);
        Self { over, thread }
    }

    /// Lets each client come to the end of its job.
    #[track_caller]
    pub fn end(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        crate::harness::run::eventually("every job came to an end", || self.thread.is_finished());
        self.thread.join().expect("the clients do not panic")
    }
}

async fn give_jobs(
    number: u32,
    handle: Rc<Handle>,
    over: Arc<AtomicBool>,
    is_mortal: bool,
) -> Tally {
    let mut tally = Tally::default();
    let (round, mut count) = (random_below(u64::MAX), 0u32);
    while !over.load(Ordering::Relaxed) {
        count += 1;
        let sid = format!("{round:016x}{number:08x}{count:08x}");
        let mut is_given = false;
        loop {
            let request = match is_given {
                false => ControlRequest::Run {
                    worker: None,
                    job: Value::from(sid.as_str()),
                    deadline_ms: None,
                    queue_ms: Some(60_000),
                    sid: Some(sid.clone()),
                },
                true => ControlRequest::Continue {
                    sid: sid.clone(),
                    input: None,
                    deadline_ms: None,
                },
            };
            match handle.request(request).await {
                Ok(data) if data["output"] == sid.as_str() && data["sid"] == sid.as_str() => {
                    tally.answered.push(sid);
                    break;
                }
                // Nobody knows whether it was given: it is asked for.
                Err(ControlError::IpcUnavailable(_) | ControlError::Timeout) => {
                    is_given = true;
                    tally.asked_again += 1;
                    handle.wait_for_connected(Duration::from_secs(60)).await;
                }
                Err(ControlError::Refused(fault)) => match fault.code {
                    FaultCode::SessionExists => is_given = true,
                    FaultCode::SessionNotFound if is_given && !is_mortal => is_given = false,
                    FaultCode::SessionNotFound | FaultCode::WorkerGone if is_mortal => {
                        tally.gone.push(sid);
                        break;
                    }
                    // It ends in order, and the next one is there at once.
                    FaultCode::Unavailable => tokio::time::sleep(Duration::from_millis(5)).await,
                    _ => {
                        tally.wrong.push(format!("{sid}: {fault:?}"));
                        break;
                    }
                },
                other => {
                    tally.wrong.push(format!("{sid}: {other:?}"));
                    break;
                }
            }
        }
    }
    tally
}

/// How often each job was done, by the workers' own word.
pub fn done(house: &House) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    let workers = house.workspace.join("data/supervise/workers");
    for worker in std::fs::read_dir(workers).expect("workers have directories") {
        let path = worker.expect("an entry").path().join("done");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for sid in text.lines() {
            *times.entry(sid.to_owned()).or_default() += 1;
        }
    }
    times
}
