//! A granted file is what `open` itself would have given, errno included.

use crate::harness::Workspace;
use crate::rig::*;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use protocol::{Access, Create, OpenFlags, OpenRequest};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use supervisor::broker::Outcome;
use supervisor::policy::Approver;

/// What can stand at the end of a path.
const NAMES: [&str; 15] = [
    "missing",
    "file",
    "directory",
    "link",
    "link-to-directory",
    "dangling",
    "dangling-twice",
    "loop",
    "fifo",
    "socket",
    "missing/below",
    "file/below",
    "missing/",
    "directory/",
    "directory/..",
];

fn fill(place: &Path) {
    let at = |name: &str| place.join(name);
    fs::write(at("file"), "0123456789").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("file", at("link")).unwrap();
    symlink("directory", at("link-to-directory")).unwrap();
    symlink("made", at("dangling")).unwrap();
    symlink("directory/../dangling", at("dangling-twice")).unwrap();
    symlink("loop", at("loop")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
}

fn empty(place: &Path) {
    fs::remove_dir_all(place).unwrap();
    fs::create_dir(place).unwrap();
}

/// What is in a directory, but for the content of files.
fn listing(place: &Path) -> String {
    let line = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let status = fs::symlink_metadata(entry.path()).unwrap();
        let size = if status.is_file() { status.len() } else { 0 };
        format!("{:?} {:o} {size}", entry.file_name(), status.mode())
    };
    let mut names: Vec<_> = fs::read_dir(place).unwrap().map(line).collect();
    names.sort();
    names.join(", ")
}

/// Everything that can be seen of an open file and of the directory it was opened in.
fn seen(place: &Path, opened: Result<OwnedFd, Errno>) -> (String, Result<String, Errno>) {
    (listing(place), opened.map(file))
}

fn file(fd: OwnedFd) -> String {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
    // These only say how a file was looked for. The kernel keeps them, and they change nothing.
    let flags = flags & !(OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_LARGEFILE);
    let of_descriptor = fcntl(&fd, FcntlArg::F_GETFD).unwrap();
    let status = nix::sys::stat::fstat(&fd).unwrap();
    let is_file = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    let size = if is_file { status.st_size } else { 0 };
    let mut text = format!("{flags:?} {of_descriptor} {:o} {size}", status.st_mode);
    if is_file {
        // Where a write goes says whether it appends.
        let wrote = nix::unistd::write(&fd, b"xy");
        let size = nix::sys::stat::fstat(&fd).unwrap().st_size;
        text += &format!("; wrote {wrote:?}, {size}");
    }
    text
}

fn natively(place: &Path, name: &str, request: &OpenRequest) -> Result<OwnedFd, Errno> {
    let mut flags = match request.access {
        Access::Read => OFlag::O_RDONLY,
        Access::Write => OFlag::O_WRONLY,
        Access::ReadWrite => OFlag::O_RDWR,
    } | OFlag::O_CLOEXEC;
    flags |= match request.create {
        Create::No => OFlag::empty(),
        Create::Yes => OFlag::O_CREAT,
        Create::New => OFlag::O_CREAT | OFlag::O_EXCL,
    };
    for (flag, meaning) in [
        (OpenFlags::APPEND, OFlag::O_APPEND),
        (OpenFlags::TRUNCATE, OFlag::O_TRUNC),
        (OpenFlags::DIRECTORY, OFlag::O_DIRECTORY),
        (OpenFlags::NOFOLLOW, OFlag::O_NOFOLLOW),
        (OpenFlags::NONBLOCK, OFlag::O_NONBLOCK),
    ] {
        if request.flags.contains(flag) {
            flags |= meaning;
        }
    }
    let mode = Mode::from_bits_truncate(request.mode);
    open(&place.join(name), flags, mode)
}

/// Whether it would wait for the other end of a FIFO.
fn waits(request: &OpenRequest) -> bool {
    let at_once = [OpenFlags::NONBLOCK, OpenFlags::DIRECTORY];
    let is_half = request.access != Access::ReadWrite && request.create != Create::New;
    is_half && !at_once.iter().any(|flag| request.flags.contains(*flag))
}

#[test]
fn granted_files_are_as_open_would_give_them() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |_| {});
    let native = Workspace::new();
    native.make_dir("open");
    let (brokered, native) = (rig.place.join("open"), native.join("open"));
    fill(&native);
    let pristine = listing(&native);
    let mut is_pristine = false;
    let mut compared = 0;
    let mut different = Vec::new();
    for name in NAMES {
        for (access, create, flags) in requests() {
            if !is_pristine {
                for place in [&brokered, &native] {
                    empty(place);
                    fill(place);
                }
            }
            let request = OpenRequest {
                access,
                flags,
                create,
                mode: 0o640,
                ..read(brokered.join(name))
            };
            if name == "fifo" && waits(&request) {
                continue;
            }
            let expected = seen(&native, natively(&native, name, &request));
            let outcome = match rig.ask(request) {
                Outcome::Granted(grant) => Ok(grant.fd),
                Outcome::Refused(refusal) => Err(refusal.errno),
            };
            let found = seen(&brokered, outcome);
            // What was opened was written to.
            is_pristine = found.1.is_err()
                && expected.1.is_err()
                && found.0 == pristine
                && expected.0 == pristine;
            compared += 1;
            if found != expected {
                different.push(format!(
                    "{name} {access:?} {create:?} {flags:?}\n  native   {expected:?}\n  brokered {found:?}"
                ));
            }
        }
    }
    assert!(compared > 1500, "{compared}");
    assert!(
        different.is_empty(),
        "{} of {compared} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// Every request that does not contradict itself: what does has a refusal of its own.
fn requests() -> Vec<(Access, Create, OpenFlags)> {
    const FLAGS: [OpenFlags; 5] = [
        OpenFlags::APPEND,
        OpenFlags::TRUNCATE,
        OpenFlags::DIRECTORY,
        OpenFlags::NOFOLLOW,
        OpenFlags::NONBLOCK,
    ];
    let mut requests = Vec::new();
    for access in [Access::Read, Access::Write, Access::ReadWrite] {
        for create in [Create::No, Create::Yes, Create::New] {
            for set in 0..1 << FLAGS.len() {
                let chosen = FLAGS.into_iter().enumerate();
                let flags = chosen
                    .filter(|(at, _)| set & 1 << at != 0)
                    .fold(OpenFlags::NONE, |set, (_, flag)| set.union(flag));
                let is_directory = flags.contains(OpenFlags::DIRECTORY);
                let contradicts = (flags.contains(OpenFlags::TRUNCATE) && !access.writes())
                    || (is_directory && (access.writes() || create != Create::No));
                if !contradicts {
                    requests.push((access, create, flags));
                }
            }
        }
    }
    requests
}
