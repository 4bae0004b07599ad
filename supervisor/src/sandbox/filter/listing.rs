//! The table as text: what `check -v` and `doctor` show, and what the golden files hold.

use super::calls::{Arch, LAST_REVIEWED};
use super::rule::{Action, Row, Test, Width};
use std::fmt::{self, Display, Formatter};

/// The rows that concern an architecture, in the order in which they are considered.
pub struct Listing<'r> {
    /// The architecture.
    pub arch: Arch,
    /// All rows.
    pub rows: &'r [Row],
}

impl Display for Listing<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.arch.name())?;
        writeln!(out, "{:8} any other architecture", Action::Kill.to_string())?;
        writeln!(
            out,
            "ENOSYS   numbers without a call, and above {LAST_REVIEWED}: newer ones, x32, negative"
        )?;
        for row in self.rows {
            let calls: Vec<String> = row
                .calls
                .iter()
                .filter_map(|call| Some(format!("{}({})", call.name(), call.number(self.arch)?)))
                .collect();
            if !calls.is_empty() {
                write!(out, "{:8} {}", row.then.to_string(), calls.join(" "))?;
                for (index, test) in row.when.iter().enumerate() {
                    write!(out, " {} {test}", if index == 0 { "when" } else { "and" })?;
                }
                writeln!(out, "\n         {}", row.why)?;
            }
        }
        writeln!(out, "{:8} everything else", Action::Allow.to_string())
    }
}

impl Display for Action {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => out.write_str("ALLOW"),
            Self::Refuse(errno) => write!(out, "{errno:?}"),
            Self::Notify => out.write_str("NOTIFY"),
            Self::Kill => out.write_str("KILL"),
        }
    }
}

impl Display for Test {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "arg{}", self.arg)?;
        if self.mask != self.width.bits() {
            write!(out, "&{:#x}", self.mask)?;
        }
        out.write_str(if self.among { " is " } else { " is not " })?;
        for (index, value) in self.values.iter().enumerate() {
            let separator = if index == 0 { "" } else { "|" };
            write!(out, "{separator}{}={:#x}", value.name, value.value)?;
        }
        if self.width == Width::Full64 {
            out.write_str(" (64 bits)")?;
        }
        Ok(())
    }
}
