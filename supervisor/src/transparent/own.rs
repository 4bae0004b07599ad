//! What the session itself listens on, so that it can be let connect to that and to nothing else of this machine.
//!
//! A port says nothing about who listens: it is given up, and the next who comes has it. So what is remembered of a socket that was
//! made to listen is the kernel's own name for it, which no other ever gets, and the kernel is asked, each time, who listens now.
//! Nothing is held open: a port that the session gives up is free.

use nix::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use sys::journal::{Journal, NUMBERS};
use sys::listeners::{self, Cookie, Listening};

/// How many sockets are remembered before those that are gone are forgotten.
const MANY: usize = NUMBERS;

/// The sockets of the session that listen, or did.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// And where each is written down for a later supervisor.
    cookies: HashMap<Cookie, usize>,
}

impl Own {
    /// Those that an earlier supervisor wrote down.
    ///
    /// # Errors
    /// The errno of reading them.
    pub fn inherited(journal: &Journal) -> Result<Self, Errno> {
        let cookie = |(place, number)| (Cookie::from_number(number), place);
        let cookies = journal.left()?.into_iter().map(cookie).collect();
        Ok(Self { cookies })
    }

    /// Remembers a socket that listens.
    ///
    /// # Errors
    /// `ENOBUFS` when there are too many; the errno of what finds out who it is, or writes it down.
    pub fn add(&mut self, socket: BorrowedFd<'_>, journal: &Journal) -> Result<(), Errno> {
        if self.cookies.len() >= MANY {
            let alive: HashSet<Cookie> = listeners::at(0)?.iter().map(|it| it.cookie).collect();
            self.cookies.retain(|cookie, place| {
                let is_alive = alive.contains(cookie);
                // One that is gone is nobody, written down or not: the place is what matters.
                is_alive || journal.leave(*place, 0).is_err()
            });
            if self.cookies.len() >= MANY {
                return Err(Errno::ENOBUFS);
            }
        }
        let cookie = listeners::cookie(socket)?;
        if self.cookies.contains_key(&cookie) {
            return Ok(());
        }
        let taken: HashSet<usize> = self.cookies.values().copied().collect();
        let place = (0..MANY).find(|place| !taken.contains(place));
        let place = place.ok_or(Errno::ENOBUFS)?;
        journal.leave(place, cookie.number())?;
        self.cookies.insert(cookie, place);
        Ok(())
    }

    /// Whether whoever listens where a connection to this address leads is the session, and nobody else.
    pub fn listens_at(&self, address: SocketAddr) -> bool {
        if self.cookies.is_empty() {
            return false;
        }
        // What cannot be found out is no.
        let all = listeners::at(address.port()).unwrap_or_default();
        self.is_alone(&all, address.ip())
    }

    /// Of those who listen on a port the kernel chooses one that is bound to the very address, then one for all. Several can be
    /// bound to the same (`SO_REUSEPORT`), of which any may be chosen.
    fn is_alone(&self, all: &[Listening], to: IpAddr) -> bool {
        let to = reached(to);
        let of = |at: &dyn Fn(IpAddr) -> bool| -> Vec<Cookie> {
            let there = all.iter().filter(|it| at(it.at));
            there.map(|it| it.cookie).collect()
        };
        let mut candidates = of(&|at| at == to);
        if candidates.is_empty() {
            // One that is bound to all of IPv6 may be for IPv4 as well.
            candidates = of(&|at| at.is_unspecified() && (at.is_ipv6() || to.is_ipv4()));
        }
        !candidates.is_empty() && candidates.iter().all(|it| self.cookies.contains_key(it))
    }
}

/// Where a connection to this address leads: the unspecified address is this machine.
fn reached(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// The same address, but for the unspecified one: that stands for whatever the socket that connects is bound to, which is not
/// what was decided on.
pub(super) fn named(address: SocketAddr) -> SocketAddr {
    let ip = match (address.ip(), reached(address.ip())) {
        (IpAddr::V6(own), IpAddr::V4(reached)) if own.to_ipv4_mapped().is_some() => {
            reached.to_ipv6_mapped().into()
        }
        (_, reached) => reached,
    };
    match (ip, address) {
        (IpAddr::V6(_), SocketAddr::V6(mut address)) => {
            if let IpAddr::V6(ip) = ip {
                address.set_ip(ip);
            }
            address.into()
        }
        (ip, address) => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_was_remembered_and_still_listens_is_own() {
        let (own, other) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let mut known = Own::default();
        let at = own.local_addr().unwrap();
        assert!(!known.listens_at(at));
        let journal = Journal::new(1).unwrap();
        known.add(own.as_fd(), &journal).unwrap();
        assert!(known.listens_at(at));
        assert!(Own::inherited(&journal).unwrap().listens_at(at));
        assert!(!known.listens_at(other.local_addr().unwrap()));
        for spelled in ["0.0.0.0", "::ffff:127.0.0.1", "::ffff:0.0.0.0"] {
            assert!(known.listens_at(SocketAddr::new(spelled.parse().unwrap(), at.port())));
        }
        assert!(!known.listens_at(SocketAddr::new(
            Ipv4Addr::new(127, 0, 0, 2).into(),
            at.port()
        )));
        drop(own);
        assert!(!known.listens_at(at));
        // Somebody else has the port now.
        let _next = TcpListener::bind(at).unwrap();
        assert!(!known.listens_at(at));
    }

    #[test]
    fn who_shares_a_port_with_others_is_not_alone() {
        let one = TcpListener::bind("127.0.0.1:0").unwrap();
        let two = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = |at: &str, of: &TcpListener| Listening {
            at: at.parse().unwrap(),
            cookie: listeners::cookie(of.as_fd()).unwrap(),
        };
        let mut known = Own::default();
        let journal = Journal::new(1).unwrap();
        known.add(one.as_fd(), &journal).unwrap();
        let alone = |all: &[Listening], to: &str| known.is_alone(all, to.parse().unwrap());
        let own = |at| listening(at, &one);
        let other = |at| listening(at, &two);
        assert!(alone(&[own("127.0.0.1"), other("0.0.0.0")], "127.0.0.1"));
        assert!(!alone(&[own("0.0.0.0"), other("127.0.0.1")], "127.0.0.1"));
        assert!(!alone(&[own("127.0.0.1"), other("127.0.0.1")], "127.0.0.1"));
        assert!(!alone(&[own("0.0.0.0"), other("::")], "127.0.0.1"));
        assert!(alone(&[own("::"), other("0.0.0.0")], "::1"));
        assert!(alone(&[own("::")], "127.0.0.1"));
        assert!(!alone(&[own("0.0.0.0")], "::1"));
        assert!(!alone(&[], "127.0.0.1"));
    }

    #[test]
    fn what_is_unspecified_is_named() {
        for (given, meant) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::ffff:0.0.0.0]:1", "[::ffff:127.0.0.1]:1"),
            ("[::ffff:1.2.3.4]:1", "[::ffff:1.2.3.4]:1"),
            ("1.2.3.4:1", "1.2.3.4:1"),
            ("[fe80::1%3]:1", "[fe80::1%3]:1"),
        ] {
            assert_eq!(named(address(given)), address(meant), "{given}");
        }
    }
}
