//! A daemon as its operator has it: started as a command, asked by commands.

use crate::harness::Workspace;
use crate::harness::built::supervise;
use crate::harness::process::as_member;
use crate::harness::run::{DEADLINE, Ran, Running, eventually, run, start};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

pub struct House {
    pub workspace: Workspace,
    keeper: Option<Running>,
    /// Whose it is, where it is not the user's who tests.
    user: Option<User>,
}

struct User {
    id: u32,
    groups: Vec<u32>,
}

/// A worker that says its name and waits. Its own word is in its arguments, so that it can be found.
pub const IDLE: &str = r#"
[[worker]]
name = "idle"
command = ["sh", "-c", "echo i am $WORKER_ID; echo and angry >&2; while :; do sleep 0.2; done", "MARK"]
policy = "worker"
speaks = "nothing"
restart = "always"
backoff = "20ms"
on_supervisor_exit = "survive"
"#;

/// Two that take jobs.
pub const POOL: &str = r#"
[[worker]]
name = "py"
command = ["python3", "WORKER"]
count = 2
on_supervisor_exit = "survive"
"#;

/// The one that the command prints.
fn status_schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let ran = run(Command::new(supervise()).args(["schema", "status"])).expect_code(0);
        let schema = serde_json::from_str(&ran.stdout).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    })
}

impl House {
    /// A daemon with these workers, all of which run.
    #[track_caller]
    pub fn new(pool: &str) -> Self {
        let mut house = Self::empty(pool);
        house.open();
        house
    }

    /// The same, not started.
    pub fn empty(pool: &str) -> Self {
        let workspace = Workspace::new();
        for directory in ["run", "state", "data"] {
            crate::harness::set_mode(&workspace.make_dir(directory), 0o700);
        }
        let worker = crate::harness::built::tree().join("child-shim/examples/worker.py");
        let worker = workspace.write("worker.py", std::fs::read(worker).expect("it is there"));
        let pool = pool
            .replace("WORKER\"", &format!("{}\"", worker.display()))
            .replace("MARK", &format!("{}-mark", workspace.path().display()));
        let policy = format!(
            "version = 1\nextends = [\"build\"]\n[fs]\nread = [\"{}\"]\n",
            worker.display()
        );
        workspace.write("policy.toml", policy);
        let pool = pool.replace("count = 2", "policy = \"policy.toml\"\ncount = 2");
        workspace.write("workers.toml", format!("version = 1\n{pool}"));
        Self {
            workspace,
            keeper: None,
            user: None,
        }
    }

    /// Gives everything to that user, who runs a copy of the program from now on. Needs root; before it is started.
    pub fn give_to(&mut self, id: u32, groups: &[u32]) {
        let place = self.workspace.path();
        crate::harness::built::copy_program(&supervise(), &place.join("supervise"));
        let owner = format!("{id}:{id}");
        let mut chown = Command::new("chown");
        let given = run(chown.args(["-R", &owner, "--"]).arg(place));
        given.expect_code(0);
        let groups = groups.to_owned();
        self.user = Some(User { id, groups });
    }

    /// Starts the daemon, and waits until all workers run.
    #[track_caller]
    pub fn open(&mut self) {
        self.reopen();
        self.ask(&["start", "--timeout", "60s"]).expect_code(0);
    }

    /// Starts the daemon as a service manager does that listens there.
    #[track_caller]
    pub fn open_for(&mut self, manager: &std::path::Path) {
        self.keeper = Some(start(self.daemon().env("NOTIFY_SOCKET", manager)));
    }

    pub fn daemon(&self) -> Command {
        self.command(&["daemon", "--config", "workers.toml"])
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = match self.user {
            Some(_) => self.workspace.join("supervise"),
            None => supervise(),
        };
        let mut command = Command::new(program);
        if let Some(User { id, groups }) = &self.user {
            as_member(&mut command, *id, groups).env("HOME", self.workspace.path());
        }
        command
            .args(arguments)
            .current_dir(self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.workspace.join("run"))
            .env("XDG_STATE_HOME", self.workspace.join("state"))
            .env("XDG_DATA_HOME", self.workspace.join("data"))
            .env_remove("SUPERVISE");
        command
    }

    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// What programs are told, which is always as its schema says.
    #[track_caller]
    pub fn status(&self) -> Value {
        let ran = self.ask(&["status", "--json"]).expect_code(0);
        let status = serde_json::from_str(&ran.stdout).expect("JSON");
        let errors = status_schema().iter_errors(&status);
        let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}: {status}");
        status
    }

    #[track_caller]
    pub fn worker(&self, id: &str) -> Value {
        let status = self.status();
        let workers = status["workers"].as_array().expect("workers").clone();
        let found = workers.into_iter().find(|worker| worker["id"] == id);
        found.unwrap_or_else(|| panic!("no {id}"))
    }

    /// The process of the daemon, which is the keeper's child.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.status()["daemon"]["pid"].as_i64().expect("a pid") as i32
    }

    /// The process that keeps everything.
    pub fn keeper(&self) -> i32 {
        self.keeper.as_ref().expect("it runs").pid()
    }

    /// Kills the keeper, and waits until it and its daemon are gone.
    #[track_caller]
    pub fn lose_keeper(&mut self) {
        let daemon = self.daemon_now();
        let keeper = self.keeper.take().expect("it runs");
        keeper.signal(Signal::SIGKILL);
        drop(keeper.wait());
        if let Some(daemon) = daemon {
            crate::harness::process::eventually_gone(&[daemon]);
        }
    }

    /// Has the worker in Python do this before each step of a session. Before it is started.
    #[track_caller]
    pub fn have_the_worker_do(&self, lines: &str) {
        let path = self.workspace.join("worker.py");
        let text = std::fs::read_to_string(&path).expect("it is there");
        let head = "output), or Failed.\"\"\"\n";
        assert!(text.contains(head), "its first lines are others");
        let lines = lines.trim_start_matches('\n');
        std::fs::write(path, text.replace(head, &format!("{head}{lines}"))).expect("written");
    }

    /// Starts the daemon again, whatever it does then.
    #[track_caller]
    pub fn reopen(&mut self) {
        self.started(&mut self.daemon());
    }

    /// Starts it so.
    #[track_caller]
    pub fn started(&mut self, daemon: &mut Command) {
        self.keeper = Some(start(daemon));
        eventually("the daemon answered", || {
            if !crate::harness::process::is_alive(self.keeper()) {
                panic!("{}", self.keeper.take().expect("it ran").wait());
            }
            self.ask(&["status"]).code() == 0
        });
    }

    /// Kills the daemon, and waits for the next one.
    #[track_caller]
    pub fn kill_daemon(&self) {
        let before = self.status()["daemon"]["daemon"].clone();
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it runs");
        eventually("there was another daemon", || {
            let ran = self.ask(&["status", "--json"]);
            let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
            ran.code() == 0 && status["daemon"]["daemon"] != before
        });
    }

    /// Waits until the worker is as wanted.
    #[track_caller]
    pub fn until(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let worker = self.worker(id);
            if is_so(&worker) {
                return worker;
            }
            assert!(Instant::now() < deadline, "{id} never {what}: {worker}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends all in order.
    #[track_caller]
    pub fn close(&mut self) -> Ran {
        let keeper = self.keeper.take().expect("it runs");
        keeper.signal(Signal::SIGTERM);
        keeper.wait()
    }

    /// What only its workers have among their arguments.
    pub fn mark(&self) -> String {
        format!("{}-mark", self.workspace.path().display())
    }

    pub fn socket(&self) -> std::path::PathBuf {
        self.workspace.join("run/supervise/control.sock")
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            // What is left of a test is no process: those that survive are ended first.
            let _stopped = self.command(&["stop", "--grace", "1s"]).output();
            keeper.signal(Signal::SIGTERM);
            drop(keeper.wait());
        }
    }
}
