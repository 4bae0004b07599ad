//! The course of a claim: from what was located to a file or a refusal, one step after the other.
//!
//! Each step says how the case goes on, and none waits: what may wait is handed to others, and goes on from where they come back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use protocol::{Code, Create, OpenFlags, Scope};
use sys::errand::{Act, Errand};
use sys::openat2::Lookup;

use super::approver::{Answer, Asked, NEVER_AGAIN};
use super::grant::{self, Patience};
use super::ledger::Terms;
use super::locate::{self, Located, Lost};
use super::outcome::{Grant, Outcome, Refusal};
use super::question::{self, Question};
use super::record::{self, decision};
use super::remembered::Term;
use super::{ATTEMPTS, Broker, Case, FIFOS, Found, SLOW, Stage, Step, Ticket, WAITING, Waiting};
use crate::audit::{Answer as Recorded, Decision, Event, Log, TAKEN_BACK};
use crate::policy::{Allowed, Mechanism, Origin, Question as Asks, Verdict};

impl Broker {
    /// Decides on what was located.
    pub(super) fn judge(
        &mut self,
        log: &mut Log,
        mut case: Case,
        found: Result<Located, Lost>,
        attempt: usize,
    ) -> Step {
        let located = match found {
            Ok(located) => located,
            Err(Lost::Slow) => return self.locate_aside(case),
            Err(Lost::Refused(refusal)) => return refuse(case, refusal),
        };
        case.path = Some(located.path().to_owned());
        let mut access = case.claim.access;
        if matches!(located.object, locate::Object::New { .. }) {
            // To make a file is to write, whatever it is then opened for.
            access |= crate::policy::Access::WRITE;
        }
        let verdict = self.ruleset.decide_open(&located.subject(), access);
        self.follow(log, case, located, (access, verdict), attempt)
    }

    /// Does as the rules say.
    pub(super) fn follow(
        &mut self,
        log: &mut Log,
        mut case: Case,
        located: Located,
        (access, verdict): (crate::policy::Access, Verdict),
        attempt: usize,
    ) -> Step {
        match verdict {
            Verdict::Allow(allowed) => self.open(log, case, located, allowed, attempt),
            Verdict::Deny(denial) => refuse(case, Refusal::denied(denial)),
            Verdict::Ask(asks) if self.is_taken_back(log, &located, &asks) => {
                taken_back(case, asks.rule)
            }
            Verdict::Ask(asks) if case.claim.is_once => {
                let asks = Asks {
                    scope: Some(Scope::Once),
                    ..asks
                };
                self.ask(log, case, located, asks)
            }
            Verdict::Ask(asks) => {
                match self
                    .remembered
                    .find(&located, access, &asks.rule, &case.asker)
                {
                    Some(approval) => {
                        case.answered_by = approval.terms.by;
                        case.scope = Some(approval.terms.scope);
                        case.approval = approval.slip.clone();
                        let left = approval.terms.left();
                        self.open(log, case, located, allowed_by(&asks, left), attempt)
                    }
                    None => self.ask(log, case, located, asks),
                }
            }
        }
    }

    /// The object stays open while the operator thinks: that one is granted, not its name.
    fn ask(&mut self, log: &mut Log, mut case: Case, located: Located, asks: Asks) -> Step {
        if let Some(refused) = self.refusals.find(&located, &case.claim, &asks.rule) {
            case.answered_by = refused.by;
            return refuse(case, never_again(asks.rule));
        }
        if self.waiting.len() >= WAITING {
            return refuse(case, full());
        }
        if self.is_spent(&asks.rule, asks.budget) {
            return refuse(case, spent(asks.rule));
        }
        if !question::can_be_shown(&located, &case.claim) {
            let why = "its names are too long to be shown together";
            return refuse(case, Refusal::usual(Code::Limit).explained(why));
        }
        let event = Event::Decision(Decision {
            rule: Some(&asks.rule),
            ..decision(&case, Recorded::Asked)
        });
        if log.record(&event).is_err() {
            return refuse(case, unrecorded());
        }
        let question = Question::new(&located, &case.claim, &case.asker, &asks);
        match self.desk.ask(case.ticket, question, &self.poll) {
            Asked::Answered(answer) => self.heed(log, case, located, asks, answer),
            Asked::Full => refuse(case, full()),
            Asked::Taken => {
                let stage = Stage::Asking { located, asks };
                self.waiting.insert(case.ticket, Waiting { case, stage });
                None
            }
        }
    }

    /// Does as the approver said.
    fn heed(
        &mut self,
        log: &mut Log,
        mut case: Case,
        located: Located,
        asks: Asks,
        answer: Answer,
    ) -> Step {
        match answer {
            // An operator may think better of it. A program that was asked before one took it back knows nothing of that.
            Answer::Yes { by: None, .. } if self.is_taken_back(log, &located, &asks) => {
                taken_back(case, asks.rule)
            }
            Answer::Yes {
                hold,
                scope,
                by,
                note,
            } => {
                case.answered_by = by;
                case.note = note;
                let term = Term::of(hold, scope, &asks).filter(|_| !case.claim.is_once);
                case.scope = Some(term.map_or(Scope::Once, |term| term.scope));
                let terms = term.and_then(|term| terms(&case, &located, &asks, term));
                if let Some(terms) = terms {
                    let pages = self.pages.as_ref();
                    case.approval = self.remembered.keep(&located, terms, pages);
                }
                let left = term.and_then(|term| term.length);
                // What was to be made and is there by now is not what the operator agreed to: no further attempt.
                self.open(log, case, located, allowed_by(&asks, left), ATTEMPTS)
            }
            Answer::No { why, by, is_final } => {
                case.answered_by = by;
                if is_final {
                    self.refusals.keep(&located, &case.claim, &asks.rule, by);
                }
                let refusal = Refusal::usual(Code::AskRefused).by(asks.rule);
                refuse(case, refusal.explained(why))
            }
            Answer::Late => refuse(case, Refusal::usual(Code::AskTimeout).by(asks.rule)),
        }
    }

    /// Those that need not be asked about any more, since the same was answered for longer.
    pub(super) fn answered_too(&mut self, log: &mut Log) -> Vec<(Case, Outcome)> {
        let (remembered, refusals) = (&self.remembered, &self.refusals);
        let is_answered = |_: &Ticket, waiting: &mut Waiting| match &waiting.stage {
            Stage::Asking { located, asks } => {
                let claim = &waiting.case.claim;
                let asker = &waiting.case.asker;
                let found = || remembered.find(located, claim.access, &asks.rule, asker);
                refusals.find(located, claim, &asks.rule).is_some()
                    || (!claim.is_once && found().is_some())
            }
            _ => false,
        };
        let answered: Vec<Waiting> = self
            .waiting
            .extract_if(is_answered)
            .map(|(_, waiting)| waiting)
            .collect();
        let mut steps = Vec::new();
        for Waiting { case, stage } in answered {
            if let Stage::Asking { located, asks } = stage {
                let why = "the same was answered by now";
                self.desk.cancel(case.ticket, &self.poll, why);
                let access = case.claim.access;
                steps.extend(self.follow(
                    log,
                    case,
                    located,
                    (access, Verdict::Ask(asks)),
                    ATTEMPTS,
                ));
            }
        }
        steps
    }

    /// Opens what was decided on.
    fn open(
        &mut self,
        log: &mut Log,
        case: Case,
        located: Located,
        allowed: Allowed,
        attempt: usize,
    ) -> Step {
        if self.is_spent(&allowed.rule, allowed.budget) {
            return refuse(case, spent(allowed.rule));
        }
        // Counted before it is known to succeed, lest many that are slow all find the last one free.
        *self.spent.entry(allowed.rule.clone()).or_default() += 1;
        let changes = case.claim.create != Create::No || case.claim.has(OpenFlags::TRUNCATE);
        if changes && log.ready().is_err() {
            return refuse(case, unrecorded());
        }
        if grant::waits_for_another(&located, &case.claim) {
            return self.meet(case, &located, allowed);
        }
        if located.may_wait() {
            return self.open_aside(case, located, allowed, attempt);
        }
        match grant::open(&located, &case.claim, &case.asker, Patience::None) {
            Err(Errno::EAGAIN) => self.open_aside(case, located, allowed, attempt),
            result => self.opened(log, case, result, allowed, attempt),
        }
    }

    fn opened(
        &mut self,
        log: &mut Log,
        case: Case,
        result: Result<OwnedFd, Errno>,
        allowed: Allowed,
        attempt: usize,
    ) -> Step {
        match result {
            Ok(fd) => {
                let grant = Grant {
                    fd,
                    rule: allowed.rule,
                    mechanism: allowed.mechanism,
                    expires: allowed.ttl,
                };
                Some((case, Outcome::Granted(grant)))
            }
            // Made by somebody else meanwhile: then it is that which is asked for. A decision of its own.
            Err(Errno::EEXIST)
                if case.claim.create == Create::Yes
                    && case.claim.call.is_none()
                    && attempt < ATTEMPTS =>
            {
                self.give_back(&allowed);
                let found = locate::locate(&case.claim, &case.asker, Lookup::Cached);
                self.judge(log, case, found, attempt + 1)
            }
            Err(errno) => self.unspent(case, &allowed, Refusal::failed(errno)),
        }
    }

    /// Opens one end of a FIFO, which lasts until somebody opens the other, or nobody waits for it any more.
    fn meet(&mut self, case: Case, located: &Located, allowed: Allowed) -> Step {
        if case.claim.is_alone {
            let refusal = Refusal::new(Code::Failed, Errno::EAGAIN).explained(
                "all programs here ask over one connection: a FIFO is opened with `nonblock` over it, or for both",
            );
            return self.unspent(case, &allowed, refusal);
        }
        let fifos = self.waiting.values().filter(|waiting| waiting.meets());
        if self.waiting.len() >= WAITING || fifos.count() >= FIFOS {
            return self.unspent(case, &allowed, full());
        }
        // An end that nobody has any more would keep whoever opens the other waiting.
        let Some(watched) = case.asker.watched() else {
            return self.unspent(case, &allowed, gone());
        };
        let flags = grant::flags_of(&case.claim);
        let joined = |fd: BorrowedFd<'_>| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, case.ticket.0);
            self.poll.add(fd, event)
        };
        let begun = located
            .hold()
            .and_then(|fifo| Errand::start(fifo, Act::Open(flags), &[]));
        let begun = begun.and_then(|errand| {
            joined(errand.as_fd())?;
            joined(watched.as_fd())?;
            Ok(errand)
        });
        match begun {
            Ok(errand) => {
                let stage = Stage::Meeting { errand, allowed };
                self.waiting.insert(case.ticket, Waiting { case, stage });
                None
            }
            Err(errno) => self.unspent(case, &allowed, Refusal::failed(errno)),
        }
    }

    /// What came of those that waited for the other ends of FIFOs.
    pub(super) fn met(&mut self, log: &mut Log) -> Vec<(Case, Outcome)> {
        let is_over = |_: &Ticket, waiting: &mut Waiting| match &waiting.stage {
            Stage::Meeting { errand, .. } => {
                let watched = waiting.case.asker.watched();
                let is_gone = watched.is_none_or(|process| process.has_exited() != Ok(false));
                is_gone || errand.answer().is_some()
            }
            _ => false,
        };
        let over: Vec<Waiting> = self
            .waiting
            .extract_if(is_over)
            .map(|(_, over)| over)
            .collect();
        for waiting in &over {
            self.watch_no_more(&waiting.case);
        }
        let end = |Waiting { case, stage }| match stage {
            Stage::Meeting { errand, allowed } => match errand.give_up_open() {
                Err(Errno::EINTR) => self.unspent(case, &allowed, gone()),
                result => self.opened(log, case, result, allowed, ATTEMPTS),
            },
            _ => None,
        };
        over.into_iter().filter_map(end).collect()
    }

    /// It may be held elsewhere, and would wake us for ever.
    pub(super) fn watch_no_more(&self, case: &Case) {
        if let Some(watched) = case.asker.watched() {
            // Most are not watched at all.
            let _left = self.poll.delete(watched.as_fd());
        }
    }

    /// A refusal after all: the rule gave nothing.
    fn unspent(&mut self, case: Case, allowed: &Allowed, refusal: Refusal) -> Step {
        self.give_back(allowed);
        refuse(case, refusal)
    }

    fn give_back(&mut self, allowed: &Allowed) {
        if let Some(spent) = self.spent.get_mut(&allowed.rule) {
            *spent = spent.saturating_sub(1);
        }
    }

    fn locate_aside(&mut self, case: Case) -> Step {
        let (ticket, claim, asker) = (case.ticket, Arc::clone(&case.claim), case.asker.clone());
        let job = move || {
            let found = match locate::locate(&claim, &asker, Lookup::Full) {
                Err(Lost::Slow) => Err(Lost::Refused(Refusal::failed(Errno::EAGAIN))),
                found => found,
            };
            (ticket, Found::Located(found))
        };
        let deadline = Instant::now() + SLOW;
        self.aside(case, Stage::Locating { deadline }, job)
    }

    fn open_aside(
        &mut self,
        case: Case,
        located: Located,
        allowed: Allowed,
        attempt: usize,
    ) -> Step {
        let (ticket, claim, asker) = (case.ticket, Arc::clone(&case.claim), case.asker.clone());
        let job = move || {
            let opened = grant::open(&located, &claim, &asker, Patience::Whatever);
            (ticket, Found::Opened(opened, located))
        };
        let deadline = Instant::now() + SLOW;
        let stage = Stage::Opening {
            deadline,
            allowed,
            attempt,
        };
        self.aside(case, stage, job)
    }

    fn aside(
        &mut self,
        case: Case,
        stage: Stage,
        job: impl FnOnce() -> (Ticket, Found) + Send + 'static,
    ) -> Step {
        if self.waiting.len() >= WAITING || self.slow.submit(job).is_err() {
            return refuse(case, full());
        }
        self.waiting.insert(case.ticket, Waiting { case, stage });
        None
    }

    /// What was found out aside. Of a claim that is forgotten by now the file is closed here.
    pub(super) fn found(&mut self, log: &mut Log, ticket: Ticket, found: Found) -> Step {
        let Waiting { case, stage } = self.waiting.remove(&ticket)?;
        match (found, stage) {
            (Found::Located(found), Stage::Locating { .. }) => self.judge(log, case, found, 0),
            (
                Found::Opened(result, _located),
                Stage::Opening {
                    allowed, attempt, ..
                },
            ) => self.opened(log, case, result, allowed, attempt),
            // It waits for something else by now.
            (_, stage) => {
                self.waiting.insert(ticket, Waiting { case, stage });
                None
            }
        }
    }

    pub(super) fn answered(&mut self, log: &mut Log, ticket: Ticket, answer: Answer) -> Step {
        let Waiting { case, stage } = self.waiting.remove(&ticket)?;
        match stage {
            Stage::Asking { located, asks } => self.heed(log, case, located, asks, answer),
            stage => {
                self.waiting.insert(ticket, Waiting { case, stage });
                None
            }
        }
    }

    /// Whether an operator took back what was agreed to about this.
    fn is_taken_back(&mut self, log: &mut Log, located: &Located, asks: &Asks) -> bool {
        self.take_back(log);
        self.remembered.refuses(located, &asks.rule).is_some()
    }

    /// Forgets what operators took back, and records that they did.
    pub(super) fn take_back(&mut self, log: &mut Log) {
        for taken in self.remembered.take_back() {
            record::revoked(log, &taken);
        }
    }

    fn is_spent(&self, rule: &Origin, budget: Option<u32>) -> bool {
        budget.is_some_and(|budget| {
            let spent = self.spent.get(rule).copied().unwrap_or(0);
            spent.saturating_add(self.before.of(rule)) >= budget
        })
    }
}

/// What an approval is for. `None`: it would hold for longer than anybody can say.
fn terms(case: &Case, located: &Located, asks: &Asks, term: Term) -> Option<Terms> {
    let until = match term.length {
        None => None,
        Some(length) => Some(Instant::now().checked_add(length)?),
    };
    let is_for_one = matches!(term.scope, Scope::Process | Scope::Subtree);
    Some(Terms {
        path: located.path().to_owned(),
        access: case.claim.access,
        rule: asks.rule.clone(),
        scope: term.scope,
        process: case.asker.identity().filter(|_| is_for_one),
        until,
        door: record::door(&case.claim),
        asker: case.asker.clone(),
        by: case.answered_by,
    })
}

fn taken_back(case: Case, rule: Origin) -> Step {
    let refusal = Refusal::usual(Code::AskRefused).by(rule);
    refuse(case, refusal.explained(TAKEN_BACK))
}

fn allowed_by(asks: &Asks, ttl: Option<Duration>) -> Allowed {
    Allowed {
        rule: asks.rule.clone(),
        ttl,
        budget: asks.budget,
        mechanism: Mechanism::Broker,
    }
}

fn refuse(case: Case, refusal: Refusal) -> Step {
    Some((case, Outcome::Refused(refusal)))
}

fn full() -> Refusal {
    Refusal::usual(Code::Limit).explained("too many requests wait already")
}

fn spent(rule: Origin) -> Refusal {
    let refusal = Refusal::usual(Code::Limit).by(rule);
    refusal.explained("the rule's budget is used up")
}

fn never_again(rule: Origin) -> Refusal {
    let refusal = Refusal::usual(Code::AskRefused).by(rule);
    refusal.explained(NEVER_AGAIN)
}

pub(super) fn gone() -> Refusal {
    Refusal::usual(Code::Unavailable).explained("the program that asked is gone")
}

fn unrecorded() -> Refusal {
    Refusal::usual(Code::Unavailable).explained("it could not be recorded")
}
