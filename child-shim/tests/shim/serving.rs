//! What a worker answers on its endpoint, whatever it is written in.

use protocol::json;

use crate::harness::run::eventually;
use crate::workers::{Language, ask, code, hear, in_every_language};

in_every_language!(
    a_worker_does_jobs_and_goes_on_with_sessions,
    nothing_is_answered_before_the_handshake,
    another_version_is_a_mismatch_with_both_numbers,
    a_second_job_is_busy_at_once_and_everything_else_is_answered,
    a_lost_connection_loses_no_result,
    what_is_wrong_has_a_stable_code_and_ends_nothing,
    a_line_that_is_too_long_ends_the_connection_alone,
    coming_and_going_harms_nobody,
    a_deadline_is_answered_and_stops_the_job,
    who_asks_and_does_not_read_is_not_listened_to,
    who_reads_late_gets_every_answer,
);

fn a_worker_does_jobs_and_goes_on_with_sessions(language: Language) {
    let worker = language.start();
    let mut client = worker.client();
    let job = json!({"text": "é\n\u{0}", "number": 1.5});
    let done = ask(&mut client, 2, json!({"run": {"job": job}}));
    assert_eq!((&done["id"], &done["ok"]), (&json!(2), &json!(true)));
    assert_eq!(done["data"]["state"], "done");
    assert_eq!(done["data"]["output"], job);
    let first = done["data"]["sid"].as_str().expect("a name").to_owned();
    assert!(protocol::pool::is_sid(&first), "{first}");

    let asked = ask(&mut client, 3, json!({"run": {"job": "ask"}}));
    assert_eq!(asked["data"]["state"], "waiting");
    assert_eq!(asked["data"]["output"], "name?");
    let sid = asked["data"]["sid"].as_str().expect("a name").to_owned();
    assert_ne!(sid, first);
    let status = ask(&mut client, 4, json!({"status": {"include_history": true}}));
    assert_eq!(status["data"]["state"], "idle");
    assert_eq!(status["data"]["jobs"], 2);
    assert_eq!(status["data"]["waiting"][0]["sid"], sid);
    assert_eq!(status["data"]["history"][0]["sid"], first);
    assert_eq!(status["data"]["history"][0]["state"], "done");
    let gone_on = ask(
        &mut client,
        5,
        json!({"continue": {"sid": sid, "input": "Ada"}}),
    );
    assert_eq!(gone_on["data"]["state"], "done");
    assert_eq!(gone_on["data"]["output"], "Ada");
    let over = ask(
        &mut client,
        6,
        json!({"continue": {"sid": sid, "input": "Ada"}}),
    );
    assert_eq!(code(&over), "bad_request");
    let wrong = ask(
        &mut client,
        7,
        json!({"continue": {"sid": "0".repeat(32), "input": 1}}),
    );
    assert_eq!(code(&wrong), "session_not_found");
    let failed = ask(&mut client, 8, json!({"run": {"job": "fail"}}));
    assert_eq!(code(&failed), "failed");
    assert_eq!(failed["error"]["message"], "as it was told to");
}

fn nothing_is_answered_before_the_handshake(language: Language) {
    let worker = language.start();
    for request in [
        json!({"run": {"job": 1}}),
        json!({"status": {}}),
        json!({"shutdown": {}}),
        json!({"dance": {}}),
        json!(1),
    ] {
        let mut client = worker.connect();
        assert!(client.is_silent(), "the client speaks first");
        let refused = ask(&mut client, 9, request.clone());
        assert_eq!(code(&refused), "handshake_required", "{request}");
        assert_eq!(refused["id"], 9);
        assert_eq!(client.heard(), None, "{request}");
    }
    worker.client();
}

fn another_version_is_a_mismatch_with_both_numbers(language: Language) {
    let worker = language.start();
    let mut client = worker.connect();
    let refused = ask(&mut client, 1, json!({"handshake": {"version": 7}}));
    assert_eq!(code(&refused), "version_mismatch");
    assert_eq!(refused["error"]["client"], 7);
    assert_eq!(refused["error"]["server"], 1);
    assert_eq!(client.heard(), None);
}

fn a_second_job_is_busy_at_once_and_everything_else_is_answered(language: Language) {
    let worker = language.start();
    let flag = worker.file("flag");
    let (mut one, mut other) = (worker.client(), worker.client());
    let sid = "1".repeat(32);
    let job = json!(format!("wait {}", flag.display()));
    one.say(&json!({"id": 5, "req": {"run": {"job": job, "sid": sid}}}).to_string());
    // On the same connection answers come in order of what is done, and are found by their numbers.
    let status = ask(&mut one, 6, json!({"status": {}}));
    assert_eq!(status["id"], 6);
    assert_eq!(status["data"]["state"], "running");
    assert_eq!(status["data"]["running"]["sid"], sid);
    for (number, peer) in [(2, &mut one), (3, &mut other)] {
        let refused = ask(peer, number, json!({"run": {"job": 1}}));
        assert_eq!(code(&refused), "busy");
        let again = ask(peer, number, json!({"run": {"job": 1, "sid": sid}}));
        assert_eq!(code(&again), "session_exists");
        let input = ask(peer, number, json!({"continue": {"sid": sid, "input": 1}}));
        assert_eq!(code(&input), "busy");
        let wrong = ask(
            peer,
            number,
            json!({"continue": {"sid": "2".repeat(32), "input": 1}}),
        );
        assert_eq!(code(&wrong), "session_not_found");
    }
    // Two wait for it, one that began it and one that came later.
    other.say(&json!({"id": 4, "req": {"continue": {"sid": sid}}}).to_string());
    assert!(other.is_silent());
    std::fs::write(&flag, "").expect("written");
    for (number, peer) in [(5, &mut one), (4, &mut other)] {
        let done = hear(peer);
        assert_eq!(done["id"], number);
        assert_eq!(done["data"]["output"], "it is there");
    }
}

fn a_lost_connection_loses_no_result(language: Language) {
    let worker = language.start();
    let flag = worker.file("flag");
    let sid = "3".repeat(32);
    let mut lost = worker.client();
    let job = json!(format!("wait {}", flag.display()));
    lost.say(&json!({"id": 5, "req": {"run": {"job": job, "sid": sid}}}).to_string());
    assert_eq!(
        ask(&mut lost, 6, json!({"status": {}}))["data"]["state"],
        "running"
    );
    drop(lost);
    let mut client = worker.client();
    std::fs::write(&flag, "").expect("written");
    for _ in 0..2 {
        let done = ask(&mut client, 2, json!({"continue": {"sid": sid}}));
        assert_eq!(done["data"]["output"], "it is there");
        assert_eq!(done["data"]["state"], "done");
    }
}

fn what_is_wrong_has_a_stable_code_and_ends_nothing(language: Language) {
    let worker = language.start();
    let mut client = worker.client();
    for (line, expected) in [
        (r#"{"id":3,"req":{"dance":{}}}"#, "unknown_request"),
        (r#"{"id":3,"req":{"run":{}}}"#, "bad_request"),
        (
            r#"{"id":3,"req":{"run":{"job":1,"sid":"x"}}}"#,
            "bad_request",
        ),
        (
            r#"{"id":3,"req":{"run":{"job":1},"status":{}}}"#,
            "bad_request",
        ),
        (r#"{"id":3}"#, "bad_request"),
    ] {
        client.say(line);
        let refused = hear(&mut client);
        assert_eq!(code(&refused), expected, "{line}");
        assert_eq!(refused["id"], 3, "{line}");
    }
    for line in [
        "",
        "{",
        "[1]",
        "\u{1}",
        r#"{"req":{"status":{}}}"#,
        &"[".repeat(50_000),
    ] {
        client.say(line);
        let refused = hear(&mut client);
        assert_eq!(code(&refused), "bad_request", "{line}");
        assert_eq!(refused["id"], json!(null), "{line}");
    }
    let more = ask(
        &mut client,
        4,
        json!({"status": {"include_history": false, "later": 1}}),
    );
    assert_eq!(more["ok"], true);
}

fn a_line_that_is_too_long_ends_the_connection_alone(language: Language) {
    let worker = language.start();
    let (mut long, mut other) = (worker.client(), worker.client());
    let fits = format!(
        r#"{{"id":2,"req":{{"status":{{}}}},"x":"{}"}}"#,
        "x".repeat(protocol::lines::MAX - 35)
    );
    assert_eq!(fits.len(), protocol::lines::MAX);
    long.say(&fits);
    assert_eq!(hear(&mut long)["ok"], true);
    // It does not wait for the end of a line that is too long already.
    use std::io::Write as _;
    let endless = vec![b'x'; protocol::lines::MAX + 1];
    long.stream().write_all(&endless).expect("taken in");
    assert_eq!(code(&hear(&mut long)), "too_large");
    assert_eq!(long.heard(), None);
    assert_eq!(ask(&mut other, 2, json!({"status": {}}))["ok"], true);
    // And says so when what it would have to answer is.
    let request = |job: &str| format!(r#"{{"id":3,"req":{{"run":{{"job":"{job}"}}}}}}"#);
    let rest = protocol::lines::MAX - request("").len();
    other.say(&request(&"x".repeat(rest)));
    let big = hear(&mut other);
    assert_eq!((&big["id"], code(&big)), (&json!(3), "too_large"));
    assert_eq!(ask(&mut other, 4, json!({"status": {}}))["ok"], true);
}

fn coming_and_going_harms_nobody(language: Language) {
    let mut worker = language.start();
    for _ in 0..200 {
        worker.connect();
    }
    let half = worker.connect();
    use std::io::Write as _;
    half.stream().write_all(b"{\"id\"").expect("taken in");
    drop(half);
    let mut unread = worker.client();
    unread.say(r#"{"id":2,"req":{"status":{}}}"#);
    drop(unread);
    // Somebody who says all at once, closes that direction, and then reads.
    let mut hasty = worker.connect();
    hasty.say(concat!(
        r#"{"id":1,"req":{"handshake":{"version":1}}}"#,
        "\n",
        r#"{"id":2,"req":{"run":{"job":"x"}}}"#
    ));
    let end = std::net::Shutdown::Write;
    hasty.stream().shutdown(end).expect("half closed");
    assert_eq!(hear(&mut hasty)["id"], 1);
    assert_eq!(hear(&mut hasty)["data"]["output"], "x");
    assert_eq!(hasty.heard(), None);
    assert_eq!(
        ask(&mut worker.client(), 2, json!({"status": {}}))["data"]["state"],
        "idle"
    );
    assert!(worker.is_alive());
}

fn a_deadline_is_answered_and_stops_the_job(language: Language) {
    let worker = language.start();
    let mut client = worker.client();
    let never = json!(format!("wait {}", worker.file("never").display()));
    let late = ask(
        &mut client,
        2,
        json!({"run": {"job": never, "deadline_ms": 20}}),
    );
    assert_eq!(code(&late), "deadline");
    let sid = late["error"]["sid"].as_str().expect("which").to_owned();
    let again = ask(&mut client, 3, json!({"continue": {"sid": sid}}));
    assert_eq!(code(&again), "deadline", "what it came to is thrown away");
    crate::harness::run::eventually("the job stopped", || {
        let status = ask(&mut client, 4, json!({"status": {}}));
        status["data"]["state"] == "idle"
    });
    let next = ask(&mut client, 5, json!({"run": {"job": 1}}));
    assert_eq!(next["data"]["output"], 1);
}

fn who_asks_and_does_not_read_is_not_listened_to(language: Language) {
    use std::io::Write as _;
    let worker = language.start();
    let (flood, mut other) = (worker.client(), worker.client());
    let moment = std::time::Duration::from_millis(300);
    let stream = flood.stream();
    stream.set_write_timeout(Some(moment)).expect("a timeout");
    let asked = "{\"id\":2,\"req\":{\"status\":{}}}\n".repeat(1000);
    // What the sockets hold, and what the worker does; not all that could be asked.
    let all = 8 * 1024 * 1024;
    let mut taken = 0;
    let refused = loop {
        match (&mut &*stream).write(asked.as_bytes()) {
            Ok(count) => taken += count,
            Err(error) => break error.kind(),
        }
        assert!(
            taken < all,
            "all of it was taken in, and answered to nobody"
        );
    };
    assert_eq!(refused, std::io::ErrorKind::WouldBlock);
    let status = ask(&mut other, 3, json!({"status": {}}));
    assert_eq!(status["ok"], true);
}

fn who_reads_late_gets_every_answer(language: Language) {
    use std::io::Write as _;
    let worker = language.start();
    let mut client = worker.client();
    let all = 20_000;
    let line = |id: u32| format!("{{\"id\":{id},\"req\":{{\"status\":{{}}}}}}\n");
    let asked: String = (0..all).map(line).collect();
    let mut stream = client.stream().try_clone().expect("a duplicate");
    let moment = std::time::Duration::from_millis(300);
    stream.set_write_timeout(Some(moment)).expect("a timeout");
    let mut taken = 0;
    while let Ok(count) = stream.write(&asked.as_bytes()[taken..]) {
        taken += count;
    }
    assert!(taken < asked.len(), "it is not listened to");
    let deadline = Some(crate::harness::run::DEADLINE);
    stream.set_write_timeout(deadline).expect("a timeout");
    let rest = asked.as_bytes()[taken..].to_vec();
    let asking = std::thread::spawn(move || stream.write_all(&rest).expect("taken in"));
    for id in 0..all {
        assert_eq!(hear(&mut client)["id"], id);
    }
    asking.join().expect("no panic");
}

/// How often the thread that serves beside a job has slept, now that it sleeps: that of the program's `main`.
fn sleeps_of_main(worker: &crate::harness::worker::Worker) -> u64 {
    let pid = worker.pid();
    let mut sleeps = None;
    eventually("the other thread slept", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status"));
        let status = status.expect("it is there");
        let of = |name| status.lines().find_map(|line| line.strip_prefix(name));
        let count = of("voluntary_ctxt_switches:").expect("a number");
        sleeps = Some(count.trim().parse().expect("a number"));
        of("State:").is_some_and(|state| state.trim().starts_with('S'))
    });
    sleeps.expect("it was read")
}

#[test]
fn a_job_that_nobody_interrupts_wakes_no_other_thread() {
    let worker = Language::Rust.start();
    let mut client = worker.client();
    let mut other = worker.client();
    // Whoever asks before the worker, which is kept from it, waits again wakes the other thread for nothing. That does not happen each
    // time.
    eventually("nobody else was woken", || {
        let before = sleeps_of_main(&worker);
        let done = ask(&mut client, 2, json!({"run": {"job": "one"}}));
        assert_eq!(done["data"]["output"], "one");
        let status = ask(&mut other, 2, json!({"status": {}}));
        assert_eq!(status["data"]["state"], "idle");
        sleeps_of_main(&worker) == before
    });
    // And one that somebody interrupts does.
    let path = worker.file("there");
    let wait = json!(format!("wait {}", path.display()));
    client.say(&json!({"id": 200, "req": {"run": {"job": wait}}}).to_string());
    let status = ask(&mut client, 201, json!({"status": {}}));
    assert_eq!(status["data"]["state"], "running");
    assert_eq!(
        code(&ask(&mut other, 202, json!({"run": {"job": 1}}))),
        "busy"
    );
    std::fs::write(&path, "").expect("written");
    assert_eq!(hear(&mut client)["data"]["output"], "it is there");
    let done = ask(&mut client, 203, json!({"run": {"job": "one"}}));
    assert_eq!(done["data"]["output"], "one");
}
