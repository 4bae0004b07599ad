//! What is on the screen, to the character.

use super::*;
use protocol::Scope;
use protocol::control::{Ancestor, Decision, StopReason};
use ratatui_core::style::Color;
use std::path::Path;

/// Everything there is to see, chosen by somebody who means harm where a stranger may choose.
fn full(mode: Mode, width: u16, height: u16) -> Desk {
    let mut desk = Desk::with_all(mode, width, height);
    let refused = Decision {
        worker: "idle-1".to_owned(),
        access: "write".to_owned(),
        object: "/etc/\u{1b}[2Jpasswd\u{202e}\u{200b}".to_owned(),
        rule: None,
    };
    desk.happens(&daemon(), Event::Refused(refused));
    let stopped = Event::Stopped {
        worker: "idle-2".to_owned(),
        reason: StopReason::Error,
    };
    desk.happens(&daemon(), stopped);
    desk.passes(Duration::from_secs(65));
    for peer in [daemon(), run()] {
        desk.hear(&peer, Told::Here);
    }
    desk.asks(
        &daemon(),
        Question {
            to: Some("/srv/データ/a\u{301}".to_owned()),
            access: "rename (renameat2)".to_owned(),
            ancestors: vec![
                Ancestor {
                    pid: 4710,
                    program: Some("/usr/bin/bash".to_owned()),
                },
                Ancestor {
                    pid: 4700,
                    program: None,
                },
            ],
            why: Some("trust me\n  rule: none\u{7}".to_owned()),
            scope: Some(Scope::Subtree),
            holds_ms: Some(600_000),
            at_most: Some(Scope::Subtree),
            ..question(123_456_789, "/srv/日本語/\u{202e}gpj.exe\\n")
        },
    );
    let long = format!("/srv/{}end", "deep/".repeat(30));
    desk.asks(&run(), of_run(2, &long));
    desk
}

/// Compares with the file of that name; or writes it, when that is asked for.
fn is_as_in(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/commands/workers/top/tests/screens")
        .join(name);
    if std::env::var_os("SUPERVISE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, screen).expect("it can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == screen,
        "the screen is not {name}; if it is meant to differ: SUPERVISE_WRITE_GOLDEN=1 cargo test, and read the difference\n{screen}"
    );
}

#[test]
fn the_screen_of_a_usual_terminal() {
    is_as_in("usual.txt", &full(Mode::Answer, 80, 24).screen());
}

#[test]
fn the_screen_of_a_large_terminal() {
    let mut desk = full(Mode::Answer, 120, 40);
    desk.press(Key::Down);
    is_as_in("large.txt", &desk.screen());
}

#[test]
fn the_screen_that_only_shows() {
    is_as_in("look.txt", &full(Mode::Look, 80, 24).screen());
}

#[test]
fn the_screen_that_is_too_small() {
    is_as_in("small.txt", &full(Mode::Answer, 59, 10).screen());
    for (width, height) in [(1, 1), (0, 0), (60, 9), (300, 2), (3, 300)] {
        let mut desk = full(Mode::Answer, width, height);
        desk.looks();
        assert_eq!(desk.types("a"), None, "{width} by {height}");
    }
}

#[test]
fn the_screens_of_help_and_of_a_name() {
    let mut desk = full(Mode::Answer, 80, 24);
    desk.types("?");
    is_as_in("help.txt", &desk.screen());
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/home/u/.ssh/id_rsa"));
    desk.looks();
    desk.types("aid_");
    is_as_in("name.txt", &desk.screen());
}

#[test]
fn nothing_of_a_stranger_is_hidden_or_drives_the_terminal() {
    for (width, height) in [(60, 10), (61, 30), (80, 24), (120, 40), (300, 80)] {
        for mode in [Mode::Look, Mode::Answer] {
            let mut desk = full(mode, width, height);
            for character in desk.screen().chars().filter(|c| *c != '\n') {
                assert!(
                    !character.is_control() && super::super::text::columns_of(character) > 0,
                    "{character:?} on {width} by {height}"
                );
            }
        }
    }
}

#[test]
fn without_colours_things_are_told_apart_all_the_same() {
    let colours = |is_coloured| {
        let mut desk = full(Mode::Answer, 80, 24);
        desk.theme = Theme { is_coloured };
        let buffer = desk.draw();
        let plain = |cell: &&ratatui_core::buffer::Cell| cell.fg == Color::Reset;
        let all = buffer.content.iter();
        (
            all.clone().filter(|cell| !plain(cell)).count(),
            all.filter(|cell| !cell.modifier.is_empty()).count(),
        )
    };
    let (with, without) = (colours(true), colours(false));
    assert!(with.0 > 100, "{with:?}");
    assert_eq!(without.0, 0);
    assert_eq!(with.1, without.1);
}
