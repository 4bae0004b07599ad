//! A daemon with workers, as somebody keeps them, and what can be seen of it from outside.

use crate::built::{Built, Pair};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Numbered;
use protocol::control::{ControlRequest, ControlResponse, LifecycleState, Status, VERSION};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A thousand workers take a while.
const PATIENCE: Duration = Duration::from_secs(180);

/// A keeper, its daemon and their workers. They end with it.
pub struct Kept {
    keeper: Child,
    place: PathBuf,
}

/// One kind of worker: a program and its arguments, and what it may ask for.
pub struct Kind<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub arguments: Vec<String>,
    pub count: usize,
    /// It takes jobs.
    pub speaks: bool,
    /// A directory whose files it is given, and does not have.
    pub asks: Option<&'a Path>,
}

impl Kind<'_> {
    fn rules(&self) -> String {
        let asked = self.asks.map(|asked| {
            format!("[[request]]\npath = {asked:?}\naccess = [\"read\"]\ndecision = \"allow\"\n")
        });
        format!(
            "version = 1\n[fs]\nexec = [{:?}]\n{}",
            self.program,
            asked.unwrap_or_default()
        )
    }

    fn entry(&self, policy: &Path) -> String {
        let command: Vec<String> = std::iter::once(self.program.display().to_string())
            .chain(self.arguments.iter().cloned())
            .collect();
        let speaks = if self.speaks { "pool" } else { "nothing" };
        format!(
            "[[worker]]\nname = {:?}\ncommand = {command:?}\npolicy = [{policy:?}]\ncount = {}\nspeaks = \"{speaks}\"\non_supervisor_exit = \"survive\"\n",
            self.name, self.count,
        )
    }
}

impl Kept {
    /// Starts them, and waits until all workers run.
    pub fn start(
        built: &Built,
        pair: &Pair,
        name: &str,
        kinds: &[Kind<'_>],
    ) -> Result<Self, String> {
        let place = built.in_memory(name);
        let mut pool = format!(
            "version = 1\n[daemon]\nruntime = {:?}\nstate = {:?}\nworkers = {:?}\n",
            place.join("run"),
            place.join("state"),
            place.join("own"),
        );
        for kind in kinds {
            let policy = place.join(kind.name).with_extension("toml");
            write(&policy, &kind.rules())?;
            pool.push_str(&kind.entry(&policy));
        }
        let config = place.join("workers.toml");
        write(&config, &pool)?;
        let keeper = built
            .command(&pair.supervise)
            .args(["daemon", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut kept = Self { keeper, place };
        kept.wait_for_all(kinds.iter().map(|kind| kind.count).sum())?;
        Ok(kept)
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.place.join("run/control.sock")
    }

    /// The directory of a worker.
    pub fn own(&self, worker: &str) -> PathBuf {
        self.place.join("own").join(worker)
    }

    /// Where a worker takes its jobs.
    pub fn endpoint(&self, worker: &str) -> PathBuf {
        self.place.join("run/daemon").join(worker).join("jobs")
    }

    /// The process of a worker.
    pub fn worker(&self, name: &str) -> Result<u32, String> {
        let workers = self.status()?.workers;
        let mut workers = workers.iter().filter(|worker| worker.id == name);
        let pid = workers.next().and_then(|worker| worker.pid);
        pid.ok_or_else(|| format!("{name} does not run"))
    }

    /// Both processes.
    pub fn processes(&self) -> Result<[u32; 2], String> {
        Ok([self.keeper.id(), self.status()?.daemon.pid])
    }

    /// The first page of what the daemon says of itself and its workers.
    pub fn status(&self) -> Result<Status, String> {
        Client::connect(&self.control())?.status(None)
    }

    /// Waits until so many workers run.
    pub fn wait_for_all(&mut self, count: usize) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let running = Client::connect(&self.control()).and_then(|mut client| client.running());
            match running {
                Ok(running) if running == count => return Ok(()),
                other if Instant::now() > deadline => {
                    return Err(format!("{count} workers did not come up: {other:?}"));
                }
                _ => {}
            }
            if let Ok(Some(status)) = self.keeper.try_wait() {
                return Err(format!("the daemon ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the daemon, and says how long it took until the next one answered, and which that is.
    pub fn kill_daemon(&self) -> Result<(Duration, u32), String> {
        let [_, daemon] = self.processes()?;
        let start = Instant::now();
        let killed = kill(Pid::from_raw(daemon as i32), Signal::SIGKILL);
        killed.map_err(|errno| errno.to_string())?;
        loop {
            // Who connects before the old one is quite gone may be let in by nobody.
            let answer = self.status();
            match answer {
                Ok(status) if status.daemon.pid != daemon => {
                    return Ok((start.elapsed(), status.daemon.pid));
                }
                Err(why) if start.elapsed() > PATIENCE => return Err(why),
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let end = ControlRequest::Shutdown {
            keep_workers: false,
        };
        let asked = Client::connect(&self.control()).and_then(|mut client| client.ask(end));
        if asked.is_err() {
            // It ends its workers too.
            let _sent = kill(Pid::from_raw(self.keeper.id() as i32), Signal::SIGTERM);
        }
        let _ended = self.keeper.wait();
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The least that can speak with a daemon.
struct Client {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    next: u64,
}

impl Client {
    fn connect(path: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let stream = UnixStream::connect(path).map_err(text)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
        let answers = BufReader::new(stream.try_clone().map_err(text)?);
        let mut client = Self {
            stream,
            answers,
            next: 1,
        };
        client.ask(ControlRequest::Hello {
            version: VERSION,
            client: None,
        })?;
        Ok(client)
    }

    fn ask(&mut self, req: ControlRequest) -> Result<serde_json::Value, String> {
        let id = self.next;
        self.next += 1;
        let mut line = Vec::new();
        let encoded = Numbered { id, req }.encode(&mut line);
        encoded.map_err(|error| error.to_string())?;
        let written = self.stream.write_all(&line);
        written.map_err(|error| error.to_string())?;
        let mut line = Vec::new();
        let read = self.answers.read_until(b'\n', &mut line);
        read.map_err(|error| error.to_string())?;
        let answer = ControlResponse::decode(&line).map_err(|error| error.to_string())?;
        answer.outcome.map_err(|fault| fault.to_string())
    }

    fn status(&mut self, after: Option<String>) -> Result<Status, String> {
        let data = self.ask(ControlRequest::Status {
            worker: None,
            after,
        })?;
        serde_json::from_value(data).map_err(|error| error.to_string())
    }

    fn running(&mut self) -> Result<usize, String> {
        let (mut running, mut after) = (0, None);
        loop {
            let page = self.status(after)?;
            let workers = page.workers.iter();
            running += workers
                .filter(|worker| worker.state == LifecycleState::Running)
                .count();
            after = page.more;
            if after.is_none() {
                return Ok(running);
            }
        }
    }
}
