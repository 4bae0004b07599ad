//! What workers ask for, and what operators say to it.

use super::report::{ROOM, written};
use super::{Daemon, Hands};
use crate::audit::Answerer;
use crate::broker::{Board, Hold, Say, Which};
use protocol::control::{Grants, Questions};
use protocol::{Fault, FaultCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

impl<H: Hands> Daemon<H> {
    /// Those that wait, as many as fit on a line.
    pub(super) fn questions(&self) -> Questions {
        waiting(&self.board)
    }

    /// Answers one, in the name of who connected.
    pub(super) fn say(&mut self, question: u64, what: Say, by: Answerer) -> Result<Value, Fault> {
        say(&self.board, question, what, by)
    }
}

/// The questions that wait on a board, as many as fit on a line.
pub(crate) fn waiting(board: &Board) -> Questions {
    let (questions, more) = fitting(board.questions());
    Questions { questions, more }
}

/// What was agreed to and still holds, as much as fits on a line.
pub(crate) fn holding(board: &Board, which: &Which) -> Grants {
    let (grants, more) = fitting(board.grants(which));
    Grants { grants, more }
}

/// Takes back what was agreed to, in the name of who connected.
pub(crate) fn take_back(
    board: &Board,
    which: &Which,
    by: Answerer,
    refuses: bool,
) -> Result<Grants, Fault> {
    let revoked = board.revoke(which, by, refuses);
    match which {
        Which::Number(number) if revoked.is_empty() => Err(Fault::new(
            FaultCode::UnknownGrant,
            format!("nothing that was agreed to has the number {number}, any more or at all"),
        )),
        _ => {
            let (grants, more) = fitting(revoked);
            Ok(Grants { grants, more })
        }
    }
}

/// As many as fit on a line, and how many more there are.
fn fitting<T: Serialize>(mut all: Vec<T>) -> (Vec<T>, u64) {
    let mut length = 0;
    let fits = all.iter().take_while(|one| {
        length += written(one);
        length <= ROOM
    });
    let count = fits.count();
    let more = all.len() - count;
    all.truncate(count);
    (all, more as u64)
}

/// Answers one of them, in the name of who connected.
pub(crate) fn say(board: &Board, question: u64, what: Say, by: Answerer) -> Result<Value, Fault> {
    match board.answer(question, what, by) {
        true => Ok(json!({})),
        false => Err(Fault::new(
            FaultCode::UnknownQuestion,
            format!("there is no question {question}, any more or at all"),
        )),
    }
}

/// What is to be taken back.
pub(crate) fn which(
    grant: Option<u64>,
    path: Option<String>,
    all: bool,
    workers: Option<Vec<String>>,
) -> Result<Which, Fault> {
    match (grant, path, all) {
        (Some(number), None, false) if workers.is_none() => Ok(Which::Number(number)),
        (None, Some(path), false) if path.starts_with('/') => {
            Ok(Which::Below(path.into(), workers))
        }
        (None, None, true) => Ok(Which::All(workers)),
        _ => Err(Fault::new(
            FaultCode::BadRequest,
            "a number alone, or an absolute path, or all",
        )),
    }
}

/// For how long a yes is meant.
pub(crate) fn hold(remember_ms: Option<u64>, for_session: bool) -> Hold {
    match (for_session, remember_ms) {
        (true, _) => Hold::Session,
        (false, Some(milliseconds)) => Hold::For(Duration::from_millis(milliseconds)),
        (false, None) => Hold::AsRuled,
    }
}

/// For how long a no is meant.
pub(crate) fn refusal(for_session: bool) -> Say {
    match for_session {
        true => Say::Never,
        false => Say::No,
    }
}
