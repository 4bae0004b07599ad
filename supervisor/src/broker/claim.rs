//! What was asked, before anything is known about it.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use protocol::{Code, Create, OpenFlags, OpenRequest};

use super::outcome::Refusal;
use crate::policy::Access;

/// A request for an open file: a stranger's words. Having one proves nothing but that they make sense together.
#[derive(Clone, Debug)]
pub struct Claim {
    pub(super) id: u64,
    pub(super) path: PathBuf,
    pub(super) access: Access,
    pub(super) flags: OpenFlags,
    /// All of them, of a trapped call that opens.
    pub(super) called_with: Option<OFlag>,
    pub(super) create: Create,
    pub(super) mode: u32,
    pub(super) why: Option<String>,
    /// The trapped call that it was; `None`: it came over the socket.
    pub(super) call: Option<&'static str>,
    pub(super) purpose: Purpose,
    /// That of the thread which made the call; `None`: as its process has it.
    pub(super) umask: Option<u32>,
    /// The program that made the call, found out while it waited. Nobody looks for it later, under a number that may be another's.
    pub(super) program: Option<PathBuf>,
    /// The second name, where what is done has two.
    pub(super) to: Option<PathBuf>,
    /// It is about names, which may mean something else the next time: no answer stands for another, neither before nor after.
    pub(super) is_once: bool,
    /// Nobody can ask anything else before it is answered.
    pub(super) is_alone: bool,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An open file.
    Open,
    /// Likewise, but whoever claims opens it, since that may last: what is granted is a descriptor that only names it.
    Hold,
    /// Nothing is opened: whoever claims does to what was located what the call says, in this word, and is granted the same.
    Deed(&'static str),
}

impl Purpose {
    /// As whoever is asked sees it: who opens what is opened makes no difference.
    pub(super) fn as_asked(self) -> Self {
        match self {
            Self::Open | Self::Hold => Self::Open,
            Self::Deed(what) => Self::Deed(what),
        }
    }
}

impl Claim {
    /// Takes a request apart.
    ///
    /// # Errors
    /// It contradicts itself.
    pub fn new(request: OpenRequest) -> Result<Self, Refusal> {
        let mut access = Access::NONE;
        if request.access.reads() {
            access |= Access::READ;
        }
        if request.access.writes() {
            access |= Access::WRITE;
        }
        let claim = Self {
            id: request.id,
            path: std::ffi::OsStr::from_bytes(request.path.as_bytes()).into(),
            access,
            flags: request.flags,
            called_with: None,
            create: request.create,
            mode: request.mode & 0o777,
            why: request.why,
            call: None,
            purpose: Purpose::Open,
            umask: None,
            program: None,
            to: None,
            is_once: false,
            is_alone: false,
        };
        let contradiction =
            |errno, what| Err(Refusal::new(Code::BadRequest, errno).explained(what));
        if claim.has(OpenFlags::DIRECTORY) {
            if access.contains(Access::WRITE) {
                return contradiction(Errno::EISDIR, "a directory cannot be opened for writing");
            }
            if claim.create != Create::No {
                return contradiction(Errno::EINVAL, "a directory cannot be made by opening it");
            }
        }
        if claim.has(OpenFlags::TRUNCATE) && !access.contains(Access::WRITE) {
            return contradiction(Errno::EINVAL, "what is only read cannot be truncated");
        }
        Ok(claim)
    }

    /// A trapped call that opens `path` so. `flags` are those of `open(2)`.
    #[must_use]
    pub fn called(
        call: &'static str,
        path: PathBuf,
        access: Access,
        flags: OFlag,
        mode: u32,
    ) -> Self {
        let known = [
            (OFlag::O_APPEND, OpenFlags::APPEND),
            (OFlag::O_TRUNC, OpenFlags::TRUNCATE),
            (OFlag::O_NONBLOCK, OpenFlags::NONBLOCK),
        ];
        let held = known.into_iter().filter(|(flag, _)| flags.contains(*flag));
        Self {
            id: 0,
            path,
            access,
            flags: held.fold(OpenFlags::NONE, |all, (_, flag)| all.union(flag)),
            called_with: Some(flags),
            create: match flags {
                flags if flags.contains(OFlag::O_CREAT | OFlag::O_EXCL) => Create::New,
                flags if flags.contains(OFlag::O_CREAT) => Create::Yes,
                _ => Create::No,
            },
            mode: mode & 0o777,
            why: None,
            call: Some(call),
            purpose: Purpose::Open,
            umask: None,
            program: None,
            to: None,
            is_once: false,
            is_alone: false,
        }
    }

    /// The same, by a thread whose umask may not be that of its process.
    #[must_use]
    pub fn under(self, umask: u32) -> Self {
        Self {
            umask: Some(umask),
            ..self
        }
    }

    /// The same over the one connection that a whole session has: until it is answered nobody can ask for anything else, and so it
    /// must not wait for what somebody else may have to ask for.
    #[must_use]
    pub fn alone(self) -> Self {
        Self {
            is_alone: true,
            ..self
        }
    }

    /// The same, but whoever claims opens it. What is granted is a descriptor that only names it.
    #[must_use]
    pub fn held(self) -> Self {
        Self {
            purpose: Purpose::Hold,
            ..self
        }
    }

    /// The same, by this program, which was found out while the call waited.
    #[must_use]
    pub fn by(self, program: Option<PathBuf>) -> Self {
        Self { program, ..self }
    }

    /// A trapped call that does something to what is at `path`, for which that much access is needed, and opens nothing; `what`: in
    /// a word or two, for people. What is granted is a descriptor that only names it.
    #[must_use]
    pub fn deed(call: &'static str, what: &'static str, path: PathBuf, access: Access) -> Self {
        Self {
            purpose: Purpose::Deed(what),
            called_with: None,
            ..Self::called(call, path, access, OFlag::empty(), 0)
        }
    }

    /// The same, where what is done has a second name: where something is moved, what a link leads to.
    #[must_use]
    pub fn to(self, to: Option<PathBuf>) -> Self {
        Self { to, ..self }
    }

    /// The request's number on its connection.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn has(&self, flag: OpenFlags) -> bool {
        self.flags.contains(flag)
    }

    /// The access mode of `open(2)`.
    pub(super) fn access_mode(&self) -> OFlag {
        match (
            self.access.contains(Access::READ),
            self.access.contains(Access::WRITE),
        ) {
            (true, true) => OFlag::O_RDWR,
            (false, true) => OFlag::O_WRONLY,
            (_, false) => OFlag::O_RDONLY,
        }
    }
}
