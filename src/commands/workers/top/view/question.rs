//! The question that is looked at: all of it, however long its names are, and what it can be answered with.

use super::super::model::{Mode, Model, Mood, Naming, Waiting};
use super::super::offers::offers;
use super::super::text::{columns, plain, wrapped};
use super::lists::left;
use super::pen::{Pen, Piece};
use super::{Moment, Theme};
use protocol::control::Question;
use ratatui_core::style::Style;

/// As much is shown of what it says itself.
const WHY: usize = 240;

/// What a line begins with that goes on with the one above: no stranger can write there, and so none can begin a line of ours.
const GOES_ON: &str = "  | ";

/// Its lines, if one is looked at.
pub fn lines(
    model: &Model,
    moment: Moment,
    columns: usize,
    theme: Theme,
) -> Option<Vec<Vec<Piece>>> {
    let waiting = model.current()?;
    let mut lines = vec![vec![(
        format!("QUESTION {}", waiting.question.question),
        theme.heading(),
    )]];
    let mut add = |text: &str, style: Style| {
        for line in wrapped(text, columns, GOES_ON) {
            lines.push(vec![(line, style)]);
        }
    };
    for (text, is_object) in told(&waiting.question) {
        match is_object {
            true => add(&format!("    {text}"), theme.object()),
            false => add(&format!("  {text}"), Style::new()),
        }
    }
    if let Some(left) = left(waiting, moment) {
        let style = if left < 10 {
            theme.alarm()
        } else {
            Style::new()
        };
        add(&format!("  refused in {left} s"), style);
    }
    answers(model, waiting, columns, theme, &mut lines);
    Some(lines)
}

/// What it is, line by line; which of them are names of what is asked for.
fn told(question: &Question) -> Vec<(String, bool)> {
    let named = |program: Option<&str>| {
        program.map_or_else(|| "a program that cannot be named".to_owned(), plain)
    };
    let program = named(question.program.as_deref());
    let pid = question.pid.map(|pid| format!(" (pid {pid})"));
    let mut told = vec![
        (
            format!(
                "{}: {program}{} asks to {}",
                plain(&question.worker),
                pid.unwrap_or_default(),
                plain(&question.access)
            ),
            false,
        ),
        (plain(&question.object), true),
    ];
    if let Some(to) = &question.to {
        told.push((format!("to {}", plain(to)), true));
    }
    if !question.ancestors.is_empty() {
        let ancestors = question.ancestors.iter().map(|ancestor| {
            let program = named(ancestor.program.as_deref());
            format!("{program} ({})", ancestor.pid)
        });
        let ancestors: Vec<_> = ancestors.collect();
        told.push((format!("started by: {}", ancestors.join(", by ")), false));
    }
    if let Some(why) = &question.why {
        // It says so itself; that makes it no truer.
        let said: String = why.chars().take(WHY).collect();
        let rest = if said.len() < why.len() { " …" } else { "" };
        told.push((format!("it says: \"{}\"{rest}", plain(&said)), false));
    }
    if let Some(rule) = &question.rule {
        told.push((format!("rule: {}", plain(rule)), false));
    }
    told
}

/// What it can be answered with, or what has to be typed now.
fn answers(
    model: &Model,
    waiting: &Waiting,
    width: usize,
    theme: Theme,
    lines: &mut Vec<Vec<Piece>>,
) {
    let mut add = |text: &str, style: Style| {
        for line in wrapped(text, width, "  ") {
            lines.push(vec![(line, style)]);
        }
    };
    if model.mode == Mode::Look {
        let number = waiting.question.question;
        let how = format!("answered with supervise approve --tui, or supervise approve {number}");
        return add(&how, theme.faint());
    }
    if waiting.is_answered {
        return add("answered", theme.faint());
    }
    if let Mood::Naming(naming) = &model.mood {
        let Naming {
            name, why, typed, ..
        } = &**naming;
        add(&format!("It is a place of {why}."), theme.alarm());
        add(
            &format!(
                "To allow it, type the last part of its name, {name}, and Enter; Escape goes back."
            ),
            Style::new(),
        );
        return add(&format!("> {}_", plain(typed)), theme.object());
    }
    let mut line: Vec<Piece> = Vec::new();
    let mut taken = 0;
    for offer in offers(&waiting.question) {
        let meaning = format!(" {}   ", offer.meaning);
        let wide = 1 + columns(&meaning);
        if taken > 0 && taken + wide > width {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        let key = match offer.is_yes() {
            true => theme.fine(),
            false => theme.alarm(),
        };
        line.push((offer.key.to_string(), key.patch(theme.chosen())));
        line.push((meaning, Style::new()));
        taken += wide;
    }
    lines.push(line);
}

/// What there is room for, and that it is not all.
pub fn in_part(pen: &mut Pen<'_>, model: &Model, lines: &[Vec<Piece>], room: usize) {
    let number = model.current().map(|waiting| waiting.question.question);
    let note = format!(
        "Not all of it fits, so it cannot be allowed here: a larger terminal, or supervise approve {}",
        number.unwrap_or_default()
    );
    let note = wrapped(&note, pen.columns(), "  ");
    let shown = room.saturating_sub(note.len());
    for line in &lines[..shown.min(lines.len())] {
        pen.pieces(line);
    }
    let alarm = pen.theme.alarm();
    for line in note.iter().take(room - shown.min(room)) {
        pen.line(line, alarm);
    }
}
