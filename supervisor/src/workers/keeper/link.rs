//! The daemon's end of the connection to its keeper.

use super::aid::Aid;
use super::held::UNSEEN;
use super::marks::Marks;
use super::message::{Held, MOST, Message, Role, SIZE, Verb};
use crate::launch::Exit;
use crate::sandbox::Tag;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use sys::messages::{Wait, Welcome, receive, send};

/// The key under which the daemon's own descriptors are kept. No tag is 0.
const OWN: u64 = 0;

/// Why the keeper cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It is gone. So will be this process.
    #[error("the keeper is gone")]
    Gone,
    /// It is of another version than this program.
    #[error(
        "the keeper is of another version than this program: stop the daemon and start it again, instead of upgrading it"
    )]
    Version,
    /// A system call failed.
    #[error("cannot {action} the keeper: {errno}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
}

/// Everything that the keeper holds, and the connection to it.
#[derive(Debug)]
pub struct Inheritance {
    /// The connection.
    pub link: Link,
    /// What was kept with [`Link::keep_own`].
    pub own: Vec<Held>,
    /// The workers.
    pub workers: Vec<Given>,
}

/// What the keeper gave back of a worker.
#[derive(Debug)]
pub struct Given {
    /// The worker's session.
    pub tag: Tag,
    /// Its pid, for people to read.
    pub pid: i32,
    /// Its descriptors, in the order in which they were given to the keeper.
    pub fds: Vec<Held>,
}

/// What the keeper says unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// A worker has ended, and was collected.
    Exited {
        /// Which.
        tag: Tag,
        /// How.
        exit: Exit,
    },
    /// Everything is to end in order.
    Stop,
}

/// The connection to the keeper.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    marks: Marks,
    /// Held as long as this is: no other keeper begins.
    _lock: OwnedFd,
}

impl Link {
    /// Takes the connection, and takes over what is held: the daemon's own descriptors, and those of each worker.
    ///
    /// Blocks until the keeper has said that this is all. From then on it is asked for what the kernel permits to ancestors alone.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn open(socket: OwnedFd) -> Result<Inheritance, LinkError> {
        let mut held: BTreeMap<u64, Given> = BTreeMap::new();
        let mut own = Vec::new();
        loop {
            let heard = hear(socket.as_fd(), Wait::Yes)?;
            let (message, fds) = heard.ok_or(LinkError::Gone)?;
            match message.verb {
                Verb::Held if message.key == OWN => own.extend(fds),
                Verb::Held => {
                    let Some(tag) = Tag::from_number(message.key) else {
                        continue;
                    };
                    let given = held.entry(message.key).or_insert(Given {
                        tag,
                        pid: message.pid,
                        fds: Vec::new(),
                    });
                    given.fds.extend(fds);
                }
                Verb::AllHeld => break,
                _ => return Err(LinkError::Version),
            }
        }
        let aid = own.iter().position(|held| held.role == Role::Aid);
        // A keeper that was here before this program was has none to give.
        if let Some(at) = aid {
            sys::ancestor::install(Arc::new(Aid::of(own.swap_remove(at).fd)));
        }
        let mut take = |role: Role| {
            let at = own.iter().position(|held: &Held| held.role == role);
            at.map(|at| own.swap_remove(at).fd)
                .ok_or(LinkError::Version)
        };
        let link = Self {
            marks: Marks::of(take(Role::Marks)?),
            _lock: take(Role::Lock)?,
            socket,
        };
        Ok(Inheritance {
            link,
            own,
            workers: held.into_values().collect(),
        })
    }

    /// The pid of the keeper: the parent of this process.
    pub fn keeper(&self) -> i32 {
        nix::unistd::getppid().as_raw()
    }

    /// Has a descriptor of the daemon itself kept.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn keep_own(&self, role: Role, fd: BorrowedFd<'_>) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Add, OWN), &[(role, fd)])
    }

    /// What of the daemon itself is kept with this role is not to be kept any more.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn drop_own(&self, role: Role) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Drop, OWN).with_roles([role]), &[])
    }

    /// A worker is about to be made: what carries its tag is killed should this process die before [`Link::keep`], and by the next
    /// keeper should this one die before [`Link::may_outlive`].
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn begin(&self, tag: Tag) -> Result<(), LinkError> {
        self.marks.mark(tag).map_err(|errno| LinkError::Call {
            action: "leave a mark for",
            errno,
        })?;
        self.say(Message::new(Verb::Begin, tag.number()), &[])
    }

    /// It was made, and is to be kept, with all that it needs. `is_bound`: it is to die with this process.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn keep(
        &self,
        tag: Tag,
        pid: i32,
        is_bound: bool,
        fds: &[(Role, BorrowedFd<'_>)],
    ) -> Result<(), LinkError> {
        let (first, rest) = fds.split_at(fds.len().min(MOST));
        let total = u8::try_from(fds.len()).map_err(|_| LinkError::Call {
            action: "give so many descriptors to",
            errno: Errno::E2BIG,
        })?;
        let message = Message {
            pid,
            is_bound,
            total,
            ..Message::new(Verb::Keep, tag.number())
        };
        self.say(message, first)?;
        for part in rest.chunks(MOST) {
            self.say(Message::new(Verb::Add, tag.number()), part)?;
        }
        Ok(())
    }

    /// It is recorded where the next daemon finds it: from now on it may go on when the keeper is killed.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn may_outlive(&self, tag: Tag) -> Result<(), LinkError> {
        self.marks.remove(tag).map_err(|errno| LinkError::Call {
            action: "take back a mark for",
            errno,
        })
    }

    /// Has one more descriptor of a worker kept. `label`: which of those with this role.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn add(
        &self,
        tag: Tag,
        role: Role,
        label: u32,
        fd: BorrowedFd<'_>,
    ) -> Result<(), LinkError> {
        let message = Message {
            label,
            ..Message::new(Verb::Add, tag.number())
        };
        self.say(message, &[(role, fd)])
    }

    /// A worker's descriptors of this role and label are no longer to be kept.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn drop_some(&self, tag: Tag, role: Role, label: u32) -> Result<(), LinkError> {
        let message = Message {
            label,
            ..Message::new(Verb::Drop, tag.number())
        };
        self.say(message.with_roles([role]), &[])
    }

    /// Nothing of this worker is to be kept.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn forget(&self, tag: Tag) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Forget, tag.number()), &[])
    }

    /// Everything was taken over.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn ready(&self) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Ready, OWN), &[])
    }

    /// As was asked for, nobody is served until the next [`Link::ready`], of this process or another one.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn reloading(&self) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Reloading, OWN), &[])
    }

    /// The end of this process is to be the end of the keeper.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn last(&self) -> Result<(), LinkError> {
        self.say(Message::new(Verb::Last, OWN), &[])
    }

    /// What the keeper said, if it said something. Where it asks whether this process is there, it is told so: to be called by the
    /// loop that serves, and by nobody else.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn news(&self) -> Result<Option<News>, LinkError> {
        loop {
            let Some((message, _)) = hear(self.socket.as_fd(), Wait::No)? else {
                return Ok(None);
            };
            match message.verb {
                Verb::Stop => return Ok(Some(News::Stop)),
                Verb::AreYouThere => self.say(Message::new(Verb::Here, OWN), &[])?,
                Verb::Exited => {
                    let Some(tag) = Tag::from_number(message.key) else {
                        continue;
                    };
                    let exit = match message.code {
                        libc::CLD_EXITED => Exit::Code(message.status),
                        UNSEEN => Exit::Unknown,
                        _ => Exit::Signal(message.status),
                    };
                    return Ok(Some(News::Exited { tag, exit }));
                }
                _ => {}
            }
        }
    }

    fn say(&self, message: Message, fds: &[(Role, BorrowedFd<'_>)]) -> Result<(), LinkError> {
        let message = message.with_roles(fds.iter().map(|(role, _)| *role));
        let fds: Vec<_> = fds.iter().map(|(_, fd)| *fd).collect();
        loop {
            // The keeper waits for nobody, so this does not wait for long.
            match send(self.socket.as_fd(), &message.encode(), &fds, Wait::Yes) {
                Ok(_) => return Ok(()),
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(LinkError::Gone),
                // Descriptors that are on their way count, until the keeper has taken them out.
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(errno) => {
                    return Err(LinkError::Call {
                        action: "speak to",
                        errno,
                    });
                }
            }
        }
    }
}

impl AsFd for Link {
    /// Readable when the keeper has said something, or is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn hear(socket: BorrowedFd<'_>, wait: Wait) -> Result<Option<(Message, Vec<Held>)>, LinkError> {
    let mut buffer = [0; SIZE + 1];
    let welcome = Welcome {
        fds: MOST,
        sender: false,
    };
    if wait == Wait::Yes {
        let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                return Err(LinkError::Call {
                    action: "wait for",
                    errno,
                });
            }
        }
    }
    let received = match receive(socket, &mut buffer, welcome, wait) {
        Ok(received) => received,
        Err(Errno::EAGAIN) => return Ok(None),
        Err(Errno::ECONNRESET) => return Err(LinkError::Gone),
        Err(errno) => {
            return Err(LinkError::Call {
                action: "hear",
                errno,
            });
        }
    };
    if received.length == 0 {
        return Err(LinkError::Gone);
    }
    if received.lost.is_some() {
        return Err(LinkError::Call {
            action: "take descriptors from",
            errno: Errno::EMFILE,
        });
    }
    let message = Message::decode(&buffer[..received.length]).ok_or(LinkError::Version)?;
    let fds = message.sort(received.fds).ok_or(LinkError::Version)?;
    Ok(Some((message, fds)))
}
