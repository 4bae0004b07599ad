//! Opening what was located.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use protocol::{Create, OpenFlags};
use sys::making::Making;
use sys::openat2;

use super::claim::{Claim, Purpose};
use super::locate::{Located, Object};
use super::peer::Asker;
use super::umask;

/// Whether an open may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Where the file is leased to somebody, `EAGAIN`.
    None,
    /// For a file server, or for a lease to be given back.
    Whatever,
}

/// Whether an open lasts until somebody opens the other end: of a FIFO, unless it is to be opened at once or is both ends.
pub(super) fn waits_for_another(located: &Located, claim: &Claim) -> bool {
    let is_half = claim.access_mode() != OFlag::O_RDWR && !claim.has(OpenFlags::NONBLOCK);
    claim.purpose == Purpose::Open && is_half && located.is_fifo()
}

/// How it is opened.
pub(super) fn flags_of(claim: &Claim) -> OFlag {
    let flags = claim.access_mode() | OFlag::O_NOCTTY;
    match claim.has(OpenFlags::APPEND) {
        true => flags | OFlag::O_APPEND,
        false => flags,
    }
}

/// Opens it as the claim says.
///
/// Opens that wait for the other end of a FIFO are not made here: one that is never opened would hold a thread for ever.
///
/// # Errors
/// The errno of `open(2)`. `EEXIST` when what was to be made is there by now, made by somebody else.
pub(super) fn open(
    located: &Located,
    claim: &Claim,
    asker: &Asker,
    patience: Patience,
) -> Result<OwnedFd, Errno> {
    if claim.purpose != Purpose::Open {
        return located.hold();
    }
    let mut flags = flags_of(claim);
    let fd = match &located.object {
        Object::New {
            directory, name, ..
        } => {
            let flags = flags | OFlag::O_NONBLOCK;
            let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
            let making = Making::File(flags, claim.mode);
            let made = umask::make_under(asker.umask, making, directory.as_fd(), &name)?;
            made.ok_or(Errno::EIO)?
        }
        Object::There { fd, facts } => {
            let kind = facts.mode & libc::S_IFMT;
            match kind {
                libc::S_IFDIR => {
                    let changes = claim.create != Create::No || flags.contains(OFlag::O_WRONLY);
                    if changes || flags.contains(OFlag::O_RDWR) {
                        return Err(Errno::EISDIR);
                    }
                    flags |= OFlag::O_DIRECTORY;
                }
                libc::S_IFSOCK => return Err(Errno::ENXIO),
                libc::S_IFLNK => return Err(Errno::ELOOP),
                // The raw disk below every file of the policy.
                libc::S_IFBLK => return Err(Errno::EACCES),
                libc::S_IFCHR if is_ours_alone(fstat(fd)?.st_rdev) => return Err(Errno::EACCES),
                _ => {}
            }
            if claim.has(OpenFlags::TRUNCATE) {
                flags |= OFlag::O_TRUNC;
            }
            if patience == Patience::None || kind != libc::S_IFREG {
                flags |= OFlag::O_NONBLOCK;
            }
            openat2::reopen(fd.as_fd(), flags)?
        }
    };
    // What the claim did not ask for is taken away again before anybody sees it.
    let mut kept = flags & OFlag::O_APPEND;
    if claim.has(OpenFlags::NONBLOCK) {
        kept |= OFlag::O_NONBLOCK;
    }
    fcntl(&fd, FcntlArg::F_SETFL(kept))?;
    Ok(fd)
}

/// Devices that mean something else to us than to the child, or that are the machine itself: terminals, of which
/// `/dev/tty` would be ours; and physical memory and ports.
pub(crate) fn is_ours_alone(device: u64) -> bool {
    match (libc::major(device), libc::minor(device)) {
        // tty, serial lines; /dev/tty, /dev/console, /dev/ptmx; pseudo-terminals.
        (4 | 5 | 136..=143, _) => true,
        // /dev/mem, /dev/kmem, /dev/port.
        (1, 1 | 2 | 4) => true,
        _ => false,
    }
}
