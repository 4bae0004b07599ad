//! What workers cost whoever keeps them: finding them again, giving them jobs, being without a daemon for a moment.

mod again;
mod gaps;
mod jobs;
mod kept;

use crate::built::Built;
use crate::table;

pub fn rows(built: &Built) {
    let pair = match built.best() {
        Ok(pair) => pair,
        Err(reason) => return table::missing("workers", &reason),
    };
    again::rows(built, pair);
    gaps::rows(built, pair);
    jobs::rows(built, pair);
}
