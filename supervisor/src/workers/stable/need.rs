//! Who of the workers that are to be taken over waits for an answer.

use crate::workers::keeper::{Given, Role};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use sys::journal::Journal;

/// Puts those for whom somebody waits before the others. Of whom that cannot be told it is believed.
#[must_use]
pub fn by_need(workers: Vec<Given>) -> Vec<Given> {
    let (mut first, mut others) = (Vec::new(), Vec::new());
    for worker in workers {
        match waits(&worker) {
            true => first.push(worker),
            false => others.push(worker),
        }
    }
    first.append(&mut others);
    first
}

/// Whether a call or a request of it came that was not received, or was received and not answered.
fn waits(worker: &Given) -> bool {
    let held = |role| worker.fds.iter().filter(move |held| held.role == role);
    let doors = held(Role::Listener).chain(held(Role::Socket));
    let mut fds: Vec<_> = doors
        .map(|held| PollFd::new(held.fd.as_fd(), PollFlags::POLLIN))
        .collect();
    let is_waiting = poll(&mut fds, PollTimeout::ZERO).map_or(true, |count| count > 0);
    let mut journals = held(Role::Journal);
    is_waiting || journals.any(|held| Journal::has_pending(held.fd.as_fd()).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Tag;
    use crate::workers::keeper::Held;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    /// A worker whose session has such a connection, and a journal in which nothing waits.
    fn worker(pid: i32, connection: UnixStream) -> Given {
        let journal = Journal::blank(4).unwrap();
        let held = |role, fd| Held { role, label: 0, fd };
        Given {
            tag: Tag::new(7),
            pid,
            fds: vec![
                held(Role::Socket, OwnedFd::from(connection)),
                held(Role::Journal, journal),
            ],
        }
    }

    fn order(workers: Vec<Given>) -> Vec<i32> {
        let workers = by_need(workers);
        workers.iter().map(|worker| worker.pid).collect()
    }

    #[test]
    fn who_waits_for_an_answer_is_served_before_who_does_not() {
        let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        let workers = |pairs: &[(UnixStream, UnixStream)]| {
            let ours = pairs.iter().map(|(ours, _)| ours.try_clone().unwrap());
            (1..)
                .zip(ours)
                .map(|(pid, ours)| worker(pid, ours))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(workers(&pairs)), [1, 2, 3]);
        (&pairs[1].1).write_all(b"?").unwrap();
        assert_eq!(order(workers(&pairs)), [2, 1, 3]);
        // A call that was received, and not answered.
        let workers = workers(&pairs);
        let journal = workers[2].fds[1].fd.as_fd();
        nix::sys::uio::pwrite(journal, &7u64.to_ne_bytes(), 0).unwrap();
        assert_eq!(order(workers), [2, 3, 1]);
    }
}
