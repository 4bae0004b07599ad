//! What the keys do.

use super::super::model::Mode;
use super::pen::Pen;
use ratatui_core::style::Style;

const LOOK: &[&str] = &[
    "up, down, k, j      the question before, the next one",
    "Home, End           the first, the last",
    "PageUp, PageDown    the sessions above, below",
    "^L                  draws everything anew",
    "^Z                  the shell, until fg",
    "q, ^C               quits",
];

const ANSWER: &[&str] = &[
    "a                   yes, as its rule says",
    "o                   yes, this once and no longer",
    "p, s                yes, for the process; and for what it starts",
    "r                   yes, for all of the run or worker",
    "n                   no",
    "N                   no, and not to be asked again while it runs",
    "",
    "A yes is taken for what is on the screen as a whole, and no wider",
    "than the rule. What is sensitive has to be named first.",
];

/// Instead of everything else.
pub fn draw(pen: &mut Pen<'_>, mode: Mode) {
    let answers = match mode {
        Mode::Look => &["`supervise approve --tui` is the same, and answers."],
        Mode::Answer => ANSWER,
    };
    for line in LOOK.iter().chain(&[""]).chain(answers) {
        pen.line(line, Style::new());
    }
    pen.last("any key goes back");
}
