//! `supervise request`: a file from the supervisor, from a shell inside the sandbox.

use child_shim::{Error, OpenOptions};
use clap::Args;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::exit;

/// Which file, what for, and what to do with it.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("access").args(["read", "write", "append"]).required(true).multiple(true))]
pub struct RequestArgs {
    /// The file to ask for
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Read it: to standard output, or as the command's standard input
    #[arg(long)]
    pub read: bool,
    /// Write it, as `>` of a shell does: from standard input, or as the command's standard output; with --read as `<>`
    #[arg(long)]
    pub write: bool,
    /// Write at its end, as `>>` of a shell does
    #[arg(long, conflicts_with_all = ["read", "write"])]
    pub append: bool,
    /// It must not be there yet
    #[arg(long, conflicts_with = "append", requires = "write")]
    pub new: bool,
    /// A reason, for whoever decides
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// Wait no longer than this for the answer
    #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
    pub timeout: Option<Duration>,
    /// A command to run with it; `{}` in an argument becomes a name for the open file, which is then neither standard input nor output
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Asks, and does what was asked for with what was granted.
pub fn request(args: &RequestArgs) -> ExitCode {
    if args.read && args.write && args.command.is_empty() {
        eprintln!("supervise: --read and --write together need a command");
        return ExitCode::from(exit::OURS);
    }
    let asked = child_shim::connect().and_then(|client| client.open(&args.path, &options(args)));
    let file = match asked {
        Ok(file) => file,
        Err(error) => {
            eprintln!("supervise: {}: {error}", args.path.display());
            return ExitCode::from(match error {
                Error::Refused(_) => exit::REFUSED,
                _ => exit::OURS,
            });
        }
    };
    if args.command.is_empty() {
        copy(args, file)
    } else {
        execute(args, &file)
    }
}

fn options(args: &RequestArgs) -> OpenOptions {
    let mut options = OpenOptions::new()
        .read(args.read)
        .write(args.write)
        .append(args.append);
    // What a shell gives to the files that it makes, before the umask.
    options = options.mode(0o666);
    if args.new {
        options = options.create_new(true);
    } else if args.write || args.append {
        options = options.create(true).truncate(args.write && !args.read);
    }
    if let Some(why) = &args.why {
        options = options.why(why);
    }
    if let Some(time) = args.timeout {
        options = options.timeout(time);
    }
    options
}

fn copy(args: &RequestArgs, mut file: File) -> ExitCode {
    let copied = if args.read {
        let mut out = std::io::stdout().lock();
        std::io::copy(&mut file, &mut out).and_then(|_| out.flush())
    } else {
        std::io::copy(&mut std::io::stdin().lock(), &mut file).map(drop)
    };
    match copied {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(exit::BROKEN_PIPE),
        Err(error) => {
            eprintln!("supervise: {}: {error}", args.path.display());
            ExitCode::from(exit::REFUSED)
        }
    }
}

/// Becomes the command. Comes back only when that cannot be.
fn execute(args: &RequestArgs, file: &File) -> ExitCode {
    let [program, arguments @ ..] = args.command.as_slice() else {
        return ExitCode::from(exit::OURS);
    };
    let mut command = Command::new(program);
    let prepared = if arguments.iter().any(|argument| split(argument).is_some()) {
        let name = format!("/dev/fd/{}", file.as_raw_fd());
        command.args(arguments.iter().map(|argument| named(argument, &name)));
        // Ours alone until now; the name means something only to a program that has it, too.
        fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(std::io::Error::from)
            .map(drop)
    } else {
        command.args(arguments);
        file.try_clone().map(|twin| match args.read {
            true => drop(command.stdin(twin)),
            false => drop(command.stdout(twin)),
        })
    };
    let error = match prepared {
        Ok(()) => command.exec(),
        Err(error) => error,
    };
    eprintln!("supervise: {}: {error}", program.display());
    ExitCode::from(match error.kind() {
        ErrorKind::NotFound => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    })
}

/// What stands before and after the first `{}`.
fn split(argument: &OsStr) -> Option<(&[u8], &[u8])> {
    let bytes = argument.as_bytes();
    let at = bytes.windows(2).position(|two| two == b"{}")?;
    Some((&bytes[..at], &bytes[at + 2..]))
}

/// The argument with the name of the file wherever `{}` was.
fn named(argument: &OsStr, name: &str) -> OsString {
    let mut whole = Vec::new();
    let mut rest = argument;
    while let Some((before, after)) = split(rest) {
        whole.extend_from_slice(before);
        whole.extend_from_slice(name.as_bytes());
        rest = OsStr::from_bytes(after);
    }
    whole.extend_from_slice(rest.as_bytes());
    OsString::from_vec(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_become_the_name_wherever_they_stand() {
        let named = |argument: &str| named(OsStr::new(argument), "/dev/fd/4");
        assert_eq!(named("{}"), "/dev/fd/4");
        assert_eq!(named("--in={},{}"), "--in=/dev/fd/4,/dev/fd/4");
        assert_eq!(named("{a}"), "{a}");
        assert_eq!(named(""), "");
    }
}
