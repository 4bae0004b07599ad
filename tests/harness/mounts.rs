//! Mounts that nobody else sees: in a namespace of the calling thread.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn mount(source: &Path, target: &Path, flags: libc::c_ulong) -> Result<(), Errno> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).expect("a path");
    let (source, target) = (text(source), text(target));
    // SAFETY: both names live and end; a mount of these kinds has neither a type nor data.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        )
    };
    Errno::result(result).map(drop)
}

/// Gives the calling thread, and those that it starts from now on, mounts of their own. Needs root.
pub fn own() -> Result<(), String> {
    let made = unshare(CloneFlags::CLONE_NEWNS);
    let private = || {
        mount(
            Path::new("none"),
            Path::new("/"),
            libc::MS_REC | libc::MS_PRIVATE,
        )
    };
    made.and_then(|()| private())
        .map_err(|errno| format!("no mounts of one's own: {errno}"))
}

/// Shows a directory (or a file) in another place too.
pub fn bind(shown: &Path, place: &Path) -> Result<(), Errno> {
    mount(shown, place, libc::MS_BIND)
}

/// Takes away what was mounted at a place, and all that was mounted below it.
pub fn detach(place: &Path) -> Result<(), Errno> {
    let place = CString::new(place.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the name lives and ends.
    Errno::result(unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) }).map(drop)
}
