//! The rules of a compiled policy, and what each of them is about.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::Scope;

use super::access::Access;
use super::origin::Origin;
use super::pattern::{Relation, Shape};
use super::settings::NativeGrant;
use super::subject::{FileId, Subject};
use super::world::{Entry, Kind};

/// One policy of the stack.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub rules: Vec<FileRule>,
    pub denials: Vec<DenyRule>,
    pub native: Vec<NativeGrant>,
    /// The rights of which something is left to the supervisor because a denial lies inside.
    pub left: Access,
    pub connect: Vec<TcpRule>,
    pub bind: Vec<TcpRule>,
    pub loopback: Option<Loopback>,
    pub unix: Vec<UnixRule>,
}

impl Layer {
    /// A layer that allows nothing.
    pub fn nothing() -> Self {
        Self {
            rules: Vec::new(),
            denials: Vec::new(),
            native: Vec::new(),
            left: Access::NONE,
            connect: Vec::new(),
            bind: Vec::new(),
            loopback: None,
            unix: Vec::new(),
        }
    }
}

/// A rule that allows, at once or after a question.
#[derive(Clone, Debug)]
pub(super) struct FileRule {
    pub access: Access,
    pub shape: Shape,
    pub object: Option<FileId>,
    pub decision: Decision,
    /// The kernel is told of it, if it is there.
    pub native: bool,
    pub ttl: Option<Duration>,
    /// For whom at most a yes of the approver speaks.
    pub scope: Option<Scope>,
    pub budget: Option<u32>,
    pub origin: Origin,
}

impl FileRule {
    /// Whether a yes of the approver who says no more holds for longer than this once.
    pub fn lasts(&self) -> bool {
        let is_for_more = |scope| scope > Scope::Once;
        self.ttl.is_some() || self.scope.is_some_and(is_for_more)
    }

    /// Whether it is about this file: by its name, or for what it is.
    pub fn is_about(&self, subject: &Subject<'_>) -> bool {
        let is_it = self.object.is_some() && self.object == subject.object;
        is_it || self.shape.grants(subject.path)
    }

    /// Whether it says yes without asking, however often, for as long as the child lives.
    pub fn is_plain(&self) -> bool {
        self.decision == Decision::Allow && self.ttl.is_none() && self.budget.is_none()
    }
}

/// What a rule answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Decision {
    Allow,
    Ask,
}

/// A rule that denies. It holds under every name that leads to it and for the object itself.
#[derive(Clone, Debug)]
pub(super) struct DenyRule {
    pub access: Access,
    pub shapes: Vec<Shape>,
    /// The object, and files in it that have names elsewhere.
    pub objects: Vec<FileId>,
    /// What stood at the place that was named, unless it was a pattern.
    pub found: Option<(PathBuf, Entry)>,
    pub origin: Origin,
}

impl DenyRule {
    /// Where the denied thing is, and what.
    pub fn place(&self) -> Option<(&Path, Entry)> {
        let (path, entry) = self.found.as_ref()?;
        Some((path, *entry))
    }

    /// Whether it is about files that it would know by any name.
    pub fn knows_files(&self) -> bool {
        let directory = self
            .place()
            .filter(|(_, entry)| entry.kind == Kind::Directory);
        let directory = directory.and_then(|(_, entry)| entry.object);
        self.objects.iter().any(|object| Some(*object) != directory)
    }

    /// How this denial bears on a path.
    pub fn relation(&self, path: &Path, object: Option<FileId>) -> Relation {
        if object.is_some_and(|object| self.objects.contains(&object)) {
            return Relation::Covers;
        }
        let mut worst = Relation::Apart;
        for shape in &self.shapes {
            match (shape.relation(path), worst) {
                (Relation::Covers, _) => return Relation::Covers,
                (Relation::Anywhere, _) => worst = Relation::Anywhere,
                (Relation::Below, Relation::Apart) => worst = Relation::Below,
                _ => {}
            }
        }
        worst
    }
}

/// Where a TCP connection may go, or what a TCP socket may be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TcpRule {
    pub to: Destination,
    pub port: Option<u16>,
    pub origin: Origin,
}

/// An address, a network, or anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Destination {
    Anywhere,
    Network(IpAddr, u8),
}

impl Destination {
    /// Whether it names this machine's loopback addresses, and no others.
    pub fn is_loopback(self) -> bool {
        match self {
            Self::Anywhere => false,
            Self::Network(IpAddr::V4(own), length) => own.is_loopback() && length >= 8,
            Self::Network(IpAddr::V6(own), length) => own.is_loopback() && length == 128,
        }
    }

    /// Whether who may bind its addresses may bind this one: for the unspecified one, all of them.
    pub fn lets_bind(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Network(IpAddr::V4(_), 0), IpAddr::V4(_)) | (Self::Anywhere, _) => true,
            // That of IPv6 stands for IPv4 as well.
            (Self::Network(..), address) => !address.is_unspecified() && self.holds(address),
        }
    }

    pub fn holds(self, address: IpAddr) -> bool {
        fn prefix(bits: u128, width: u8, length: u8) -> u128 {
            let shift = u32::from(width - length.min(width));
            bits.checked_shr(shift).unwrap_or(0)
        }
        match (self, address) {
            (Self::Anywhere, _) => true,
            (Self::Network(IpAddr::V4(own), length), IpAddr::V4(other)) => {
                prefix(u32::from(own).into(), 32, length)
                    == prefix(u32::from(other).into(), 32, length)
            }
            (Self::Network(IpAddr::V6(own), length), IpAddr::V6(other)) => {
                prefix(own.into(), 128, length) == prefix(other.into(), 128, length)
            }
            (Self::Network(..), _) => false,
        }
    }
}

/// What is said about the machine's own loopback addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loopback {
    pub reach: Reach,
    pub origin: Origin,
}

/// Who is reached at the machine's own loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Nobody, whatever else is said.
    Nobody,
    /// The session itself, and whoever a rule names by a loopback address.
    Own,
    /// Everybody.
    Anybody,
}

/// A socket file that may be connected to.
#[derive(Clone, Debug)]
pub(super) struct UnixRule {
    pub shape: Shape,
    pub object: Option<FileId>,
    pub unconfined_peer: bool,
    pub origin: Origin,
}

/// Which variables reach the child.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    /// For each layer, what it lets pass.
    pub pass: Vec<Vec<VariablePattern>>,
    pub set: BTreeMap<OsString, OsString>,
}

/// A name, or the start of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum VariablePattern {
    Exact(String),
    StartingWith(String),
}

impl VariablePattern {
    pub fn passes(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(own) => own.as_bytes() == name,
            Self::StartingWith(own) => name.starts_with(own.as_bytes()) && !changes_programs(name),
        }
    }
}

/// Variables that make programs load or run what they name: passed only when named in full.
pub(super) fn changes_programs(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 9] = [
        b"BASH_ENV",
        b"ENV",
        b"GLIBC_TUNABLES",
        b"JAVA_TOOL_OPTIONS",
        b"IFS",
        b"NODE_OPTIONS",
        b"PS4",
        b"RUSTC_WRAPPER",
        b"SHELLOPTS",
    ];
    const FAMILIES: [&[u8]; 8] = [
        b"BASH_FUNC_",
        b"DYLD_",
        b"GCONV_",
        b"GIT_",
        b"LD_",
        b"PERL5",
        b"PYTHON",
        b"RUBY",
    ];
    EXACT.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}
