//! What workers cost whoever keeps them: finding them again, giving them jobs, being without a daemon for a moment.

mod again;
mod gaps;
mod jobs;
mod kept;

use crate::built::Built;
use crate::table;

pub fn rows(built: &Built) {
    match built.best() {
        Ok(pair) => {
            again::rows(built, pair);
            gaps::rows(built, pair);
        }
        Err(reason) => table::missing("workers", &reason),
    }
}

/// What they do.
pub fn jobs(built: &Built) {
    match built.best() {
        Ok(pair) => jobs::rows(built, pair),
        Err(reason) => table::missing("jobs", &reason),
    }
}
