//! Where the questions of a run are answered from elsewhere: a control socket in its own directory, which no sandbox can reach.

use super::{Failure, ours};
use crate::args::RunArgs;
use crate::commands::daemon::bound;
use crate::hint::shown;
use nix::sys::socket::{Backlog, listen};
use std::io::{IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::audit::Log;
use supervisor::broker::{Board, Seat};
use supervisor::policy::{Approver, Ruleset};
use supervisor::session::Place;
use supervisor::workers::lone::Lone;

/// A run's control socket, in the directory of its session.
pub fn control_socket(place: &Path) -> PathBuf {
    place.join("control.sock")
}

/// A control socket that nobody serves yet.
#[derive(Debug)]
pub struct Desk {
    listener: OwnedFd,
    board: Arc<Board>,
    session: String,
}

impl Desk {
    /// Readies one, where the policy wants questions to be answered so.
    pub fn ready(ruleset: &Ruleset, place: &Place) -> Result<Option<Self>, Failure> {
        if ruleset.broker().approver != Approver::Control {
            return Ok(None);
        }
        let path = control_socket(place.directory());
        let failed = |what: &dyn std::fmt::Display| {
            ours(format!("control socket {}: {what}", path.display()))
        };
        let listener = bound(&path).map_err(|errno| failed(&errno.desc()))?;
        listen(&listener, Backlog::MAXCONN).map_err(|errno| failed(&errno.desc()))?;
        let listener = UnixListener::from(listener);
        listener
            .set_nonblocking(true)
            .map_err(|error| failed(&error))?;
        let board = Board::new().map_err(|errno| failed(&errno.desc()))?;
        Ok(Some(Self {
            listener: listener.into(),
            board,
            session: place.id().to_owned(),
        }))
    }

    /// Serves it from now on, and tells there what is decided. The place is where the run puts its questions.
    /// Unless it is to be quiet, whoever started the run is told that a question waits: not which, since the command could say so, too.
    pub fn open(self, args: &RunArgs, pid: i32, log: &mut Log) -> Result<Seat, Failure> {
        let seat = self.board.seat(&self.session).map_err(ours)?;
        log.tell(Box::new(self.board.announcer(&self.session)));
        let command: Vec<String> = args
            .command
            .iter()
            .take(WORDS)
            .map(|word| shown(Path::new(word)))
            .collect();
        let mut command = command.join(" ");
        if let Some((end, _)) = command.char_indices().nth(LONGEST) {
            command.truncate(end);
            command.push('…');
        }
        let run = Lone {
            session: self.session,
            command,
            pid,
        };
        let is_quiet = args.quiet;
        let on_question = move || {
            if !is_quiet {
                // A closed standard error leaves nobody to tell.
                let mut out = std::io::stderr();
                // A terminal is raw where the command has one of its own that is shown there.
                let end = if out.is_terminal() { "\r\n" } else { "\n" };
                let _unheard = write!(
                    out,
                    "supervise: a question waits to be answered: see `supervise questions` at another terminal{end}"
                );
            }
        };
        run.serve(self.listener, self.board, on_question)
            .map_err(ours)?;
        Ok(seat)
    }
}

/// So much of a command line is shown.
const WORDS: usize = 64;
const LONGEST: usize = 200;
