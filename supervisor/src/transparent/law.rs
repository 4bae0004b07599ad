//! What the door asks the policy: the few questions that it can be asked.

use crate::policy::{Access, Ruleset, Subject, Udp, Verdict};
use std::net::SocketAddr;

/// Who decides. [`Ruleset`] does.
pub trait Law {
    /// Whether the child may access this located object so.
    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict;
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
