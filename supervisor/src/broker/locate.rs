//! Finding the object of a claim, once.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use protocol::{Code, Create, OpenFlags};
use sys::metadata::{Facts, facts};
use sys::openat2::{self, Lookup};

use super::claim::Claim;
use super::outcome::Refusal;
use super::peer::Asker;
use crate::policy::{FileId, Subject};

/// As many symbolic links as the kernel itself follows.
const LINKS: usize = 40;

/// The object of a claim, held open so that it stays the same whatever becomes of its name.
#[derive(Debug)]
pub struct Located {
    /// Its canonical name, as the policy sees it.
    path: PathBuf,
    pub(super) object: Object,
}

#[derive(Debug)]
pub(super) enum Object {
    /// It is there: an `O_PATH` descriptor.
    There { fd: OwnedFd, facts: Facts },
    /// It is to be made, with that name in that directory.
    New {
        directory: OwnedFd,
        facts: Facts,
        name: OsString,
    },
}

/// Why nothing was located.
#[derive(Debug)]
pub(super) enum Lost {
    /// Somebody who may wait must look.
    Slow,
    /// There is nothing, or nothing that may be asked for.
    Refused(Refusal),
}

impl From<Errno> for Lost {
    fn from(errno: Errno) -> Self {
        match errno {
            // Only ever given to those who do not wait.
            Errno::EAGAIN => Self::Slow,
            // A loop, or a link of /proc to wherever a process has something open.
            Errno::ELOOP => Self::Refused(Refusal::new(Code::Denied, errno)),
            errno => Self::Refused(Refusal::failed(errno)),
        }
    }
}

impl Located {
    /// What was found elsewhere: an `O_PATH` descriptor of it, and its canonical name.
    #[must_use]
    pub fn there(path: PathBuf, fd: OwnedFd, facts: Facts) -> Self {
        let object = Object::There { fd, facts };
        Self { path, object }
    }

    /// The place, found elsewhere, of what is to be made under that name in that directory; `path` is its canonical name then.
    #[must_use]
    pub fn to_be_made(path: PathBuf, directory: OwnedFd, facts: Facts, name: OsString) -> Self {
        let object = Object::New {
            directory,
            facts,
            name,
        };
        Self { path, object }
    }

    /// What the policy decides about.
    pub(super) fn subject(&self) -> Subject<'_> {
        let object = match &self.object {
            Object::There { facts, .. } => Some(id_of(facts)),
            Object::New { .. } => None,
        };
        Subject {
            path: &self.path,
            object,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The object, or the directory that it is to be made in, once more.
    pub(super) fn hold(&self) -> Result<OwnedFd, Errno> {
        let (Object::There { fd, .. } | Object::New { directory: fd, .. }) = &self.object;
        fd.try_clone().map_err(|_| Errno::EMFILE)
    }

    /// Whether it is a FIFO.
    pub(super) fn is_fifo(&self) -> bool {
        matches!(&self.object, Object::There { facts, .. } if facts.is(libc::S_IFIFO))
    }

    /// Whether what is done to it may wait for a file server.
    pub(super) fn may_wait(&self) -> bool {
        let (Object::There { facts, .. } | Object::New { facts, .. }) = &self.object;
        openat2::may_wait(facts)
    }
}

/// The kernel's identity of a file that was looked at.
pub(crate) fn id_of(facts: &Facts) -> FileId {
    FileId {
        dev: facts.dev,
        ino: facts.ino,
        born: openat2::birth(facts),
    }
}

/// Finds what a claim means. With [`Lookup::Cached`] nothing here waits.
pub(super) fn locate(claim: &Claim, asker: &Asker, lookup: Lookup) -> Result<Located, Lost> {
    let path = of_asker(&claim.path, asker);
    let mut flags = OFlag::empty();
    if claim.has(OpenFlags::DIRECTORY) {
        flags |= OFlag::O_DIRECTORY;
    }
    // What must not be there must not be there as a link either.
    if claim.has(OpenFlags::NOFOLLOW) || claim.create == Create::New {
        flags |= OFlag::O_NOFOLLOW;
    }
    match openat2::locate(None, &path, flags, lookup) {
        // With a slash at its end a name can only be a directory's.
        Ok(_) if claim.create != Create::No && split(&path).1.is_empty() => {
            Err(Errno::EISDIR.into())
        }
        Ok(_) if claim.create == Create::New => Err(Errno::EEXIST.into()),
        Ok(fd) => there(fd, asker, lookup),
        Err(Errno::ENOENT) if claim.create != Create::No => place(claim, path, asker, lookup),
        Err(errno) => Err(errno.into()),
    }
}

fn there(fd: OwnedFd, asker: &Asker, lookup: Lookup) -> Result<Located, Lost> {
    let facts = facts(fd.as_fd())?;
    let path = named(fd.as_fd(), &facts, asker, lookup)?;
    Ok(Located {
        path,
        object: Object::There { fd, facts },
    })
}

/// The canonical name of a located object, if claims may reach it there.
fn named(
    fd: BorrowedFd<'_>,
    facts: &Facts,
    asker: &Asker,
    lookup: Lookup,
) -> Result<PathBuf, Lost> {
    let path = openat2::path_of(fd, lookup)?.ok_or(Errno::ENOENT)?;
    let below = path.strip_prefix("/proc");
    let is_procfs = openat2::is_procfs(facts).unwrap_or(below.is_ok());
    if !is_procfs {
        return Ok(path);
    }
    let refused = || {
        let refusal = Refusal::new(Code::Denied, Errno::EACCES);
        Err(Lost::Refused(refusal.explained(
            "of the processes in /proc, a claim reaches the one that makes it and no other",
        )))
    };
    // A procfs in another place could be one of other processes.
    let Ok(below) = below else { return refused() };
    let mut parts = below.components();
    let first = parts.next().map(|part| part.as_os_str().as_bytes());
    match first {
        Some(process) if process.iter().all(u8::is_ascii_digit) => {
            // To look it up took a while: only of a process that is still there its number is certain.
            if asker.is_certain() && process == asker.pid.to_string().as_bytes() {
                return Ok(Path::new("/proc/self").join(parts.as_path()));
            }
            refused()
        }
        _ => Ok(path),
    }
}

/// `/proc/self` and what leads there mean the asking process, not the one that looks.
fn of_asker(path: &Path, asker: &Asker) -> PathBuf {
    const OWN: [(&str, &str); 4] = [
        ("/proc/self", ""),
        ("/proc/net", "net"),
        ("/proc/mounts", "mounts"),
        ("/dev/fd", "fd"),
    ];
    for (own, meant) in OWN {
        if let Ok(rest) = path.strip_prefix(own) {
            let mut path = PathBuf::from(format!("/proc/{}", asker.pid));
            for part in [Path::new(meant), rest] {
                if !part.as_os_str().is_empty() {
                    path.push(part);
                }
            }
            return path;
        }
    }
    path.to_owned()
}

/// Where a file is to be made that is not there. As the kernel does it, a symbolic link to nothing is followed.
fn place(claim: &Claim, path: PathBuf, asker: &Asker, lookup: Lookup) -> Result<Located, Lost> {
    let mut path = path;
    let mut from: Option<OwnedFd> = None;
    for _ in 0..LINKS {
        let (above, name) = split(&path);
        if name.is_empty() || name == "." || name == ".." {
            return Err(Errno::EISDIR.into());
        }
        let directory = openat2::locate(
            from.as_ref().map(AsFd::as_fd),
            above,
            OFlag::O_DIRECTORY,
            lookup,
        )?;
        let found = openat2::locate(
            Some(directory.as_fd()),
            Path::new(name),
            OFlag::O_NOFOLLOW,
            lookup,
        );
        match found {
            Err(Errno::ENOENT) => {
                let facts = facts(directory.as_fd())?;
                let path = named(directory.as_fd(), &facts, asker, lookup)?.join(name);
                let object = Object::New {
                    directory,
                    facts,
                    name: name.to_owned(),
                };
                return Ok(Located { path, object });
            }
            Err(errno) => return Err(errno.into()),
            Ok(_) if claim.create == Create::New => return Err(Errno::EEXIST.into()),
            Ok(fd) => {
                if !facts(fd.as_fd())?.is(libc::S_IFLNK) {
                    // Somebody made it in this very moment.
                    return there(fd, asker, lookup);
                }
                if claim.has(OpenFlags::NOFOLLOW) {
                    return Err(Errno::ELOOP.into());
                }
                if lookup == Lookup::Cached {
                    return Err(Lost::Slow);
                }
                path = readlinkat(&fd, "")?.into();
                from = Some(directory);
            }
        }
    }
    Err(Errno::ELOOP.into())
}

/// A path without its last component, and that component, which is empty when there is a slash at the end.
fn split(path: &Path) -> (&Path, &OsStr) {
    let bytes = path.as_os_str().as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            Path::new(OsStr::from_bytes(&bytes[..=at])),
            OsStr::from_bytes(&bytes[at + 1..]),
        ),
        None => (Path::new("."), path.as_os_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Peer;
    use protocol::{Access, OpenRequest, RequestedPath};
    use std::process::{Child, Command, Stdio};
    use sys::pidfd::Pidfd;

    /// A process of its own that asks; gone when this is.
    struct Process(Child);

    impl Process {
        fn new() -> Self {
            // Reads from us, and so lives until then.
            let mut cat = Command::new("cat");
            let cat = cat.stdin(Stdio::piped()).stdout(Stdio::null());
            Self(cat.spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            i32::try_from(self.0.id()).unwrap()
        }

        fn asker(&self) -> Asker {
            let pidfd = Pidfd::open(self.pid()).unwrap();
            let peer = Peer {
                pid: self.pid(),
                uid: 0,
                pidfd: Some(pidfd.as_fd()),
            };
            Asker::of(&peer, &claim("/proc", Create::No))
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn claim(path: &str, create: Create) -> Claim {
        let claim = Claim::new(OpenRequest {
            id: 1,
            path: RequestedPath::new(path).unwrap(),
            access: Access::Write,
            flags: OpenFlags::NONE,
            create,
            mode: 0,
            why: None,
        });
        claim.unwrap()
    }

    fn find(path: &str, create: Create, asker: &Asker) -> Result<Located, Lost> {
        locate(&claim(path, create), asker, Lookup::Full)
    }

    fn refusal(path: &str, asker: &Asker) -> Errno {
        match find(path, Create::No, asker) {
            Err(Lost::Refused(refusal)) => refusal.errno,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn a_path_is_split_at_its_last_slash() {
        let parts = |path| {
            let (above, name) = split(Path::new(path));
            (above.to_str().unwrap(), name.to_str().unwrap())
        };
        assert_eq!(parts("/a"), ("/", "a"));
        assert_eq!(parts("/a//b"), ("/a//", "b"));
        assert_eq!(parts("/a/b/"), ("/a/b/", ""));
        assert_eq!(parts("a"), (".", "a"));
    }

    #[test]
    fn the_own_process_is_the_one_that_asks() {
        let process = Process::new();
        let asker = process.asker();
        let pid = process.pid();
        let number = |path: String| {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(path).unwrap().ino()
        };
        let status = number(format!("/proc/{pid}/status"));
        for path in [
            "/proc/self/status".to_owned(),
            "/proc//self/./status".to_owned(),
            format!("/proc/{pid}/status"),
        ] {
            let located = find(&path, Create::No, &asker).unwrap();
            assert_eq!(located.path(), Path::new("/proc/self/status"), "{path}");
            assert_eq!(located.subject().object.unwrap().ino, status, "{path}");
        }
        let mounts = find("/proc/mounts", Create::No, &asker).unwrap();
        assert_eq!(mounts.path(), Path::new("/proc/self/mounts"));
        let version = find("/proc/version", Create::No, &asker).unwrap();
        assert_eq!(version.path(), Path::new("/proc/version"));
    }

    #[test]
    fn other_processes_are_refused() {
        let process = Process::new();
        let asker = process.asker();
        let own = std::process::id();
        let link = tempfile::tempdir().unwrap();
        let link = link.path().join("link");
        std::os::unix::fs::symlink("/proc/self/status", &link).unwrap();
        for path in [
            format!("/proc/{own}/environ"),
            format!("/proc/{own}/task/{own}/mem"),
            format!("/proc/self/../{own}/status"),
            format!("/proc/self/task/../../{own}/status"),
            "/proc/1/environ".to_owned(),
            "/proc/thread-self/status".to_owned(),
            "/proc/self/../self/status".to_owned(),
            "/proc/sys/../self/status".to_owned(),
            // To the kernel that is us: what the asker means by it nobody can tell.
            link.to_str().unwrap().to_owned(),
        ] {
            assert_eq!(refusal(&path, &asker), Errno::EACCES, "{path}");
        }
    }

    #[test]
    fn what_processes_have_open_is_reached_by_no_name() {
        let process = Process::new();
        let asker = process.asker();
        for path in [
            "/proc/self/root/etc/passwd",
            "/proc/self/root",
            "/proc/self/cwd",
            "/proc/self/cwd/..",
            "/proc/self/exe",
            "/proc/self/fd/0",
            "/dev/fd/0",
            "/dev/stdin",
            "/dev/stdin/..",
            "/dev/fd/1/../../../root/etc/passwd",
        ] {
            assert_eq!(refusal(path, &asker), Errno::ELOOP, "{path}");
        }
    }

    #[test]
    fn a_process_that_is_gone_has_no_own() {
        let process = Process::new();
        let peer = Peer {
            pid: process.pid(),
            uid: 0,
            pidfd: None,
        };
        let unknown = Asker::of(&peer, &claim("/proc", Create::No));
        assert_eq!(refusal("/proc/self/status", &unknown), Errno::EACCES);
        let asker = process.asker();
        drop(process);
        let errno = refusal("/proc/self/status", &asker);
        assert!(matches!(errno, Errno::ENOENT | Errno::ESRCH), "{errno}");
    }

    #[test]
    fn a_file_that_is_gone_is_not_there_whatever_it_is_called() {
        let place = tempfile::tempdir().unwrap();
        let name = place.path().canonicalize().unwrap().join("a (deleted)");
        std::fs::write(&name, "").unwrap();
        let process = Process::new();
        let asker = process.asker();
        let path = name.to_str().unwrap();
        let located = find(path, Create::No, &asker).unwrap();
        assert_eq!(located.path(), name);
        assert_eq!(
            refusal(path.strip_suffix(" (deleted)").unwrap(), &asker),
            Errno::ENOENT
        );
    }

    #[test]
    fn the_place_of_a_new_file_is_where_the_links_lead() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(place.join("d/e")).unwrap();
        std::os::unix::fs::symlink("d/e/../x", place.join("one")).unwrap();
        std::os::unix::fs::symlink(place.join("one"), place.join("d/two")).unwrap();
        let process = Process::new();
        let asker = process.asker();
        let path = place.join("d/two");
        let located = find(path.to_str().unwrap(), Create::Yes, &asker).unwrap();
        assert_eq!(located.path(), place.join("d/x"));
        assert_eq!(located.subject().object, None);
        let found = find(path.to_str().unwrap(), Create::New, &asker);
        assert!(matches!(found, Err(Lost::Refused(refusal)) if refusal.errno == Errno::EEXIST));
    }
}
