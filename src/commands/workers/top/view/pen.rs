//! Lines on a buffer, from above to below. A character is put into the cells that it takes; what has no room is not put anywhere.

use super::super::text::{columns, columns_of, cut};
use super::Theme;
use ratatui_core::buffer::Buffer;
use ratatui_core::style::Style;

/// A part of a line.
pub type Piece = (String, Style);

/// Writes line by line.
pub struct Pen<'a> {
    buffer: &'a mut Buffer,
    row: u16,
    pub theme: Theme,
}

impl<'a> Pen<'a> {
    /// At the top.
    pub fn new(buffer: &'a mut Buffer, theme: Theme) -> Self {
        let row = buffer.area().top();
        Self { buffer, row, theme }
    }

    /// How wide a line is.
    pub fn columns(&self) -> usize {
        self.buffer.area().width.into()
    }

    /// A line of parts.
    pub fn pieces(&mut self, pieces: &[Piece]) {
        let mut column = 0;
        for (text, style) in pieces {
            column = self.put(column, text, *style);
        }
        self.row = self.row.saturating_add(1);
    }

    /// A line.
    pub fn line(&mut self, text: &str, style: Style) {
        let text = cut(text, self.columns());
        self.pieces(&[(text, style)]);
    }

    /// A line that is one over its whole width.
    pub fn bar(&mut self, left: &str, right: &str) {
        let room = self.columns().saturating_sub(columns(right) + 3);
        let left = cut(left, room);
        let gap = self
            .columns()
            .saturating_sub(columns(&left) + columns(right) + 2);
        let text = format!(" {left}{}{right} ", " ".repeat(gap));
        let style = self.theme.title();
        self.pieces(&[(text, style)]);
    }

    /// What stands above a part of the screen.
    pub fn heading(&mut self, text: &str) {
        let style = self.theme.heading();
        self.line(text, style);
    }

    /// The last line.
    pub fn last(&mut self, text: &str) {
        self.row = self.buffer.area().bottom().saturating_sub(1);
        let style = self.theme.alarm();
        self.line(text, style);
    }

    /// The column behind it.
    fn put(&mut self, from: usize, text: &str, style: Style) -> usize {
        let area = *self.buffer.area();
        let mut column = from;
        for character in text.chars() {
            let width = columns_of(character);
            if width == 0 || column + width > usize::from(area.width) || self.row >= area.bottom() {
                break;
            }
            // It is less than the width, which is one.
            let x = area.left() + u16::try_from(column).unwrap_or_default();
            self.buffer[(x, self.row)]
                .set_char(character)
                .set_style(style);
            for behind in 1..width {
                let x = x + u16::try_from(behind).unwrap_or_default();
                self.buffer[(x, self.row)].reset();
            }
            column += width;
        }
        column
    }
}
