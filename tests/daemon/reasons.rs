//! Every state that a worker can be in, every reason for which it can stop, and what is wanted of it afterwards: by this daemon, and
//! by the one that comes when everything was ended.

use crate::guest::Guest;
use crate::harness::process::is_alive;
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::{House, POOL};
use crate::seen::kill_now;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use supervisor::workers::registry::Registry;

/// A worker that ends with success when a file says so. `rest`: how it is kept.
fn brief(name: &str, rest: &str) -> String {
    format!(
        "[[worker]]\nname = \"{name}\"\ncommand = [\"sh\", \"-c\", \"while ! test -e $WORKER_DIR/go; do sleep 0.02; done\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\n{rest}\n"
    )
}

/// What happened to one worker, event by event, and who listens.
struct Story {
    guest: Guest,
    worker: String,
    events: Vec<Value>,
}

impl Story {
    /// From now on.
    fn of(house: &House, worker: &str) -> Self {
        Self::begin(house, worker, json!({"subscribe": {}}))
    }

    /// From the beginning of the present daemon on.
    fn so_far(house: &House, worker: &str) -> Self {
        let mut story = Self::begin(house, worker, json!({"subscribe": {"after": 0}}));
        story.catch_up();
        story
    }

    fn begin(house: &House, worker: &str, subscribe: Value) -> Self {
        let mut guest = Guest::new(house);
        let answer = guest.asks(subscribe);
        assert_eq!(answer["ok"], true, "{answer}");
        let worker = worker.to_owned();
        let events = Vec::new();
        Self {
            guest,
            worker,
            events,
        }
    }

    fn note(&mut self, line: &Value) {
        let event = &line["event"];
        let told = event.as_object().and_then(|event| event.values().next());
        if told.is_some_and(|told| told["worker"] == self.worker.as_str()) {
            self.events.push(event.clone());
        }
    }

    /// Listens until its state is that one.
    #[track_caller]
    fn until_it_is(&mut self, state: &str) {
        while self.states().last() != Some(&state) {
            let line = self.guest.hears();
            self.note(&line);
        }
    }

    /// Listens until it has stopped; the reason.
    #[track_caller]
    fn until_it_stopped(&mut self) -> Value {
        while self.reasons().is_empty() {
            let line = self.guest.hears();
            self.note(&line);
        }
        self.reasons()[0].clone()
    }

    /// Whatever was told until now: an answer comes behind it.
    #[track_caller]
    fn catch_up(&mut self) {
        self.guest.says(json!({"questions": {}}));
        loop {
            let line = self.guest.hears();
            if line["event"].is_null() {
                return;
            }
            self.note(&line);
        }
    }

    /// Listens until the daemon is gone.
    #[track_caller]
    fn hear_the_rest(&mut self) {
        let rest = self.guest.rest().expect("it is told until the end");
        for line in rest.lines() {
            self.note(&serde_json::from_str(line).expect("JSON"));
        }
    }

    fn states(&self) -> Vec<&str> {
        let states = self.events.iter();
        states
            .filter_map(|event| event["state"]["state"].as_str())
            .collect()
    }

    fn reasons(&self) -> Vec<&Value> {
        let stopped = self.events.iter().map(|event| &event["stopped"]["reason"]);
        stopped.filter(|reason| !reason.is_null()).collect()
    }

    fn count(&self, what: &str) -> usize {
        let told = self.events.iter().filter(|event| !event[what].is_null());
        told.count()
    }
}

/// How it stopped last, and whether it is wanted.
fn last(worker: &Value) -> (Option<&str>, Option<bool>) {
    let reason = worker["stop_reason"].as_str();
    (reason, worker["desired"].as_bool())
}

fn pid(house: &House, worker: &str) -> i32 {
    let worker = house.worker(worker);
    let pid = worker["pid"].as_i64();
    pid.unwrap_or_else(|| panic!("it has no process: {worker}")) as i32
}

fn let_go(house: &House, worker: &str) {
    let data = house.workspace.join("data/supervise/workers");
    std::fs::write(data.join(worker).join("go"), "").expect("its directory is there");
}

/// What is on the disk about it.
fn kept(house: &House, worker: &str) -> Value {
    let path = house.workspace.join("state/supervise/daemon/desired.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Value = serde_json::from_str(&text).unwrap_or_default();
    all["workers"][worker]["running"].clone()
}

#[test]
fn a_worker_comes_through_every_state_and_has_stopped_only_when_nothing_of_it_is_left() {
    require!(feature::landlock(1));
    // One that takes its time to end, and leaves somebody behind who does not.
    let slow = "[[worker]]\nname = \"slow\"\ncommand = [\"sh\", \"-c\", \"trap 'sleep 0.2; exit 0' TERM; sh -c 'trap \\\"\\\" TERM; sleep 1000' & while :; do sleep 0.02; done\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\nrestart = \"always\"\nbackoff = \"50ms\"\nrestart_burst = 2\n";
    let blocked = "[[worker]]\nname = \"none\"\ncommand = [\"/nowhere/at-all\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\n";
    let mut house = House::empty(&format!("{slow}{blocked}"));
    house.reopen();
    house.until("slow-1", "ran", |worker| worker["state"] == "running");
    house.ask(&["stop"]).expect_code(0);
    assert_eq!(house.close().code(), 0);
    house.reopen();
    let mut seen = BTreeSet::new();
    let state = house.worker("slow-1")["state"].clone();
    seen.insert(state.as_str().expect("a word").to_owned());
    let mut story = Story::of(&house, "slow-1");
    house.ask(&["start", "slow"]).expect_code(0);
    story.until_it_is("running");
    eventually("both are there", || house.tagged().len() == 3);
    let mut stop = Guest::new(&house);
    stop.says(json!({"stop": {"worker": "slow-1"}}));
    story.until_it_is("stopping");
    assert!(is_alive(pid(&house, "slow-1")));
    story.until_it_is("stopped");
    assert_eq!(house.tagged(), [], "it was said to have stopped");
    story.catch_up();
    assert_eq!(
        story.states(),
        ["starting", "running", "stopping", "stopped"],
        "{:?}",
        story.events
    );
    // It comes back by itself as often as it may, and is given up.
    house.ask(&["start", "slow"]).expect_code(0);
    for _ in 0..2 {
        let first = pid(&house, "slow-1");
        kill_now(first);
        house.until("slow-1", "came back", |worker| {
            worker["state"] == "running" && worker["pid"] != first
        });
    }
    kill_now(pid(&house, "slow-1"));
    story.until_it_is("error");
    assert_eq!(house.tagged(), [], "nothing of it runs");
    story.catch_up();
    let again = ["recovery_pending", "recovering", "running"];
    let all = [
        "starting", "running", "stopping", "stopped", "starting", "running",
    ]
    .into_iter()
    .chain(again)
    .chain(again)
    .chain(["error"]);
    assert_eq!(story.states(), all.collect::<Vec<_>>());
    seen.extend(story.states().into_iter().map(str::to_owned));
    let given_up = house.worker("slow-1");
    assert_eq!(given_up["restart_attempt"], 2, "{given_up}");
    let why = given_up["detail"].as_str().expect("why");
    assert!(why.contains("given up after 2 restarts"), "{given_up}");
    let mut story = Story::of(&house, "none-1");
    assert_eq!(house.ask(&["start", "none"]).code(), 1);
    story.until_it_is("blocked");
    seen.extend(story.states().into_iter().map(str::to_owned));
    let all = [
        "blocked",
        "error",
        "idle",
        "recovering",
        "recovery_pending",
        "running",
        "starting",
        "stopped",
        "stopping",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn whoever_says_so_or_a_worker_that_is_done_clears_what_is_wanted_and_nothing_else_does() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let pool = [
        brief("user", ""),
        brief("app", ""),
        brief("done", "restart = \"on-failure\""),
        brief("exit", "restart = \"never\""),
        brief("killed", "restart = \"never\""),
        "[[worker]]\nname = \"none\"\ncommand = [\"/nowhere/at-all\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\n".to_owned(),
        brief("bound", "on_supervisor_exit = \"kill\""),
        POOL.replace("\"py\"", "\"idle\"")
            .replace("count = 2", "idle_timeout = \"1s\"\ncount = 2"),
        POOL.replace("\"py\"", "\"often\"")
            .replace("count = 2", "recycle_after_jobs = 1\ncount = 2"),
    ]
    .concat();
    let pool = pool.replace("count = 2", "count = 1");
    // Where it says `count = 2`, the house puts the policy.
    let pool = pool.replace("count = 1", "policy = \"policy.toml\"\ncount = 1");
    let mut house = House::empty(&pool);
    house.reopen();
    for worker in [
        "user", "app", "done", "exit", "killed", "bound", "idle", "often",
    ] {
        house.until(&format!("{worker}-1"), "ran", |worker| {
            worker["state"] == "running" || worker["stop_reason"] == "idle"
        });
    }
    let mut guest = Guest::new(&house);
    // Which worker, why it stops, how that is brought about, and whether it is wanted afterwards.
    type Deed<'a> = &'a mut dyn FnMut(&House);
    let matrix: [(&str, &str, Deed, bool); 6] = [
        (
            "user-1",
            "user",
            &mut |house| drop(house.ask(&["stop", "user"]).expect_code(0)),
            false,
        ),
        (
            "app-1",
            "app",
            &mut |_| {
                let stopped = guest.asks(json!({"stop": {"worker": "app"}}));
                assert_eq!(stopped["ok"], true, "{stopped}");
            },
            false,
        ),
        (
            "done-1",
            "completed",
            &mut |house| let_go(house, "done-1"),
            false,
        ),
        (
            "killed-1",
            "process_exit",
            &mut |house| kill_now(pid(house, "killed-1")),
            true,
        ),
        (
            "often-1",
            "recycled",
            &mut |house| {
                let ran = Guest::new(house).asks(json!({"run": {"worker": "often", "job": 1}}));
                assert_eq!(ran["data"]["output"], 1, "{ran}");
            },
            true,
        ),
        (
            "idle-1",
            "idle",
            &mut |house| {
                let run = json!({"run": {"worker": "idle", "job": 2, "queue_ms": 60_000}});
                let ran = Guest::new(house).asks(run);
                assert_eq!(ran["data"]["output"], 2, "{ran}");
            },
            true,
        ),
    ];
    for (worker, reason, act, is_wanted) in matrix {
        let mut story = Story::of(&house, worker);
        act(&house);
        assert_eq!(story.until_it_stopped(), reason, "{worker}");
        // What comes of it is told before this, if anything does.
        house.until(worker, "came to rest", |worker| {
            worker["state"] == "stopped" || worker["state"] == "running"
        });
        story.catch_up();
        assert_eq!(story.reasons(), [reason], "told once: {:?}", story.events);
        assert_eq!(story.count("worker_exited"), 1, "{:?}", story.events);
        let now = house.worker(worker);
        assert_eq!(now["desired"], is_wanted, "{now}");
        let comes_back = reason == "recycled";
        assert_eq!(now["state"] == "running", comes_back, "{now}");
        if !comes_back {
            assert_eq!(last(&now).0, Some(reason), "{now}");
        }
        if reason != "idle" {
            assert_eq!(kept(&house, worker) != json!(false), is_wanted, "{worker}");
        }
    }
    // A failure that is not a process's end.
    let none = house.worker("none-1");
    assert_eq!(last(&none), (Some("error"), Some(true)), "{none}");

    // All is ended: those that are wanted are there again with the next daemon, and no other.
    let mut story = Story::of(&house, "bound-1");
    assert_eq!(house.close().code(), 0);
    story.hear_the_rest();
    assert_eq!(story.reasons(), ["daemon_terminated"], "{:?}", story.events);
    assert_eq!(story.states(), ["stopping", "stopped"]);
    house.reopen();
    for (worker, is_wanted) in [
        ("user-1", false),
        ("app-1", false),
        ("done-1", false),
        ("killed-1", true),
        ("bound-1", true),
        ("often-1", true),
    ] {
        let state = if is_wanted { "running" } else { "idle" };
        let now = house.until(worker, state, |worker| worker["state"] == state);
        assert_eq!(now["desired"], is_wanted, "{now}");
    }
    house.has_no_orphan();
}

#[test]
fn a_worker_that_dies_with_its_daemon_is_said_to_and_is_there_again_whichever_way_that_ended() {
    require!(feature::landlock(1));
    let house = House::new(&brief("bound", "on_supervisor_exit = \"kill\""));
    for way in ["killed", "replaced"] {
        let before = pid(&house, "bound-1");
        let mut told = Story::of(&house, "bound-1");
        match way {
            "killed" => house.kill_daemon(),
            _ => drop(house.ask(&["daemon", "--upgrade"]).expect_code(0)),
        }
        let now = house.until("bound-1", "ran again", |worker| {
            worker["state"] == "running" && worker["pid"] != before
        });
        assert!(!is_alive(before), "{way}");
        assert_eq!(now["desired"], true, "{way}");
        assert_eq!(now["reattached"], false, "{way}");
        assert_ne!(kept(&house, "bound-1"), json!(false), "{way}");
        // One of the two daemons says it, and only once.
        told.hear_the_rest();
        let later = Story::so_far(&house, "bound-1");
        let reasons = [told.reasons(), later.reasons()];
        match way {
            "killed" => assert_eq!(reasons, [vec![], vec!["process_exit"]]),
            _ => assert_eq!(reasons, [vec!["upgrade"], vec![]]),
        }
    }
    house.has_no_orphan();
}

#[test]
fn after_another_boot_what_was_wanted_runs_again_and_is_said_to_have_been_stopped_by_that() {
    require!(feature::landlock(1));
    let slowly = "on_supervisor_exit = \"survive\"\nrestart = \"always\"";
    let mut house = House::new(&[brief("on", slowly), brief("off", slowly)].concat());
    house.ask(&["stop", "off"]).expect_code(0);
    let before = pid(&house, "on-1");
    house.lose_keeper();
    kill_now(before);
    eventually("it is gone", || !is_alive(before));
    // What a boot leaves of a registry that it does not clear.
    let registry = house.workspace.join("run/supervise/daemon/registry");
    let registry = Registry::open(&registry).expect("it is ours");
    let manifest = registry.read("on-1").expect("it is whole");
    let mut manifest = manifest.expect("it is there");
    manifest.boot_id = "0".repeat(manifest.boot_id.len());
    if let Some(process) = &mut manifest.process {
        process.boot_id.clone_from(&manifest.boot_id);
    }
    registry.write(&manifest).expect("it is ours");
    house.reopen();
    let now = house.until("on-1", "ran again", |worker| worker["state"] == "running");
    assert_ne!(now["pid"], before);
    assert_eq!(house.worker("off-1")["state"], "idle");
    let story = Story::so_far(&house, "on-1");
    assert_eq!(story.reasons(), ["os_restart"], "{:?}", story.events);
    house.has_no_orphan();
}
