//! Opens that can be left to the kernel without being located first.
//!
//! Most opens in a session are of files that the kernel grants anyway, and most paths say where they lead: through no symbolic
//! link. The spelling of those is their canonical name, and all that is asked of the kernel is whether there is a link on the way.
//! To be wrong here gains the child nothing, since Landlock decides about what is let through, and everything it grants is granted
//! by the rules. It may cost the child an `EACCES` where the rules would have us open the file for it: so whatever is not plain
//! is located.

use super::calls::{Base, Opening, Target};
use super::failure::Failure;
use super::law::Law;
use super::locate::{as_path, resolve_within};
use super::thread::Thread;
use crate::broker::id_of;
use crate::policy::{Access, FileId, Mechanism, Subject, Verdict, is_canonical};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use sys::metadata;
use sys::openat2::Lookup;

/// Whether an open is the kernel's to decide, whatever it finds. `false`: that is not plain.
pub(super) fn is_the_kernels(thread: Thread, target: &Target, law: &dyn Law) -> bool {
    let how = target.how;
    let access = match how.creates() || how.is_temporary() {
        true => how.access() | Access::WRITE,
        false => how.access(),
    };
    let identify = law.knows_files(access);
    let Some(spelled) = spelled(thread, target) else {
        return false;
    };
    let plain = plain(&spelled, target.how, identify, |path| {
        law.may_be_native(path, access)
    });
    let verdict = plain.map(|Plain { path, object }| {
        let path = &path;
        law.decide_open(&Subject { path, object }, access)
    });
    matches!(verdict, Some(Verdict::Allow(allowed)) if allowed.mechanism == Mechanism::Landlock)
}

/// What a path plainly says.
#[derive(Debug, Clone, PartialEq)]
struct Plain<'p> {
    /// The canonical name.
    path: Cow<'p, Path>,
    /// What has it, when that was asked for or is a directory. Nothing: the kernel will say so, or make it.
    object: Option<FileId>,
}

/// Takes a path at its word, unless it leads through a symbolic link or through what is not in memory. `identify`: whether it
/// matters which file it is. `is_worth`: whether to look, given the canonical name that it has then.
fn plain<'p>(
    spelled: &'p CStr,
    how: Opening,
    identify: bool,
    is_worth: impl FnOnce(&Path) -> bool,
) -> Option<Plain<'p>> {
    let path = canonical(spelled);
    if !is_worth(&path) {
        return None;
    }
    let mut flags = OFlag::empty();
    flags.set(OFlag::O_NOFOLLOW, !how.follows());
    // The same walk, at the end of which a file is refused: then nothing was opened, and nothing is to be closed.
    flags.set(OFlag::O_DIRECTORY, !identify);
    let links = libc::RESOLVE_NO_SYMLINKS;
    let object = match resolve_within(None, spelled, flags, links, Lookup::Cached) {
        Ok(fd) => Some(id_of(&metadata::facts(fd.as_fd()).ok()?)),
        Err(Failure::Native(Errno::ENOENT)) => None,
        Err(Failure::Native(Errno::ENOTDIR)) if !identify => None,
        Err(_) => return None,
    };
    Some(Plain { path, object })
}

/// The path from the root. What a relative one is relative to the kernel names, with no symbolic link in it. `None`: it has none, or
/// the walk is under restrictions.
fn spelled(thread: Thread, target: &Target) -> Option<Cow<'_, CStr>> {
    if target.how.resolve != 0 {
        return None;
    }
    let path = target.path.to_bytes();
    if path.starts_with(b"/") {
        return Some(Cow::Borrowed(&target.path));
    }
    if path.is_empty() {
        return None;
    }
    let base = match target.base {
        Base::WorkingDirectory => thread.name_of_working_directory(),
        Base::Descriptor(number) => thread.name_behind(number),
    };
    let mut name = base.ok()?.into_os_string().into_vec();
    // A pipe, a socket; a directory that was removed, or one that is really called so.
    if !name.starts_with(b"/") || name.ends_with(b" (deleted)") {
        return None;
    }
    name.push(b'/');
    name.extend(path);
    CString::new(name).ok().map(Cow::Owned)
}

/// The same without what means nothing where no symbolic link is on the way: `.`, `..` and more slashes than one.
fn canonical(path: &CStr) -> Cow<'_, Path> {
    if is_canonical(as_path(path)) {
        return Cow::Borrowed(as_path(path));
    }
    let mut name = Vec::with_capacity(path.to_bytes().len());
    for part in path.to_bytes().split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let end = name.iter().rposition(|byte| *byte == b'/');
                name.truncate(end.unwrap_or(0));
            }
            part => {
                name.push(b'/');
                name.extend(part);
            }
        }
    }
    if name.is_empty() {
        name.push(b'/');
    }
    Cow::Owned(PathBuf::from(OsString::from_vec(name)))
}

#[cfg(test)]
mod tests {
    use super::super::calls::Opening;
    use super::*;
    use std::ffi::OsStr;
    use std::fs::{create_dir, metadata, read_link, remove_dir, write};
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn own() -> Thread {
        Thread(nix::unistd::gettid().as_raw())
    }

    /// A directory with a file, a directory with a file, links to each, and a link that leads nowhere.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().canonicalize().unwrap();
        create_dir(path.join("dir")).unwrap();
        write(path.join("file"), "").unwrap();
        write(path.join("dir/file"), "").unwrap();
        symlink("file", path.join("to-file")).unwrap();
        symlink("dir", path.join("to-dir")).unwrap();
        symlink("nothing", path.join("to-nothing")).unwrap();
        (place, path)
    }

    fn look(base: Base, path: impl AsRef<Path>, flags: OFlag) -> Option<Plain<'static>> {
        let path = CString::new(path.as_ref().as_os_str().as_bytes()).unwrap();
        // What an absolute path leads to is in memory once somebody has looked.
        drop(std::fs::symlink_metadata(OsStr::from_bytes(
            path.to_bytes(),
        )));
        let how = Opening {
            flags,
            mode: 0,
            resolve: 0,
        };
        let target = Target { base, path, how };
        let spelled = spelled(own(), &target)?;
        let known = plain(&spelled, how, true, |_| true);
        // The same is found where it does not matter which file it is, but for which one it is.
        let unknown = plain(&spelled, how, false, |_| true);
        let name = |plain: &Option<Plain<'_>>| plain.as_ref().map(|plain| plain.path.to_path_buf());
        assert_eq!(name(&unknown), name(&known), "{target:?}");
        let is_directory = |plain: &Plain<'_>| plain.path.is_dir() && !plain.path.is_symlink();
        let object = |plain: Plain<'_>| plain.object.filter(|_| is_directory(&plain));
        assert_eq!(
            unknown.and_then(|plain| plain.object),
            known.clone().and_then(object)
        );
        known.map(|Plain { path, object }| Plain {
            path: Cow::Owned(path.into_owned()),
            object,
        })
    }

    fn at(path: &Path) -> Option<Plain<'static>> {
        look(Base::WorkingDirectory, path, OFlag::O_RDONLY)
    }

    fn there(path: PathBuf) -> Option<Plain<'static>> {
        let facts = path.symlink_metadata().unwrap();
        let object = Some(FileId::new(facts.dev(), facts.ino()));
        let path = Cow::Owned(path);
        Some(Plain { path, object })
    }

    #[test]
    fn a_path_without_links_is_taken_at_its_word() {
        let (_guard, place) = place();
        let file = place.join("dir/file");
        assert_eq!(at(&file), there(file.clone()));
        assert_eq!(
            at(&place.join("dir/.././/dir//./file")),
            there(file.clone())
        );
        assert_eq!(at(Path::new("/")), there("/".into()));
        assert_eq!(at(Path::new("/../..")), there("/".into()));
        for name in ["nothing", "nothing/../file"] {
            let missing = place.join(name);
            let spelled = CString::new(missing.as_os_str().as_bytes()).unwrap();
            let path = canonical(&spelled);
            assert_eq!(at(&missing), Some(Plain { path, object: None }), "{name}");
        }
    }

    #[test]
    fn what_a_link_leads_to_is_looked_for() {
        let (_guard, place) = place();
        for name in [
            "to-file",
            "to-dir",
            "to-nothing",
            "to-dir/file",
            "to-dir/..",
            "to-dir/nothing",
        ] {
            assert_eq!(at(&place.join(name)), None, "{name}");
        }
        for name in ["/proc/self/status", "/proc/thread-self/status", "/dev/fd/0"] {
            assert_eq!(at(Path::new(name)), None, "{name}");
        }
        // A link that is not followed is what stands there.
        let link = place.join("to-file");
        let here = Base::WorkingDirectory;
        for flags in [OFlag::O_NOFOLLOW, OFlag::O_CREAT | OFlag::O_EXCL] {
            assert_eq!(look(here, &link, flags), there(link.clone()));
        }
        let inside = place.join("to-dir/file");
        assert_eq!(look(here, inside, OFlag::O_NOFOLLOW), None);
    }

    #[test]
    fn a_relative_path_is_seen_from_the_callers_directory() {
        let (_guard, place) = place();
        let directory = std::fs::File::open(place.join("dir")).unwrap();
        let base = Base::Descriptor(directory.as_raw_fd());
        let flags = OFlag::O_RDONLY;
        assert_eq!(look(base, "file", flags), there(place.join("dir/file")));
        assert_eq!(look(base, "../file", flags), there(place.join("file")));
        assert_eq!(look(base, "../to-file", flags), None);
        let here = std::env::current_dir().unwrap().join("Cargo.toml");
        assert_eq!(
            look(Base::WorkingDirectory, "Cargo.toml", flags),
            there(here)
        );
        let no_directory = Base::Descriptor(i32::MAX);
        assert_eq!(look(no_directory, "file", flags), None);
    }

    #[test]
    fn a_directory_that_is_gone_has_no_name() {
        let (_guard, place) = place();
        create_dir(place.join("gone")).unwrap();
        let directory = std::fs::File::open(place.join("gone")).unwrap();
        let base = Base::Descriptor(directory.as_raw_fd());
        assert_eq!(look(base, "..", OFlag::O_RDONLY), there(place.clone()));
        remove_dir(place.join("gone")).unwrap();
        // Another one of the name that the kernel makes up.
        create_dir(place.join("gone (deleted)")).unwrap();
        let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
        assert_eq!(read_link(link).unwrap(), place.join("gone (deleted)"));
        assert_eq!(look(base, "..", OFlag::O_RDONLY), None);
        assert!(metadata(place.join("gone (deleted)")).is_ok());
    }

    #[test]
    fn what_is_not_worth_a_look_is_not_looked_for() {
        let (_guard, place) = place();
        let how = Opening {
            flags: OFlag::O_RDONLY,
            mode: 0,
            resolve: 0,
        };
        for name in ["file", "dir/../file"] {
            let path = CString::new(place.join(name).as_os_str().as_bytes()).unwrap();
            let is_worth = |path: &Path| {
                assert_eq!(path, place.join("file"));
                false
            };
            assert_eq!(plain(&path, how, true, is_worth), None);
        }
    }

    #[test]
    fn a_walk_under_restrictions_is_not_plain() {
        let spelled = |resolve| {
            let how = Opening {
                flags: OFlag::O_RDONLY,
                mode: 0,
                resolve,
            };
            let (base, path) = (Base::WorkingDirectory, c"/".to_owned());
            spelled(own(), &Target { base, path, how }).is_some()
        };
        assert!(spelled(0));
        assert!(!spelled(libc::RESOLVE_BENEATH));
    }
}
