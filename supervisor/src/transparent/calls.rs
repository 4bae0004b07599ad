//! The table of trapped calls: number, name, and how its registers become a [`Wish`].
//!
//! The order of checks is the kernel's own, so that a call with several faults gets the errno that it would get without us.

use super::address::Address;
use super::failure::Failure;
use super::registers::Registers;
use crate::policy::Access;
use nix::errno::Errno;
use std::ffi::{CString, c_long};
use sys::metadata::{SYS_FCHMODAT2, SYS_FILE_SETATTR, SYS_REMOVEXATTRAT, SYS_SETXATTRAT};

/// What a call wants, copied out of the child. Untrusted.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    /// To change what is known about an object.
    Change(Place, Change),
    /// To connect a socket.
    Connect {
        /// The child's number of the socket.
        socket: i32,
        /// Where to.
        address: Address,
    },
    /// To wait for connections on a socket, as many at a time as the second number says.
    Listen(i32, i32),
    /// To start a task.
    Task,
    /// To set priority, scheduling or limits of the task of this number.
    Tune(i32),
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

/// What to change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The permissions.
    Mode(u32),
    /// User and group.
    Owner(u32, u32),
    /// Of access and modification; `None`: now.
    Times(Option<[libc::timespec; 2]>),
    /// One extended attribute.
    SetAttribute {
        name: CString,
        value: Vec<u8>,
        flags: i32,
    },
    /// One extended attribute, away with it.
    RemoveAttribute(CString),
    /// The bytes of a `struct file_attr`.
    FileAttributes(Vec<u8>),
    /// Nothing of it, but to be told of changes: the child's number of an inotify instance, and of what.
    Watch { instance: i32, mask: u32 },
}

impl Change {
    /// The right to the object that it takes.
    pub fn access(&self) -> Access {
        match self {
            Self::Watch { .. } => Access::READ,
            _ => Access::WRITE,
        }
    }
}

/// Why calls are trapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// They change mode, owner, times or attributes. Always trapped where there is a listener.
    Metadata,
    /// They connect a socket. Trapped where sockets could be duplicated (`pidfd_getfd`).
    Connect,
    /// They wait for connections, and take a free port when none was bound. Trapped as above, where ports are limited.
    Listen,
    /// They ask to be told of changes. Trapped where there is a listener and inotify instances could be duplicated.
    Watch,
    /// They start a task. Trapped where tasks are limited.
    NewTask,
    /// They set priority, scheduling, affinity or limits of a task by its number. Trapped where there is a listener, unless the
    /// number is 0: oneself.
    OtherTask,
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

/// The numbers of the calls of a class on this architecture: what the filter must trap.
pub fn numbers(class: Class) -> impl Iterator<Item = c_long> {
    TABLE
        .iter()
        .filter(move |call| call.class == class)
        .map(|call| call.number)
}

/// The call of that number; `None`: nothing that we trap.
pub(super) fn find(number: i64) -> Option<&'static Call> {
    TABLE.iter().find(|call| call.number == number as c_long)
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

/// Calls that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
const LEGACY: usize = 8;
/// Calls that only x86-64 still has.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: usize = 0;

static TABLE: [Call; 26 + LEGACY] = {
    use Class::{Connect, Listen, Metadata, NewTask, OtherTask, Watch};
    [
        call(libc::SYS_fchmodat, "fchmodat", Metadata, |r| {
            Ok(change(at(r, 0, 1, 0)?, Change::Mode(r.mode(2))))
        }),
        call(SYS_FCHMODAT2, "fchmodat2", Metadata, |r| {
            Ok(change(at(r, 0, 1, r.int(3))?, Change::Mode(r.mode(2))))
        }),
        call(libc::SYS_fchmod, "fchmod", Metadata, |r| {
            Ok(change(descriptor(r), Change::Mode(r.mode(1))))
        }),
        call(libc::SYS_fchownat, "fchownat", Metadata, |r| {
            let owner = Change::Owner(r.unsigned(2), r.unsigned(3));
            Ok(change(at(r, 0, 1, r.int(4))?, owner))
        }),
        call(libc::SYS_fchown, "fchown", Metadata, |r| {
            let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
            Ok(change(descriptor(r), owner))
        }),
        call(libc::SYS_utimensat, "utimensat", Metadata, |r| {
            let times = timespecs(r, 2)?;
            let omits = |time: &libc::timespec| time.tv_nsec == libc::UTIME_OMIT;
            if times.is_some_and(|both| both.iter().all(omits)) {
                // The kernel does not look at the path then.
                return Ok(Wish::Nothing);
            }
            if r.is_null(1) && r.int(0) != libc::AT_FDCWD {
                return match r.int(3) {
                    0 => Ok(change(descriptor(r), Change::Times(times))),
                    _ => Err(Errno::EINVAL.into()),
                };
            }
            Ok(change(at(r, 0, 1, r.int(3))?, Change::Times(times)))
        }),
        call(libc::SYS_setxattr, "setxattr", Metadata, |r| {
            let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
            Ok(change(path(r, true)?, set))
        }),
        call(libc::SYS_lsetxattr, "lsetxattr", Metadata, |r| {
            let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
            Ok(change(path(r, false)?, set))
        }),
        call(libc::SYS_fsetxattr, "fsetxattr", Metadata, |r| {
            let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
            Ok(change(descriptor(r), set))
        }),
        call(SYS_SETXATTRAT, "setxattrat", Metadata, |r| {
            // `struct xattr_args`: value (64 bits), size, flags (32 bits each).
            let args = r.structure(4, r.size(5), 16)?;
            if args[16..].iter().any(|byte| *byte != 0) {
                return Err(Errno::E2BIG.into());
            }
            let half =
                |from: usize| u32::from_ne_bytes(args[from..from + 4].try_into().expect("4 bytes"));
            let value = u64::from_ne_bytes(args[..8].try_into().expect("8 bytes"));
            let flags = known(r.int(2))?;
            let set = set_attribute(r, 3, value, half(8) as usize, half(12) as i32)?;
            Ok(change(at_or_null(r, flags)?, set))
        }),
        call(libc::SYS_removexattr, "removexattr", Metadata, |r| {
            let remove = Change::RemoveAttribute(r.attribute_name(1)?);
            Ok(change(path(r, true)?, remove))
        }),
        call(libc::SYS_lremovexattr, "lremovexattr", Metadata, |r| {
            let remove = Change::RemoveAttribute(r.attribute_name(1)?);
            Ok(change(path(r, false)?, remove))
        }),
        call(libc::SYS_fremovexattr, "fremovexattr", Metadata, |r| {
            let remove = Change::RemoveAttribute(r.attribute_name(1)?);
            Ok(change(descriptor(r), remove))
        }),
        call(SYS_REMOVEXATTRAT, "removexattrat", Metadata, |r| {
            let flags = known(r.int(2))?;
            let remove = Change::RemoveAttribute(r.attribute_name(3)?);
            Ok(change(at_or_null(r, flags)?, remove))
        }),
        call(SYS_FILE_SETATTR, "file_setattr", Metadata, |r| {
            let flags = known(r.int(4))?;
            let attributes = r.structure(2, r.size(3), 24)?;
            Ok(change(
                at_or_null(r, flags)?,
                Change::FileAttributes(attributes),
            ))
        }),
        call(libc::SYS_connect, "connect", Connect, |r| {
            Ok(Wish::Connect {
                socket: r.int(0),
                address: Address::read(r, 1, r.int(2))?,
            })
        }),
        call(libc::SYS_listen, "listen", Listen, |r| {
            Ok(Wish::Listen(r.int(0), r.int(1)))
        }),
        call(
            libc::SYS_inotify_add_watch,
            "inotify_add_watch",
            Watch,
            |r| {
                let mask = r.unsigned(2);
                let place = Place::Path {
                    base: Base::WorkingDirectory,
                    path: r.path(1)?,
                    follow: mask & libc::IN_DONT_FOLLOW == 0,
                };
                let instance = r.int(0);
                Ok(change(place, Change::Watch { instance, mask }))
            },
        ),
        call(libc::SYS_clone, "clone", NewTask, |_| Ok(Wish::Task)),
        call(
            libc::SYS_sched_setaffinity,
            "sched_setaffinity",
            OtherTask,
            |r| Ok(Wish::Tune(r.int(0))),
        ),
        call(
            libc::SYS_sched_setscheduler,
            "sched_setscheduler",
            OtherTask,
            |r| Ok(Wish::Tune(r.int(0))),
        ),
        call(libc::SYS_sched_setparam, "sched_setparam", OtherTask, |r| {
            Ok(Wish::Tune(r.int(0)))
        }),
        call(libc::SYS_sched_setattr, "sched_setattr", OtherTask, |r| {
            Ok(Wish::Tune(r.int(0)))
        }),
        call(libc::SYS_setpriority, "setpriority", OtherTask, |r| {
            one_task(
                i64::from(r.int(0)) == i64::from(libc::PRIO_PROCESS),
                r.int(1),
            )
        }),
        call(libc::SYS_ioprio_set, "ioprio_set", OtherTask, |r| {
            one_task(r.int(0) == IOPRIO_WHO_PROCESS, r.int(1))
        }),
        call(libc::SYS_prlimit64, "prlimit64", OtherTask, |r| {
            one_task(
                i64::from(r.unsigned(1)) != i64::from(libc::RLIMIT_RTTIME),
                r.int(0),
            )
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_fork, "fork", NewTask, |_| Ok(Wish::Task)),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_vfork, "vfork", NewTask, |_| Ok(Wish::Task)),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_chmod, "chmod", Metadata, |r| {
            Ok(change(path(r, true)?, Change::Mode(r.mode(1))))
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_chown, "chown", Metadata, |r| {
            let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
            Ok(change(path(r, true)?, owner))
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_lchown, "lchown", Metadata, |r| {
            let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
            Ok(change(path(r, false)?, owner))
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_utime, "utime", Metadata, |r| {
            let times = match r.is_null(1) {
                true => None,
                false => Some(r.words::<2>(1)?.map(|seconds| timespec(seconds, 0))),
            };
            Ok(change(path(r, true)?, Change::Times(times)))
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_utimes, "utimes", Metadata, |r| {
            let times = timevals(r, 1)?;
            Ok(change(path(r, true)?, Change::Times(times)))
        }),
        #[cfg(target_arch = "x86_64")]
        call(libc::SYS_futimesat, "futimesat", Metadata, |r| {
            let times = timevals(r, 2)?;
            let place = match r.is_null(1) && r.int(0) != libc::AT_FDCWD {
                true => descriptor(r),
                false => at(r, 0, 1, 0)?,
            };
            Ok(change(place, Change::Times(times)))
        }),
    ]
};

fn change(place: Place, change: Change) -> Wish {
    Wish::Change(place, change)
}

/// `IOPRIO_WHO_PROCESS` (linux/ioprio.h).
const IOPRIO_WHO_PROCESS: i32 = 1;

/// The task of that number, if it is one task that is meant, and nothing that marks the session.
fn one_task(is_one: bool, number: i32) -> Result<Wish, Failure> {
    match is_one {
        true => Ok(Wish::Tune(number)),
        false => Err(Failure::Refused(
            Errno::EPERM,
            "more than a task of the caller's own",
        )),
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
            base: match base {
                libc::AT_FDCWD => Base::WorkingDirectory,
                number => Base::Descriptor(number),
            },
            path,
            follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        }
    })
}

/// As [`at`], for the newest calls: to them a null path with `AT_EMPTY_PATH` is an empty one, and a descriptor that stands for
/// itself must be an open file.
fn at_or_null(r: &Registers, flags: i32) -> Result<Place, Failure> {
    let place = match r.is_null(1) && flags & libc::AT_EMPTY_PATH != 0 {
        true => itself(r.int(0)),
        false => at(r, 0, 1, flags)?,
    };
    Ok(match place {
        Place::Descriptor { number, .. } => Place::Descriptor {
            number,
            accepts_path_only: false,
        },
        other => other,
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

fn set_attribute(
    r: &Registers,
    name: usize,
    value: u64,
    size: usize,
    flags: i32,
) -> Result<Change, Failure> {
    if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Change::SetAttribute {
        name: r.attribute_name(name)?,
        value: r.attribute_value(value, size)?,
        flags,
    })
}

fn timespec(seconds: i64, nanoseconds: i64) -> libc::timespec {
    libc::timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }
}

fn timespecs(r: &Registers, at: usize) -> Result<Option<[libc::timespec; 2]>, Failure> {
    if r.is_null(at) {
        return Ok(None);
    }
    let [a, b, c, d] = r.words::<4>(at)?;
    Ok(Some([timespec(a, b), timespec(c, d)]))
}

/// Microseconds, which the kernel checks before it multiplies them.
#[cfg(target_arch = "x86_64")]
fn timevals(r: &Registers, at: usize) -> Result<Option<[libc::timespec; 2]>, Failure> {
    if r.is_null(at) {
        return Ok(None);
    }
    let [a, b, c, d] = r.words::<4>(at)?;
    if [b, d].iter().any(|part| !(0..1_000_000).contains(part)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some([timespec(a, b * 1000), timespec(c, d * 1000)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_number_stands_in_the_table_twice() {
        let numbers: BTreeSet<_> = TABLE.iter().map(|call| call.number).collect();
        assert_eq!(numbers.len(), TABLE.len());
    }

    #[test]
    fn every_class_has_its_calls() {
        let connect: Vec<_> = numbers(Class::Connect).collect();
        assert_eq!(connect, [libc::SYS_connect]);
        assert!(numbers(Class::NewTask).any(|number| number == libc::SYS_clone));
        let metadata: BTreeSet<_> = numbers(Class::Metadata).collect();
        assert!(metadata.contains(&libc::SYS_fchmodat) && metadata.contains(&SYS_FCHMODAT2));
        assert_eq!(numbers(Class::OtherTask).count(), 7);
        assert_eq!(numbers(Class::Listen).count(), 1);
        assert_eq!(numbers(Class::Watch).count(), 1);
        let others = [
            Class::Connect,
            Class::Listen,
            Class::Watch,
            Class::NewTask,
            Class::OtherTask,
        ];
        let others = others.into_iter().flat_map(numbers).count();
        assert_eq!(metadata.len(), TABLE.len() - others);
    }
}
