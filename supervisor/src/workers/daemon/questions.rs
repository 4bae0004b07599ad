//! What workers ask for, and what operators say to it.

use super::report::{ROOM, written};
use super::{Daemon, Hands};
use crate::audit::Answerer;
use crate::broker::{Hold, Say};
use protocol::control::Questions;
use protocol::{Fault, FaultCode};
use serde_json::{Value, json};
use std::time::Duration;

impl<H: Hands> Daemon<H> {
    /// Those that wait, as many as fit on a line.
    pub(super) fn questions(&self) -> Questions {
        let mut questions = self.board.questions();
        let mut length = 0;
        let fits = questions.iter().take_while(|one| {
            length += written(one);
            length <= ROOM
        });
        let count = fits.count();
        let more = questions.len() - count;
        questions.truncate(count);
        Questions {
            questions,
            more: more as u64,
        }
    }

    /// Answers one, in the name of who connected.
    pub(super) fn say(&mut self, question: u64, say: Say, by: Answerer) -> Result<Value, Fault> {
        match self.board.answer(question, say, by) {
            true => Ok(json!({})),
            false => Err(Fault::new(
                FaultCode::UnknownQuestion,
                format!("there is no question {question}, any more or at all"),
            )),
        }
    }
}

/// For how long a yes is meant.
pub(super) fn hold(remember_ms: Option<u64>, for_session: bool) -> Hold {
    match (for_session, remember_ms) {
        (true, _) => Hold::Session,
        (false, Some(milliseconds)) => Hold::For(Duration::from_millis(milliseconds)),
        (false, None) => Hold::AsRuled,
    }
}
