//! Many who write at the same time: what is recorded of each worker, and what is wanted of it.

use crate::guest::Guest;
use crate::harness::process::until_it_waits_in;
use crate::harness::{feature, require};
use crate::house::House;
use serde_json::{Value, json};
use std::sync::Barrier;

/// So many workers, each with two clients at once: one has it started anew, which is recorded twice, the other changes what is wanted.
const WORKERS: usize = 50;

#[test]
fn of_two_times_fifty_that_write_at_once_nothing_is_lost_over_the_death_of_daemon_and_keeper() {
    require!(feature::landlock(1));
    // The program that was started, and which it stays.
    let free = format!(
        "[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\ncount = {WORKERS}\npolicy = \"worker\"\nspeaks = \"nothing\"\non_supervisor_exit = \"survive\"\n"
    );
    let mut house = House::new(&free);
    let before = house.pids();
    assert_eq!(before.len(), WORKERS);
    let together = Barrier::new(2 * WORKERS);
    let ask = |number: usize, request: fn(String) -> Value| {
        let mut guest = Guest::new(&house);
        together.wait();
        let answer = guest.asks(request(format!("idle-{number}")));
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    };
    let mut pids: Vec<(String, i32)> = std::thread::scope(|scope| {
        let mut restarts = Vec::new();
        for number in 1..=WORKERS {
            let ask = &ask;
            let restart = |worker| json!({"restart": {"worker": worker}});
            restarts.push(scope.spawn(move || ask(number, restart)));
            let disable = |worker| json!({"disable_auto_restart": {"worker": worker}});
            scope.spawn(move || ask(number, disable));
        }
        let answers = restarts
            .into_iter()
            .map(|one| one.join().expect("no panic"));
        let told = answers.map(|answer| {
            let worker = &answer["data"]["workers"][0];
            let id = worker["id"].as_str().expect("its name").to_owned();
            (id, worker["pid"].as_i64().expect("it runs") as i32)
        });
        told.collect()
    });
    pids.sort();
    let is_new = |(id, pid): &(String, i32)| !before.contains(&(id.clone(), *pid));
    assert!(pids.iter().all(is_new), "each was started anew");
    let is_kept = |house: &House| {
        let mut now = house.pids();
        now.sort();
        assert_eq!(now, pids);
        let registry = house.workspace.join("run/supervise/daemon/registry");
        let manifests = std::fs::read_dir(registry).expect("it is there");
        let names = manifests.map(|entry| entry.expect("an entry").file_name());
        let names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        let is_manifest = |name: &&String| name.ends_with(".json");
        assert_eq!(names.iter().filter(is_manifest).count(), WORKERS);
        let status = house.status();
        let workers = status["workers"].as_array().expect("workers");
        let is_as_wanted =
            |worker: &Value| worker["desired"] == true && worker["auto_restart"] == false;
        assert!(workers.iter().all(is_as_wanted), "{status}");
    };
    is_kept(&house);
    house.kill_daemon();
    is_kept(&house);
    // One that has not come to its rest is refused what it needs for that.
    for (_, pid) in &pids {
        until_it_waits_in(*pid, &[libc::SYS_clock_nanosleep]);
    }
    house.lose_keeper();
    house.open();
    is_kept(&house);
    house.has_no_orphan();
}
