//! A second run, added to what was learned from the first.

use super::harness::run::run;
use super::harness::{feature, require};
use super::house::House;
use std::fs;

#[test]
fn a_second_run_is_added_with_everything_that_stood_there_kept() {
    require!(feature::listener());
    let house = House::new(|work| {
        for name in ["one", "two"] {
            fs::write(work.join(name), "content\n").expect("a file");
        }
    });
    let (first, second) = (
        ["/bin/cat", "one"],
        ["/bin/sh", "-c", "cat two; echo x >three"],
    );
    let learned = house.learn(&[], &first);
    let kept = format!("# My own words.\n{learned}");
    fs::write(house.policy(), &kept).expect("it is ours");
    let policy = house.policy();
    let merge = ["learn", "--merge", policy.to_str().expect("text"), "--"];
    let ran = run(&mut house.supervise(&[&merge[..], &second].concat())).expect_code(0);
    let merged = fs::read_to_string(&policy).expect("there");
    for line in kept.lines() {
        assert!(
            merged.lines().any(|merged| merged == line),
            "{line}\n{merged}"
        );
    }
    assert!(
        ran.stdout
            .lines()
            .any(|line| line.starts_with("+    \"$PWD/two?\"")),
        "{ran}"
    );
    assert!(
        !ran.stdout.lines().any(|line| line.starts_with("-  ")),
        "{ran}"
    );
    house.anew();
    for command in [&first[..], &second] {
        house.under(command).expect_code(0);
    }
    house.keeps_out(&merged);
    // A third time there is nothing to add.
    house.anew();
    let ran = run(&mut house.supervise(&[&merge[..], &second].concat())).expect_code(0);
    assert!(ran.stdout.contains("allows all of it already"), "{ran}");
    assert_eq!(fs::read_to_string(&policy).expect("there"), merged);
}
