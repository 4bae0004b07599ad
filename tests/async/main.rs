//! Asking the supervisor of a running sandbox from a program that uses tokio.

#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code, reason = "it serves programs that ask in other ways, too")]
#[path = "../asking/house.rs"]
mod house;

mod inside;

use harness::run::run;
use harness::{feature, require};
use house::{House, said};

#[test]
fn many_requests_are_answered_over_one_connection() {
    require!(feature::asking_by_name());
    let house = House::new();
    let told = [
        ("FILE", house.path("given/a")),
        ("DENIED", house.path("given/denied")),
    ];
    let told = told.each_ref().map(|(name, path)| (*name, path.as_path()));
    let ran = run(&mut house.inside("ask for many", &told, &[]));
    assert_eq!(
        said(&ran),
        [
            "100 Ok(\"a file that is given\\n\")",
            "100 Err(\"refused: denied\")"
        ]
    );
    assert_eq!(house.decisions().len(), 200);
}

#[test]
fn who_is_out_of_descriptors_hears_so_and_goes_on() {
    require!(feature::asking_by_name());
    let house = House::new();
    let file = house.path("given/a");
    let ran = run(&mut house.inside("have no descriptors", &[("FILE", &file)], &[]));
    assert_eq!(
        said(&ran),
        [
            "the supervisor cannot be reached: recvmsg: EMFILE: Too many open files",
            "a file that is given"
        ]
    );
}

#[test]
fn outside_a_sandbox_there_is_nobody_to_ask() {
    let runtime = inside::runtime();
    let connected = runtime.block_on(client::Client::connect());
    assert_eq!(connected.err(), Some(client::Error::NoDoor));
}
