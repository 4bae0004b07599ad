//! What a worker answers.

use std::time::{Duration, Instant};

use protocol::pool::{Occupation, PoolRequest, PoolStatus, SID, VERSION, is_sid};
use protocol::{Answer, Fault, FaultCode, Numbered, Unanswerable, Value, json, to_value};

use super::Serving;
use crate::worker::Ending;
use crate::worker::caller::Caller;
use crate::worker::sessions::{Asked, Asker, Due, milliseconds};

impl Serving {
    pub(super) fn answer(
        &mut self,
        number: u64,
        caller: &mut Caller,
        request: Result<Numbered<PoolRequest>, Unanswerable>,
        now: Instant,
    ) {
        let request = match request {
            Ok(request) => request,
            Err(unanswerable) if caller.is_greeted() => return caller.answer(unanswerable.into()),
            Err(unanswerable) => {
                let fault = handshake_required();
                caller.answer(Answer::refused(unanswerable.id, fault));
                return caller.finish();
            }
        };
        let id = request.id;
        let asker = Asker { caller: number, id };
        match (caller.is_greeted(), &request.req) {
            (false, PoolRequest::Handshake { version: VERSION }) => caller.greet(),
            (true, PoolRequest::Handshake { version: VERSION }) => {}
            (_, PoolRequest::Handshake { version }) => {
                let fault = Fault::version_mismatch(*version, VERSION);
                caller.answer(Answer::refused(id, fault));
                return caller.finish();
            }
            (false, _) => {
                caller.answer(Answer::refused(id, handshake_required()));
                return caller.finish();
            }
            (true, _) => {}
        }
        match self.consider(asker, request.req, now) {
            Considered::Status(status) => caller.answer_done(id, &status),
            Considered::Now(outcome) => caller.answer(Answer {
                id: Some(id),
                outcome,
            }),
            Considered::Later => {}
        }
    }

    fn consider(&mut self, asker: Asker, request: PoolRequest, now: Instant) -> Considered {
        let time = |milliseconds: Option<u64>| milliseconds.map(Duration::from_millis);
        let asked = match request {
            PoolRequest::Handshake { .. } => return Considered::Now(data(to_value(&self.welcome))),
            PoolRequest::Status { include_history } => {
                let mut status = self.sessions.status(include_history, now);
                status.idle_timeout_ms = self.idle_timeout.map_or(0, milliseconds);
                if self.ending.is_some() {
                    status.state = Occupation::Stopping;
                }
                return Considered::Status(status);
            }
            PoolRequest::Shutdown {} => {
                self.end(Ending::Shutdown, now);
                return Considered::Now(Ok(json!({})));
            }
            PoolRequest::Continue {
                sid, input: None, ..
            } => self.sessions.ask_again(asker, &sid),
            PoolRequest::Run { .. } | PoolRequest::Continue { .. } if self.ending.is_some() => {
                let fault = Fault::new(FaultCode::Unavailable, "the worker is ending");
                return Considered::Now(Err(fault));
            }
            PoolRequest::Run {
                job,
                deadline_ms,
                sid,
                queue_ms: _,
            } => match sid.map_or_else(|| self.sids.next(), given_sid) {
                Ok(sid) => self.sessions.run(asker, sid, job, time(deadline_ms), now),
                Err(fault) => return Considered::Now(Err(fault)),
            },
            PoolRequest::Continue {
                sid,
                input: Some(input),
                deadline_ms,
            } => self
                .sessions
                .go_on(asker, sid, input, time(deadline_ms), now),
        };
        match asked {
            Asked::Later => Considered::Later,
            Asked::Now(ran) => Considered::Now(ran.and_then(|ran| data(to_value(&ran)))),
            Asked::Begin(job) => {
                self.job = Some(job);
                Considered::Later
            }
        }
    }

    /// Gives answers to those who wait for them, as far as they are still there.
    pub(super) fn give(&mut self, due: Vec<Due>) {
        for (asker, ran) in due {
            let Some(mut caller) = self.callers.remove(&asker.caller) else {
                continue;
            };
            match ran {
                Ok(ran) => caller.answer_done(asker.id, &ran),
                Err(fault) => caller.answer(Answer::refused(asker.id, fault)),
            }
            let is_gone = caller.flush().is_err();
            self.keep(asker.caller, caller, is_gone);
        }
    }
}

/// What a request comes to: an answer, or one that comes later.
enum Considered {
    Status(PoolStatus),
    Now(Result<Value, Fault>),
    Later,
}

/// The data of an answer.
fn data(data: Result<Value, impl std::fmt::Display>) -> Result<Value, Fault> {
    data.map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))
}

fn handshake_required() -> Fault {
    Fault::new(FaultCode::HandshakeRequired, "the handshake comes first")
}

fn given_sid(sid: String) -> Result<String, Fault> {
    match is_sid(&sid) {
        true => Ok(sid),
        false => Err(Fault::new(
            FaultCode::BadRequest,
            format!("`sid` is not {SID} hex digits"),
        )),
    }
}
