//! What is known, as it changes.

use super::*;
use protocol::control::Decision;

fn decision(worker: &str) -> Decision {
    Decision {
        worker: worker.to_owned(),
        access: "read".to_owned(),
        object: "/a".to_owned(),
        rule: None,
    }
}

#[test]
fn what_is_decided_is_counted_for_whom_it_is_about() {
    let mut desk = Desk::with_all(Mode::Look, 80, 24);
    for _ in 0..5 {
        desk.happens(&daemon(), Event::Granted(decision("idle-1")));
        desk.happens(&run(), Event::Refused(decision("28-5f0e71aa")));
    }
    let untold = Event::DecisionsUntold {
        worker: "idle-1".to_owned(),
    };
    desk.happens(&daemon(), untold);
    let screen = desk.screen();
    let line = |name: &str| {
        let line = screen.lines().find(|line| line.starts_with(name));
        line.unwrap_or_default().to_owned()
    };
    assert!(line("idle-1").contains(" >1.0/s   >0.0/s"), "{screen}");
    assert!(line("28-5f0e71aa").contains("  1.0/s    1.0/s"), "{screen}");
}

#[test]
fn what_is_gone_takes_with_it_what_it_had_and_comes_back_with_what_it_has() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/a"));
    desk.asks(&run(), of_run(2, "/b"));
    desk.looks();
    desk.hear(&daemon(), Told::Gone(None));
    let screen = desk.screen();
    for gone in ["daemon 4600", "idle-1 ", "/a"] {
        let found = screen.lines().filter(|line| line.contains(gone));
        let found: Vec<_> = found.filter(|line| !line.contains("asks for")).collect();
        assert_eq!(found, [""; 0], "{gone}");
    }
    assert!(screen.contains("no daemon") && screen.contains("the daemon is gone"));
    assert!(screen.contains("28-5f0e71aa") && screen.contains("  /b\n"));
    assert_eq!(desk.looked(), None, "nobody chose the other one");
    desk.here(&daemon(), vec![worker("idle-1", "idle")]);
    desk.waits(&daemon(), vec![question(7, "/a")]);
    let screen = desk.screen();
    assert!(screen.contains("daemon 4600") && screen.contains("QUESTIONS, 2"));
}

#[test]
fn why_somebody_cannot_be_spoken_with_is_said_until_they_can() {
    let mut desk = Desk::new(Mode::Look, 80, 24);
    assert!(desk.screen().contains("none: no daemon is running"));
    let why = Some("it speaks another version".to_owned());
    desk.hear(&daemon(), Told::Gone(why));
    assert!(desk.screen().ends_with("\nit speaks another version\n"));
    desk.here(&daemon(), vec![worker("idle-1", "idle")]);
    assert!(!desk.screen().contains("another version"));
}

#[test]
fn silence_is_said() {
    let mut desk = Desk::with_all(Mode::Look, 80, 24);
    desk.passes(Duration::from_secs(3));
    assert!(!desk.screen().contains("NO WORD"));
    desk.passes(Duration::from_secs(4));
    assert!(desk.screen().contains("NO WORD FOR 7s"));
}

#[test]
fn what_is_told_of_a_question_once_stays_as_it_was_read() {
    let mut desk = Desk::with_all(Mode::Answer, 80, 24);
    desk.asks(&daemon(), question(1, "/a"));
    desk.passes(Duration::from_secs(5));
    desk.waits(&daemon(), vec![question(1, "/other"), question(3, "/c")]);
    let screen = desk.screen();
    assert!(
        screen.contains("    /a\n") && !screen.contains("/other"),
        "{screen}"
    );
    assert!(screen.contains("refused in 55 s"), "{screen}");
    assert!(screen.contains("1m00s  idle-1  read  /c"), "{screen}");
}

#[test]
fn many_sessions_are_looked_through() {
    let mut desk = Desk::new(Mode::Look, 80, 24);
    let workers = (0..100).map(|number| worker(&format!("idle-{number}"), "idle"));
    desk.here(&daemon(), workers.collect());
    assert!(desk.screen().contains("idle-0 ") && !desk.screen().contains("idle-30 "));
    for _ in 0..5 {
        desk.press(Key::PageDown);
    }
    assert!(!desk.screen().contains("idle-0 ") && desk.screen().contains("idle-30 "));
    for _ in 0..50 {
        desk.press(Key::PageDown);
    }
    let screen = desk.screen();
    assert!(
        screen.contains("idle-99 ") && screen.contains("idle-79 "),
        "{screen}"
    );
    for _ in 0..50 {
        desk.press(Key::PageUp);
    }
    assert!(desk.screen().contains("idle-0 "));
}

#[test]
fn events_are_kept_as_long_as_there_is_room() {
    let mut desk = Desk::with_all(Mode::Look, 80, 24);
    for missed in 0..10_000 {
        desk.happens(&daemon(), Event::Lagged { missed });
    }
    assert!(desk.screen().contains("9999 events were missed"));
    assert_eq!(desk.model.events.len(), 200);
}
