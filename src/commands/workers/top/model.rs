//! What is known of all that live, and what is being looked at. Nothing here draws, asks or waits.

use super::super::shown;
use super::link::{News, Peer, Told};
use super::rate::{PerSecond, Rate};
use super::text;
use protocol::control::{ControlRequest, DaemonStatus, Event, Question, WorkerStatus};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// So many events are kept.
const EVENTS: usize = 200;

/// For so long a question has to be seen before it can be allowed: what was typed before meant another one.
pub const SEEN: Duration = Duration::from_millis(700);

/// For so long something that was said is shown.
const NOTED: Duration = Duration::from_secs(8);

/// Whether questions can be answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are shown.
    Look,
    /// They can.
    Answer,
}

/// Which question: its number is one of whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Who asks.
    pub peer: Peer,
    /// Its number.
    pub number: u64,
}

/// A question that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which.
    pub id: Id,
    /// What it is.
    pub question: Question,
    /// When it is refused.
    pub deadline: Option<Instant>,
    /// It was answered, and that is on its way.
    pub is_answered: bool,
}

/// What the keys mean just now.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    /// To look around and answer.
    Looking,
    /// The name of what is sensitive is being typed.
    Naming(Box<Naming>),
    /// The keys are explained.
    Help,
}

/// A name that is being typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Naming {
    /// For which question.
    pub id: Id,
    /// What is said when it is typed.
    pub request: ControlRequest,
    /// What has to be typed.
    pub name: String,
    /// Why.
    pub why: String,
    /// What is, by now.
    pub typed: String,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// Nothing: there is no question.
    Nothing,
    /// This question.
    At(Id),
    /// The one that was looked at waits no more, and nobody has said which one is next.
    Gone,
}

/// Who is spoken with, or was, or cannot be.
#[derive(Debug)]
pub struct Partner {
    /// Who.
    pub peer: Peer,
    /// It itself, while it is there and has said so.
    pub daemon: Option<DaemonStatus>,
    /// What it runs.
    pub sessions: Vec<WorkerStatus>,
    /// When it last said something; `None`: it is not there.
    pub heard: Option<Instant>,
    /// Why it cannot be spoken with though it is there.
    pub trouble: Option<String>,
    /// How many more questions it has.
    pub untold: u64,
    rates: Vec<(String, Rate)>,
}

impl Partner {
    /// How often something is decided about a session.
    pub fn per_second(&self, session: &str, now: Instant) -> PerSecond {
        let rate = self.rates.iter().find(|(name, _)| name == session);
        rate.map(|(_, rate)| rate.per_second(now))
            .unwrap_or_default()
    }

    fn rate(&mut self, session: &str) -> &mut Rate {
        let known = self.rates.iter().position(|(name, _)| name == session);
        let at = known.unwrap_or_else(|| {
            self.rates.push((session.to_owned(), Rate::default()));
            self.rates.len() - 1
        });
        &mut self.rates[at].1
    }
}

/// All of it.
#[derive(Debug)]
pub struct Model {
    /// Whether questions can be answered.
    pub mode: Mode,
    /// By which sensitive places are known.
    pub home: PathBuf,
    /// All who are spoken with, the daemon first.
    pub partners: Vec<Partner>,
    /// Questions, in the order in which they came: one that comes moves no other.
    pub questions: Vec<Waiting>,
    /// What happened, the last one last.
    pub events: VecDeque<(Instant, String)>,
    /// What is looked at.
    pub looked: Looked,
    /// The question that was on the screen as a whole, and since when.
    seen: Option<(Id, Instant)>,
    /// How many sessions are above what is shown of them.
    pub above: usize,
    /// What the keys mean.
    pub mood: Mood,
    note: Option<(String, Instant)>,
}

impl Model {
    /// Of nothing, yet.
    pub fn new(mode: Mode, home: PathBuf) -> Self {
        Self {
            mode,
            home,
            partners: Vec::new(),
            questions: Vec::new(),
            events: VecDeque::new(),
            looked: Looked::Nothing,
            seen: None,
            above: 0,
            mood: Mood::Looking,
            note: None,
        }
    }

    /// Takes what was heard.
    pub fn take(&mut self, news: News, now: Instant) {
        let News { peer, told } = news;
        if let Told::Answered(number, outcome) = told {
            return self.answered(&Id { peer, number }, outcome, now);
        }
        let partner = self.partner(&peer);
        if partner.heard.is_some() {
            partner.heard = Some(now);
        }
        match told {
            Told::Here => {
                partner.heard = Some(now);
                partner.trouble = None;
            }
            Told::Status(status) => {
                partner.daemon = Some(status.daemon);
                partner.sessions = status.workers;
            }
            Told::Questions(all) => {
                partner.untold = all.more;
                let numbers: Vec<u64> = all.questions.iter().map(|one| one.question).collect();
                self.settle(|waiting| {
                    waiting.id.peer == peer && !numbers.contains(&waiting.id.number)
                });
                for question in all.questions {
                    self.ask(&peer, question, now);
                }
            }
            Told::Event(event) => self.happened(&peer, event, now),
            Told::Gone(trouble) => {
                let was_here = partner.heard.is_some();
                let is_over = trouble.is_none();
                *partner = Partner {
                    trouble,
                    ..absent(peer.clone())
                };
                self.settle(|waiting| waiting.id.peer == peer);
                if was_here && peer.is_daemon {
                    self.add_event("the daemon is gone".to_owned(), now);
                }
                if is_over {
                    self.partners.retain(|partner| partner.peer != peer);
                }
            }
            Told::Answered(..) => {}
        }
    }

    /// An answer arrived, or did not.
    fn answered(&mut self, id: &Id, outcome: Result<(), String>, now: Instant) {
        let waiting = self.questions.iter_mut().find(|one| one.id == *id);
        match (outcome, waiting) {
            (Ok(()), _) => self.settle(|waiting| waiting.id == *id),
            (Err(why), waiting) => {
                if let Some(waiting) = waiting {
                    waiting.is_answered = false;
                }
                self.say(text::line(&format!("not answered: {why}")), now);
            }
        }
    }

    fn happened(&mut self, peer: &Peer, event: Event, now: Instant) {
        match &event {
            Event::Granted(decision) => {
                let partner = self.partner(peer);
                partner.rate(&decision.worker).count(false, now);
            }
            Event::Refused(decision) => {
                let partner = self.partner(peer);
                partner.rate(&decision.worker).count(true, now);
            }
            Event::DecisionsUntold { worker } => self.partner(peer).rate(worker).more(now),
            Event::WaitingForApproval(question) => self.ask(peer, question.clone(), now),
            Event::Settled { question, .. } => {
                let number = *question;
                self.settle(|waiting| waiting.id.number == number && waiting.id.peer == *peer);
            }
            _ => {}
        }
        let told = match &event {
            Event::WaitingForApproval(question) => shown::asked(question),
            other => shown::event(other),
        };
        self.add_event(text::line(&told), now);
    }

    fn add_event(&mut self, line: String, now: Instant) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back((now, line));
    }

    fn partner(&mut self, peer: &Peer) -> &mut Partner {
        let at = self.partners.iter().position(|one| one.peer == *peer);
        let at = at.unwrap_or_else(|| {
            let later = |other: &Partner| other.peer > *peer;
            let at = self.partners.iter().position(later);
            let at = at.unwrap_or(self.partners.len());
            self.partners.insert(at, absent(peer.clone()));
            at
        });
        &mut self.partners[at]
    }

    /// A question waits. What is known of it already stays as it was read.
    fn ask(&mut self, peer: &Peer, question: Question, now: Instant) {
        let id = Id {
            peer: peer.clone(),
            number: question.question,
        };
        if self.questions.iter().any(|waiting| waiting.id == id) {
            return;
        }
        let left = question.remaining_ms.map(Duration::from_millis);
        if self.looked == Looked::Nothing {
            self.looked = Looked::At(id.clone());
        }
        self.questions.push(Waiting {
            id,
            deadline: left.and_then(|left| now.checked_add(left)),
            question,
            is_answered: false,
        });
    }

    /// Questions wait no more. One that was answered here makes way for the next one; when somebody or something else ended it, the
    /// next one is for a person to choose, whose fingers may be on their way to a key.
    fn settle(&mut self, is_over: impl Fn(&Waiting) -> bool) {
        let looked = match &self.looked {
            Looked::At(id) => self.questions.iter().position(|waiting| waiting.id == *id),
            Looked::Nothing | Looked::Gone => None,
        };
        if let Some(at) = looked
            && is_over(&self.questions[at])
        {
            let next = self.questions[at..].iter().chain(&self.questions[..at]);
            let next = next.filter(|waiting| !is_over(waiting) && !waiting.is_answered);
            let next = next.map(|waiting| waiting.id.clone()).next();
            self.looked = match next {
                Some(next) if self.questions[at].is_answered => Looked::At(next),
                Some(_) => Looked::Gone,
                None => Looked::Nothing,
            };
            if matches!(self.mood, Mood::Naming(_)) {
                self.mood = Mood::Looking;
            }
        }
        self.questions.retain(|waiting| !is_over(waiting));
        if self.questions.is_empty() {
            self.looked = Looked::Nothing;
        }
    }

    /// That question was on the screen, all of it; or none was.
    pub fn see(&mut self, question: Option<Id>, now: Instant) {
        let is_same = match (&self.seen, &question) {
            (Some((seen, _)), Some(id)) => seen == id,
            _ => false,
        };
        if !is_same {
            self.seen = question.map(|id| (id, now));
        }
    }

    /// For how long a question has been on the screen, if all of it was.
    pub fn seen_for(&self, id: &Id, now: Instant) -> Option<Duration> {
        let (seen, since) = self.seen.as_ref()?;
        (seen == id).then(|| now.saturating_duration_since(*since))
    }

    /// The question that is looked at.
    pub fn current(&self) -> Option<&Waiting> {
        let Looked::At(id) = &self.looked else {
            return None;
        };
        self.questions.iter().find(|waiting| waiting.id == *id)
    }

    /// Says something for a while.
    pub fn say(&mut self, what: impl Into<String>, now: Instant) {
        self.note = Some((what.into(), now));
    }

    /// What is being said.
    pub fn note(&self, now: Instant) -> Option<&str> {
        let (note, since) = self.note.as_ref()?;
        (now.saturating_duration_since(*since) < NOTED).then_some(note)
    }

    /// All sessions, the daemon's workers first.
    pub fn sessions(&self) -> impl Iterator<Item = (&Partner, &WorkerStatus)> {
        let all = self.partners.iter();
        all.flat_map(|partner| partner.sessions.iter().map(move |one| (partner, one)))
    }
}

/// Somebody of whom nothing is known.
fn absent(peer: Peer) -> Partner {
    Partner {
        peer,
        daemon: None,
        sessions: Vec::new(),
        heard: None,
        trouble: None,
        untold: 0,
        rates: Vec::new(),
    }
}
