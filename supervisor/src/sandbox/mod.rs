//! From a policy's ruleset to a confinement: everything that the child will be locked with, made by the parent.
//!
//! In: a [`Ruleset`] and the [`Kernel`] it is to be enforced by. Out: a [`Confinement`], which `launch` applies between clone and
//! exec, and the [`Layers`] that are then in force. What the policy needs and the kernel lacks is an error here, unless the policy
//! itself names it under `best_effort`.
//!
//! What never happens here: applying anything to the caller.

mod doors;
pub mod filter;
mod kernel;
mod lacking;
mod layers;
mod limits;
mod rulesets;
mod tag;

pub use kernel::Kernel;
pub use lacking::Missing;
pub use layers::{Instead, Layers, Metadata, Opens};
pub use tag::{NoTag, Tag};

use crate::policy::{Origin, PortRules, Ruleset};
use doors::{Doors, uses_tcp};
use lacking::Lacking;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::caps::CapSet;
use sys::process::{Limit, resource};

/// Everything that the child is locked with. May be used for any number of launches.
#[derive(Debug)]
pub struct Confinement {
    pub(crate) limits: Vec<(u32, Limit)>,
    pub(crate) keep_caps: CapSet,
    /// False where the caller may not shrink it (no CAP_SETPCAP): then `no_new_privs` is what keeps it from mattering.
    pub(crate) shrink_bounding: bool,
    pub(crate) rulesets: Vec<OwnedFd>,
    pub(crate) landlock_flags: u32,
    pub(crate) filter: Vec<libc::sock_filter>,
    pub(crate) filter_flags: u64,
    layers: Layers,
}

/// Why a policy cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel has no Landlock, or it was not enabled at boot.
    #[error(
        "Landlock is not available: boot with a kernel that has CONFIG_SECURITY_LANDLOCK=y and landlock in lsm="
    )]
    NoLandlock,
    /// Layers that the policy needs cannot be had, and it does not name them as best effort.
    #[error("{}", lacking::Said(.0))]
    Missing(Vec<Missing>),
    /// The kernel would let the child read more than the policy does, and nobody can be asked at each open.
    #[error(
        "a pattern is denied inside what may be executed, so every open must be decided by the supervisor, which is not to be had: \
         {reason}; list under `exec` only directories without it"
    )]
    Closed {
        /// Why not.
        reason: &'static str,
    },
    /// The policy wants opens to be handed over by the kernel, which cannot be.
    #[error(
        "the policy says transparent = \"notify\", and opens cannot be handed to the supervisor: {reason}; \"auto\" does without"
    )]
    NoNotify {
        /// Why not.
        reason: &'static str,
    },
    /// What the kernel decides alone is to be seen, which takes a listener.
    #[error("nothing can be traced: {reason}")]
    NoTrace {
        /// Why there is none.
        reason: &'static str,
    },
    /// The policy names a capability that does not exist, or that no sandbox may keep.
    #[error("keep_caps: {name}: {reason}")]
    Capability {
        /// As the policy has it.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An object that is to be granted could not be opened as it was when the policy was compiled.
    #[error("cannot grant {}: {errno} ({origin})", path.display())]
    Grant {
        /// The object.
        path: PathBuf,
        /// The rule.
        origin: Origin,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The supervisor above answers every open itself, and lets nothing only be named.
    #[error(
        "no sandbox can be made within this one: its policy denies a pattern inside what may be executed, so its supervisor answers \
         every open, and cannot ask a sandbox within; in that policy, spell the denial out, or list under `exec` only directories without it"
    )]
    Enclosed,
    /// The Landlock ruleset could not be made.
    #[error("cannot make the Landlock ruleset: {0}")]
    Ruleset(#[from] landlock::RulesetError),
    /// A fact about this process could not be read.
    #[error("cannot read {what}: {errno}")]
    Read {
        /// What.
        what: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
}

/// Whether the child is to have a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// It is to have one.
    Wanted,
    /// It is to have one, and every open and every change of names is seen by it, whoever decides them.
    Watching,
    /// None can be had: another supervisor or a container runtime listens above us.
    Taken,
}

/// Prepares everything that `ruleset` demands of the child.
///
/// # Errors
/// [`ConfineError`]; nothing has been changed then.
pub fn prepare(
    ruleset: &Ruleset,
    kernel: &Kernel,
    listener: Listener,
    tag: Option<Tag>,
) -> Result<Confinement, ConfineError> {
    let mut lacking = Lacking::nothing(ruleset.best_effort());
    let doors = Doors::find(ruleset, kernel, listener, &mut lacking)?;
    let held = held()?;
    let keep_caps = keep_caps(ruleset)?.intersection(held);
    let mut limits = limits::make(ruleset.limits()).map_err(|errno| ConfineError::Read {
        what: "resource limits",
        errno,
    })?;
    limits.extend(tag.map(Tag::limit));
    if kernel.landlock_abi == 0 {
        return Err(ConfineError::NoLandlock);
    }
    let confines_tcp =
        *ruleset.tcp_connect() != PortRules::Any || *ruleset.tcp_bind() != PortRules::Any;
    let uses_tcp = uses_tcp(ruleset);
    let truncation = lacking.has(
        "truncate",
        "a refusal to truncate files that may not be written",
        3,
        kernel,
    );
    let tcp =
        !(confines_tcp && uses_tcp) || lacking.has("net", "the policy's TCP ports", 4, kernel);
    let ioctl = lacking.has("ioctl", "a refusal of ioctls on devices", 5, kernel);
    let scope = lacking.has(
        "scope",
        "the scope of signals and abstract sockets",
        6,
        kernel,
    );
    lacking.done()?;

    let rulesets = ruleset
        .native_layers()
        .map(|layer| {
            rulesets::make(
                &rulesets::Grants {
                    files: layer,
                    connect: ruleset.tcp_connect(),
                    bind: ruleset.tcp_bind(),
                    sockets_elsewhere: doors.connect,
                },
                kernel,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let filter = filter::program(&doors.filter_spec(ruleset, scope));
    let mut filter_flags = 0;
    if doors.any() {
        filter_flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        if kernel.wait_killable {
            filter_flags |= libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        }
    }
    let layers = Layers {
        landlock_abi: kernel.landlock_abi,
        landlock_errata: kernel.landlock_errata,
        truncation,
        ioctl,
        tcp,
        scope,
        filter: filter.len(),
        listener: doors.any(),
        wait_killable: doors.any() && kernel.wait_killable,
        metadata: doors.metadata,
        connect: doors.connect,
        tcp_above: doors.tcp_above,
        reaches_itself: doors.reaches_itself,
        opens: doors.opens,
        processes: doors.processes,
        limits: "per-process",
        kept_capabilities: keep_caps.names(),
        tag: tag.is_some(),
    };
    Ok(Confinement {
        limits,
        keep_caps,
        shrink_bounding: CapSet::number("SETPCAP").is_some_and(|number| held.contains(number)),
        rulesets,
        landlock_flags: 0,
        filter,
        filter_flags,
        layers,
    })
}

/// What a supervisor that takes over a child must know of what locks it.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    /// As [`Confinement::capabilities`].
    pub capabilities: CapSet,
    /// No open of it may be left to the kernel.
    pub closed: bool,
}

/// Finds out what [`prepare`] made of `ruleset` for a child that is locked already, without making it again.
///
/// # Errors
/// [`ConfineError`]
pub fn inherit(
    ruleset: &Ruleset,
    kernel: &Kernel,
    listener: Listener,
) -> Result<Inherited, ConfineError> {
    let mut lacking = Lacking::nothing(ruleset.best_effort());
    let doors = Doors::find(ruleset, kernel, listener, &mut lacking)?;
    lacking.done()?;
    Ok(Inherited {
        capabilities: keep_caps(ruleset)?.intersection(held()?),
        closed: doors.opens.closed(),
    })
}

#[cfg(test)]
impl Confinement {
    /// No lock at all: for tests of what happens around it.
    pub(crate) fn unconfined() -> Self {
        let allow = libc::sock_filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        };
        Self {
            limits: Vec::new(),
            keep_caps: CapSet::EMPTY,
            shrink_bounding: false,
            rulesets: Vec::new(),
            landlock_flags: 0,
            filter: vec![allow],
            filter_flags: 0,
            layers: Layers {
                landlock_abi: 0,
                landlock_errata: 0,
                truncation: false,
                ioctl: false,
                tcp: false,
                scope: false,
                filter: 1,
                listener: false,
                wait_killable: false,
                metadata: Metadata::Unguarded,
                connect: false,
                tcp_above: false,
                reaches_itself: None,
                opens: Opens::Landlock,
                processes: false,
                limits: "none",
                kept_capabilities: Vec::new(),
                tag: false,
            },
        }
    }
}

impl Confinement {
    /// What is in force in a child that is locked with this.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The same for a child that preloads the library which asks for what Landlock refuses it.
    #[must_use]
    pub fn preloaded(mut self) -> Self {
        self.layers.opens = self.layers.opens.preloaded();
        self
    }

    /// Has the kernel record what Landlock refuses the child, where it records anything: it does not do so of its own accord once another
    /// program was executed.
    #[must_use]
    pub fn witnessed(mut self) -> Self {
        self.landlock_flags |= sys::landlock::LOG_NEW_EXEC_ON;
        self
    }

    /// Has a child start with this soft limit of open files, where the policy sets none: its supervisor may have more.
    ///
    /// # Errors
    /// The errno with which the hard limit could not be read.
    pub fn limit_open_files(&mut self, soft: u64) -> Result<(), Errno> {
        let is_open_files = |(resource, _): &(u32, Limit)| *resource == resource::NOFILE;
        if !self.limits.iter().any(is_open_files) {
            let hard = sys::process::limit(resource::NOFILE)?.hard;
            let soft = soft.min(hard);
            self.limits.push((resource::NOFILE, Limit { soft, hard }));
        }
        Ok(())
    }

    /// The capabilities of the child, which those who act for it must have and no others.
    pub fn capabilities(&self) -> CapSet {
        self.keep_caps
    }

    /// The program of the system call filter.
    pub fn filter(&self) -> &[libc::sock_filter] {
        &self.filter
    }

    /// The Landlock rulesets, for a process that acts in the child's place.
    pub fn rulesets(&self) -> Vec<BorrowedFd<'_>> {
        self.rulesets.iter().map(AsFd::as_fd).collect()
    }
}

/// Capabilities that would undo the sandbox.
const NEVER_KEPT: [&str; 15] = [
    "DAC_READ_SEARCH",
    "SETPCAP",
    "NET_ADMIN",
    "NET_RAW",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SETFCAP",
    "LINUX_IMMUTABLE",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "SYSLOG",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
    "MKNOD",
];

/// What this process has.
fn held() -> Result<CapSet, ConfineError> {
    sys::caps::permitted().map_err(|errno| ConfineError::Read {
        what: "capabilities",
        errno,
    })
}

/// What the policy names. What of it the caller has is kept.
fn keep_caps(ruleset: &Ruleset) -> Result<CapSet, ConfineError> {
    let mut keep = CapSet::EMPTY;
    for name in &ruleset.process().keep_caps {
        let refused = |reason| ConfineError::Capability {
            name: name.clone(),
            reason,
        };
        if name.starts_with("SYS_") || NEVER_KEPT.contains(&name.as_str()) {
            return Err(refused(
                "no sandbox can hold this capability and still be one",
            ));
        }
        keep =
            keep.with(CapSet::number(name).ok_or_else(|| refused("there is no such capability"))?);
    }
    Ok(keep)
}
