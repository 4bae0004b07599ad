//! What keys do.

use super::keys::Key;
use super::model::{Id, Looked, Mode, Model, Mood, Naming, SEEN};
use super::offers::{Offer, Sensitive, offers, sensitive};
use protocol::control::ControlRequest;
use std::time::Instant;

/// What has to be done outside of this room.
#[derive(Debug, PartialEq)]
pub enum Act {
    /// It is over.
    Quit,
    /// The shell has its turn.
    Suspend,
    /// Everything is drawn anew.
    Redraw,
    /// That question is answered.
    Answer(Id, ControlRequest),
}

/// Sessions that a page has.
const PAGE: usize = 5;

/// No name is so long.
const LONGEST: usize = 4096;

impl Model {
    /// A key was pressed.
    pub fn press(&mut self, key: Key, now: Instant) -> Option<Act> {
        match key {
            Key::Control('c') => return Some(Act::Quit),
            Key::Control('z') => return Some(Act::Suspend),
            Key::Control('l') => return Some(Act::Redraw),
            _ => {}
        }
        match std::mem::replace(&mut self.mood, Mood::Looking) {
            Mood::Looking => self.looking(key, now),
            // Any key.
            Mood::Help => None,
            Mood::Naming(naming) => self.naming(naming, key, now),
        }
    }

    fn looking(&mut self, key: Key, now: Instant) -> Option<Act> {
        match key {
            Key::Char('q') => return Some(Act::Quit),
            Key::Char('?' | 'h') => self.mood = Mood::Help,
            Key::Up | Key::Char('k') => self.step(false),
            Key::Down | Key::Char('j') => self.step(true),
            Key::Home => self.look_at(0),
            Key::End => self.look_at(usize::MAX),
            Key::PageUp => self.above = self.above.saturating_sub(PAGE),
            Key::PageDown => {
                let last = self.sessions().count().saturating_sub(1);
                self.above = (self.above + PAGE).min(last);
            }
            Key::Char(key) => return self.answer(key, now),
            Key::Enter | Key::Escape | Key::Erase | Key::Control(_) => {}
        }
        None
    }

    /// Looks at the next question, or at the one before.
    fn step(&mut self, is_down: bool) {
        let at = match &self.looked {
            Looked::At(id) => self.questions.iter().position(|one| one.id == *id),
            Looked::Nothing | Looked::Gone => None,
        };
        self.look_at(match (at, is_down) {
            (None, _) => 0,
            (Some(at), true) => at + 1,
            (Some(at), false) => at.saturating_sub(1),
        });
    }

    fn look_at(&mut self, at: usize) {
        if let Some(last) = self.questions.len().checked_sub(1) {
            self.looked = Looked::At(self.questions[at.min(last)].id.clone());
        }
    }

    /// Answers the question that is looked at, if that is what the key does and it may.
    fn answer(&mut self, key: char, now: Instant) -> Option<Act> {
        let waiting = self.current()?;
        let (id, question) = (waiting.id.clone(), &waiting.question);
        let offer = offers(question)
            .into_iter()
            .find(|offer| offer.key == key)?;
        let is_answered = waiting.is_answered;
        let secret = sensitive(question, &self.home);
        if self.mode == Mode::Look {
            let how = "nothing is answered here: use `supervise approve --tui`";
            self.say(how, now);
            return None;
        }
        if is_answered {
            return None;
        }
        if offer.is_yes() {
            match self.seen_for(&id, now) {
                None => {
                    let why = "not allowed: a part of it is not on the screen";
                    self.say(why, now);
                    return None;
                }
                Some(time) if time < SEEN => {
                    self.say("not allowed: it has just come up; look at it first", now);
                    return None;
                }
                Some(_) => {}
            }
        }
        match (offer, secret) {
            (offer, Some(secret)) if offer.is_yes() => {
                self.mood = named(id, offer, secret);
                None
            }
            (offer, _) => self.give(id, offer.request),
        }
    }

    fn give(&mut self, id: Id, request: ControlRequest) -> Option<Act> {
        let waiting = self.questions.iter_mut().find(|one| one.id == id)?;
        waiting.is_answered = true;
        Some(Act::Answer(id, request))
    }

    /// A key of a name.
    fn naming(&mut self, mut naming: Box<Naming>, key: Key, now: Instant) -> Option<Act> {
        match key {
            Key::Enter
                if naming.typed == naming.name && self.seen_for(&naming.id, now).is_some() =>
            {
                return self.give(naming.id, naming.request);
            }
            Key::Enter => {
                self.say("that is not its name: nothing was answered", now);
                return None;
            }
            Key::Escape => return None,
            Key::Char(character) if naming.typed.len() < LONGEST => naming.typed.push(character),
            Key::Erase => drop(naming.typed.pop()),
            _ => {}
        }
        self.mood = Mood::Naming(naming);
        None
    }
}

fn named(id: Id, offer: Offer, sensitive: Sensitive) -> Mood {
    Mood::Naming(Box::new(Naming {
        id,
        request: offer.request,
        name: sensitive.name,
        why: sensitive.secret.to_string(),
        typed: String::new(),
    }))
}
