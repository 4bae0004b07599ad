//! What is looked at is changed before it is used, as often as there is time for: `SUPERVISE_RACE_SECONDS=600 cargo test --test
//! escape races` tries for ten minutes each, millions of times. How often it was tried is said.

use crate::harness::built::{copy_program, probe};
use crate::harness::run::{eventually, run};
use crate::harness::set_mode;
use crate::scene::{POLICY, Scene};
use std::io::Write;
use std::os::unix::fs::symlink;

/// How long each race goes on, in rounds that are shorter than a test may wait.
fn rounds() -> Vec<u64> {
    const LONGEST: u64 = 20;
    let given = std::env::var("SUPERVISE_RACE_SECONDS").ok();
    let seconds: u64 = given.map_or(1, |text| {
        text.parse().expect("SUPERVISE_RACE_SECONDS is a number")
    });
    let whole = vec![LONGEST; (seconds / LONGEST) as usize];
    whole.into_iter().chain([seconds % LONGEST]).collect()
}

/// Runs a race in all its rounds, and in a few more until both sides were met. `None`: it cannot be run under this policy.
#[track_caller]
fn never_won(race: &str, scene: &Scene, act: impl Fn(u64) -> String) -> Option<()> {
    const MORE: usize = 20;
    let (mut allowed, mut refused) = (0, 0);
    let given = rounds();
    let least = given.len();
    for (round, seconds) in given.into_iter().chain([1; MORE]).enumerate() {
        if round >= least && allowed > 0 && refused > 0 {
            break;
        }
        let performed = scene.perform(&act(seconds));
        let answer = *performed.answers().last().expect("an answer");
        if answer.starts_with("errno ") {
            return None;
        }
        let counts: Vec<u64> = answer
            .split(' ')
            .filter_map(|word| word.split_once('=')?.1.parse().ok())
            .collect();
        assert_eq!(counts.len(), 3, "{race}: {}", performed.ran);
        assert_eq!(counts[0], 0, "{race}: {answer}");
        allowed += counts[1];
        refused += counts[2];
    }
    // Past the test runner, which would swallow it.
    let line = format!("RACE {race}: {} tries\n", allowed + refused);
    let said = std::io::stderr().lock().write_all(line.as_bytes());
    said.expect("standard error takes a line");
    assert!(
        allowed > 0 && refused > 0,
        "{race}: {allowed}, {refused}: it was not run"
    );
    Some(())
}

/// The same, where nothing confines it, until it is won once.
fn is_won_outside(scene: &Scene, act: &str) {
    eventually("the race is won where nothing confines it", || {
        let said = run(&mut scene.unconfined(act)).stdout;
        let last = said.lines().last().unwrap_or_default();
        last.starts_with("ok hit=") && !last.starts_with("ok hit=0 ")
    });
}

/// A directory that may be used, a link to one that may not, and links to the file in each of them.
fn exchangeable(scene: &Scene) {
    let (sub, secret) = (scene.work().join("sub"), scene.work().join("secret"));
    std::fs::create_dir(sub.join("a")).expect("a directory");
    std::fs::write(sub.join("a/key"), "fine").expect("a file");
    for (target, name) in [
        (secret.clone(), "b"),
        (sub.join("mine"), "c"),
        (secret.join("key"), "d"),
    ] {
        symlink(target, sub.join(name)).expect("a link");
    }
}

/// A pattern that is denied leaves the whole tree to the supervisor.
const PATTERN: &str = "\"{W}/secret\", \"{W}/**/.env\"";

#[test]
fn nothing_is_reached_while_names_change_places() {
    let below = POLICY.replace("\"{W}/secret\"", PATTERN);
    for (kind, policy) in [("", POLICY), (" below a pattern", &below)] {
        for (place, act) in [
            ("first", "chdir {W}/sub -- race-swap a b a/key"),
            ("middle", "race-swap {W}/sub/a {W}/sub/b {W}/sub/a/key"),
            ("last", "race-swap {W}/sub/c {W}/sub/d {W}/sub/c"),
        ] {
            let (free, scene) = (Scene::new(), Scene::under(policy));
            exchangeable(&free);
            exchangeable(&scene);
            if kind.is_empty() {
                is_won_outside(&free, &format!("{act} 2000"));
            }
            let race = format!("of the {place} name{kind}");
            let run = never_won(&race, &scene, |seconds| format!("{act} 100 {seconds}"));
            // Where no name can be changed inside, there is no race.
            assert!(run.is_some() || !kind.is_empty(), "{race}");
        }
    }
}

#[test]
fn what_may_not_be_executed_is_not_while_its_name_is_rewritten() {
    let prepare = |scene: &Scene| {
        for name in ["good", "evil"] {
            let directory = scene.outside().join(name);
            std::fs::create_dir(&directory).expect("a directory");
            copy_program(&probe(), &directory.join("image"));
            set_mode(&directory.join("image"), 0o755);
        }
    };
    // Both can be read.
    let policy = POLICY
        .replace("exec = [", "exec = [\"{O}/good\", ")
        .replace("read = [", "read = [\"{O}\", ");
    let (free, scene) = (Scene::new(), Scene::under(&policy));
    prepare(&free);
    prepare(&scene);
    let act = "race-exec {O}/good/image {O}/evil/image";
    is_won_outside(&free, &format!("{act} 100"));
    let race = "of the name of a program";
    let run = never_won(race, &scene, |seconds| {
        format!("{act} {}", 1000 * seconds.max(1))
    });
    assert!(run.is_some(), "programs can be started");
}
