//! What can be done to a file, as far as a rule tells it apart.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde::ser::{Serialize, SerializeSeq, Serializer};

/// A set of rights. `WRITE` and `EXEC` rules imply `READ`, but here the three are independent bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access(u8);

impl Access {
    /// No right at all.
    pub const NONE: Self = Self(0);
    /// Read a file, list a directory.
    pub const READ: Self = Self(1);
    /// Change a file, and create, remove and rename below a directory.
    pub const WRITE: Self = Self(2);
    /// Execute a file.
    pub const EXEC: Self = Self(4);
    /// Every right.
    pub const ALL: Self = Self(7);

    const NAMES: [(Self, &'static str); 3] = [
        (Self::READ, "read"),
        (Self::WRITE, "write"),
        (Self::EXEC, "exec"),
    ];

    /// Whether every right of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the two sets share a right.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The rights that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The rights that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The rights of this set that are not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is no right in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The rights, one at a time.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        Self::NAMES
            .into_iter()
            .map(|(right, _)| right)
            .filter(move |right| self.contains(*right))
    }

    /// The names of the rights, as policies write them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(right, _)| self.contains(*right))
            .map(|(_, name)| name)
    }

    /// The right of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .into_iter()
            .find(|(_, known)| *known == name)
            .map(|(right, _)| right)
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.pad("nothing");
        }
        f.pad(&self.names().collect::<Vec<_>>().join("+"))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names = serializer.serialize_seq(None)?;
        for name in self.names() {
            names.serialize_element(name)?;
        }
        names.end()
    }
}
