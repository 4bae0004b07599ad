//! Opens: from the claim to the answer.
//!
//! Three answers are possible. What the kernel itself lets the child have is left to it: it decides once more, on what it then
//! finds, so nothing can be gained by changing what we looked at. What only the rules allow is opened here, and the descriptor is
//! put into the child. What they refuse is refused. In a *closed* session the first is not possible: there the kernel lets
//! the child have more than the rules do (executing a file takes the right to read it), so every open gets a descriptor or an
//! errno.

use super::asking::Asked;
use super::{Claim, Court, Door, DoorError, Finished, NARROWED};
use crate::broker::{self, Grant, Patience};
use crate::policy::{Access, Mechanism, Reason, Subject, Verdict};
use crate::transparent::again::Begun;
use crate::transparent::calls::{Opening, Target};
use crate::transparent::failure::Failure;
use crate::transparent::locate::{Located, Name, as_path};
use crate::transparent::native::is_the_kernels;
use crate::transparent::open::{
    BEYOND_THE_BROKER, flags_of, open, open_own, suits, waits_for_another,
};
use crate::transparent::record::About;
use crate::transparent::target::{Found, find};
use crate::transparent::thread::Thread;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use sys::openat2::{self, Lookup};

/// How often a file that others make and remove at the same time is looked for again.
const ATTEMPTS: u32 = 4;

/// An open on its way: what is asked for, and how often it was begun.
#[derive(Debug)]
pub(super) struct Order {
    target: Target,
    attempt: u32,
    /// An earlier supervisor may have made the file: then it is the one that was asked for.
    is_again: bool,
}

/// What is to become of an open that was found.
enum Answer {
    /// The kernel's to decide.
    Kernel,
    /// To be done by us. Whether the kernel grants it as well, so that a device is one that a rule names.
    Perform { native: bool },
    /// The broker's to decide: it asks, and keeps what is counted or ends some day.
    Broker,
    /// This.
    Errno(Errno),
}

impl Order {
    pub(super) fn how(&self) -> Opening {
        self.target.how
    }
}

impl Door {
    pub(super) fn open(
        &mut self,
        claim: Claim,
        target: Target,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // A descriptor of that kind gives no access, and cannot be put into another process.
        if target.how.has(OFlag::O_PATH) {
            if !self.facts.closed {
                return self.leave_to_the_kernel(claim);
            }
            if !self.listener.is_valid(claim.id) {
                return Ok(());
            }
            let about = self.about_open(claim, &target);
            let why = "a file is not only named by openat2 where every open is answered here; openat does it";
            let errno = about.fail(court.recorder, Errno::EACCES, why);
            return self.errno(claim.id, errno);
        }
        let is_unseen = !self.facts.closed && !self.records_everything();
        if is_unseen && is_the_kernels(claim.thread, &target, court.law) {
            return self.leave_to_the_kernel(claim);
        }
        let mut order = Order {
            target,
            attempt: 0,
            is_again: false,
        };
        if self.begun.remove(&claim.id).is_some() {
            order.is_again = true;
            order.target.how.flags.remove(OFlag::O_EXCL);
        }
        self.find(claim, order, court)
    }

    fn find(&mut self, claim: Claim, order: Order, court: &mut Court<'_>) -> Result<(), DoorError> {
        match find(claim.thread, &order.target, Lookup::Cached) {
            Err(Failure::WouldWait) => self.aside(claim, court, move |_turn| {
                let found = find(claim.thread, &order.target, Lookup::Full);
                Finished::Found(claim, Box::new((order, found)))
            }),
            found => self.found(claim, order, found, court),
        }
    }

    pub(super) fn found(
        &mut self,
        claim: Claim,
        order: Order,
        found: Result<Found, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // What was found is what the caller meant only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let found = match found {
            Ok(found) => found,
            // No right is needed to be told that there is nothing, and the kernel knows best how to say it.
            Err(_) if !self.facts.closed => return self.leave_to_the_kernel(claim),
            Err(failure) => {
                let about = self.about_open(claim, &order.target);
                let errno = about.answer(court.recorder, failure);
                return self.errno(claim.id, errno);
            }
        };
        if self.only_sees_open(order.how()) {
            return self.see_open(claim, &order.target, &found, court);
        }
        let answer = match self.judge(claim, &order.target, &found, court) {
            Answer::Broker | Answer::Perform { .. } if self.is_narrowed(claim) => {
                let about = About {
                    located: found.subject().map(|subject| subject.path),
                    ..self.about_open(claim, &order.target)
                };
                Answer::Errno(about.fail(court.recorder, Errno::EACCES, NARROWED))
            }
            answer => answer,
        };
        let answer = match answer {
            Answer::Kernel | Answer::Perform { .. }
                if !self.saw_open(claim, &order.target, &found, court) =>
            {
                Answer::Errno(Errno::EACCES)
            }
            answer => answer,
        };
        match answer {
            Answer::Kernel => self.leave_to_the_kernel(claim),
            Answer::Errno(errno) => self.errno(claim.id, errno),
            Answer::Broker => self.ask_to_open(claim, order, found, court),
            Answer::Perform { native } => self.perform(claim, order, found, native, court),
        }
    }

    /// Puts it to the broker.
    fn ask_to_open(
        &mut self,
        claim: Claim,
        order: Order,
        found: Found,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let how = order.target.how;
        let waits = matches!(&found, Found::There(there) if waits_for_another(there, how));
        let located = match found {
            Found::New { parent, name, path } => {
                let name = OsString::from_vec(name.into_bytes());
                broker::Located::to_be_made(path, parent.fd, parent.facts, name)
            }
            // Nothing is made, and nothing else was asked for.
            Found::There(_) if how.has(OFlag::O_CREAT | OFlag::O_EXCL) => {
                return self.errno(claim.id, Errno::EEXIST);
            }
            Found::There(Located {
                fd,
                facts,
                name: Name::Path(path),
                ..
            }) => broker::Located::there(path, fd, facts),
            // Judged by what the caller holds, never by a rule.
            Found::There(_) => return self.errno(claim.id, Errno::EACCES),
        };
        let asked = as_path(&order.target.path).to_owned();
        let mut wanted =
            broker::Claim::called(claim.call, asked, how.access(), how.flags, how.mode);
        if how.creates() {
            wanted = match claim.thread.umask() {
                Ok(umask) => wanted.under(umask),
                Err(failure) => return self.fail(claim, failure, court),
            };
        }
        match waits {
            true => self.ask(claim, wanted.held(), located, Asked::Fifo(order), court),
            false => self.ask(claim, wanted, located, Asked::Open(order), court),
        }
    }

    /// Gives the caller what the broker opened.
    pub(super) fn settle(
        &self,
        claim: Claim,
        order: &Order,
        grant: Grant,
    ) -> Result<(), DoorError> {
        let how = order.target.how;
        // The broker knows fewer flags than there are: what is granted is opened once more with all of them.
        let flags = flags_of(how) & !OFlag::O_TRUNC;
        let flags = flags | (how.flags & OFlag::O_NONBLOCK);
        match how.flags.intersects(BEYOND_THE_BROKER) {
            false => self.deliver(claim, grant.fd, how.has(OFlag::O_CLOEXEC)),
            true => match openat2::reopen(grant.fd.as_fd(), flags) {
                Ok(fd) => self.deliver(claim, fd, how.has(OFlag::O_CLOEXEC)),
                Err(errno) => self.errno(claim.id, errno),
            },
        }
    }

    fn perform(
        &mut self,
        claim: Claim,
        order: Order,
        found: Found,
        native: bool,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let how = order.target.how;
        let found = match found {
            Found::There(located) if waits_for_another(&located, how) => {
                return match suits(claim.thread, &located, how, native) {
                    Ok(()) => self.await_the_other_end(claim, located.fd, how, court),
                    Err(errno) => self.errno(claim.id, errno),
                };
            }
            found => found,
        };
        if let Found::New { .. } = &found {
            self.journal.set_note(claim.id, Begun::NEW.note());
        }
        if order.is_again
            && let Found::There(own) = &found
            && let Ok(fd) = open_own(own, how)
        {
            return self.opened(claim, order, Ok(fd), court);
        }
        if !found.is_slow() {
            match open(claim.thread, &found, how, native, Patience::None) {
                // Leased to somebody, who is asked to give it back.
                Err(Errno::EAGAIN) => {}
                opened => return self.opened(claim, order, opened, court),
            }
        }
        let turn = self.watch(claim)?;
        let listener = Arc::clone(&self.listener);
        let submitted = self.files.submit(move || {
            // Nobody waits for it any more, or not for this: it must not happen behind a back.
            let opened = match turn.take() && listener.is_valid(claim.id) {
                true => open(claim.thread, &found, how, native, Patience::Whatever),
                false => Err(Errno::EINTR),
            };
            Finished::Opened(claim, Box::new(order), opened)
        });
        match submitted {
            Ok(()) => Ok(()),
            Err(_) => self.fail(claim, Failure::WouldWait, court),
        }
    }

    /// Opens one end of a FIFO, which lasts until somebody opens the other, or a signal comes.
    pub(super) fn await_the_other_end(
        &mut self,
        claim: Claim,
        fifo: OwnedFd,
        how: Opening,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let close_on_exec = how.has(OFlag::O_CLOEXEC);
        self.send_open(claim, fifo, flags_of(how), close_on_exec, court)
    }

    pub(super) fn opened(
        &mut self,
        claim: Claim,
        order: Order,
        opened: Result<OwnedFd, Errno>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let how = order.target.how;
        match opened {
            // Made by somebody else meanwhile: then it is that which is asked for. A decision of its own.
            Err(Errno::EEXIST) if !how.has(OFlag::O_EXCL) && order.attempt < ATTEMPTS => {
                let order = Order {
                    attempt: order.attempt + 1,
                    ..order
                };
                // Nothing was done: it begins anew.
                self.begin(claim);
                self.find(claim, order, court)
            }
            Err(errno) => self.errno(claim.id, errno),
            Ok(fd) => self.deliver(claim, fd, how.has(OFlag::O_CLOEXEC)),
        }
    }

    /// Puts a descriptor into the child, then lets the call return its number. In two steps: in one, a signal to us in between
    /// would make the call return 0 with no descriptor behind it.
    pub(super) fn deliver(
        &self,
        claim: Claim,
        fd: OwnedFd,
        close_on_exec: bool,
    ) -> Result<(), DoorError> {
        match self
            .listener
            .add_fd(claim.id, fd.as_fd(), close_on_exec, None)
        {
            Ok(number) => self.value(claim.id, i64::from(number)),
            // The caller is gone.
            Err(Errno::ENOENT) => Ok(()),
            // Its table is full, most likely.
            Err(errno) => self.errno(claim.id, errno),
        }
    }

    pub(super) fn about_open<'a>(&'a self, claim: Claim, target: &'a Target) -> About<'a> {
        About {
            asked: Some(&target.path),
            access: Some(target.how.access()),
            flags: Some(target.how.flags),
            ..self.about(claim)
        }
    }

    /// Decides; a refusal is recorded.
    fn judge(&self, claim: Claim, target: &Target, found: &Found, court: &mut Court<'_>) -> Answer {
        let closed = self.facts.closed;
        let how = target.how;
        let makes = matches!(found, Found::New { .. }) || how.is_temporary();
        let access = match makes {
            // To make a file is to write, whatever it is then opened for.
            true => how.access() | Access::WRITE,
            false => how.access(),
        };
        if let Found::There(there) = found
            && there.facts.is(libc::S_IFDIR)
            && (how.creates() || access.contains(Access::WRITE) && !makes)
        {
            // Nobody writes a directory, whatever the rules say of what is in it.
            return Answer::Errno(match how.has(OFlag::O_CREAT | OFlag::O_EXCL) {
                true => Errno::EEXIST,
                false => Errno::EISDIR,
            });
        }
        let about = About {
            access: Some(access),
            ..self.about_open(claim, target)
        };
        let Some(subject) = found.subject() else {
            return match found {
                _ if !closed => Answer::Kernel,
                Found::There(Located {
                    name: Name::None { held },
                    ..
                }) if held.contains(access) => Answer::Perform { native: false },
                _ => {
                    let why = "it has no name, and the caller does not hold it so";
                    Answer::Errno(about.fail(court.recorder, Errno::EACCES, why))
                }
            };
        };
        let about = About {
            located: Some(subject.path),
            ..about
        };
        match court.law.decide_open(&subject, access) {
            Verdict::Allow(allowed) if allowed.is_plain() => {
                let native = allowed.mechanism == Mechanism::Landlock;
                match native && !closed {
                    true => Answer::Kernel,
                    false => Answer::Perform { native },
                }
            }
            Verdict::Allow(_) | Verdict::Ask(_) if how.is_temporary() => {
                let why = "a file without a name is not asked for";
                Answer::Errno(about.fail(court.recorder, Errno::EACCES, why))
            }
            Verdict::Allow(_) | Verdict::Ask(_) => Answer::Broker,
            Verdict::Deny(denial)
                if denial.reason == Reason::NoRule
                    && access == Access::READ
                    && is_own_process(claim.thread, &subject) =>
            {
                Answer::Perform { native: false }
            }
            Verdict::Deny(denial) => Answer::Errno(about.deny(court.recorder, &denial)),
        }
    }
}

/// Whether it is one of the files in which the kernel tells a process about itself. A process may read those; what it sees
/// there of the network is the whole machine's.
fn is_own_process(thread: Thread, subject: &Subject<'_>) -> bool {
    let Ok(process) = thread.process() else {
        return false;
    };
    let Ok(inside) = subject.path.strip_prefix(format!("/proc/{process}")) else {
        return false;
    };
    let parts: Vec<&std::ffi::OsStr> = inside.iter().collect();
    let rest = match parts.as_slice() {
        [task, _, rest @ ..] if *task == "task" => rest,
        rest => rest,
    };
    rest.first().is_none_or(|first| *first != "net")
}
