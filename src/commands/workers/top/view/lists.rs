//! Sessions, the questions that wait, and what happened: as many of each as there is room for.

use super::super::super::shown;
use super::super::model::{Looked, Model, Waiting};
use super::super::rate::PerSecond;
use super::super::text;
use super::Moment;
use super::pen::Pen;
use protocol::control::{LifecycleState, WorkerStatus};
use ratatui_core::style::Style;

/// What the lists of a session begins with.
const NAME: usize = 20;

/// All sessions, from the first that is wanted.
pub fn sessions(pen: &mut Pen<'_>, model: &Model, moment: Moment, rows: usize) {
    let Some(room) = rows.checked_sub(1) else {
        return;
    };
    pen.heading(&format!(
        "{:NAME$} {:<11} {:>7} {:>6} {:>8} {:>8}  WHAT",
        "SESSION", "STATE", "PID", "FOR", "DECIDED", "REFUSED"
    ));
    let count = model.sessions().count();
    if count == 0 && room > 0 {
        let style = pen.theme.faint();
        pen.line(
            "none: no daemon is running, nor a run with --approver control",
            style,
        );
        return;
    }
    // One screenful at the end at most.
    let above = model.above.min(count.saturating_sub(room));
    for (partner, session) in model.sessions().skip(above).take(room) {
        let rate = partner.per_second(&session.id, moment.at);
        let (line, style) = (session_line(session, rate, moment), pen.theme);
        let style = match session.state {
            LifecycleState::Error | LifecycleState::Blocked => style.alarm(),
            LifecycleState::Running => Style::new(),
            _ => style.faint(),
        };
        pen.line(&line, style);
    }
}

fn session_line(session: &WorkerStatus, rate: PerSecond, moment: Moment) -> String {
    let name = text::cut(&text::plain(&session.id), NAME);
    let gap = " ".repeat(NAME - text::columns(&name));
    let pid = session
        .pid
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let since = moment.unix_ms.saturating_sub(session.since_unix_ms) / 1000;
    let what = match session.kind.as_str() {
        "run" => session.detail.clone().unwrap_or_default(),
        _ => shown::how(session),
    };
    format!(
        "{name}{gap} {:<11} {pid:>7} {:>6} {:>8} {:>8}  {}",
        text::cut(&shown::word(&session.state), 11),
        text::time(since),
        tenths(rate.decided, rate.is_least),
        tenths(rate.refused, rate.is_least),
        text::line(&what)
    )
}

/// Such as `1.4/s`; with a mark where there was more.
fn tenths(count: usize, is_least: bool) -> String {
    let mark = if is_least { ">" } else { "" };
    format!("{mark}{}.{}/s", count / 10, count % 10)
}

/// How many lines the list of what waits could use.
pub fn questions_want(model: &Model) -> usize {
    match model.questions.len() {
        0 => 0,
        count => 1 + count + usize::from(model.looked == Looked::Gone),
    }
}

/// What waits, around what is looked at.
pub fn questions(pen: &mut Pen<'_>, model: &Model, moment: Moment, rows: usize) {
    let Some(mut room) = rows.checked_sub(1) else {
        return;
    };
    let current = model.current().map(|waiting| waiting.id.clone());
    let at = model
        .questions
        .iter()
        .position(|waiting| Some(&waiting.id) == current.as_ref());
    let count = model.questions.len();
    pen.heading(&match at {
        Some(at) => format!("QUESTIONS, {} of {count}", at + 1),
        None => format!("QUESTIONS, {count}"),
    });
    if model.looked == Looked::Gone && room > 0 {
        let style = pen.theme.alarm();
        pen.line(
            "the one that was shown waits no more: choose one with the arrows",
            style,
        );
        room -= 1;
    }
    let first = at.unwrap_or(0).saturating_sub(room / 2);
    let first = first.min(count.saturating_sub(room));
    for (index, waiting) in model.questions.iter().enumerate().skip(first).take(room) {
        let is_current = Some(index) == at;
        let line = question_line(waiting, is_current, moment, pen.columns());
        let style = match is_current {
            true => pen.theme.chosen(),
            false => Style::new(),
        };
        pen.line(&line, style);
    }
}

fn question_line(waiting: &Waiting, is_current: bool, moment: Moment, columns: usize) -> String {
    let question = &waiting.question;
    let mark = if is_current { '>' } else { ' ' };
    let left = match waiting.is_answered {
        true => "...".to_owned(),
        false => left(waiting, moment).map_or_else(String::new, text::time),
    };
    let session = text::cut(&text::plain(&question.worker), NAME);
    let start = format!(
        "{mark} {left:>6}  {session}  {}  ",
        text::plain(&question.access)
    );
    let object = text::plain(&question.object);
    let room = columns.saturating_sub(text::columns(&start));
    start + &text::cut_within(&object, room)
}

/// Seconds until it is refused.
pub fn left(waiting: &Waiting, moment: Moment) -> Option<u64> {
    let deadline = waiting.deadline?;
    Some(deadline.saturating_duration_since(moment.at).as_secs())
}

/// What happened last.
pub fn events(pen: &mut Pen<'_>, model: &Model, moment: Moment, rows: usize) {
    let Some(room) = rows.checked_sub(1) else {
        return;
    };
    pen.heading("EVENTS");
    let skipped = model.events.len().saturating_sub(room);
    for (at, line) in model.events.iter().skip(skipped) {
        let ago = moment.at.saturating_duration_since(*at).as_secs();
        let age = format!("{:>8}  ", text::time(ago));
        let (faint, columns) = (pen.theme.faint(), pen.columns());
        let line = text::cut(line, columns.saturating_sub(text::columns(&age)));
        pen.pieces(&[(age, faint), (line, Style::new())]);
    }
}
