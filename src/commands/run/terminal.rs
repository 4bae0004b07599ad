//! The terminal that the command gets, where it is not the caller's.

use super::{Failure, ours};
use crate::args::Pty;
use crate::report::Reporter;
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use supervisor::launch::OwnTerminal;
use supervisor::policy::Ruleset;
use supervisor::terminal::{Keyboard, Output, Relay};

/// A terminal of the command's own, where the flag or the policy wants one and the caller has any.
pub fn relay(
    pty: Option<Pty>,
    ruleset: &Ruleset,
    reporter: &Reporter,
) -> Result<Option<Relay>, Failure> {
    let output = match pty {
        Some(Pty::Passthrough) => Output::PassedThrough,
        Some(Pty::Filtered) => Output::Filtered,
        None if ruleset.process().own_terminal => Output::Filtered,
        None => return Ok(None),
    };
    let relay = Relay::open(output).map_err(ours)?;
    let told = match relay.as_ref().map(Relay::keyboard) {
        None => "terminal: there is none",
        Some(Keyboard::Command) => "terminal: of its own",
        Some(Keyboard::Reader) => {
            "terminal: of its own, without a keyboard: standard output is a pipe, and whoever reads that has it"
        }
    };
    reporter.verbose(format_args!("{told}"));
    Ok(relay)
}

fn held<T>(made: Result<T, Errno>) -> Result<T, Failure> {
    made.map_err(|errno| ours(format!("cannot hold the terminal: {errno}")))
}

/// What stands in the place of the standard streams.
pub fn streams(relay: Option<&Relay>) -> Result<[Option<OwnedFd>; 3], Failure> {
    held(relay.map_or(Ok([None, None, None]), Relay::streams))
}

/// What controls the command's session.
pub fn own(relay: Option<&Relay>) -> Result<Option<OwnTerminal>, Failure> {
    let own = |relay: &Relay| {
        Ok(OwnTerminal {
            inside: relay.inside()?,
            outside: relay.outer(),
        })
    };
    held(relay.map(own).transpose())
}
