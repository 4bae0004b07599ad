//! What keeper and daemon say to each other: fixed numbers, and descriptors beside them.
//!
//! One message is one packet. Neither reads what a worker wrote, and nothing in it has a length that could be wrong.

use std::os::fd::OwnedFd;

/// The version of this page. A daemon that finds another one says so and ends.
pub(super) const VERSION: u8 = 2;
/// The bytes of a message.
pub(super) const SIZE: usize = 40;
/// The most descriptors of one message.
pub(super) const MOST: usize = sys::messages::MAX_FDS;

/// What a descriptor is for. The keeper only keeps it beside its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// The process itself (pidfd).
    Process = 1,
    /// The listener of its filter.
    Listener,
    /// What was received from the listener and not yet answered.
    Journal,
    /// Our end of a connection that its programs ask over: the one that it inherited, or one that was made by name.
    Socket,
    /// Our end of its standard output.
    Output,
    /// Our end of its standard error.
    Errors,
    /// A Landlock ruleset of its session. (7 was once something else.)
    Ruleset = 8,
    /// The lock that says that a daemon runs.
    Lock,
    /// Where clients connect.
    Control,
    /// The directory of the marks (`keeper/marks.rs`).
    Marks,
    /// Where the daemon asks for what only an ancestor may do, and what comes of that (`keeper/aid.rs`).
    Aid,
}

impl Role {
    const ALL: [Self; 11] = [
        Self::Process,
        Self::Listener,
        Self::Journal,
        Self::Socket,
        Self::Output,
        Self::Errors,
        Self::Ruleset,
        Self::Lock,
        Self::Control,
        Self::Marks,
        Self::Aid,
    ];

    /// It is of use to a keeper that is not of this one's making.
    pub(super) fn is_stored(self) -> bool {
        !matches!(self, Self::Lock | Self::Marks | Self::Aid)
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == number)
    }
}

/// A descriptor that is kept.
#[derive(Debug)]
pub struct Held {
    /// What it is for.
    pub role: Role,
    /// Which of those; 0 where there is but one.
    pub label: u32,
    /// It.
    pub fd: OwnedFd,
}

/// Whether a worker cannot be served by who lacks this one.
pub(super) fn is_essential(role: Role, label: u32) -> bool {
    match role {
        Role::Process | Role::Listener | Role::Journal | Role::Ruleset => true,
        // The others come and go.
        Role::Socket => label == 0,
        Role::Output | Role::Errors => false,
        Role::Lock | Role::Control | Role::Marks | Role::Aid => false,
    }
}

/// What a message means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verb {
    /// Daemon: a worker of this key is about to be made. Should the daemon die before the next message of it, all that carries
    /// the key is to be killed.
    Begin = 1,
    /// Daemon: it was made; here are its number and first descriptors.
    Keep,
    /// Daemon: further descriptors of it.
    Add,
    /// Daemon: those of this role and label are no longer needed.
    Drop,
    /// Daemon: nothing of it is needed, or nothing came of it.
    Forget,
    /// Daemon: everything was taken over, and clients are served.
    Ready,
    /// Daemon: for a while nobody is served, as was asked for.
    Reloading,
    /// Daemon: its end is to be the end of the keeper.
    Last,
    /// Daemon: it is here.
    Here,
    /// Keeper: this is held.
    Held,
    /// Keeper: that was all.
    AllHeld,
    /// Keeper: the worker has ended.
    Exited,
    /// Keeper: the daemon is to end everything in order.
    Stop,
    /// Keeper: is the daemon there? Its loop says so.
    AreYouThere,
    /// Daemon: the memory of the thread `pid` is to be opened. Keeper: it was, or `code` is the errno.
    Memory,
    /// Daemon: the descriptor `status` of the process that comes with this is to be duplicated. Keeper: as before.
    Descriptor,
}

impl Verb {
    const ALL: [Self; 16] = [
        Self::Begin,
        Self::Keep,
        Self::Add,
        Self::Drop,
        Self::Forget,
        Self::Ready,
        Self::Reloading,
        Self::Last,
        Self::Here,
        Self::Held,
        Self::AllHeld,
        Self::Exited,
        Self::Stop,
        Self::AreYouThere,
        Self::Memory,
        Self::Descriptor,
    ];
}

/// One message, without its descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    pub verb: Verb,
    /// The worker: its session's tag. 0: the daemon itself.
    pub key: u64,
    pub pid: i32,
    /// `si_code` and `si_status` of its end.
    pub code: i32,
    pub status: i32,
    /// It is to die with the daemon.
    pub is_bound: bool,
    /// Which of those with the same role; 0 where there is but one.
    pub label: u32,
    /// With [`Verb::Keep`]: how many descriptors there are, with those of the messages that follow. It is not kept before.
    pub total: u8,
    /// What each descriptor is, in order; 0 behind the last.
    pub roles: [u8; MOST],
}

impl Message {
    pub fn new(verb: Verb, key: u64) -> Self {
        Self {
            verb,
            key,
            pid: 0,
            code: 0,
            status: 0,
            is_bound: false,
            label: 0,
            total: 0,
            roles: [0; MOST],
        }
    }

    pub fn with_roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        for (slot, role) in self.roles.iter_mut().zip(roles) {
            *slot = role as u8;
        }
        self
    }

    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[0] = VERSION;
        bytes[1] = self.verb as u8;
        bytes[2] = self.is_bound.into();
        bytes[3] = self.total;
        bytes[8..16].copy_from_slice(&self.key.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[20..24].copy_from_slice(&self.code.to_ne_bytes());
        bytes[24..28].copy_from_slice(&self.status.to_ne_bytes());
        bytes[28..32].copy_from_slice(&self.label.to_ne_bytes());
        bytes[32..40].copy_from_slice(&self.roles);
        bytes
    }

    /// `None`: of another version, or none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let number = |at: usize| {
            let part = bytes[at..at + 4].try_into().unwrap_or_default();
            i32::from_ne_bytes(part)
        };
        let verb = Verb::ALL.into_iter().find(|verb| *verb as u8 == bytes[1])?;
        (bytes[0] == VERSION).then(|| Self {
            verb,
            key: u64::from_ne_bytes(bytes[8..16].try_into().unwrap_or_default()),
            pid: number(16),
            code: number(20),
            status: number(24),
            is_bound: bytes[2] != 0,
            label: number(28) as u32,
            total: bytes[3],
            roles: bytes[32..40].try_into().unwrap_or_default(),
        })
    }

    /// The descriptors that came with it. `None`: they are not as many as it says.
    pub fn sort(&self, fds: Vec<OwnedFd>) -> Option<Vec<Held>> {
        let named = self.roles.iter().filter(|role| **role != 0);
        let roles: Vec<Role> = named
            .map(|role| Role::from_number(*role))
            .collect::<Option<_>>()?;
        let held = |(role, fd)| Held {
            role,
            label: self.label,
            fd,
        };
        (roles.len() == fds.len()).then(|| roles.into_iter().zip(fds).map(held).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        for verb in Verb::ALL {
            let message = Message {
                pid: 77,
                code: 1,
                status: -3,
                is_bound: true,
                total: 9,
                label: 11,
                ..Message::new(verb, u64::MAX - 5)
            }
            .with_roles(Role::ALL);
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_of_this_version_is_none() {
        let bytes = Message::new(Verb::Begin, 1).encode();
        assert!(Message::decode(&bytes[..SIZE - 1]).is_none());
        let changed = |at: usize, to: u8| {
            let mut bytes = bytes;
            bytes[at] = to;
            Message::decode(&bytes)
        };
        assert!(changed(0, VERSION + 1).is_none());
        assert!(changed(1, 0).is_none());
        assert!(changed(1, 99).is_none());
    }

    #[test]
    fn descriptors_that_do_not_match_their_roles_are_not_taken() {
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let message = Message::new(Verb::Keep, 1).with_roles([Role::Process, Role::Listener]);
        assert_eq!(
            message.sort(vec![fd(), fd()]).unwrap()[1].role,
            Role::Listener
        );
        assert!(message.sort(vec![fd()]).is_none());
        assert!(message.sort(vec![fd(), fd(), fd()]).is_none());
        let mut strange = message;
        strange.roles[0] = 200;
        assert!(strange.sort(vec![fd(), fd()]).is_none());
    }
}
