//! The words that the table is written in: calls, tests of their arguments, what the kernel answers.

use super::calls::Call;
use nix::errno::Errno;

/// What the kernel does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The call happens.
    Allow,
    /// The call does not happen and returns this error.
    Refuse(Errno),
    /// The call waits until the supervisor has answered (seccomp_unotify(2)).
    Notify,
    /// The whole process ends, as if by SIGSYS.
    Kill,
}

impl Action {
    /// The value that the program returns for it (seccomp(2)).
    pub fn value(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Refuse(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
            Self::Notify => libc::SECCOMP_RET_USER_NOTIF,
            Self::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// A value and the name that the manual has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// As the manual has it.
    pub name: &'static str,
    /// The value after the argument's mask.
    pub value: u64,
}

/// Names constants by themselves: `named![AF_INET, AF_INET6]`.
macro_rules! named {
    ($($value:ident),* $(,)?) => {
        &[$($crate::sandbox::filter::rule::Named { name: stringify!($value), value: $value as u64 }),*]
    };
}
pub(super) use named;

/// How much of an argument the kernel looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// An `int` in the kernel: the upper half of the register is ignored there, so it is here (CVE-2019-10063).
    Low32,
    /// A `long` or a pointer in the kernel: both halves count.
    Full64,
}

impl Width {
    /// The bits that it has.
    pub const fn bits(self) -> u64 {
        match self {
            Self::Low32 => u32::MAX as u64,
            Self::Full64 => u64::MAX,
        }
    }
}

/// A test of one argument: masked, it is (or is not) one of some values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// Counted from 0, as in `seccomp_data.args`.
    pub arg: u8,
    /// What the kernel looks at.
    pub width: Width,
    /// The bits that are compared.
    pub mask: u64,
    /// What they are compared with.
    pub values: &'static [Named],
    /// Whether the test holds when they are one of the values (true) or none of them (false).
    pub among: bool,
}

/// An argument that is an `int` or `unsigned int` in the kernel.
pub const fn int(arg: u8) -> Test {
    Test {
        arg,
        width: Width::Low32,
        mask: Width::Low32.bits(),
        values: &[],
        among: true,
    }
}

/// An argument that is a `long`, an `unsigned long` or a pointer in the kernel.
pub const fn long(arg: u8) -> Test {
    Test {
        arg,
        width: Width::Full64,
        mask: Width::Full64.bits(),
        values: &[],
        among: true,
    }
}

impl Test {
    /// Compares these bits only.
    pub const fn bits(self, mask: u64) -> Self {
        Self {
            mask: self.mask & mask,
            ..self
        }
    }

    /// Holds when the argument is one of `values`.
    pub const fn is(self, values: &'static [Named]) -> Self {
        Self {
            values,
            among: true,
            ..self
        }
    }

    /// Holds when the argument is none of `values`.
    pub const fn is_not(self, values: &'static [Named]) -> Self {
        Self {
            values,
            among: false,
            ..self
        }
    }
}

/// A line of the table. For a call the first row counts that names it and whose tests all hold; without one it is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The calls it is about.
    pub calls: &'static [Call],
    /// All of these must hold; none: always.
    pub when: &'static [Test],
    /// What happens then.
    pub then: Action,
    /// Why.
    pub why: &'static str,
}
