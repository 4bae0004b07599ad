//! The control socket of one run: its questions, an answer to them from elsewhere, and what became of those, without any daemon.
//!
//! In: a socket that listens, and the board on which the run's questions are. Out: answers to whoever was let in. It is served on a
//! thread of its own, which holds no capability and ends with the run; the run waits for it nowhere.

use super::control::{Admission, Asked, Control};
use super::daemon::{hold, holding, refusal, say, take_back, unix_ms, waiting, which};
use super::poller::{Interest, Poller, Token};
use crate::broker::{Board, Say, Which};
use nix::errno::Errno;
use protocol::control::{
    ControlRequest, ControlResponse, DaemonStatus, Event, Hello, LifecycleState, SCHEMA, Status,
    VERSION, WorkerStatus,
};
use protocol::{Fault, FaultCode};
use serde_json::json;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::caps::CapSet;

/// The token of the board.
const QUESTIONS: Token = Token(0);

/// For so long whoever was told that a question waits is not told of another: how many there are is a child's choice.
const QUIET: Duration = Duration::from_secs(10);

/// A run, as it is shown to those who ask.
#[derive(Clone, Debug)]
pub struct Lone {
    /// The session's name.
    pub session: String,
    /// What it runs.
    pub command: String,
    /// The process of that.
    pub pid: i32,
}

impl Lone {
    /// Serves from now on, on a thread of its own. `on_question` is called there when a question waits, after a while in which none did.
    ///
    /// # Errors
    /// The errno of what that needs.
    pub fn serve(
        self,
        listener: OwnedFd,
        board: Arc<Board>,
        on_question: impl Fn() + Send + 'static,
    ) -> Result<(), Errno> {
        let poller = Poller::new()?;
        let hello = Hello {
            version: VERSION,
            server: format!("supervise {}", env!("CARGO_PKG_VERSION")),
            daemon: self.session.clone(),
        };
        let control = Control::new(listener, Admission { group: None }, hello, &poller)?;
        poller.add(board.events(), QUESTIONS, Interest::READ)?;
        let desk = Desk {
            run: self,
            since_unix_ms: unix_ms(),
            poller,
            control,
            board,
            on_question: Box::new(on_question),
            told: None,
        };
        let thread = std::thread::Builder::new().name("control".to_owned());
        let started = thread.spawn(move || {
            let is_alone = sys::signals::block_all().is_ok()
                && sys::caps::restrict_thread(CapSet::EMPTY).is_ok();
            if is_alone {
                // What is not served any more is not answered: the run refuses it when its time is over.
                let _failed = desk.serve();
            }
        });
        started.map(drop).map_err(|_| Errno::EAGAIN)
    }
}

struct Desk {
    run: Lone,
    since_unix_ms: u64,
    poller: Poller,
    control: Control,
    board: Arc<Board>,
    on_question: Box<dyn Fn() + Send>,
    /// When that was last called.
    told: Option<Instant>,
}

impl Desk {
    fn serve(mut self) -> Result<(), Errno> {
        let (mut ready, mut asked) = (Vec::new(), Vec::new());
        loop {
            self.poller.wait(self.control.due(), &mut ready)?;
            let now = Instant::now();
            for one in ready.drain(..) {
                if one.token != QUESTIONS {
                    self.control.on_ready(&self.poller, one, now, &mut asked)?;
                    continue;
                }
                for event in self.board.news() {
                    let is_new = self.told.is_none_or(|told| now - told >= QUIET);
                    if is_new && matches!(event, Event::WaitingForApproval(_)) {
                        self.told = Some(now);
                        (self.on_question)();
                    }
                    self.control.tell(&self.poller, event)?;
                }
            }
            // Who is let in later is let in later.
            let _later = self.control.tick(&self.poller, now);
            while !asked.is_empty() {
                for one in std::mem::take(&mut asked) {
                    self.answer(one, &mut asked)?;
                }
            }
            self.control.take_gone();
        }
    }

    fn answer(&mut self, one: Asked, asked: &mut Vec<Asked>) -> Result<(), Errno> {
        let Asked {
            client,
            id,
            request,
            by,
            ..
        } = one;
        let board = &self.board;
        let outcome = match request {
            ControlRequest::Subscribe { after } => {
                let poller = &self.poller;
                return self.control.subscribe(poller, client, id, after, asked);
            }
            ControlRequest::Status { .. } => Ok(json!(self.status())),
            ControlRequest::Questions {} => Ok(json!(waiting(board))),
            ControlRequest::Approve {
                question,
                remember_ms,
                for_session,
                scope,
            } => say(
                board,
                question,
                Say::Yes(hold(remember_ms, for_session), scope),
                by,
            ),
            ControlRequest::Refuse {
                question,
                for_session,
            } => say(board, question, refusal(for_session), by),
            ControlRequest::Grants { worker } => self
                .is_meant(worker.as_deref())
                .map(|()| json!(holding(board, &Which::All(None)))),
            ControlRequest::Revoke {
                grant,
                path,
                all,
                worker,
                ask_again,
            } => self
                .is_meant(worker.as_deref())
                .and_then(|()| which(grant, path, all, None))
                .and_then(|which| take_back(board, &which, by, !ask_again))
                .map(|grants| json!(grants)),
            _ => Err(Fault::new(
                FaultCode::UnknownRequest,
                "that is asked of a daemon, and this is one run",
            )),
        };
        let response = match outcome {
            Ok(data) => ControlResponse::done(id, data),
            Err(fault) => ControlResponse::refused(Some(id), fault),
        };
        self.control.answer(&self.poller, client, response, asked)
    }

    /// Whether a request means this run.
    fn is_meant(&self, worker: Option<&str>) -> Result<(), Fault> {
        match worker {
            Some(name) if name != self.run.session => Err(Fault::new(
                FaultCode::UnknownWorker,
                format!("this is the run `{}`", self.run.session),
            )),
            _ => Ok(()),
        }
    }

    fn status(&self) -> Status {
        let run = &self.run;
        let worker = WorkerStatus {
            id: run.session.clone(),
            kind: "run".to_owned(),
            state: LifecycleState::Running,
            desired: true,
            pid: u32::try_from(run.pid).ok(),
            instance: None,
            endpoint: None,
            since_unix_ms: self.since_unix_ms,
            reattached: false,
            verified: None,
            speaks: false,
            degraded: None,
            auto_restart: false,
            restart_attempt: 0,
            sid: None,
            jobs: 0,
            last_exit: None,
            stop_reason: None,
            detail: Some(run.command.clone()),
        };
        Status {
            schema: SCHEMA,
            daemon: DaemonStatus {
                pid: std::process::id(),
                keeper_pid: None,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                daemon: run.session.clone(),
                since_unix_ms: self.since_unix_ms,
                config: None,
                queued: 0,
                questions: self.board.questions().len() as u64,
            },
            workers: vec![worker],
            more: None,
        }
    }
}
