//! What is answered, and what is not.

use super::*;
use protocol::Scope;
use protocol::control::ControlRequest;
use std::fmt::Write;

fn asked() -> Desk {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/a"));
    desk.asks(&run(), of_run(2, "/b"));
    desk
}

fn yes(question: u64) -> ControlRequest {
    ControlRequest::Approve {
        question,
        remember_ms: None,
        for_session: false,
        scope: None,
    }
}

fn no(question: u64, for_session: bool) -> ControlRequest {
    ControlRequest::Refuse {
        question,
        for_session,
    }
}

#[test]
fn a_question_that_is_seen_is_answered_where_it_was_asked() {
    let mut desk = asked();
    desk.looks();
    assert_eq!(desk.looked(), Some(1));
    let act = desk.types("a");
    assert_eq!(act, Some(Act::Answer(id(daemon(), 1), yes(1))));
    assert_eq!(desk.types("a"), None, "it was answered");
    desk.press(Key::Down);
    let act = desk.types("N");
    assert_eq!(act, Some(Act::Answer(id(run(), 2), no(2, true))));
}

#[test]
fn nothing_is_allowed_that_has_just_come_up() {
    let mut desk = asked();
    assert_eq!(desk.types("a"), None, "it was never on the screen");
    desk.draw();
    desk.passes(SEEN - Duration::from_millis(1));
    desk.draw();
    assert_eq!(desk.types("a"), None);
    assert!(desk.screen().contains("look at it first"));
    desk.passes(Duration::from_millis(1));
    assert!(desk.types("a").is_some());
    // The one that takes its place was not looked at when the key was pressed.
    desk.hear(&daemon(), Told::Answered(1, Ok(())));
    desk.draw();
    assert_eq!(desk.looked(), Some(2));
    assert_eq!(desk.types("a"), None);
    // A no needs no second look.
    assert_eq!(
        desk.types("n"),
        Some(Act::Answer(id(run(), 2), no(2, false)))
    );
}

#[test]
fn when_a_question_goes_by_itself_none_takes_its_place_until_one_is_chosen() {
    let mut desk = asked();
    desk.looks();
    desk.happens(
        &daemon(),
        Event::Settled {
            question: 1,
            granted: false,
        },
    );
    desk.looks();
    assert_eq!((desk.looked(), desk.types("aan")), (None, None));
    assert!(desk.screen().contains("waits no more: choose one"));
    desk.press(Key::Down);
    assert_eq!(desk.looked(), Some(2));
    // Nor does one of another asker that has the same number.
    desk.asks(&daemon(), question(2, "/c"));
    desk.looks();
    desk.happens(
        &daemon(),
        Event::Settled {
            question: 2,
            granted: true,
        },
    );
    assert_eq!(desk.types("a"), Some(Act::Answer(id(run(), 2), yes(2))));
}

#[test]
fn a_question_that_comes_moves_no_other() {
    let mut desk = asked();
    desk.press(Key::Down);
    desk.looks();
    for number in 3..50 {
        desk.asks(&daemon(), question(number, "/x"));
        desk.draw();
    }
    assert_eq!(desk.types("a"), Some(Act::Answer(id(run(), 2), yes(2))));
}

#[test]
fn what_does_not_fit_on_the_screen_can_be_refused_and_not_allowed() {
    let mut desk = Desk::new(Mode::Answer, 80, 24);
    desk.here(&daemon(), vec![worker("idle-1", "idle")]);
    let path = format!("/{}the-end", "x/".repeat(1500));
    desk.asks(&daemon(), question(1, &path));
    desk.looks();
    assert_eq!(desk.types("a"), None);
    let screen = desk.screen();
    assert!(
        screen.contains("Not all of it fits") && screen.contains("approve 1"),
        "{screen}"
    );
    assert_eq!(
        desk.types("n"),
        Some(Act::Answer(id(daemon(), 1), no(1, false)))
    );
    // On a larger one it is there, to its last character.
    desk.size = (120, 60);
    desk.hear(&daemon(), Told::Answered(1, Err("why".to_owned())));
    desk.looks();
    let screen = desk.screen();
    assert_eq!(screen.matches("the-end").count(), 2, "{screen}");
    assert!(desk.types("a").is_some());
    // What is behind another text is not on the screen.
    let mut desk = asked();
    desk.looks();
    desk.types("?");
    desk.looks();
    desk.types("a");
    assert_eq!(desk.types("a"), None, "the first one went back");
}

#[test]
fn keys_are_those_that_are_offered() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(
        &daemon(),
        Question {
            scope: Some(Scope::Process),
            at_most: Some(Scope::Subtree),
            ..question(1, "/a")
        },
    );
    desk.looks();
    for key in ["r", "p", "x", "y", "A", "\u{e4}"] {
        assert_eq!(desk.types(key), None, "{key}");
    }
    assert_eq!(desk.press(Key::Enter), None);
    let act = desk.types("s");
    let Some(Act::Answer(_, ControlRequest::Approve { scope, .. })) = act else {
        panic!("{act:?}");
    };
    assert_eq!(scope, Some(Scope::Subtree));
}

#[test]
fn what_is_sensitive_has_to_be_named() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/home/u/.ssh/id_rsa"));
    desk.looks();
    assert_eq!(desk.types("a"), None);
    let screen = desk.screen();
    assert!(
        screen.contains("It is a place of keys, passwords or tokens."),
        "{screen}"
    );
    assert_eq!(desk.types("id_dsa"), None);
    assert_eq!(desk.press(Key::Enter), None);
    assert!(desk.screen().contains("that is not its name"));
    // Keys that would be answers are letters meanwhile.
    assert_eq!(desk.types("a"), None);
    desk.draw();
    assert_eq!(desk.types("anNid_rsb"), None);
    for _ in 0..9 {
        desk.press(Key::Erase);
    }
    desk.types("id_rsa");
    desk.draw();
    assert_eq!(
        desk.press(Key::Enter),
        Some(Act::Answer(id(daemon(), 1), yes(1)))
    );
}

#[test]
fn a_name_that_is_typed_is_for_no_other_question() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/home/u/.ssh/id_rsa"));
    desk.asks(&daemon(), question(2, "/srv/id_rsa"));
    desk.looks();
    assert_eq!(desk.types("aid_rsa"), None);
    desk.waits(&daemon(), vec![question(2, "/srv/id_rsa")]);
    desk.looks();
    assert_eq!(desk.press(Key::Enter), None);
    assert_eq!(desk.looked(), None);
    // To go back is to say nothing.
    desk.press(Key::Down);
    desk.looks();
    assert_eq!(desk.types("aid_rsa"), None);
    desk.press(Key::Escape);
    assert_eq!(desk.press(Key::Enter), None);
    assert_eq!(desk.looked(), Some(2));
}

#[test]
fn where_things_are_only_looked_at_nothing_is_answered() {
    let mut desk = Desk::with_all(Mode::Look, 80, 24);
    desk.asks(&daemon(), question(1, "/a"));
    desk.looks();
    let mut all = String::new();
    for byte in b'!'..=b'~' {
        if !matches!(byte, b'q' | b'?' | b'h') {
            let _infallible = write!(all, "{}", char::from(byte));
        }
    }
    assert_eq!(desk.types(&all), None);
    assert!(desk.screen().contains("use `supervise approve --tui`"));
    assert_eq!(desk.types("q"), Some(Act::Quit));
    assert_eq!(desk.press(Key::Control('c')), Some(Act::Quit));
    assert_eq!(desk.press(Key::Control('z')), Some(Act::Suspend));
}

#[test]
fn an_answer_that_did_not_arrive_can_be_given_again() {
    let mut desk = asked();
    desk.looks();
    assert!(desk.types("a").is_some());
    let why = "it waits\u{1b}[2J no more".to_owned();
    desk.hear(&daemon(), Told::Answered(1, Err(why)));
    assert!(
        desk.screen()
            .contains("not answered: it waits\\u{1b}[2J no more")
    );
    assert!(desk.types("a").is_some());
}

#[test]
fn no_name_can_look_like_a_line_of_ours() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    // It fills the line, and goes on as we would.
    let name = format!("/srv/a{}to /tmp/harmless", " ".repeat(70));
    desk.asks(&daemon(), question(1, &name));
    let screen = desk.screen();
    assert!(screen.contains("\n  | to /tmp/harmless\n"), "{screen}");
}
