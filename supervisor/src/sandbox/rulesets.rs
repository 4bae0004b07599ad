//! Landlock rulesets from what a policy grants natively: one for each layer of the policy. The kernel allows what all allow.

use super::{ConfineError, Kernel};
use crate::policy::{Access, NativeGrant, PortRules};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What one layer of a policy grants.
pub(super) struct Grants<'a> {
    pub files: &'a [NativeGrant],
    pub connect: &'a PortRules,
    pub bind: &'a PortRules,
    /// Connects to pathname sockets are decided elsewhere (the door that traps them).
    pub sockets_elsewhere: bool,
}

/// Makes the ruleset. Every right that the kernel knows is handled, so what no rule grants is denied.
pub(super) fn make(grants: &Grants<'_>, kernel: &Kernel) -> Result<OwnedFd, ConfineError> {
    let abi = ABI::from(i32::try_from(kernel.landlock_abi).unwrap_or(i32::MAX));
    let mut handled = AccessFs::from_all(abi);
    if grants.sockets_elsewhere {
        handled.remove(AccessFs::ResolveUnix);
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled)?;
    let mut net = BitFlags::<AccessNet>::EMPTY;
    if abi >= ABI::V4 {
        for (rules, right) in [
            (grants.connect, AccessNet::ConnectTcp),
            (grants.bind, AccessNet::BindTcp),
        ] {
            if *rules != PortRules::Any {
                net |= right;
            }
        }
    }
    if !net.is_empty() {
        ruleset = ruleset.handle_access(net)?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    let mut created = ruleset.create()?;
    for grant in grants.files {
        if let Some(object) = open_granted(grant)? {
            created = created.add_rule(PathBeneath::new(object, rights(grant, handled)))?;
        }
    }
    for (rules, right) in [
        (grants.connect, AccessNet::ConnectTcp),
        (grants.bind, AccessNet::BindTcp),
    ] {
        if let (PortRules::Ports(ports), true) = (rules, net.contains(right)) {
            for port in ports {
                created = created.add_rule(NetPort::new(*port, right))?;
            }
        }
    }
    Option::<OwnedFd>::from(created).ok_or(ConfineError::NoLandlock)
}

/// Opens the object that was decided on, through no symbolic link. `None`: nobody named it, and it is gone.
fn open_granted(grant: &NativeGrant) -> Result<Option<OwnedFd>, ConfineError> {
    let failed = |errno| ConfineError::Grant {
        path: grant.path.clone(),
        origin: grant.origin.clone(),
        errno,
    };
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let object = match openat2(AT_FDCWD, &grant.path, how) {
        Ok(object) => object,
        // Others come and go beside us. What has its name by the time somebody asks is the supervisor's to give.
        Err(Errno::ENOENT) if grant.listed => return Ok(None),
        Err(Errno::EACCES) if is_enclosed(&grant.path) => return Err(ConfineError::Enclosed),
        Err(errno) => return Err(failed(errno)),
    };
    let status = nix::sys::stat::fstat(&object).map_err(failed)?;
    match &grant.object {
        Some(id) if (id.dev, id.ino) != (status.st_dev, status.st_ino) => {
            Err(failed(Errno::ESTALE))
        }
        _ => Ok(Some(object)),
    }
}

/// Whether a path can be named that could not be by openat2(2): in a closed session that is refused, whatever the path.
fn is_enclosed(path: &Path) -> bool {
    openat(
        AT_FDCWD,
        path,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .is_ok()
}

/// The rights of Landlock that a grant stands for.
///
/// Two are evaluated at every open and stop the kernel's walk towards the root early only when the rule found first grants them
/// too: TRUNCATE goes with write; IOCTL_DEV goes with every rule but those on devices that say no, since no device node can
/// appear in a tree (MAKE_CHAR and MAKE_BLOCK are granted nowhere).
fn rights(grant: &NativeGrant, handled: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    let mut rights = BitFlags::EMPTY;
    if grant.access.contains(Access::READ) {
        rights |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if grant.access.contains(Access::EXEC) {
        // Execution opens for reading too. Where only that was granted, no open is left to Landlock (a closed session).
        rights |= AccessFs::Execute | AccessFs::ReadFile;
    }
    if grant.access.contains(Access::WRITE) {
        rights |= AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::MakeSym
            | AccessFs::MakeSock
            | AccessFs::MakeFifo
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir
            | AccessFs::Refer
            | AccessFs::ResolveUnix;
    }
    if grant.device || !grant.path.starts_with("/dev") {
        rights |= BitFlags::from(AccessFs::IoctlDev);
    }
    if !grant.is_dir {
        rights &= AccessFs::from_file(ABI::V9);
    }
    rights & handled
}
