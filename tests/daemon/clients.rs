//! The client of the control socket, against the daemon itself.

use crate::guest::Guest;
use crate::harness::process::{stop, until_it_waits_in};
use crate::harness::run::DEADLINE;
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use crate::seen::kill_now;
use client::{
    Backoff, ControlError, Events, Notice, Options, PersistentIpcClientHandle as Handle,
    StartConfig,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::FaultCode;
use protocol::control::{AutoRestart, ControlRequest, Event, LifecycleState, StopReason};
use protocol::pool::SessionState;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// So long that nothing that waits for it is ever seen.
const NEVER: Duration = Duration::from_secs(3600);

fn options(first: Duration, longest: Duration) -> Options {
    Options {
        backoff: Backoff {
            first,
            longest,
            attempts: None,
        },
        ..Options::default()
    }
}

/// Every wait of the client is one that a test would not live to see: what happens all the same needed none.
fn patient() -> Options {
    Options {
        response: NEVER,
        handshake: NEVER,
        ..options(NEVER, NEVER)
    }
}

/// Tries again at once.
fn eager() -> Options {
    options(Duration::from_millis(1), Duration::from_millis(10))
}

/// A client that is connected.
async fn connected(house: &House, options: Options) -> Handle {
    let client = Handle::spawn(house.socket(), options);
    assert!(client.wait_for_connected(DEADLINE).await);
    client
}

async fn next(events: &mut Events) -> Notice {
    let notice = tokio::time::timeout(DEADLINE, events.next()).await;
    notice
        .expect("something is told")
        .expect("there is a handle")
}

/// Waits for an event that is as wanted; what comes before it may be anything but a gap.
async fn until(events: &mut Events, mut is_that: impl FnMut(&Event) -> bool) -> Event {
    loop {
        match next(events).await {
            Notice::Event(event) if is_that(&event.event) => return event.event,
            Notice::Event(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn every_method_of_the_client_does_what_it_says_at_a_real_daemon() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let one = Options {
        worker: Some("py-1".to_owned()),
        ..patient()
    };
    let client = connected(&house, one).await;
    assert_eq!(client.socket_path(), house.socket());
    assert!(client.is_connected());
    assert_eq!(client.get_state().await, Ok(LifecycleState::Running));
    assert_eq!(client.is_running().await, Ok(true));
    let status = client.get_lifecycle_status().await.expect("told");
    assert!(status.desired && !status.synthesized, "{status:?}");

    let config = AutoRestart {
        burst: Some(5),
        ..AutoRestart::default()
    };
    for is_on in [true, false, true] {
        let changed = match is_on {
            true => client.enable_auto_restart(Some(config)).await,
            false => client.disable_auto_restart().await,
        };
        assert_eq!(changed, Ok(()));
        let desired = client.get_desired_state().await.expect("told");
        let [one] = &desired[..] else {
            panic!("{desired:?}")
        };
        assert_eq!((one.running, one.auto_restart), (true, is_on), "{one:?}");
    }
    let findings = client.validate_setup().await.expect("told");
    assert!(findings.iter().all(|found| !found.code.is_empty()));
    let status = client.status().await.expect("told");
    assert_eq!(status.daemon.pid, house.pid() as u32);
    let ids: Vec<_> = status.workers.iter().map(|worker| &*worker.id).collect();
    assert_eq!(ids, ["py-1"], "the one that the handle means");

    let ran = client.run(json!("x"), None, None).await.expect("done");
    assert_eq!((&*ran.worker, &ran.ran.output), ("py-1", &json!("x")));
    let asked = client.run(json!("ask"), None, None).await.expect("done");
    assert_eq!(asked.ran.state, SessionState::Waiting);
    let told = client.continue_session(asked.ran.sid, Some(json!("Ada")));
    assert_eq!(told.await.expect("done").ran.output, "Ada");

    let stopped = client.stop().await.expect("stopped");
    assert_eq!(stopped.workers[0].state, LifecycleState::Stopped);
    assert_eq!(stopped.workers[0].stop_reason, Some(StopReason::App));
    assert_eq!(client.is_running().await, Ok(false));
    assert!(!client.get_desired_state().await.expect("told")[0].running);
    assert_eq!(
        house.worker("py-2")["state"],
        "running",
        "nobody meant this one"
    );
    let started = client.start(StartConfig::default()).await.expect("started");
    assert_eq!(started.workers[0].state, LifecycleState::Running);
    let refused = client
        .request(ControlRequest::Refuse {
            question: 3,
            for_session: false,
        })
        .await;
    assert_eq!(refused.expect_err("none").code(), "unknown_question");
}

#[tokio::test]
async fn without_a_daemon_commands_fail_at_once_and_what_is_wanted_is_remembered() {
    require!(feature::landlock(1));
    let unavailable = |error: ControlError| {
        assert!(
            matches!(error, ControlError::IpcUnavailable(_)),
            "{error:?}"
        );
        assert_eq!(error.code(), "ipcUnavailable");
    };
    let mut house = House::empty(IDLE);
    let stranger = Handle::spawn(house.socket(), patient());
    unavailable(stranger.get_state().await.expect_err("none"));
    let status = stranger.get_lifecycle_status().await.expect("made up");
    assert_eq!(
        (status.state, status.desired, status.synthesized),
        (LifecycleState::Stopped, false, true)
    );
    house.open();
    let client = connected(&house, patient()).await;
    let mut events = client.events();
    client.start(StartConfig::default()).await.expect("runs");
    assert_eq!(house.close().code(), 0);
    while !matches!(next(&mut events).await, Notice::Disconnected(_)) {}
    // Nothing here waits: every time that could be waited for is longer than the test.
    let start = client.start(StartConfig::default()).await;
    unavailable(start.expect_err("none"));
    unavailable(client.stop().await.expect_err("none"));
    unavailable(client.is_running().await.expect_err("none"));
    unavailable(client.status().await.expect_err("none"));
    unavailable(client.validate_setup().await.expect_err("none"));
    unavailable(client.get_desired_state().await.expect_err("none"));
    unavailable(client.disable_auto_restart().await.expect_err("none"));
    unavailable(client.run(json!(1), None, None).await.expect_err("none"));
    let status = client.get_lifecycle_status().await.expect("made up");
    assert_eq!(
        (status.state, status.desired, status.synthesized),
        (LifecycleState::RecoveryPending, true, true)
    );
    // A start that may wait does, until there is a daemon again.
    let config = StartConfig {
        deadline: Some(DEADLINE),
        ..StartConfig::default()
    };
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.start(config).await })
    };
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    house.open();
    client.nudge_reconnect();
    let started = waiting.await.expect("no panic").expect("started");
    assert_eq!(started.workers[0].state, LifecycleState::Running);
}

#[tokio::test]
async fn a_daemon_that_is_killed_is_noticed_within_a_tenth_of_a_second_and_the_next_is_there_at_a_nudge()
 {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let client = connected(&house, patient()).await;
    let mut events = client.events();
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let daemon = house.pid();
        let killed = Instant::now();
        kill_now(daemon);
        loop {
            match next(&mut events).await {
                Notice::Disconnected(why) => break assert_eq!(why.code(), "ipcUnavailable"),
                Notice::Event(_) => {}
                other => panic!("{other:?}"),
            }
        }
        quickest = quickest.min(killed.elapsed());
        assert!(!client.is_connected());
        // The client would wait for an hour.
        let mut is_there = client.wait_for_connected(Duration::from_millis(50)).await;
        assert!(!is_there);
        let deadline = Instant::now() + DEADLINE;
        while !is_there && Instant::now() < deadline {
            client.nudge_reconnect();
            is_there = client.wait_for_connected(Duration::from_secs(1)).await;
        }
        assert!(is_there, "somebody listens all the time");
        while !matches!(next(&mut events).await, Notice::Connected { .. }) {}
    }
    // The best of them: others use this machine too.
    assert!(quickest < Duration::from_millis(100), "{quickest:?}");
}

#[tokio::test]
async fn whichever_way_a_daemon_ends_its_connections_do_too_and_events_go_on_from_the_next() {
    require!(feature::landlock(1));
    // One that asks nobody for anything, and says nothing, so that it can do without its keeper.
    let alone = "command = [\"sleep\", \"1000\"]\n#";
    let mut house = House::new(&IDLE.replace("command =", alone));
    let client = connected(&house, eager()).await;
    let mut events = client.events();
    let mut daemons = vec![house.status()["daemon"]["daemon"].clone()];
    for way in ["killed", "replaced", "ended", "killed with its keeper"] {
        let mut old = Guest::new(&house);
        match way {
            "killed" => house.kill_daemon(),
            "replaced" => drop(house.ask(&["daemon", "--upgrade"]).expect_code(0)),
            "ended" => {
                assert_eq!(house.close().code(), 0);
                house.open();
            }
            _ => {
                let pid = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
                until_it_waits_in(pid, &[libc::SYS_clock_nanosleep]);
                house.lose_keeper();
                house.open();
            }
        }
        assert!(old.is_at_its_end(), "{way}");
        let connected = loop {
            match next(&mut events).await {
                Notice::Connected { daemon, .. } => break Value::from(daemon),
                Notice::Disconnected(_) | Notice::Event(_) => {}
                other => panic!("{way}: {other:?}"),
            }
        };
        assert!(!daemons.contains(&connected), "{way}: it is another one");
        daemons.push(connected);
        assert_eq!(client.get_state().await, Ok(LifecycleState::Running));
        house.ask(&["restart"]).expect_code(0);
        // Another daemon counts from one again, and that is not taken for what was heard.
        let stopped = until(&mut events, |event| matches!(event, Event::Stopped { .. })).await;
        let worker = "idle-1".to_owned();
        let reason = StopReason::User;
        assert_eq!(stopped, Event::Stopped { worker, reason }, "{way}");
        until(&mut events, |event| matches!(event, Event::Started { .. })).await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_stopped_is_a_timeout_and_its_late_answer_is_nobody_elses() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let options = Options {
        response: Duration::from_millis(100),
        ..patient()
    };
    let client = connected(&house, options).await;
    let daemon = Pid::from_raw(house.pid());
    stop(daemon.as_raw());
    assert_eq!(client.validate_setup().await, Err(ControlError::Timeout));
    assert_eq!(client.status().await.map(drop), Err(ControlError::Timeout));
    // Nor is it dead to whoever would be the next one.
    let next = house.ask(&["daemon"]).expect_code(125);
    assert!(next.stderr.contains("is running already"), "{next}");
    kill(daemon, Signal::SIGCONT).expect("it is there");
    // The answers to the first come before those to these, which are of another kind.
    let state = loop {
        match client.get_state().await {
            Err(ControlError::Timeout) => {}
            state => break state,
        }
    };
    assert_eq!(state, Ok(LifecycleState::Running));
    assert!(client.is_connected(), "a timeout ends nothing");
    assert_eq!(
        house.pid(),
        daemon.as_raw(),
        "a daemon that does not answer is not dead"
    );
}

#[tokio::test]
async fn jobs_of_many_clients_at_once_each_have_their_own_answer() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let client = connected(&house, patient()).await;
        for number in 0..25 {
            let client = client.clone();
            asked.push(tokio::spawn(async move {
                let queue = Some(DEADLINE);
                // Some give up before they are answered, at one moment or another.
                if number % 3 == 0 {
                    let dropped = client.run(json!("dropped"), None, queue);
                    let moment = Duration::from_micros(number * 100);
                    let _late = tokio::time::timeout(moment, dropped).await;
                }
                (number, client.run(json!(number), None, queue).await)
            }));
        }
    }
    for one in asked {
        let (number, answer) = one.await.expect("no panic");
        assert_eq!(answer.expect("done").ran.output, number);
    }
}

#[tokio::test]
async fn waiting_for_a_connection_tells_whether_there_is_one_and_tries_come_to_an_end() {
    require!(feature::landlock(1));
    let mut house = House::empty(IDLE);
    let few = Options {
        backoff: Backoff {
            attempts: Some(3),
            ..eager().backoff
        },
        ..Options::default()
    };
    let client = Handle::spawn(house.socket(), few);
    let mut events = client.events();
    assert!(!client.wait_for_connected(Duration::ZERO).await);
    let notice = next(&mut events).await;
    assert!(matches!(notice, Notice::GaveUp(_)), "{notice:?}");
    house.open();
    assert!(!client.wait_for_connected(Duration::from_millis(50)).await);
    client.nudge_reconnect();
    assert!(client.wait_for_connected(DEADLINE).await);
    assert!(client.wait_for_connected(Duration::ZERO).await);
}

#[test]
fn another_version_and_an_unknown_verb_are_refused_by_their_codes() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    for version in [0, 2, u32::MAX] {
        let mut guest = Guest::unannounced(&house);
        let answer = guest.asks(json!({"hello": {"version": version}}));
        let code = FaultCode::VersionMismatch.as_str();
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["error"]["client"], version, "{answer}");
        assert_eq!(answer["error"]["server"], 1, "{answer}");
        assert!(guest.is_at_its_end());
    }
    let mut early = Guest::unannounced(&house);
    let answer = early.asks(json!({"status": {}}));
    assert_eq!(answer["error"]["code"], "handshake_required", "{answer}");
    assert!(early.is_at_its_end());
    let mut guest = Guest::new(&house);
    let answer = guest.asks(json!({"tomorrow": {}}));
    assert_eq!(answer["error"]["code"], "unknown_request", "{answer}");
    let answer = guest.asks(json!({"status": {}}));
    assert_eq!(answer["ok"], true, "nothing else is lost");
}

/// Many that cannot be started, and say so at length.
fn wordy(count: u32) -> String {
    let long = "x".repeat(200);
    let long = vec![long; 18].join("/");
    format!(
        "[[worker]]\nname = \"none\"\ncommand = [\"/nowhere/{long}\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\ncount = {count}\n"
    )
}

#[tokio::test]
async fn everybody_is_told_everything_once_in_order_and_a_client_that_reads_nothing_stalls_nobody()
{
    require!(feature::landlock(1));
    let mut house = House::empty(&wordy(100));
    house.reopen();
    let mut guest = Guest::new(&house);
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let client = connected(&house, patient()).await;
        let events = client.events();
        listeners.push((client, events));
    }
    let status = listeners[0].0.status().await.expect("told");
    assert_eq!(status.workers.len(), 100, "on however many lines");
    assert_eq!(status.more, None);
    let mut stuck = Guest::new(&house);
    let subscribed = stuck.asks(json!({"subscribe": {}}));
    let first = subscribed["data"]["seq"].as_u64().expect("a number");
    let mut last = first;
    for _ in 0..14 {
        let started = guest.asks(json!({"start": {}}));
        assert_eq!(started["ok"], true, "{started}");
        let reached = Guest::new(&house).asks(json!({"subscribe": {}}));
        let until = reached["data"]["seq"].as_u64().expect("a number");
        assert!(until >= last + 100, "each of them said something");
        for (_, events) in &mut listeners {
            let mut seq = last;
            while seq < until {
                match next(events).await {
                    Notice::Event(event) if event.seq <= first => {}
                    Notice::Event(event) => {
                        seq += 1;
                        assert_eq!(event.seq, seq);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        last = until;
    }
    // It finds out how much it missed as soon as it reads, and nothing is left unaccounted for.
    let (mut seq, mut lagged) = (first, 0);
    while seq < last {
        let line = stuck.hears();
        match line["event"]["lagged"]["missed"].as_u64() {
            Some(missed) => (lagged, seq) = (lagged + missed, seq + missed),
            None => seq += 1,
        }
        assert_eq!(line["seq"], seq, "{line}");
    }
    assert!(lagged > 0, "it missed nothing of {} events", last - first);
    assert_eq!(guest.asks(json!({"status": {}}))["ok"], true);
}

impl Guest {
    /// Whether nothing more comes, and the other end is closed.
    fn is_at_its_end(&mut self) -> bool {
        match self.rest() {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}
