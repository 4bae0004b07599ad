//! From records to refusals of this session: which of the machine's are its own, and which belong together.
//!
//! A refusal comes in pieces: what was refused by which domain, the first time whose domain that is, and then, where the kernel records
//! calls at all, who made the call. Records of other calls come in between.

use super::text::{About, Call, Said};
use std::collections::VecDeque;

/// So many refusals wait for their other pieces. Of more the oldest is taken as it is.
const HELD: usize = 256;

/// Something that the kernel refused the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the call that it was refused to.
    pub number: u64,
    /// The rights that were missing, as the kernel calls them.
    pub blockers: Vec<String>,
    /// What it was about.
    pub about: About,
    /// The call, where the kernel recorded it.
    pub call: Option<Call>,
}

/// What was heard so far.
#[derive(Debug)]
pub struct Trail {
    /// The process that made the session's domains before it became the command.
    command: i32,
    /// How many domains there are.
    layers: usize,
    /// Those that are known.
    domains: Vec<u64>,
    /// Refusals of which something may be missing yet, in order, each with its domain.
    held: VecDeque<(u64, Refusal)>,
}

impl Trail {
    /// The trail of a session whose command is this process, behind so many rulesets.
    #[must_use]
    pub fn new(command: i32, layers: usize) -> Self {
        Self {
            command,
            layers,
            domains: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// Takes in what a record says. Returns what is known in full now, of this session.
    pub fn hear(&mut self, number: u64, said: Said) -> Vec<Refusal> {
        match said {
            Said::Refused {
                domain,
                blockers,
                about,
            } => {
                let refusal = Refusal {
                    number,
                    blockers,
                    about,
                    call: None,
                };
                self.held.push_back((domain, refusal));
                match self.held.len() > HELD {
                    true => self.held.pop_front().into_iter().collect(),
                    false => Vec::new(),
                }
            }
            Said::Made { domain, pid } => {
                // Further ones of that process are the command's own: it may confine itself more.
                let is_new = self.domains.len() < self.layers && !self.domains.contains(&domain);
                if pid == self.command && is_new {
                    self.domains.push(domain);
                }
                return Vec::new();
            }
            Said::Called(call) => self.take(number, Some(&call)),
            Said::Over => self.take(number, None),
            Said::Left { .. } => Vec::new(),
        }
        .into_iter()
        .filter_map(|(domain, refusal)| self.domains.contains(&domain).then_some(refusal))
        .collect()
    }

    /// What is known of the session and waits for more, which does not come.
    pub fn rest(&mut self) -> Vec<Refusal> {
        let (own, others): (Vec<_>, Vec<_>) = self
            .held
            .drain(..)
            .partition(|(domain, _)| self.domains.contains(domain));
        // Whose those are may be said yet.
        self.held = others.into();
        own.into_iter().map(|(_, refusal)| refusal).collect()
    }

    fn take(&mut self, number: u64, call: Option<&Call>) -> Vec<(u64, Refusal)> {
        let (own, others) = self
            .held
            .drain(..)
            .partition(|(_, refusal)| refusal.number == number);
        self.held = others;
        let with_call = |(domain, refusal): (u64, Refusal)| {
            let call = call.cloned();
            (domain, Refusal { call, ..refusal })
        };
        Vec::from(own).into_iter().map(with_call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(domain: u64, path: &str) -> Said {
        Said::Refused {
            domain,
            blockers: vec!["fs.read_file".to_owned()],
            about: About::Path(path.into()),
        }
    }

    fn called(pid: i32) -> Said {
        Said::Called(Call {
            arch: 0,
            number: 0,
            exit: -13,
            pid,
            uid: 0,
            program: None,
        })
    }

    fn shown(refusals: Vec<Refusal>) -> Vec<(String, Option<i32>)> {
        let shown = |refusal: Refusal| match refusal.about {
            About::Path(path) => (
                path.display().to_string(),
                refusal.call.map(|call| call.pid),
            ),
            other => panic!("{other:?}"),
        };
        refusals.into_iter().map(shown).collect()
    }

    #[test]
    fn pieces_are_put_together_by_their_number_whatever_comes_between() {
        let mut trail = Trail::new(7, 1);
        assert_eq!(trail.hear(1, refused(5, "/a")), []);
        assert_eq!(trail.hear(1, Said::Made { domain: 5, pid: 7 }), []);
        assert_eq!(trail.hear(2, refused(5, "/b")), []);
        assert_eq!(trail.hear(2, refused(5, "/c")), []);
        assert_eq!(
            shown(trail.hear(2, called(9))),
            [("/b".to_owned(), Some(9)), ("/c".to_owned(), Some(9))]
        );
        assert_eq!(
            shown(trail.hear(1, called(8))),
            [("/a".to_owned(), Some(8))]
        );
        assert_eq!(trail.hear(1, Said::Over), []);
        assert_eq!(trail.rest(), []);
    }

    #[test]
    fn what_others_are_refused_is_theirs() {
        let mut trail = Trail::new(7, 1);
        trail.hear(1, refused(5, "/a"));
        trail.hear(1, Said::Made { domain: 5, pid: 8 });
        assert_eq!(trail.hear(1, called(8)), []);
        assert_eq!(trail.rest(), []);
        // A sandbox that the command makes for itself is its own.
        trail.hear(2, refused(6, "/b"));
        trail.hear(2, Said::Made { domain: 6, pid: 7 });
        assert_eq!(shown(trail.hear(2, called(7))).len(), 1);
        trail.hear(3, refused(9, "/c"));
        trail.hear(3, Said::Made { domain: 9, pid: 7 });
        assert_eq!(trail.hear(3, called(7)), []);
    }

    #[test]
    fn without_records_of_calls_it_is_known_what_was_refused() {
        let mut trail = Trail::new(7, 2);
        trail.hear(1, refused(5, "/a"));
        trail.hear(1, Said::Over);
        trail.hear(2, refused(5, "/b"));
        assert_eq!(trail.rest(), [], "whose it is nobody has said");
        trail.hear(3, Said::Made { domain: 5, pid: 7 });
        assert_eq!(shown(trail.rest()), [("/b".to_owned(), None)]);
        trail.hear(4, refused(5, "/c"));
        assert_eq!(shown(trail.hear(4, Said::Over)), [("/c".to_owned(), None)]);
    }

    #[test]
    fn others_who_are_refused_all_the_time_take_no_memory() {
        let mut trail = Trail::new(7, 1);
        for number in 0..10_000 {
            trail.hear(number, refused(3, "/a"));
        }
        assert_eq!(trail.held.len(), HELD);
        trail.hear(0, Said::Made { domain: 5, pid: 7 });
        trail.hear(20_000, refused(5, "/own"));
        let mut heard = Vec::new();
        for number in 0..1000 {
            heard.extend(trail.hear(30_000 + number, refused(3, "/a")));
        }
        assert_eq!(shown(heard), [("/own".to_owned(), None)]);
    }
}
