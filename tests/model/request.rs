//! What is asked for, and what must come of it.

use crate::chance::Chance;
use crate::law::{Law, Right, Says};
use crate::tree::{Id, Kind, Seen, look, some_entry, some_name, walk};
use nix::fcntl::OFlag;
use protocol::{Access, Create, OpenFlags, OpenRequest, RequestedPath};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use supervisor::broker::Claim;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// Over the socket.
    Asked,
    /// A trapped call that opens; `bool`: it is opened elsewhere.
    Called(bool),
    /// A trapped call that does something to it.
    Deed,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: Vec<u8>,
    how: How,
    reads: bool,
    writes: bool,
    create: Create,
    directory: bool,
    nofollow: bool,
    truncates: bool,
}

/// What must come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// A descriptor of just this.
    Granted(Id),
    /// One of what was not there, under that name.
    Made(PathBuf),
    /// The rules say no.
    Denied,
    /// There is nothing that could be opened so.
    Lost,
    /// This, or the rules say no.
    Perhaps(Box<Due>),
}

/// A way to say a name that leads to the same.
fn spelled(chance: &mut Chance, path: &Path, top: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut here = PathBuf::from("/");
    for part in path.components().skip(1) {
        here.push(part);
        bytes.push(b'/');
        bytes.extend(part.as_os_str().as_bytes());
        if !here.starts_with(top) {
            continue;
        }
        match chance.below(20) {
            0 => bytes.push(b'/'),
            1 if here != path => bytes.extend(b"/."),
            2 => bytes.extend([b"/../", part.as_os_str().as_bytes()].concat()),
            _ => {}
        }
    }
    match chance.below(30) {
        0 => bytes.push(b'/'),
        1 => bytes.extend(b"/."),
        2 => bytes.extend(b"/.."),
        3 => bytes.extend(b"/../a"),
        _ => {}
    }
    bytes
}

impl Request {
    pub fn random(chance: &mut Chance, top: &Path) -> Self {
        let named = match chance.one_in(5) {
            true => some_name(chance, top),
            false => some_entry(chance, top),
        };
        let how = match chance.below(8) {
            0 => How::Called(false),
            1 => How::Called(true),
            2 => How::Deed,
            _ => How::Asked,
        };
        let (reads, writes) =
            *chance.pick(&[(true, false), (true, false), (false, true), (true, true)]);
        let mut create =
            *chance.pick(&[Create::No, Create::No, Create::No, Create::Yes, Create::New]);
        let mut directory = chance.one_in(6);
        if how != How::Asked {
            directory = false;
        }
        if how == How::Deed {
            create = Create::No;
        }
        if directory && writes {
            directory = false;
        }
        if directory {
            create = Create::No;
        }
        Self {
            path: spelled(chance, &named, top),
            how,
            reads,
            writes,
            create,
            directory,
            nofollow: how == How::Asked && chance.one_in(6),
            truncates: writes && chance.one_in(4),
        }
    }

    /// The same where names change: what is made is given names that nothing else has, lest it be moved by itself.
    /// `hot`: where to ask for something.
    pub fn restless(chance: &mut Chance, top: &Path, hot: Option<PathBuf>) -> Self {
        let mut request = Self::random(chance, top);
        if let Some(hot) = hot {
            let name = match chance.one_in(3) {
                true => some_name(chance, &hot),
                false => hot,
            };
            request.path = name.into_os_string().into_vec();
        }
        if request.create != Create::No {
            let directory = some_entry(chance, top);
            let new = directory.join(format!("new{}", chance.below(3)));
            request.path = new.into_os_string().into_vec();
        }
        request
    }

    /// Whether what is granted may be the directory in which whoever claims makes something.
    pub fn makes_elsewhere(&self) -> bool {
        self.create != Create::No && !self.opens()
    }

    pub fn claim(&self) -> Claim {
        let mut access = supervisor::policy::Access::NONE;
        if self.reads {
            access |= supervisor::policy::Access::READ;
        }
        if self.writes {
            access |= supervisor::policy::Access::WRITE;
        }
        let path = || PathBuf::from(std::ffi::OsString::from_vec(self.path.clone()));
        match self.how {
            How::Deed => Claim::deed("fchmodat", "change the mode", path(), access),
            How::Called(held) => {
                let claim = Claim::called("openat", path(), access, self.flags(), 0o644);
                if held { claim.held() } else { claim }
            }
            How::Asked => Claim::new(self.asked()).expect("it does not contradict itself"),
        }
    }

    fn flags(&self) -> OFlag {
        let mut flags = match (self.reads, self.writes) {
            (true, true) => OFlag::O_RDWR,
            (false, true) => OFlag::O_WRONLY,
            (_, false) => OFlag::O_RDONLY,
        };
        match self.create {
            Create::No => {}
            Create::Yes => flags |= OFlag::O_CREAT,
            Create::New => flags |= OFlag::O_CREAT | OFlag::O_EXCL,
        }
        if self.truncates {
            flags |= OFlag::O_TRUNC;
        }
        flags
    }

    fn asked(&self) -> OpenRequest {
        let mut flags = OpenFlags::NONE;
        for (is_set, flag) in [
            (self.directory, OpenFlags::DIRECTORY),
            (self.nofollow, OpenFlags::NOFOLLOW),
            (self.truncates, OpenFlags::TRUNCATE),
        ] {
            if is_set {
                flags = flags.union(flag);
            }
        }
        OpenRequest {
            id: 1,
            path: RequestedPath::new(self.path.clone()).expect("a path"),
            access: match (self.reads, self.writes) {
                (true, true) => Access::ReadWrite,
                (false, true) => Access::Write,
                (_, false) => Access::Read,
            },
            flags,
            create: self.create,
            mode: 0o644,
            why: None,
        }
    }

    pub fn rights(&self, makes: bool) -> Vec<Right> {
        let mut rights = Vec::new();
        if self.reads {
            rights.push(Right::Read);
        }
        if self.writes || makes {
            rights.push(Right::Write);
        }
        rights
    }

    fn opens(&self) -> bool {
        matches!(self.how, How::Asked | How::Called(false))
    }

    /// Found out by the oracle, in a tree in which nothing moves.
    pub fn due(&self, law: &Law) -> Due {
        let follow = !self.nofollow && self.create != Create::New;
        let Ok(seen) = walk(&self.path, follow) else {
            return Due::Lost;
        };
        let (path, id, then) = match seen {
            Seen::Missing { .. } if self.create == Create::No => return Due::Lost,
            Seen::Missing { path } => {
                let directory = path.parent().and_then(look).expect("it is there").0;
                let then = match self.opens() {
                    true => Due::Made(path.clone()),
                    // To be made by whoever claims.
                    false => Due::Granted(directory),
                };
                (path, None, then)
            }
            Seen::There { path, id, kind } => {
                let is_lost = self.create == Create::New
                    || (self.create != Create::No && self.path.ends_with(b"/"))
                    || (self.directory && kind != Kind::Directory);
                if is_lost {
                    return Due::Lost;
                }
                let changes = self.writes || self.create != Create::No;
                let then = match kind {
                    Kind::Directory if self.opens() && changes => Due::Lost,
                    Kind::Link if self.opens() => Due::Lost,
                    _ => Due::Granted(id),
                };
                (path, Some(id), then)
            }
        };
        match law.says_of_open(&path, id, &self.rights(id.is_none())) {
            Says::No => Due::Denied,
            Says::Either => Due::Perhaps(Box::new(then)),
            Says::Yes => then,
        }
    }
}
