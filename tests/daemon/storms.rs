//! Whoever can be killed is killed at any moment while jobs are given, for as long as `SUPERVISE_CHAOS_SECONDS` says.

use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::{House, POOL};
use crate::load::{Load, NOTES, Tally, done};
use crate::seen::{descriptors, kill_now, random_below, storm};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Workers that write down what they do.
fn house() -> House {
    let often = "count = 2\nrestart = \"always\"\nrestart_burst = 10000\nbackoff = \"10ms\"\nbackoff_max = \"50ms\"";
    let mut house = House::empty(&POOL.replace("count = 2", often));
    house.have_the_worker_do(NOTES);
    house.open();
    house
}

/// How many descriptors keeper and daemon have when nothing is under way.
fn at_rest(house: &House) -> (usize, usize) {
    eventually("all workers take jobs", || {
        let status = house.status();
        let mut workers = status["workers"].as_array().expect("workers").iter();
        workers.all(|worker| worker["speaks"] == true)
    });
    let daemon = house.daemon_now().expect("it runs");
    let mut least = (usize::MAX, usize::MAX);
    // The connection of whoever asked last is closed a moment later.
    for _ in 0..100 {
        least.0 = least.0.min(descriptors(house.keeper()));
        least.1 = least.1.min(descriptors(daemon));
        std::thread::sleep(Duration::from_millis(2));
    }
    least
}

/// No job was answered that was not done, none was done twice, and none is missing.
#[track_caller]
fn is_right(house: &House, tally: &Tally, what: &str, kills: u64) {
    assert_eq!(tally.wrong, [""; 0]);
    let done = done(house);
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "done twice: {twice:?}");
    let answered: BTreeSet<_> = tally.answered.iter().collect();
    assert_eq!(answered.len(), tally.answered.len(), "answered twice");
    let undone: Vec<_> = answered
        .iter()
        .filter(|sid| !done.contains_key(**sid))
        .collect();
    assert!(undone.is_empty(), "answered and not done: {undone:?}");
    let known = |sid: &String| answered.contains(sid) || tally.gone.contains(sid);
    let lost: Vec<_> = done.keys().filter(|sid| !known(sid)).collect();
    assert!(lost.is_empty(), "done, and nobody was told: {lost:?}");
    println!(
        "{what}: {} jobs answered, {} lost with their worker and said to be, asked again {} times, under {kills} kills",
        tally.answered.len(),
        tally.gone.len(),
        tally.asked_again,
    );
    assert!(!tally.answered.is_empty() && kills > 0);
}

#[test]
fn no_job_is_lost_or_done_twice_whenever_the_daemon_is_killed() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = house();
    // The first daemon made what all others are given.
    house.kill_daemon();
    let (before, workers) = (at_rest(&house), house.pids());
    let load = Load::begin(&house, false);
    let kills = house.kill_daemons(storm(), Duration::from_millis(300));
    let tally = load.end();
    is_right(&house, &tally, "daemons", kills);
    assert_eq!(tally.gone, [""; 0]);
    assert_eq!(house.pids(), workers, "they are who they were");
    house.has_no_orphan();
    assert_eq!(at_rest(&house), before, "descriptors of keeper and daemon");
}

#[test]
fn no_job_is_done_twice_whenever_workers_and_daemons_are_killed() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = house();
    house.kill_daemon();
    let before = at_rest(&house);
    let load = Load::begin(&house, true);
    let (end, mut kills) = (Instant::now() + storm(), 0);
    while Instant::now() < end {
        let victims = match random_below(3) {
            0 => house.daemon_now().into_iter().collect(),
            _ => house
                .tagged()
                .into_iter()
                .map(|(pid, _)| pid)
                .collect::<Vec<_>>(),
        };
        if !victims.is_empty() {
            let chosen = usize::try_from(random_below(victims.len() as u64)).expect("few");
            kill_now(victims[chosen]);
            kills += 1;
        }
        std::thread::sleep(Duration::from_micros(random_below(500_000)));
    }
    eventually("all workers take jobs again", || {
        let ran = house.ask(&["start", "--timeout", "10s"]);
        ran.code() == 0
    });
    let tally = load.end();
    is_right(&house, &tally, "daemons and workers", kills);
    house.has_no_orphan();
    // Again one that was given all it has.
    house.kill_daemon();
    assert_eq!(at_rest(&house), before, "descriptors of keeper and daemon");
}

#[test]
fn no_job_is_lost_while_the_daemon_is_upgraded_again_and_again() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = house();
    house.ask(&["daemon", "--upgrade"]).expect_code(0);
    let (before, workers) = (at_rest(&house), house.pids());
    let load = Load::begin(&house, false);
    let (end, mut upgrades) = (Instant::now() + storm(), 0);
    while Instant::now() < end {
        let daemon = house.daemon_now();
        house.ask(&["daemon", "--upgrade"]).expect_code(0);
        assert_ne!(house.daemon_now(), daemon, "it is another one");
        upgrades += 1;
        std::thread::sleep(Duration::from_micros(random_below(100_000)));
    }
    let tally = load.end();
    is_right(&house, &tally, "upgrades", upgrades);
    assert_eq!(tally.gone, [""; 0]);
    assert_eq!(house.pids(), workers);
    house.has_no_orphan();
    assert_eq!(at_rest(&house), before, "descriptors of keeper and daemon");
}

#[test]
fn nothing_is_left_of_workers_whenever_keeper_and_daemon_are_killed() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let mut house = house();
    let (end, mut kills) = (Instant::now() + storm(), 0);
    while Instant::now() < end || kills == 0 {
        let load = Load::begin(&house, true);
        std::thread::sleep(Duration::from_micros(random_below(200_000)));
        if random_below(2) == 0 {
            house.daemon_now().into_iter().for_each(kill_now);
            std::thread::sleep(Duration::from_micros(random_below(50_000)));
        }
        house.lose_keeper();
        kills += 1;
        // Nobody is there to be asked: the next one is started by hand.
        house.open();
        let tally = load.end();
        is_right_so_far(&house, &tally);
        house.has_no_orphan();
    }
    println!("keepers: {kills} killed");
}

#[track_caller]
fn is_right_so_far(house: &House, tally: &Tally) {
    assert_eq!(tally.wrong, [""; 0]);
    let done = done(house);
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "done twice: {twice:?}");
    assert!(tally.answered.iter().all(|sid| done.contains_key(sid)));
}
