//! What the command finds when it starts: its directory, its program, its environment and its streams.

use super::{Failure, ours};
use crate::law::Law;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat, stat};
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use supervisor::launch::{FindError, Program};
use supervisor::policy::{Access, Approver, FileId, Reason, Ruleset, Subject, Tmp, Verdict};

/// Makes the directories that the policy wants made, so that what the command builds in them can be executed. A link put into
/// their way since the policy was compiled is not followed.
pub fn make_directories(ruleset: &Ruleset) -> Result<(), Failure> {
    for path in ruleset.make_dirs() {
        let failed =
            |errno: Errno| ours(format!("cannot make {}: {}", path.display(), errno.desc()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let parent = openat2(AT_FDCWD, parent, how).map_err(failed)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Opens the directory that the command starts in, which the policy must let it read.
pub fn working_directory(ruleset: &Ruleset, cwd: &Path) -> Result<OwnedFd, Failure> {
    let refused =
        |reason: &dyn Display| ours(format!("working directory {}: {reason}", cwd.display()));
    let directory = open(
        cwd,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| refused(&errno.desc()))?;
    let status = fstat(&directory).map_err(|errno| refused(&errno.desc()))?;
    if !ruleset
        .decide(&subject(cwd, &status), Access::READ)
        .is_allowed()
    {
        return Err(refused(
            &"outside the policy; start in a directory that it grants (--chdir), or grant this one (--read)",
        ));
    }
    Ok(directory)
}

/// A file that is open and has this real path, as rules see it.
pub fn real_subject<'a>(path: &'a Path, file: &impl AsFd) -> Result<Subject<'a>, Errno> {
    Ok(subject(path, &fstat(file)?))
}

fn subject<'a>(path: &'a Path, status: &FileStat) -> Subject<'a> {
    Subject {
        path,
        object: Some(FileId::new(status.st_dev, status.st_ino)),
    }
}

/// The command's environment: what the policy passes and sets, and what we tell.
/// `tmp` is its private temporary directory, where it has one, and `socket` the name under which it reaches us.
pub fn environment(
    caller: &[(OsString, OsString)],
    ruleset: &Ruleset,
    law: &Law,
    tmp: Option<&Path>,
    socket: &Path,
) -> Vec<(OsString, OsString)> {
    let mut environment = ruleset.environment(caller);
    let mut set = |name: &str, value: &OsStr| {
        environment.retain(|(other, _)| other != name);
        environment.push((name.into(), value.to_owned()));
    };
    match (ruleset.tmp(), tmp) {
        (Tmp::Private, Some(tmp)) => set("TMPDIR", tmp.as_os_str()),
        (Tmp::Shared, _) => set("TMPDIR", OsStr::new("/tmp")),
        (Tmp::Private, None) | (Tmp::None, _) => {}
    }
    set("PWD", spelled(law.cwd()).as_os_str());
    set("SUPERVISE", OsStr::new("1"));
    set("SUPERVISE_FD", OsStr::new("3"));
    set("SUPERVISE_SOCKET", socket.as_os_str());
    if let Some(own) = &law.own {
        set("SUPERVISE_EXE", own.as_os_str());
    }
    environment
}

/// The working directory as the caller spells it, where that is a name of it: shells keep the links that led somewhere.
fn spelled(cwd: &Path) -> PathBuf {
    let same = |path: &PathBuf| {
        path.is_absolute()
            && matches!((stat(path), stat(cwd)), (Ok(one), Ok(other))
                if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    };
    let pwd = std::env::var_os("PWD").map(PathBuf::from);
    pwd.filter(same).unwrap_or_else(|| cwd.to_owned())
}

/// The name of the session's door for those who have no descriptor of it. No file of that name is ever made: who connects to
/// it from inside is connected by the supervisor, and for everybody else there is nothing there.
pub fn socket_path(place: &Path) -> PathBuf {
    place.join("socket")
}

/// The program that answers questions must be there, and must not be one that the command could change.
pub fn check_approver(ruleset: &Ruleset) -> Result<(), Failure> {
    let Approver::Command(command) = &ruleset.broker().approver else {
        return Ok(());
    };
    let Some(program) = command.first().map(Path::new) else {
        return Ok(());
    };
    let bad = |reason: &dyn Display| ours(format!("approver {}: {reason}", program.display()));
    let real = program.canonicalize().map_err(|error| bad(&error))?;
    let status = stat(&real).map_err(|errno| bad(&errno.desc()))?;
    let is_file = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    if !is_file || status.st_mode & 0o111 == 0 {
        return Err(bad(&"it is not a program"));
    }
    match ruleset.decide(&subject(&real, &status), Access::WRITE) {
        Verdict::Deny(_) => Ok(()),
        Verdict::Allow(_) | Verdict::Ask(_) => Err(bad(
            &"the command could change it and so answer for itself; put it outside of what the policy lets it write",
        )),
    }
}

/// Where commands are looked for when the policy passes no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn find_program(
    name: &OsStr,
    environment: &[(OsString, OsString)],
    cwd: &Path,
    ruleset: &Ruleset,
) -> Result<Program, Failure> {
    let search = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let allowed = |program: &Program| {
        let real = program
            .path()
            .canonicalize()
            .map_err(|error| error.to_string())?;
        let status = fstat(program.file()).map_err(|errno| errno.desc().to_owned())?;
        match ruleset.decide(&subject(&real, &status), Access::EXEC) {
            verdict if verdict.is_allowed() => Ok(()),
            // Another rule would not help.
            Verdict::Deny(denial) if denial.reason != Reason::NoRule => Err(denial.to_string()),
            _ => Err(format!(
                "the policy does not allow it; add it to exec, or say --exec {}",
                real.display()
            )),
        }
    };
    Program::find(name, search, cwd, &allowed).map_err(|error: FindError| Failure {
        status: error.exit_status(),
        message: error.to_string(),
    })
}

/// `NAME=value`.
pub fn pair(name: impl Into<OsString>, value: impl AsRef<OsStr>) -> OsString {
    let mut pair = name.into();
    pair.push("=");
    pair.push(value);
    pair
}

/// An environment as it is handed down.
pub fn pairs(environment: &[(OsString, OsString)]) -> Result<Vec<CString>, Failure> {
    c_strings(environment.iter().map(|(name, value)| pair(name, value)))
}

pub fn c_strings(
    strings: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Vec<CString>, Failure> {
    let c_string = |string: &OsStr| {
        CString::new(string.as_bytes())
            .map_err(|_| ours("an argument or variable holds a NUL byte"))
    };
    strings
        .into_iter()
        .map(|string| c_string(string.as_ref()))
        .collect()
}

/// Standard streams are the caller's, unless they would be a way out: a directory can be read and left upwards, a block device
/// is the disk below every rule, a datagram socket can be sent to anybody.
pub fn check_standard_streams() -> Result<(), Failure> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (name, fd) in [
        ("input", stdin.as_fd()),
        ("output", stdout.as_fd()),
        ("error", stderr.as_fd()),
    ] {
        // A closed one was opened as /dev/null by the Rust runtime, before main.
        let status = fstat(fd).map_err(|errno| ours(format!("standard {name}: {errno}")))?;
        let what = match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFBLK => "a block device",
            SFlag::S_IFSOCK
                if nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::SockType)
                    == Ok(nix::sys::socket::SockType::Datagram) =>
            {
                "a datagram socket"
            }
            _ => continue,
        };
        return Err(ours(format!(
            "standard {name} is {what}, which would lead out of the sandbox; redirect it"
        )));
    }
    Ok(())
}
