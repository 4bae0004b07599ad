//! Programs that mean no good to those that share their door.

use crate::harness::run::run;
use crate::harness::{feature, require};
use crate::house::{House, said};

const GIVEN: &str = "a file that is given";

#[test]
fn half_a_frame_of_one_descendant_holds_up_no_other() {
    require!(feature::listener());
    let house = House::new();
    let ran = run(&mut house.inside("stand in the way", &[("FILE", &house.path("given/a"))], &[]));
    assert_eq!(said(&ran), [GIVEN, "granted"]);
}

#[test]
fn garbage_is_answered_ends_its_connection_and_harms_nobody() {
    require!(feature::asking_by_name());
    let house = House::new();
    let ran = run(&mut house.inside("send garbage", &[("FILE", &house.path("given/a"))], &[]));
    assert_eq!(said(&ran), ["bad_request", "bad_request", "Closed", GIVEN]);
}

#[test]
fn a_thousand_requests_in_a_burst_all_succeed() {
    require!(feature::listener());
    let house = House::new();
    let ran = run(&mut house.inside(
        "ask a thousand times",
        &[("FILE", &house.path("given/a"))],
        &[],
    ));
    assert_eq!(said(&ran), [format!("1000 {GIVEN}")]);
    assert_eq!(house.decisions().len(), 1000);
}

#[test]
fn more_connections_than_are_served_harm_nobody_else() {
    require!(feature::asking_by_name());
    let house = House::new();
    let ran = run(&mut house.inside(
        "knock and run away",
        &[("FILE", &house.path("given/a"))],
        &[],
    ));
    assert_eq!(said(&ran), [GIVEN, GIVEN]);
}

#[test]
fn a_program_that_never_reads_its_answers_holds_up_only_itself() {
    require!(feature::asking_by_name());
    let house = House::new();
    let ran = run(&mut house.inside(
        "ask and never listen",
        &[("FILE", &house.path("given/a"))],
        &[],
    ));
    assert_eq!(said(&ran), [GIVEN]);
}
