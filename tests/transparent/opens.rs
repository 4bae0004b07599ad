//! Opens in a session where none is left to the kernel: what the kernel does to the same call is what must come out.

use crate::harness::process::{until_it_waits_in, waits};
use crate::harness::run::eventually;
use crate::harness::{Workspace, feature, require};
use crate::supervised::{Lists, Served, Supervised, outside};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fstat, umask};
use nix::unistd::mkfifo;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use supervisor::sandbox::Tag;

fn closed(tree: &Path) -> Lists {
    Lists {
        closed: true,
        ..Lists::writing(tree)
    }
}

/// What is found when an open begins.
fn plant(place: &Path) {
    if place.exists() {
        fs::remove_dir_all(place).expect("the tree goes");
    }
    fs::create_dir_all(place.join("dir/inner")).expect("directories");
    for (name, mode) in [("file", 0o644), ("unwritable", 0o400), ("dir/file", 0o600)] {
        fs::write(place.join(name), "twelve bytes").expect("a file");
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(place.join(name), mode).expect("a mode");
    }
    for (target, name) in [
        ("file", "to-file"),
        ("dir", "to-dir"),
        ("made-later", "to-nothing"),
        ("dir/to-sibling", "to-link"),
        ("../made-too", "dir/to-sibling"),
        ("loop", "loop"),
    ] {
        symlink(target, place.join(name)).expect("a link");
    }
    mkfifo(&place.join("fifo"), Mode::S_IRWXU).expect("a fifo");
    drop(UnixListener::bind(place.join("socket")).expect("a socket"));
    for name in ["", "dir", "dir/inner", "fifo", "socket"] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.join(name), mode).expect("a mode, whatever the umask is");
    }
}

const NAMES: [&str; 27] = [
    "file",
    "file/",
    "file/x",
    "./file",
    "dir/../file",
    "nothing/../file",
    "unwritable",
    "dir",
    "dir/",
    "dir/.",
    "dir/..",
    "dir//inner/../file",
    ".",
    "",
    "missing",
    "missing/",
    "missing/x",
    "missing/.",
    "to-file",
    "to-file/",
    "to-dir",
    "to-dir/",
    "to-dir/file",
    "to-nothing",
    "to-link",
    "loop",
    "socket",
];

fn flags() -> Vec<OFlag> {
    let kinds = [OFlag::O_RDONLY, OFlag::O_WRONLY, OFlag::O_RDWR];
    let others = [
        OFlag::empty(),
        OFlag::O_CREAT,
        OFlag::O_CREAT | OFlag::O_EXCL,
        OFlag::O_CREAT | OFlag::O_TRUNC,
        OFlag::O_CREAT | OFlag::O_NOFOLLOW,
        OFlag::O_CREAT | OFlag::O_DIRECTORY,
        OFlag::O_EXCL,
        OFlag::O_TRUNC,
        OFlag::O_APPEND,
        OFlag::O_DIRECTORY,
        OFlag::O_NOFOLLOW,
        OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY,
        OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        OFlag::O_NOATIME | OFlag::O_SYNC,
        OFlag::O_TMPFILE,
        OFlag::O_TMPFILE | OFlag::O_EXCL,
    ];
    kinds
        .iter()
        .flat_map(|kind| others.iter().map(|other| *kind | *other))
        .collect()
}

/// All that a program can see of an open.
type Seen = Result<(i32, i32, u32, i64), Errno>;

fn seen(opened: Result<OwnedFd, Errno>) -> Seen {
    let fd = opened?;
    let status = fstat(&fd).expect("an open file has a status");
    let size = match status.st_mode & libc::S_IFMT {
        libc::S_IFREG => status.st_size,
        _ => 0,
    };
    let flags = |what| fcntl(&fd, what).expect("an open file has flags");
    // Of a file that is open it says nothing any more.
    let no_follow = libc::O_NOFOLLOW;
    Ok((
        flags(FcntlArg::F_GETFL) & !no_follow,
        flags(FcntlArg::F_GETFD),
        status.st_mode,
        size,
    ))
}

/// Every path below a directory, with what it is.
fn tree(place: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![place.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let known = path.symlink_metadata().expect("it is there");
            let name = path.strip_prefix(place).expect("below it").display();
            let size = if known.is_file() { known.len() } else { 0 };
            let mode = known.permissions().mode();
            lines.push(format!("{name} {mode:o} {size}"));
            if known.is_dir() {
                left.push(path);
            }
        }
    }
    lines.sort();
    lines
}

type Open = fn(&OwnedFd, &Path, OFlag) -> Result<OwnedFd, Errno>;
type Job = Box<dyn FnOnce() -> Seen + Send>;

/// Does every open with every flag, and says what came of it and what it left behind. Each call begins with the same tree.
fn all_of_them(
    place: &Path,
    open: Open,
    run: impl Fn(Job) -> Seen,
) -> Vec<(String, Seen, Vec<String>)> {
    plant(place);
    let fresh = tree(place);
    let mut all = Vec::new();
    for flags in flags() {
        for name in NAMES {
            let directory = OFlag::O_PATH | OFlag::O_DIRECTORY;
            let base = nix::fcntl::open(place, directory, Mode::empty()).expect("it is there");
            let seen = run(Box::new(move || seen(open(&base, Path::new(name), flags))));
            let left = tree(place);
            if left != fresh {
                plant(place);
            }
            all.push((format!("{name:?} {flags:?}"), seen, left));
        }
    }
    all
}

/// An umask of the thread's own, that no other test sees.
fn set_umask() {
    unshare(CloneFlags::CLONE_FS).expect("an umask of one's own");
    umask(Mode::from_bits_truncate(0o026));
}

fn agree(open: Open) {
    require!(feature::listener());
    require!(feature::own_directories());
    let workspace = Workspace::new();
    let [native, served] = ["native", "served"].map(|name| workspace.join(name));
    let expected = outside(move || {
        set_umask();
        all_of_them(&native, open, |job| job())
    });
    let supervised = Supervised::new(closed(&workspace.path()));
    supervised.inside(set_umask);
    let found = all_of_them(&served, open, |job| supervised.inside(job));
    assert_eq!(expected.len(), NAMES.len() * flags().len());
    let differing: Vec<_> = expected
        .iter()
        .zip(&found)
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| {
            let left = found.2 != expected.2;
            format!(
                "{}: natively {:?}, here {:?}{}",
                expected.0,
                expected.1,
                found.1,
                if left { ", and another tree" } else { "" }
            )
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    let successes = expected.iter().filter(|(_, seen, _)| seen.is_ok()).count();
    assert!(successes > expected.len() / 8, "{successes}");
}

const MODE: Mode = Mode::from_bits_truncate(0o7777 & !0o6000);

#[test]
fn every_flag_and_every_kind_of_name_is_as_the_kernel_has_it() {
    agree(|base, name, flags| openat(base, name, flags, MODE));
}

#[test]
fn absolute_paths_are_as_the_kernel_has_them() {
    agree(|base, name, flags| {
        let place = sys::openat2::path_of(base.as_fd(), sys::openat2::Lookup::Full)?
            .expect("it has a name");
        // Not `join`: that would take slashes away.
        let path = format!("{}/{}", place.display(), name.display());
        nix::fcntl::open(path.as_str(), flags, MODE)
    });
}

#[test]
fn relative_paths_are_those_of_the_calling_thread() {
    agree(|base, name, flags| {
        nix::unistd::fchdir(base)?;
        let opened = nix::fcntl::open(name, flags, MODE);
        nix::unistd::chdir("/")?;
        opened
    });
}

#[test]
fn restricted_walks_are_as_the_kernel_has_them() {
    agree(|base, name, flags| restricted(base, name, flags, ResolveFlag::RESOLVE_NO_SYMLINKS));
    agree(|base, name, flags| restricted(base, name, flags, ResolveFlag::RESOLVE_NO_XDEV));
}

/// Walks that must not leave where they begin: what is not there behind a link in them is the one thing that is not made.
#[test]
fn contained_walks_are_as_the_kernel_has_them() {
    fn without_links_to_nothing(
        base: &OwnedFd,
        name: &Path,
        flags: OFlag,
        resolve: ResolveFlag,
    ) -> Result<OwnedFd, Errno> {
        let makes = flags.contains(OFlag::O_CREAT) && !flags.contains(OFlag::O_EXCL);
        match name.to_str() {
            Some("to-nothing" | "to-link") if makes => Err(Errno::EXFULL),
            _ => restricted(base, name, flags, resolve),
        }
    }
    agree(|base, name, flags| {
        without_links_to_nothing(base, name, flags, ResolveFlag::RESOLVE_BENEATH)
    });
    agree(|base, name, flags| {
        without_links_to_nothing(base, name, flags, ResolveFlag::RESOLVE_IN_ROOT)
    });
}

fn restricted(
    base: &OwnedFd,
    name: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let makes = flags.intersects(OFlag::O_CREAT | (OFlag::O_TMPFILE & !OFlag::O_DIRECTORY));
    let mode = if makes { MODE } else { Mode::empty() };
    let how = OpenHow::new().flags(flags).mode(mode).resolve(resolve);
    // Any rename on the whole machine interrupts a walk that must not leave its root and comes by `..`.
    loop {
        match openat2(base, name, how) {
            Err(Errno::EAGAIN) => {}
            opened => return opened,
        }
    }
}

#[test]
fn what_the_law_refuses_is_refused_and_recorded() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let place = workspace.join("tree");
    plant(&place);
    let elsewhere = workspace.write("elsewhere", "x");
    let lists = Lists {
        deny: vec![place.join("dir")],
        ..closed(&place)
    };
    let supervised = Supervised::new(lists);
    let before = tree(&place);
    let errno = |path: PathBuf, flags: OFlag| {
        supervised.inside(move || nix::fcntl::open(&path, flags, MODE).err())
    };
    let denied = Some(Errno::EACCES);
    assert_eq!(errno(place.join("file"), OFlag::O_RDWR), None);
    for path in ["dir", "dir/file", "to-dir/file", "dir/inner/../file"] {
        assert_eq!(errno(place.join(path), OFlag::O_RDONLY), denied, "{path}");
    }
    for path in ["dir/new", "to-dir/new", "dir/inner/new"] {
        let makes = OFlag::O_WRONLY | OFlag::O_CREAT;
        assert_eq!(errno(place.join(path), makes), denied, "{path}");
    }
    assert_eq!(errno(elsewhere.clone(), OFlag::O_RDONLY), None);
    for flags in [OFlag::O_WRONLY, OFlag::O_RDONLY | OFlag::O_TRUNC] {
        assert_eq!(errno(elsewhere.clone(), flags), denied);
    }
    assert_eq!(tree(&place), before);
    let lines = supervised.lines.all();
    assert_eq!(lines.len(), 9, "{lines:?}");
    let expected = format!("Refused open {} EACCES", place.join("dir/file").display());
    let name = if cfg!(target_arch = "x86_64") {
        "openat"
    } else {
        "open"
    };
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.replace(name, "open"))
        .collect();
    assert!(lines.contains(&expected), "{lines:?}");
}

#[test]
fn a_fifo_is_opened_when_both_ends_are() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let fifo = workspace.join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a fifo");
    let other = workspace.write("other", "x");
    let supervised = Supervised::new(closed(&workspace.path()));
    let text = supervised.inside(move || {
        // A thread of the filtered one is filtered too.
        let reader = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::read_to_string(fifo).expect("the reading end opens")
        });
        // Others are served while one end waits for the other.
        for _ in 0..100 {
            fs::read(&other).expect("another file opens");
        }
        let mut writer = fs::File::options()
            .write(true)
            .open(&fifo)
            .expect("the writing end opens");
        writer.write_all(b"through").expect("somebody reads");
        drop(writer);
        reader.join().expect("the reader reads")
    });
    assert_eq!(text, "through");
}

#[test]
fn a_process_reads_about_itself_and_about_nobody_else() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(closed(&workspace.path()));
    let own = supervised.inside(|| {
        let text = fs::read_to_string("/proc/thread-self/status").expect("its own");
        let tid = nix::unistd::gettid();
        (
            text.contains(&format!("\nPid:\t{tid}\n")),
            fs::read("/proc/self/maps").is_ok(),
        )
    });
    assert_eq!(own, (true, true));
}

#[test]
fn a_full_table_of_descriptors_is_the_callers() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let path = workspace.write("file", "x");
    let supervised = Supervised::new(closed(&workspace.path()));
    let path = path.to_str().expect("UTF-8");
    let nofile = libc::RLIMIT_NOFILE.to_string();
    // One more is free, and then none.
    let said = supervised.probe(
        &workspace.path(),
        &[
            "close-all",
            "--",
            "setrlimit",
            &nofile,
            "4",
            "4",
            "--",
            "hold",
            path,
            "rdonly",
            "--",
            "hold",
            path,
            "rdonly",
        ],
    );
    assert_eq!(said, ["ok", "ok", "ok 3", "errno EMFILE"]);
}

/// Numbers that an act answered with, by their names.
fn numbers(said: &[String]) -> BTreeMap<String, u64> {
    let [line] = said else {
        panic!("one act, one answer: {said:?}");
    };
    let words = line.strip_prefix("ok ").unwrap_or_else(|| panic!("{line}"));
    let number = |word: &str| {
        let (name, value) = word.split_once('=').expect("a name and a number");
        (name.to_owned(), value.parse().expect("a number"))
    };
    words.split(' ').map(number).collect()
}

#[test]
fn signals_and_kills_make_no_open_wrong() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let path = workspace.write("file", "x");
    let supervised = Supervised::new(closed(&workspace.path()));
    let path = path.to_str().expect("UTF-8").to_owned();
    // As many again are killed while they are at it.
    let victims = supervised.inside({
        let path = path.clone();
        move || {
            let start = || {
                let mut command = std::process::Command::new(crate::harness::built::probe());
                command.args(["storm-open", &path, "100000000", "1"]);
                command.spawn().expect("it starts")
            };
            (0..8).map(|_| start()).collect::<Vec<_>>()
        }
    });
    let killer = std::thread::spawn(move || {
        // One after the other, each in an open, and after more of them than the one before.
        for (mut victim, opens) in victims.into_iter().zip((200..).step_by(200)) {
            let pid = i32::try_from(victim.id()).expect("a number of a process");
            eventually("it is at it", || waits(pid) >= opens);
            until_it_waits_in(pid, &[libc::SYS_openat]);
            victim.kill().expect("it still runs");
            victim.wait().expect("it is ours");
        }
    });
    for restarts in ["0", "1"] {
        let said = supervised.probe(&workspace.path(), &["storm-open", &path, "50000", restarts]);
        let said = numbers(&said);
        assert_eq!(said["wrong"], 0, "{said:?}");
        assert_eq!(said["opened"] + said["interrupted"], 50_000);
        assert!(said["signals"] > 100, "{said:?}");
        if restarts == "1" {
            assert_eq!(said["interrupted"], 0, "{said:?}");
        }
    }
    killer.join().expect("all were killed");
}

#[test]
fn who_may_have_locked_itself_under_an_earlier_supervisor_is_done_nothing_for() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("file");
    fs::write(&file, "text").expect("a file");
    let opened = |served| {
        let session = Supervised::new(Lists {
            // Whoever does not carry it may have done anything.
            tag: Some((Tag::new(1), served)),
            ..closed(place.path())
        });
        let file = file.clone();
        session.inside(move || fs::File::open(file).map(drop).map_err(|e| e.raw_os_error()))
    };
    assert_eq!(opened(Served::FromTheBeginning), Ok(()));
    assert_eq!(opened(Served::AfterAnother), Err(Some(libc::EACCES)));
}
