//! What the door asks the policy: the few questions that it can be asked.

use crate::policy::{Access, Kind, Ruleset, Subject, Udp, Verdict};
use std::net::SocketAddr;

/// Who decides. [`Ruleset`] does.
pub trait Law {
    /// Whether the child may access this located object so.
    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict;
    /// Whether it may make an entry of this kind.
    fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict;
    /// Whether it may take an entry away.
    fn decide_replace(&self, subject: &Subject<'_>) -> Verdict;
    /// Whether it may move an entry, of this kind, over what may have the second name.
    fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, kind: Kind) -> Verdict;
    /// Whether it may give what has the first name the second as well.
    fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict;
    /// Whether it may connect to this located socket file.
    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict;
    /// Whether it may open a TCP connection to this address.
    fn decide_connect(&self, address: SocketAddr) -> Verdict;
    /// Whether it may bind a TCP socket to this address.
    fn decide_bind(&self, address: SocketAddr) -> Verdict;
    /// Whether it may send datagrams over IP, to anybody.
    fn allows_udp(&self) -> bool;
}

impl Law for Ruleset {
    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        Ruleset::decide(self, subject, access)
    }

    fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict {
        Ruleset::decide_make(self, subject, kind)
    }

    fn decide_replace(&self, subject: &Subject<'_>) -> Verdict {
        Ruleset::decide_replace(self, subject)
    }

    fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, kind: Kind) -> Verdict {
        Ruleset::decide_move(self, from, to, kind)
    }

    fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict {
        Ruleset::decide_link(self, from, to)
    }

    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict {
        Ruleset::decide_unix(self, subject)
    }

    fn decide_connect(&self, address: SocketAddr) -> Verdict {
        Ruleset::decide_connect(self, address)
    }

    fn decide_bind(&self, address: SocketAddr) -> Verdict {
        Ruleset::decide_bind(self, address)
    }

    fn allows_udp(&self) -> bool {
        self.udp() == Udp::Any
    }
}
