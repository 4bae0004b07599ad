//! The table of trapped calls: number, name, and how its registers become a [`Wish`].
//!
//! The order of checks is the kernel's own, so that a call with several faults gets the errno that it would get without us.

mod entries;
mod metadata;
mod opens;
mod sockets;
mod tasks;

pub(super) use entries::{Act, Node, Spot};
pub(super) use metadata::Change;
pub(super) use opens::{Opening, Target};

use super::address::Address;
use super::failure::Failure;
use super::registers::Registers;
use nix::errno::Errno;
use std::ffi::{CString, c_long};

/// What a call wants, copied out of the child. Untrusted.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// To change what is known about an object.
    Change(Place, Change),
    /// To open a file.
    Open(Target),
    /// To make, remove or move names, or to cut a file.
    Entry(Act),
    /// To connect a socket.
    Connect {
        /// The child's number of the socket.
        socket: i32,
        /// Where to.
        address: Address,
    },
    /// To give a socket an address.
    Bind {
        /// The child's number of the socket.
        socket: i32,
        /// Which.
        address: Address,
    },
    /// To wait for connections on a socket, as many at a time as the second number says.
    Listen(i32, i32),
    /// To start a task.
    Task,
    /// To set priority, scheduling or limits of the task of this number.
    Tune(i32),
    /// To enter a Landlock domain of its own.
    Narrow,
    /// Nothing: a call that the kernel answers with 0 before it looks at its object.
    Nothing,
}

/// Which object, in the words of the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// By a path.
    Path {
        /// What a relative one is relative to.
        base: Base,
        /// As spelled.
        path: CString,
        /// Whether a symbolic link at its end stands for its target.
        follow: bool,
    },
    /// By a descriptor.
    Descriptor {
        /// The child's number.
        number: i32,
        /// Whether one that was opened with `O_PATH` will do.
        accepts_path_only: bool,
    },
    /// The working directory itself.
    WorkingDirectory,
}

/// What a relative path is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// The thread's working directory.
    WorkingDirectory,
    /// A descriptor of the thread.
    Descriptor(i32),
}

impl Base {
    /// As the calls on paths spell it.
    fn of(number: i32) -> Self {
        match number {
            libc::AT_FDCWD => Self::WorkingDirectory,
            number => Self::Descriptor(number),
        }
    }
}

/// Why calls are trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// They change mode, owner, times or attributes. Always trapped where there is a listener.
    Metadata,
    /// They open files. Trapped where some rule about files is not the kernel's alone to enforce; `open` and `openat` as far as
    /// their flags say that such a rule may be concerned.
    Open,
    /// They make, remove and move names, and cut files by name. Trapped where some rule about writing is not the kernel's alone
    /// to enforce.
    Entry,
    /// They connect a socket. Trapped where sockets could be duplicated (`pidfd_getfd`).
    Connect,
    /// They give a socket an address. Trapped as above, where sockets that have one may be made.
    Bind,
    /// They wait for connections, and take a free port when none was bound. Trapped as above, where ports are limited.
    Listen,
    /// They ask to be told of changes. Trapped where there is a listener and inotify instances could be duplicated.
    Watch,
    /// They start a task. Trapped where tasks are limited.
    NewTask,
    /// They set priority, scheduling, affinity or limits of a task by its number. Trapped where there is a listener, unless the
    /// number is 0: oneself.
    OtherTask,
    /// They enter a Landlock domain. Trapped where opens or changes are: what is done on the caller's behalf is not asked of that.
    Domain,
}

/// One trapped call.
pub(super) struct Call {
    number: c_long,
    /// As in the manual.
    pub name: &'static str,
    class: Class,
    /// Copies its arguments.
    pub read: fn(&Registers) -> Result<Wish, Failure>,
}

impl Call {
    /// Whether it opens a file.
    pub fn is_open(&self) -> bool {
        self.class == Class::Open
    }
}

/// Every trapped call.
fn all() -> impl Iterator<Item = &'static Call> {
    // The most frequent first.
    [
        opens::TABLE,
        entries::TABLE,
        metadata::TABLE,
        sockets::TABLE,
        tasks::TABLE,
    ]
    .into_iter()
    .flatten()
}

/// The numbers of the calls of a class on this architecture: what the filter must trap.
pub fn numbers(class: Class) -> impl Iterator<Item = c_long> {
    all()
        .filter(move |call| call.class == class)
        .map(|call| call.number)
}

/// The call of that number; `None`: nothing that we trap.
pub(super) fn find(number: i64) -> Option<&'static Call> {
    all().find(|call| call.number == number as c_long)
}

const fn call(
    number: c_long,
    name: &'static str,
    class: Class,
    read: fn(&Registers) -> Result<Wish, Failure>,
) -> Call {
    Call {
        number,
        name,
        class,
        read,
    }
}

/// The descriptor in the first register.
fn descriptor(r: &Registers) -> Place {
    Place::Descriptor {
        number: r.int(0),
        accepts_path_only: false,
    }
}

/// The path in the first register.
fn path(r: &Registers, follow: bool) -> Result<Place, Failure> {
    Ok(Place::Path {
        base: Base::WorkingDirectory,
        path: r.path(0)?,
        follow,
    })
}

/// The flags, if they are those that a call on paths knows.
fn known(flags: i32) -> Result<i32, Failure> {
    match flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) {
        0 => Ok(flags),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A base, a path and flags.
fn at(r: &Registers, base: usize, path: usize, flags: i32) -> Result<Place, Failure> {
    let flags = known(flags)?;
    let path = r.path(path)?;
    let base = r.int(base);
    Ok(if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        itself(base)
    } else {
        Place::Path {
            base: Base::of(base),
            path,
            follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        }
    })
}

fn itself(base: i32) -> Place {
    match base {
        libc::AT_FDCWD => Place::WorkingDirectory,
        number => Place::Descriptor {
            number,
            accepts_path_only: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_number_stands_in_the_table_twice() {
        let numbers: BTreeSet<_> = all().map(|call| call.number).collect();
        assert_eq!(numbers.len(), all().count());
    }

    /// A call that is trapped and not known here would never be there for the child, and one that is known and not trapped
    /// would be nobody's to decide.
    #[test]
    fn the_filter_traps_what_is_served_here_and_nothing_else() {
        use crate::sandbox::filter::{Answer, Answers, Arch, FilterSpec, listing};
        type Set = fn(&mut Answers, Answer);
        let groups: [(Set, &[Class]); 10] = [
            (|answers, it| answers.metadata = it, &[Class::Metadata]),
            (|answers, it| answers.reads = it, &[Class::Open]),
            (
                |answers, it| answers.writes = it,
                &[Class::Open, Class::Entry],
            ),
            (|answers, it| answers.connect = it, &[Class::Connect]),
            (|answers, it| answers.bind = it, &[Class::Bind]),
            (|answers, it| answers.listen = it, &[Class::Listen]),
            (|answers, it| answers.watches = it, &[Class::Watch]),
            (|answers, it| answers.processes = it, &[Class::NewTask]),
            (|answers, it| answers.others = it, &[Class::OtherTask]),
            (|answers, it| answers.domains = it, &[Class::Domain]),
        ];
        for (set, classes) in groups {
            let mut spec = FilterSpec::strictest(Arch::OURS);
            set(&mut spec.answers, Answer::Notify);
            let listing = listing(&spec);
            let rows = listing
                .lines()
                .filter_map(|line| line.strip_prefix("NOTIFY "));
            let calls = rows.flat_map(|row| {
                let words = row.split_whitespace();
                words.take_while(|word| *word != "when")
            });
            let trapped: BTreeSet<c_long> = calls
                .filter_map(|call| call.split_once('(')?.1.strip_suffix(')')?.parse().ok())
                .collect();
            let served: BTreeSet<c_long> = classes.iter().copied().flat_map(numbers).collect();
            assert_eq!(trapped, served, "{classes:?}");
        }
    }

    #[test]
    fn every_class_has_its_calls() {
        let connect: Vec<_> = numbers(Class::Connect).collect();
        assert_eq!(connect, [libc::SYS_connect]);
        assert!(numbers(Class::NewTask).any(|number| number == libc::SYS_clone));
        let metadata: BTreeSet<_> = numbers(Class::Metadata).collect();
        assert!(
            metadata.contains(&libc::SYS_fchmodat)
                && metadata.contains(&sys::metadata::SYS_FCHMODAT2)
        );
        assert_eq!(numbers(Class::OtherTask).count(), 7);
        assert_eq!(numbers(Class::Bind).count(), 1);
        assert_eq!(numbers(Class::Listen).count(), 1);
        assert_eq!(numbers(Class::Watch).count(), 1);
        let others = [
            Class::Open,
            Class::Entry,
            Class::Connect,
            Class::Bind,
            Class::Listen,
            Class::Watch,
            Class::NewTask,
            Class::OtherTask,
            Class::Domain,
        ];
        let others = others.into_iter().flat_map(numbers).count();
        assert_eq!(metadata.len(), all().count() - others);
    }
}
