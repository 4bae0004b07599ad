//! What is on the screen. It only draws: from what is known, the time, and the size.

mod help;
mod lists;
mod pen;
mod question;
mod shares;

use super::model::{Id, Mode, Model, Mood};
use super::text;
use pen::Pen;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::{Color, Modifier, Style};
use shares::{Shares, Wants};
use std::time::{Duration, Instant};

/// Less than this is no screen.
const LEAST: (u16, u16) = (60, 10);

/// After so long without a word somebody is said to be silent.
const SILENT: Duration = Duration::from_secs(4);

/// When it is.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By our own clock.
    pub at: Instant,
    /// By the one that others speak of.
    pub unix_ms: u64,
}

/// How things are told apart.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Also by colours.
    pub is_coloured: bool,
}

impl Theme {
    /// With colours, unless somebody wants none.
    pub fn of_environment() -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|word| !word.is_empty());
        Self {
            is_coloured: !wants_none,
        }
    }

    fn coloured(self, colour: Color, style: Style) -> Style {
        match self.is_coloured {
            true => style.fg(colour),
            false => style,
        }
    }

    fn title(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn heading(self) -> Style {
        self.coloured(Color::Cyan, Style::new().add_modifier(Modifier::BOLD))
    }

    fn object(self) -> Style {
        self.coloured(Color::Yellow, Style::new().add_modifier(Modifier::BOLD))
    }

    fn alarm(self) -> Style {
        self.coloured(Color::Red, Style::new().add_modifier(Modifier::BOLD))
    }

    fn fine(self) -> Style {
        self.coloured(Color::Green, Style::new())
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
    }
}

/// Draws everything. The question that can be seen then, all of it, if one can.
pub fn draw(buffer: &mut Buffer, model: &Model, moment: Moment, theme: Theme) -> Option<Id> {
    let area = *buffer.area();
    let mut pen = Pen::new(buffer, theme);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let (width, height) = LEAST;
        let what = format!("The terminal is too small: {width} by {height} is the least.");
        for line in text::wrapped(&what, area.width.into(), "") {
            pen.line(&line, Style::new());
        }
        return None;
    }
    pen.bar(&title(model, moment), "? keys  q quit");
    if model.mood == Mood::Help {
        help::draw(&mut pen, model.mode);
        return None;
    }
    let columns = usize::from(area.width);
    let question = question::lines(model, moment, columns, theme);
    let bottom = 1;
    let rows = usize::from(area.height) - 1 - bottom;
    let shares = shares::shares(
        rows,
        &Wants {
            sessions: 1 + model.sessions().count().max(1),
            questions: lists::questions_want(model),
            question: question.as_ref().map_or(0, Vec::len),
            events: 1 + model.events.len(),
        },
    );
    let Shares {
        sessions,
        questions,
        question: own,
        events,
    } = shares;
    lists::sessions(&mut pen, model, moment, sessions);
    lists::questions(&mut pen, model, moment, questions);
    let seen = question.and_then(|lines| {
        let is_whole = lines.len() <= own;
        match is_whole {
            true => lines.iter().for_each(|line| pen.pieces(line)),
            false => question::in_part(&mut pen, model, &lines, own),
        }
        let current = model.current().filter(|_| is_whole)?;
        Some(current.id.clone())
    });
    lists::events(&mut pen, model, moment, events);
    let trouble = || {
        let mut troubles = model.partners.iter().filter_map(|one| one.trouble.as_ref());
        troubles.next().map(|why| text::line(why))
    };
    let note = model.note(moment.at).map(str::to_owned);
    pen.last(&note.or_else(trouble).unwrap_or_default());
    seen
}

fn title(model: &Model, moment: Moment) -> String {
    let name = match model.mode {
        Mode::Look => "supervise top",
        Mode::Answer => "supervise approve",
    };
    let mut parts = vec![name.to_owned()];
    let daemon = model.partners.iter().find(|one| one.peer.is_daemon);
    parts.push(match daemon.and_then(|one| one.daemon.as_ref()) {
        Some(daemon) => format!("daemon {}", daemon.pid),
        None => "no daemon".to_owned(),
    });
    let heard = model.partners.iter().filter_map(|one| one.heard);
    let silent = heard
        .map(|heard| moment.at.saturating_duration_since(heard))
        .max()
        .filter(|silence| *silence >= SILENT);
    if let Some(silence) = silent {
        parts.push(format!("NO WORD FOR {}", text::time(silence.as_secs())));
    }
    parts.push(counted(model.sessions().count(), "session"));
    let more: u64 = model.partners.iter().map(|one| one.untold).sum();
    let waiting = model.questions.len() + usize::try_from(more).unwrap_or(0);
    parts.push(counted(waiting, "question"));
    parts.join(" · ")
}

fn counted(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}
