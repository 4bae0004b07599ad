//! The person at the terminal.
//!
//! The question goes to `/dev/tty`, opened for it alone: never to the child's standard streams. What was typed before is
//! discarded, and only an answer that was offered, alone on its line, does more than refuse.
//!
//! A child in the foreground reads from the same terminal and writes to it. What it reads we do not get: then the question
//! is late, and late is no. What it writes may look like anything, a question of its own included, and a person who
//! answers that with `y` has answered ours, if ours is there. So what is sensitive is allowed only by its name, which the
//! person types: whoever was shown another one types another one. What was allowed is said once more afterwards. Where children are
//! not to be trusted with the screen, have the questions answered elsewhere: by a program, or over the control socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, read, write};
use sys::terminal::Size;

use super::Answer;
use super::clerk::{Clerk, Errand, Proposal};
use crate::audit::Printable;
use crate::broker::board::Hold;
use crate::broker::question::Question;

/// No answer is so long: a name has 255 bytes, and each may be shown as four characters.
const LONGEST: usize = 1024;

/// A question that stands on the terminal.
#[derive(Debug)]
pub(super) struct Prompt {
    terminal: OwnedFd,
    /// Rings when the clerk is done.
    bell: Arc<EventFd>,
    question: Question,
    clerk: Option<Arc<dyn Clerk>>,
    timeout: Duration,
    stage: Stage,
    /// It is another stage than when this was last asked.
    is_new: bool,
    unsent: Vec<u8>,
    /// The line in which the answer is typed, until its turn comes.
    prompt: Option<String>,
    typed: Vec<u8>,
    /// What went wrong at the start.
    failed: Option<Answer>,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// The answer.
    Asked,
    /// What the clerk says to it.
    Proposing(Errand<Result<Proposal, String>>),
    /// The word to write it.
    Proposed(Proposal),
    /// The name of what is sensitive.
    Naming(Consent),
    /// The clerk writes it.
    Writing(Errand<Result<(), String>>),
}

/// What the person agreed to.
#[derive(Debug)]
enum Consent {
    /// This.
    Once,
    /// This, for the rest of the run.
    Run,
    /// This, also in the runs to come.
    Policy(Proposal),
}

/// The terminal that controls this process, if it is in the foreground there: in the background to ask would stop us.
pub(super) fn open() -> Result<OwnedFd, &'static str> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let terminal = open_file("/dev/tty", flags, Mode::empty())
        .map_err(|_| "there is no terminal to ask at")?;
    if is_in_foreground(&terminal) {
        Ok(terminal)
    } else {
        Err("the run is in the background of its terminal")
    }
}

/// Whether to read, to write and to flush is ours. In the background the kernel would stop us, and with us everybody's
/// claims. (The shell may take the terminal away between this look and the call; then that is what happens.)
fn is_in_foreground(terminal: &OwnedFd) -> bool {
    sys::terminal::foreground(terminal.as_fd()) == Some(getpgrp())
}

impl Prompt {
    pub fn start(
        terminal: OwnedFd,
        question: Question,
        clerk: Option<Arc<dyn Clerk>>,
        timeout: Duration,
    ) -> Result<Self, &'static str> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(|_| "there are no descriptors left")?;
        let text = question.text();
        let mut prompt = Self {
            bell: Arc::new(bell),
            question,
            clerk,
            timeout,
            stage: Stage::Asked,
            is_new: false,
            unsent: Vec::new(),
            prompt: None,
            typed: Vec::new(),
            failed: None,
            terminal,
        };
        let line = prompt.answers(prompt.clerk.is_some());
        prompt.failed = match prompt.fits(&text, &line) {
            // What has moved off the screen is not read.
            false => Some(Answer::no(
                "the question is longer than the terminal is high",
            )),
            true => prompt.show(&text, line),
        };
        Ok(prompt)
    }

    /// What may say that there is an answer.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.terminal.as_fd(), self.bell.as_fd()]
    }

    /// Whether it waits for something else than when this was last asked, and so may take its time anew.
    pub fn take_new(&mut self) -> bool {
        std::mem::take(&mut self.is_new)
    }

    /// Whether all of it can be seen at once.
    fn fits(&self, text: &str, line: &str) -> bool {
        let size = sys::terminal::size(self.terminal.as_fd()).unwrap_or(Size::USUAL);
        let columns = usize::from(size.columns).max(1);
        // A character that is shown in two columns takes three bytes.
        let rows = |line: &str| line.len().div_ceil(columns).max(1);
        let all: usize = text.split("\r\n").chain([line]).map(rows).sum();
        all <= usize::from(size.rows)
    }

    /// What can be answered.
    fn answers(&self, can_be_kept: bool) -> String {
        let mut answers = match self.question.is_once() {
            true => "y: this once".to_owned(),
            false => "y: yes".to_owned(),
        };
        if let Some(whom) = self.question.for_longer() {
            answers.push_str(&format!(", r: {whom}"));
        }
        if can_be_kept {
            answers.push_str(", p: also in the policy");
        }
        format!(
            "Allow it? {answers}; d: never in this run; anything else refuses, and so do {} s: ",
            self.timeout.as_secs()
        )
    }

    /// Shows a text, and then the line in which the answer is typed.
    fn show(&mut self, text: &str, line: String) -> Option<Answer> {
        self.unsent = text.as_bytes().to_vec();
        self.prompt = Some(line);
        self.typed.clear();
        self.send()
    }

    /// Shows what is not shown yet. What was typed before the last line came is forgotten.
    fn send(&mut self) -> Option<Answer> {
        loop {
            match write(&self.terminal, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(_) => return Some(Answer::no("the question cannot be shown")),
            }
            if !self.unsent.is_empty() {
                continue;
            }
            let prompt = self.prompt.take()?;
            if tcflush(&self.terminal, FlushArg::TCIFLUSH).is_err() {
                return Some(Answer::no(
                    "what was typed before cannot be told from the answer",
                ));
            }
            self.unsent = prompt.into_bytes();
        }
    }

    pub fn answer(&mut self) -> Option<Answer> {
        if self.failed.is_some() {
            return self.failed.take();
        }
        // EAGAIN: it did not ring.
        let _rung = self.bell.read();
        if !is_in_foreground(&self.terminal) {
            // Until it comes back, or the question is late.
            return None;
        }
        if !self.unsent.is_empty() {
            let failed = self.send();
            if failed.is_some() || !self.unsent.is_empty() {
                return failed;
            }
        }
        loop {
            let answer = match &self.stage {
                Stage::Proposing(errand) => match errand.result()? {
                    Ok(Ok(proposal)) => self.proposed(proposal),
                    Ok(Err(why)) => self.again(&why),
                    Err(why) => self.again(why),
                },
                Stage::Writing(errand) => match errand.result()? {
                    Ok(Ok(())) => Some(self.yes(Hold::Session, Some(ADDED))),
                    Ok(Err(why)) => self.again(&why),
                    Err(why) => self.again(why),
                },
                Stage::Asked | Stage::Proposed(_) | Stage::Naming(_) => match self.line() {
                    Ok(line) => self.typed(&line?),
                    Err(why) => Some(Answer::no(why)),
                },
            };
            if answer.is_some() {
                return answer;
            }
        }
    }

    /// The line that was typed, when it is there.
    fn line(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        let mut bytes = [0; LONGEST];
        loop {
            match read(&self.terminal, &mut bytes) {
                Ok(0) => return Err("the terminal is gone"),
                Ok(count) => self.typed.extend_from_slice(&bytes[..count]),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(None),
                // EIO: in the background, where nobody can be asked.
                Err(_) => return Err("the terminal cannot be read"),
            }
            // Enter gives the one or the other, as the child has set up the terminal.
            let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            if let Some(end) = self.typed.iter().position(is_end) {
                let is_all = end + 1 == self.typed.len();
                let mut line = std::mem::take(&mut self.typed);
                line.truncate(end);
                return match is_all {
                    true => Ok(Some(line)),
                    false => Err(REFUSED),
                };
            }
            if self.typed.len() > LONGEST {
                return Err(REFUSED);
            }
        }
    }

    /// What a line means. `None`: there is more to wait for.
    fn typed(&mut self, line: &[u8]) -> Option<Answer> {
        self.is_new = true;
        match (std::mem::replace(&mut self.stage, Stage::Asked), line) {
            (Stage::Asked, b"y") => self.agreed(Consent::Once),
            (Stage::Asked, b"r") if self.question.for_longer().is_some() => {
                self.agreed(Consent::Run)
            }
            (Stage::Asked, b"p") if self.clerk.is_some() => self.propose(),
            (Stage::Asked, b"d") => Some(Answer::NEVER),
            (Stage::Proposed(proposal), b"y") => self.agreed(Consent::Policy(proposal)),
            (Stage::Naming(consent), name) if name == self.name().as_bytes() => self.act(consent),
            _ => Some(Answer::no(REFUSED)),
        }
    }

    /// The last part of the object's name, as it is shown.
    fn name(&self) -> String {
        let path = self.question.path();
        let name = path.file_name().map_or(path, Path::new);
        Printable::from(name).to_string()
    }

    /// Has what is sensitive named first.
    fn agreed(&mut self, consent: Consent) -> Option<Answer> {
        let clerk = self.clerk.as_ref();
        let Some(what) = clerk.and_then(|clerk| clerk.sensitive(self.question.path())) else {
            return self.act(consent);
        };
        self.stage = Stage::Naming(consent);
        self.show(
            &format!("\r\nsupervise: it is a place of {}.\r\n", Printable::from(what.as_str())),
            format!(
                "To allow it, type the last part of its name, {}; anything else refuses, and so do {} s: ",
                self.name(),
                self.timeout.as_secs()
            ),
        )
    }

    fn act(&mut self, consent: Consent) -> Option<Answer> {
        match (consent, &self.clerk) {
            (Consent::Once, _) => Some(self.yes(Hold::AsRuled, None)),
            (Consent::Run, _) => Some(self.yes(Hold::Session, None)),
            (Consent::Policy(proposal), Some(clerk)) => {
                let clerk = Arc::clone(clerk);
                match Errand::start(&self.bell, move || clerk.write(&proposal)) {
                    Ok(errand) => {
                        self.stage = Stage::Writing(errand);
                        None
                    }
                    Err(why) => self.again(why),
                }
            }
            (Consent::Policy(_), None) => Some(Answer::no(REFUSED)),
        }
    }

    /// A yes, which is said once more, lest another question was on the screen.
    fn yes(&self, hold: Hold, note: Option<&'static str>) -> Answer {
        let how = match (hold, note) {
            (_, Some(_)) => "also in the policy",
            (Hold::Session, None) => self.question.for_longer().unwrap_or("as asked"),
            _ => "as asked",
        };
        self.say(&format!("allowed, {how}: {}", self.question.summary()));
        Answer::Yes {
            hold,
            scope: None,
            by: None,
            note,
        }
    }

    /// Asks the clerk what would be written.
    fn propose(&mut self) -> Option<Answer> {
        let Some(wanted) = self.question.wanted() else {
            return self.again(
                "a policy is added to only for files that are there and opened; names that are made, moved or removed are yours to write",
            );
        };
        let clerk = Arc::clone(self.clerk.as_ref()?);
        match Errand::start(&self.bell, move || clerk.propose(&wanted)) {
            Ok(errand) => {
                self.stage = Stage::Proposing(errand);
                None
            }
            Err(why) => self.again(why),
        }
    }

    /// Shows what would be written.
    fn proposed(&mut self, proposal: Proposal) -> Option<Answer> {
        self.is_new = true;
        let file = Printable::from(proposal.file.as_path()).to_string();
        let mut text = format!("\r\nsupervise: this would change {file}:\r\n");
        for line in proposal.shown.lines() {
            text.push_str(&format!("    {}\r\n", Printable::from(line)));
        }
        let line = format!(
            "Write it, and allow? y; anything else refuses, and so do {} s: ",
            self.timeout.as_secs()
        );
        if !self.fits(&text, &line) {
            return self.again("what would change does not fit on the terminal");
        }
        self.stage = Stage::Proposed(proposal);
        self.show(&text, line)
    }

    /// Asks once more, without what did not work.
    fn again(&mut self, why: &str) -> Option<Answer> {
        self.is_new = true;
        self.stage = Stage::Asked;
        self.clerk = None;
        let mut text = format!("\r\nsupervise: not added to the policy: {}\r\n", shown(why));
        text.push_str(&self.question.text());
        let line = self.answers(false);
        self.show(&text, line)
    }

    fn say(&self, what: &str) {
        // Nothing depends on it.
        let _said = write(&self.terminal, format!("supervise: {what}\r\n").as_bytes());
    }

    /// Says that no answer is wanted any more, as far as the terminal takes it.
    pub fn end(self, why: &str) {
        if is_in_foreground(&self.terminal) {
            let _said = write(&self.terminal, b"\r\n");
            self.say(why);
        }
    }
}

const REFUSED: &str = "the operator refused";
const ADDED: &str =
    "the operator allowed it for the rest of the session, and added it to the policy";

/// A text of ours, which may name what strangers named. Its lines stay lines.
fn shown(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| Printable::from(line).to_string())
        .collect();
    lines.join("\r\n")
}
