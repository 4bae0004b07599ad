//! What workers wrote, as it is read from the command line.

use crate::harness::run::{eventually, start};
use crate::harness::{feature, require};
use crate::house::House;
use nix::sys::signal::Signal;
use serde_json::Value;

/// A worker that runs this.
fn writing(script: &str) -> House {
    let command = serde_json::to_string(&["sh", "-c", script]).expect("text");
    House::new(&format!(
        "[[worker]]\nname = \"text\"\ncommand = {command}\npolicy = \"worker\"\nspeaks = \"nothing\"\n"
    ))
}

#[test]
fn as_many_of_the_last_lines_as_are_asked_for_are_shown() {
    require!(feature::landlock(1));
    // Lines of no round length, with characters of two to four bytes: wherever it is divided, some are cut.
    let house = writing("seq -f 'line %g: ä€𝄞' 4000; exec sleep 1000");
    let line = |number: u32| format!("line {number}: ä€𝄞\n");
    eventually("all of it was written", || {
        house.ask(&["logs", "-n", "1", "text-1"]).stdout == line(4000)
    });
    for count in [0, 1, 2, 100, 560, 1000, 3999, 4000, 5000] {
        let ran = house.ask(&["logs", "-n", &count.to_string(), "text-1"]);
        let expected: String = (1 + 4000_u32.saturating_sub(count)..=4000)
            .map(line)
            .collect();
        assert!(
            ran.stdout == expected,
            "{count}: {} bytes",
            ran.stdout.len()
        );
    }
    let parts = house.ask(&["logs", "-n", "3000", "--json", "text-1"]);
    let parts = parts.expect_code(0).stdout;
    let parts: Vec<Value> = parts
        .lines()
        .map(|part| serde_json::from_str(part).expect("JSON"))
        .collect();
    let text: String = parts
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    assert!(text == (1001..=4000).map(line).collect::<String>());
    let all: String = (1..=4000).map(line).collect();
    let last = parts.last().expect("a part");
    assert_eq!(last["next"], all.len(), "where to go on");
}

#[test]
fn a_character_that_comes_in_two_pieces_is_shown_as_one() {
    require!(feature::landlock(1));
    let house = writing(
        "printf 'a\\303'; while ! test -e $WORKER_DIR/go; do sleep 0.02; done; printf '\\244\\n'; exec sleep 1000",
    );
    eventually("its first half was written", || {
        house.ask(&["logs", "text-1"]).stdout == "a"
    });
    let mut follower = start(&mut house.command(&["logs", "-f", "text-1"]));
    follower.until_it_says("a");
    let go = house.workspace.join("data/supervise/workers/text-1/go");
    std::fs::write(go, "").expect("its directory is there");
    follower.until_it_says("aä\n");
    follower.signal(Signal::SIGTERM);
    drop(follower.wait());
}
