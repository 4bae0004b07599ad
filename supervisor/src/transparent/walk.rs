//! A walk step by step, for paths through /proc, where `self` and magic links must mean the child's process.
//!
//! The kernel's own walk would take `/proc/self` for the supervisor's, and would follow `/proc/PID/fd/N` of anybody. Here
//! `self` and `thread-self` are translated, and a magic link is followed only when it belongs to the child's own process.

use super::failure::{Failure, refused};
use super::locate::{Located, is_on_proc, name_of, resolve, target_of};
use super::thread::Thread;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::metadata::{self, Facts};
use sys::openat2::Lookup;

/// As many symbolic links as the kernel follows (`MAXSYMLINKS`).
const LINKS: u32 = 40;
/// As many steps as a path has at most, and each link's target again.
const STEPS: u32 = 4096;
/// The inode of the root of every proc file system (`PROC_ROOT_INO`).
const PROC_ROOT: u64 = 1;

/// Walks `path` from `base`, or from the root when it is absolute.
pub(super) fn walk(
    thread: Thread,
    base: Option<OwnedFd>,
    path: &CStr,
    follow: bool,
    lookup: Lookup,
) -> Result<Located, Failure> {
    let mut here = match base {
        Some(base) if !path.to_bytes().starts_with(b"/") => base,
        _ => root(lookup)?,
    };
    // The descriptor of the child that the walk came through last, if it has gone no further.
    let mut held = None;
    let mut left: VecDeque<Vec<u8>> = components(path.to_bytes());
    let (mut links, mut steps) = (0, 0);
    while let Some(name) = left.pop_front() {
        steps += 1;
        if steps > STEPS {
            return Err(Errno::ELOOP.into());
        }
        let is_last = left.is_empty();
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        let next = step(&here, &name, lookup)?;
        let facts = metadata::facts(next.as_fd())?;
        if !facts.is(libc::S_IFLNK) || (is_last && !follow) {
            (here, held) = (next, None);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = match proc_link(thread, &here, &name, &facts, lookup)? {
            Some(ProcLink::Text(text)) => text.into_bytes(),
            Some(ProcLink::Object(object, by)) => {
                (here, held) = (object, by);
                continue;
            }
            None => target_of(next.as_fd())?,
        };
        if target.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        if target.starts_with(b"/") {
            here = root(lookup)?;
        }
        held = None;
        for name in components(&target).into_iter().rev() {
            left.push_front(name);
        }
    }
    Located::look(here, held, lookup)
}

fn root(lookup: Lookup) -> Result<OwnedFd, Failure> {
    resolve(None, c"/", true, lookup)
}

/// One name, not followed. What is not a directory has nothing below it: the kernel says so.
fn step(here: &OwnedFd, name: &CStr, lookup: Lookup) -> Result<OwnedFd, Failure> {
    resolve(Some(here.as_fd()), name, false, lookup)
}

/// The names in a path. One that ends in a slash must lead to a directory: its last name is `.`.
fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    let mut names: VecDeque<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if path.ends_with(b"/") {
        names.push_back(b".".to_vec());
    }
    names
}

/// What a link of /proc stands for.
enum ProcLink {
    /// Another name, relative to where the link is.
    Text(String),
    /// An object, and which descriptor of whom it was, if it was one.
    Object(OwnedFd, Option<(Thread, i32)>),
}

/// Reads the link `name` in `here` as the child would; `None`: it is an ordinary link.
fn proc_link(
    thread: Thread,
    here: &OwnedFd,
    name: &CStr,
    link: &Facts,
    lookup: Lookup,
) -> Result<Option<ProcLink>, Failure> {
    if !is_on_proc(link) {
        return Ok(None);
    }
    if metadata::facts(here.as_fd())?.ino == PROC_ROOT {
        let process = thread.process()?;
        return Ok(match name.to_bytes() {
            b"self" => Some(ProcLink::Text(process.to_string())),
            b"thread-self" => Some(ProcLink::Text(format!("{process}/task/{}", thread.0))),
            _ => None,
        });
    }
    let place = name_of(here.as_fd(), lookup)?;
    let Some((owner, inside)) = place.as_deref().and_then(owner) else {
        return Ok(None);
    };
    let is_own = owner.process == thread.process()?
        && owner
            .task
            .is_none_or(|task| task == thread.0 || task == owner.process);
    if !is_own {
        return Err(refused("a link into another process"));
    }
    let whose = Thread(owner.task.unwrap_or(owner.process));
    Ok(match (inside, name.to_bytes()) {
        (Inside::Top, b"cwd") => Some(ProcLink::Object(whose.working_directory()?, None)),
        (Inside::Top, b"root") => Some(ProcLink::Object(root(lookup)?, None)),
        (Inside::Descriptors, number) => {
            let number = std::str::from_utf8(number).ok();
            let number: i32 = number.and_then(|n| n.parse().ok()).ok_or(Errno::ENOENT)?;
            // Not EBADF: to the child it is a name that is not there.
            let object = whose.behind(number).map_err(|failure| match failure {
                Failure::Native(Errno::EBADF) => Errno::ENOENT.into(),
                other => other,
            })?;
            Some(ProcLink::Object(object, Some((whose, number))))
        }
        // An executable, a namespace, a mapping: nothing that is changed or connected to by such a name.
        (Inside::Top, b"exe") | (Inside::Other, _) => {
            return Err(refused("a link into a process"));
        }
        (Inside::Top, _) => None,
    })
}

/// Whose directory of /proc it is.
struct Owner {
    process: i32,
    task: Option<i32>,
}

/// Where in a process's directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Top,
    Descriptors,
    Other,
}

/// Takes `/proc/PID[/task/TID][/fd]` apart; `None` for what belongs to no process.
fn owner(place: &Path) -> Option<(Owner, Inside)> {
    let names = place.strip_prefix("/proc").ok()?;
    let mut names = names.iter().map(|name| name.to_str().unwrap_or("?"));
    let process = names.next()?.parse().ok()?;
    let rest: Vec<&str> = names.collect();
    let (task, rest) = match rest.as_slice() {
        ["task", task, rest @ ..] => (task.parse().ok(), rest),
        rest => (None, rest),
    };
    let inside = match rest {
        [] => Inside::Top,
        ["fd"] => Inside::Descriptors,
        _ => Inside::Other,
    };
    Some((Owner { process, task }, inside))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparent::calls::Base;
    use crate::transparent::locate::by_path;

    fn own() -> Thread {
        Thread(nix::unistd::gettid().as_raw())
    }

    fn find(path: &str) -> Result<Option<std::path::PathBuf>, Failure> {
        let path = CString::new(path).unwrap();
        by_path(own(), Base::WorkingDirectory, &path, true, Lookup::Full)
            .map(|located| located.path().map(Path::to_owned))
    }

    fn also(path: &str) -> Result<Option<std::path::PathBuf>, Failure> {
        let path = CString::new(path).unwrap();
        walk(own(), None, &path, true, Lookup::Full)
            .map(|located| located.path().map(Path::to_owned))
    }

    #[test]
    fn the_walk_agrees_with_the_kernels_own() {
        for path in [
            "/",
            "/usr",
            "/usr/",
            "/usr/bin/../lib/.",
            "//usr///bin",
            "/usr/bin/env",
            "/etc/passwd/",
            "/etc/passwd/x",
            "/nowhere",
            "/nowhere/x",
            "/..",
            "/../usr",
            "/dev/null",
            "/bin",
        ] {
            assert_eq!(find(path), also(path), "{path}");
        }
    }

    #[test]
    fn own_links_of_proc_are_followed() {
        use std::os::fd::AsRawFd;
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        let number = file.as_file().as_raw_fd();
        let task = own().0;
        for spelled in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/thread-self/fd/{number}"),
            format!("/proc/{}/fd/{number}", std::process::id()),
            format!("/proc/self/task/{task}/fd/{number}"),
            format!("/dev/fd/{number}"),
            format!("/proc/self/root{}", path.display()),
            format!(
                "/proc/self/cwd/../../../../../../../../../..{}",
                path.display()
            ),
        ] {
            assert_eq!(find(&spelled), Ok(Some(path.clone())), "{spelled}");
        }
        let below = format!("/proc/self/fd/{number}/x");
        assert_eq!(find(&below), Err(Errno::ENOTDIR.into()));
        assert_eq!(find("/proc/self/fd/99999"), Err(Errno::ENOENT.into()));
    }

    #[test]
    fn links_into_other_processes_are_refused() {
        let mut other = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let number = other.id();
        for spelled in [
            format!("/proc/{number}/cwd"),
            format!("/proc/{number}/fd/0"),
            format!("/proc/{number}/root/etc/passwd"),
            "/proc/self/exe".to_owned(),
            "/proc/self/ns/user".to_owned(),
        ] {
            assert!(
                matches!(find(&spelled), Err(Failure::Refused(Errno::EACCES, _))),
                "{spelled}"
            );
        }
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }

    #[test]
    fn a_loop_ends() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("loop");
        std::os::unix::fs::symlink("loop", &link).unwrap();
        assert_eq!(find(link.to_str().unwrap()), Err(Errno::ELOOP.into()));
    }
}
