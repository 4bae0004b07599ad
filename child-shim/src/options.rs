//! How a file shall be opened.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use protocol::{Access, Create, OpenFlags, OpenRequest, RequestedPath};

use crate::Error;

/// How a file shall be opened: the options of the standard library, and a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    /// The flags of `open` besides access and close-on-exec.
    flags: OFlag,
    mode: Option<u32>,
    why: Option<String>,
    timeout: Option<Duration>,
}

impl OpenOptions {
    /// No access at all: something must be set.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "nothing that permits has a default"
    )]
    pub fn new() -> Self {
        Self {
            read: false,
            write: false,
            flags: OFlag::empty(),
            mode: None,
            why: None,
            timeout: None,
        }
    }

    /// For reading.
    #[must_use]
    pub fn read(mut self, yes: bool) -> Self {
        self.read = yes;
        self
    }

    /// For writing.
    #[must_use]
    pub fn write(mut self, yes: bool) -> Self {
        self.write = yes;
        self
    }

    /// For writing at the end, whatever others write.
    #[must_use]
    pub fn append(mut self, yes: bool) -> Self {
        self.write |= yes;
        self.with(OFlag::O_APPEND, yes)
    }

    /// Cuts the content off.
    #[must_use]
    pub fn truncate(self, yes: bool) -> Self {
        self.with(OFlag::O_TRUNC, yes)
    }

    /// Makes the file when it is not there.
    #[must_use]
    pub fn create(self, yes: bool) -> Self {
        self.with(OFlag::O_CREAT, yes)
    }

    /// Makes the file, which must not be there.
    #[must_use]
    pub fn create_new(self, yes: bool) -> Self {
        self.with(OFlag::O_CREAT | OFlag::O_EXCL, yes)
    }

    /// Only a directory will do.
    #[must_use]
    pub fn directory(self, yes: bool) -> Self {
        self.with(OFlag::O_DIRECTORY, yes)
    }

    /// A symbolic link at the end of the path is not followed.
    #[must_use]
    pub fn nofollow(self, yes: bool) -> Self {
        self.with(OFlag::O_NOFOLLOW, yes)
    }

    /// Neither the open nor what follows waits.
    #[must_use]
    pub fn nonblock(self, yes: bool) -> Self {
        self.with(OFlag::O_NONBLOCK, yes)
    }

    /// The permissions of a file that is made, before the umask.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// A reason, for the operator to read.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// How long the supervisor's answer is waited for; for ever when this is not set, since the
    /// supervisor has its own deadline for whoever decides.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    fn with(mut self, flags: OFlag, yes: bool) -> Self {
        self.flags.set(flags, yes);
        self
    }

    /// The flags and mode of the C function.
    ///
    /// Those that tell only the calling process something are taken off.
    ///
    /// # Errors
    /// [`Error::Contradiction`] for a flag that the protocol cannot say.
    pub fn from_c(flags: libc::c_int, mode: libc::mode_t) -> Result<Self, Error> {
        let flags = OFlag::from_bits_retain(flags);
        let access = flags & OFlag::O_ACCMODE;
        let flags = flags - OFlag::O_ACCMODE - OFlag::O_CLOEXEC - OFlag::O_NOCTTY - LARGE_FILES;
        if !SAYABLE.contains(flags) {
            return Err(Error::Contradiction(
                "a flag that only the kernel understands",
            ));
        }
        let is = |wanted: OFlag| access == wanted || access == OFlag::O_RDWR;
        let (read, write) = (is(OFlag::O_RDONLY), is(OFlag::O_WRONLY));
        if !read && !write {
            return Err(Error::Contradiction("no access mode"));
        }
        #[allow(clippy::useless_conversion, reason = "16 bits on other systems")]
        let mode = u32::from(mode);
        Ok(Self {
            read,
            write,
            flags,
            mode: Some(mode),
            why: None,
            timeout: None,
        })
    }

    pub(crate) fn reply_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Opens it as any program would.
    pub(crate) fn open_natively(&self, path: &Path) -> nix::Result<OwnedFd> {
        let access = match (self.read, self.write) {
            (true, true) => OFlag::O_RDWR,
            (true, false) => OFlag::O_RDONLY,
            (false, true) => OFlag::O_WRONLY,
            (false, false) => return Err(Errno::EINVAL),
        };
        // A mode is a number that the kernel cuts to what it knows.
        let mode = Mode::from_bits_truncate(self.mode.unwrap_or(OpenRequest::MODE) as libc::mode_t);
        loop {
            match nix::fcntl::open(path, access | self.flags | OFlag::O_CLOEXEC, mode) {
                Err(Errno::EINTR) => {}
                opened => return opened,
            }
        }
    }

    /// The request for it.
    pub(crate) fn request(&self, id: u64, path: &Path) -> Result<OpenRequest, Error> {
        if path.as_os_str().is_empty() {
            return Err(protocol::PathError::Empty.into());
        }
        // Our own directory means nothing to the supervisor. No link is resolved here, nor `..`.
        let path = std::path::absolute(path).map_err(|error| {
            Error::Native(error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))
        })?;
        let request = OpenRequest {
            id,
            path: RequestedPath::new(path.as_os_str().as_bytes())?,
            access: match (self.read, self.write) {
                (true, true) => Access::ReadWrite,
                (true, false) => Access::Read,
                (false, true) => Access::Write,
                (false, false) => return Err(Error::Contradiction("neither reading nor writing")),
            },
            flags: self.sayable_flags(),
            create: match (
                self.flags.contains(OFlag::O_CREAT),
                self.flags.contains(OFlag::O_EXCL),
            ) {
                (false, _) => Create::No,
                (true, false) => Create::Yes,
                (true, true) => Create::New,
            },
            mode: self.mode.unwrap_or(OpenRequest::MODE),
            why: self.why.clone(),
        };
        match request.contradiction() {
            None => Ok(request),
            Some(contradiction) => Err(Error::Contradiction(contradiction)),
        }
    }

    fn sayable_flags(&self) -> OpenFlags {
        let said = FLAGS.iter().filter(|(flag, _)| self.flags.contains(*flag));
        said.fold(OpenFlags::NONE, |set, (_, flag)| set.union(*flag))
    }
}

/// The flags of the protocol.
const FLAGS: [(OFlag, OpenFlags); 5] = [
    (OFlag::O_APPEND, OpenFlags::APPEND),
    (OFlag::O_TRUNC, OpenFlags::TRUNCATE),
    (OFlag::O_DIRECTORY, OpenFlags::DIRECTORY),
    (OFlag::O_NOFOLLOW, OpenFlags::NOFOLLOW),
    (OFlag::O_NONBLOCK, OpenFlags::NONBLOCK),
];

/// Those, and what the protocol says by `create`.
const SAYABLE: OFlag = OFlag::O_APPEND
    .union(OFlag::O_TRUNC)
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL);

/// What 32-bit programs say, and 64-bit ones mean.
#[cfg(target_os = "linux")]
const LARGE_FILES: OFlag = OFlag::O_LARGEFILE;
#[cfg(not(target_os = "linux"))]
const LARGE_FILES: OFlag = OFlag::empty();

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &OpenOptions) -> OpenRequest {
        options.request(1, Path::new("/a")).expect("a request")
    }

    #[test]
    fn options_are_asked_for_as_they_are_set() {
        let read = asked(&OpenOptions::new().read(true));
        assert_eq!(
            (read.access, read.flags, read.create),
            (Access::Read, OpenFlags::NONE, Create::No)
        );
        let append = asked(
            &OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .why("log"),
        );
        assert_eq!(
            (append.access, append.flags),
            (Access::Write, OpenFlags::APPEND)
        );
        assert_eq!((append.create, append.mode), (Create::Yes, 0o640));
        assert_eq!(append.why.as_deref(), Some("log"));
        let new = asked(&OpenOptions::new().read(true).write(true).create_new(true));
        assert_eq!((new.access, new.create), (Access::ReadWrite, Create::New));
    }

    #[test]
    fn flags_of_c_are_asked_for_as_they_are_set() {
        let flags =
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC | libc::O_NOCTTY;
        let request = asked(&OpenOptions::from_c(flags, 0o644).expect("options"));
        assert_eq!(
            (request.access, request.flags),
            (Access::Write, OpenFlags::TRUNCATE)
        );
        assert_eq!((request.create, request.mode), (Create::Yes, 0o644));
        let read = asked(&OpenOptions::from_c(libc::O_RDONLY, 0).expect("options"));
        assert_eq!(read.access, Access::Read);
        let both = asked(&OpenOptions::from_c(libc::O_RDWR, 0).expect("options"));
        assert_eq!(both.access, Access::ReadWrite);
    }

    #[test]
    fn what_cannot_be_asked_for_is_an_error() {
        assert!(OpenOptions::from_c(libc::O_RDONLY | libc::O_SYNC, 0).is_err());
        assert!(OpenOptions::from_c(libc::O_ACCMODE, 0).is_err());
        let errno = |options: OpenOptions, path: &str| {
            options
                .request(1, Path::new(path))
                .expect_err("an error")
                .errno()
        };
        assert_eq!(errno(OpenOptions::new(), "/a"), Errno::EINVAL);
        assert_eq!(
            errno(OpenOptions::new().read(true).truncate(true), "/a"),
            Errno::EINVAL
        );
        assert_eq!(errno(OpenOptions::new().read(true), ""), Errno::ENOENT);
        assert_eq!(
            errno(OpenOptions::new().read(true), &"/a".repeat(3000)),
            Errno::ENAMETOOLONG
        );
    }

    #[test]
    fn a_relative_path_is_asked_for_from_here_and_nothing_is_resolved() {
        let request = OpenOptions::new()
            .read(true)
            .request(1, Path::new("x/../y"))
            .expect("a request");
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(
            request.path.as_bytes(),
            here.join("x/../y").as_os_str().as_bytes()
        );
    }
}
