//! Who answers questions, and the queue before them.
//!
//! In come questions, out come answers, some time later. Nothing here waits: whoever answers is a descriptor in the
//! broker's poll. Whatever goes wrong with an approver is a no.

mod clerk;
mod command;
mod terminal;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use protocol::Scope;

use super::Ticket;
use super::board::{Hold, Seat};
use super::question::Question;
use crate::audit::Answerer;
use crate::policy::{Approver, BrokerRules};

pub use clerk::{Clerk, Proposal, Wanted};
use command::Program;
use sys::command::Starter;
use terminal::Prompt;

/// Questions that wait for their turn. A person with so many before them is not reading any more.
const QUEUE: usize = 32;

/// Programs that may consider a question at the same time.
const PROGRAMS: usize = 4;

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes {
        hold: Hold,
        /// For whom, if that was said.
        scope: Option<Scope>,
        by: Option<Answerer>,
        /// What more was done, for the record.
        note: Option<&'static str>,
    },
    No {
        why: &'static str,
        by: Option<Answerer>,
        /// The same is not to be asked again in this session.
        is_final: bool,
    },
    /// Nobody answered in time.
    Late,
}

impl Answer {
    /// A yes of nobody in particular, for as long and for whom the rule says.
    const YES: Self = Self::yes(None);

    /// The same, for whom it is said.
    const fn yes(scope: Option<Scope>) -> Self {
        Self::Yes {
            hold: Hold::AsRuled,
            scope,
            by: None,
            note: None,
        }
    }

    /// A no for the rest of the session.
    const NEVER: Self = Self::never(None);

    pub(super) const fn never(by: Option<Answerer>) -> Self {
        Self::No {
            why: NEVER_AGAIN,
            by,
            is_final: true,
        }
    }

    /// A no of nobody in particular.
    const fn no(why: &'static str) -> Self {
        Self::No {
            why,
            by: None,
            is_final: false,
        }
    }
}

/// Why something is refused that was refused for good.
pub(super) const NEVER_AGAIN: &str = "the operator refused it for the rest of the session";

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Answered(Answer),
    /// It will be answered.
    Taken,
    /// Too many questions wait already.
    Full,
}

/// The approver and those who stand in line.
#[derive(Debug)]
pub(super) struct Desk {
    approver: Approver,
    /// Where a program answers.
    starter: Option<Starter>,
    /// Where operators of a daemon answer.
    seat: Option<Seat>,
    /// Who keeps the policy, where a person at the terminal may have it say more.
    clerk: Option<Arc<dyn Clerk>>,
    timeout: Duration,
    queue: VecDeque<(Ticket, Question)>,
    running: Vec<Running>,
    /// Those that could not be put to the approver, until [`Desk::answers`] hands them out.
    refused: Vec<(Ticket, Answer)>,
}

#[derive(Debug)]
struct Running {
    ticket: Ticket,
    deadline: Instant,
    teller: Teller,
}

/// Somebody who considers one question.
#[derive(Debug)]
enum Teller {
    Program(Program),
    Prompt(Box<Prompt>),
}

impl Teller {
    /// What says that there may be an answer. A prompt is read and written until it takes no more; a process ends once and stays so.
    fn fds(&self) -> Vec<(BorrowedFd<'_>, EpollFlags)> {
        let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        match self {
            Self::Program(program) => vec![(program.fd(), EpollFlags::EPOLLIN)],
            Self::Prompt(prompt) => {
                let [terminal, bell] = prompt.fds();
                vec![(terminal, edges), (bell, EpollFlags::EPOLLIN)]
            }
        }
    }

    /// Whether it has begun to wait for something else.
    fn take_new(&mut self) -> bool {
        match self {
            Self::Program(_) => false,
            Self::Prompt(prompt) => prompt.take_new(),
        }
    }

    /// The answer, once there is one.
    fn answer(&mut self) -> Option<Answer> {
        match self {
            Self::Program(program) => program.answer(),
            Self::Prompt(prompt) => prompt.answer(),
        }
    }

    /// Nobody waits for the answer any more.
    fn end(self, why: &str) {
        match self {
            Self::Program(program) => program.end(),
            Self::Prompt(prompt) => prompt.end(why),
        }
    }
}

impl Desk {
    /// To be made before the thread that serves gives up its capabilities.
    pub fn new(rules: &BrokerRules, seat: Option<Seat>) -> Result<Self, Errno> {
        let starter = match rules.approver {
            Approver::Command(_) => Some(Starter::new().map_err(|_| Errno::EAGAIN)?),
            Approver::Deny | Approver::Allow | Approver::Terminal | Approver::Control => None,
        };
        Ok(Self {
            approver: rules.approver.clone(),
            starter,
            seat: seat.filter(|_| rules.approver == Approver::Control),
            clerk: None,
            timeout: rules.timeout,
            queue: VecDeque::new(),
            running: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// From here on a person at the terminal may have the policy say more.
    pub fn consult(&mut self, clerk: Arc<dyn Clerk>) {
        self.clerk = Some(clerk);
    }

    /// Whether a question stands on the terminal.
    pub fn is_on_terminal(&self) -> bool {
        let is_prompt = |running: &Running| matches!(running.teller, Teller::Prompt(_));
        self.running.iter().any(is_prompt)
    }

    /// Takes a question. Its time begins when it is put to the approver.
    pub fn ask(&mut self, ticket: Ticket, question: Question, poll: &Epoll) -> Asked {
        match self.approver {
            Approver::Deny => Asked::Answered(Answer::no("there is nobody to ask")),
            Approver::Allow => Asked::Answered(Answer::YES),
            Approver::Control => match &mut self.seat {
                None => Asked::Answered(Answer::no("there is no control socket to ask over")),
                Some(seat) => match seat.post(ticket, question, self.timeout) {
                    true => Asked::Taken,
                    false => Asked::Full,
                },
            },
            Approver::Terminal | Approver::Command(_) if self.queue.len() >= QUEUE => Asked::Full,
            Approver::Terminal | Approver::Command(_) => {
                self.queue.push_back((ticket, question));
                self.advance(poll);
                let own = self.refused.iter().position(|(other, _)| *other == ticket);
                match own {
                    Some(at) => Asked::Answered(self.refused.swap_remove(at).1),
                    None => Asked::Taken,
                }
            }
        }
    }

    /// The answers that are there by now. Who stands in line is asked by [`Desk::advance`].
    pub fn answers(&mut self, poll: &Epoll) -> Vec<(Ticket, Answer)> {
        let now = Instant::now();
        let mut answered = Vec::new();
        let mut at = 0;
        while let Some(running) = self.running.get_mut(at) {
            let answer = match running.teller.answer() {
                Some(answer) => answer,
                // The person is there, and has something else to read.
                None if running.teller.take_new() => {
                    running.deadline = now + self.timeout;
                    at += 1;
                    continue;
                }
                None if running.deadline <= now => Answer::Late,
                None => {
                    at += 1;
                    continue;
                }
            };
            let running = self.running.swap_remove(at);
            leave(poll, &running);
            if answer == Answer::Late {
                running.teller.end("no answer in time, refused");
            }
            answered.push((running.ticket, answer));
        }
        answered.append(&mut self.refused);
        answered.extend(self.seat.iter_mut().flat_map(Seat::answers));
        answered
    }

    /// Forgets a question, and says why to whoever considers it. Who stands in line is asked by [`Desk::advance`].
    pub fn cancel(&mut self, ticket: Ticket, poll: &Epoll, why: &str) {
        self.queue.retain(|(other, _)| *other != ticket);
        if let Some(seat) = &mut self.seat {
            seat.withdraw(ticket);
        }
        if let Some(at) = self.running.iter().position(|one| one.ticket == ticket) {
            let running = self.running.swap_remove(at);
            leave(poll, &running);
            running.teller.end(why);
        }
    }

    /// When there is something to do although no descriptor says so.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.refused.is_empty() {
            return Some(Instant::now());
        }
        let running = self.running.iter().map(|running| running.deadline);
        let posted = self.seat.iter().filter_map(Seat::deadline);
        running.chain(posted).min()
    }

    /// Puts the next questions to the approver.
    pub fn advance(&mut self, poll: &Epoll) {
        let at_a_time = match self.approver {
            Approver::Command(_) => PROGRAMS,
            _ => 1,
        };
        while self.running.len() < at_a_time {
            let Some((ticket, question)) = self.queue.pop_front() else {
                break;
            };
            match self.put(ticket, question, poll) {
                Ok(running) => self.running.push(running),
                Err(why) => self.refused.push((ticket, Answer::no(why))),
            }
        }
    }

    fn put(
        &self,
        ticket: Ticket,
        question: Question,
        poll: &Epoll,
    ) -> Result<Running, &'static str> {
        let teller = match (&self.approver, &self.starter) {
            (Approver::Command(command), Some(starter)) => {
                Teller::Program(Program::start(starter, command, &question, self.timeout)?)
            }
            _ => Teller::Prompt(Box::new(Prompt::start(
                terminal::open()?,
                question,
                self.clerk.clone(),
                self.timeout,
            )?)),
        };
        let mut fds = teller.fds().into_iter();
        let joined = fds.try_for_each(|(fd, flags)| poll.add(fd, EpollEvent::new(flags, ticket.0)));
        drop(fds);
        match joined {
            Ok(()) => Ok(Running {
                ticket,
                deadline: Instant::now() + self.timeout,
                teller,
            }),
            Err(_) => {
                teller.end("the question cannot be waited for");
                Err("the approver cannot be waited for")
            }
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for running in self.running.drain(..) {
            running.teller.end("the run is over");
        }
    }
}

/// A descriptor that is still open elsewhere stays in the poll until it is taken out.
fn leave(poll: &Epoll, running: &Running) {
    for (fd, _) in running.teller.fds() {
        match poll.delete(fd) {
            Ok(()) | Err(Errno::ENOENT | Errno::EBADF) => {}
            Err(error) => debug_assert!(false, "epoll_ctl: {error}"),
        }
    }
}
