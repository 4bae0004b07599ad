//! What the specification says of a connection, and not of its frames.

use supervisor_socket::{MAX_CONSIDERED, REMEMBERED};

#[test]
fn the_bounds_are_the_specified_ones() {
    let specification = include_str!("../../../protocol/README.md").replace('\n', " ");
    for sentence in [
        format!("The supervisor remembers the last {REMEMBERED} ids of a connection"),
        format!("At most {MAX_CONSIDERED} requests of one connection are considered at once"),
    ] {
        assert!(specification.contains(&sentence), "{sentence}");
    }
}

#[test]
fn as_many_descriptors_travel_as_a_frame_may_speak_of() {
    assert_eq!(sys::messages::MAX_FDS, protocol::MAX_FDS);
}
