//! Exit statuses: the command's own, or what `timeout(1)`, `env(1)` and shells use for the rest.

use supervisor::launch::Exit;

/// Statuses, each with the commands that give it.
macro_rules! statuses {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:literal of $of:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: u8 = $status;)+

        /// Each status with the commands that give it.
        #[cfg(test)]
        pub const ALL: &[(&str, u8)] = &[$(($of, $status),)+];
    };
}

statuses! {
    /// The time on the wall was over.
    TIMED_OUT = 124 of "run";
    /// Ours: bad usage, a bad policy, a sandbox that could not be made. The command has not run, or was ended.
    OURS = 125 of "all commands";
    /// The command was found and cannot be executed.
    NOT_EXECUTABLE = 126 of "run, request";
    /// The command was not found.
    NOT_FOUND = 127 of "run, request";
    /// A record is not as it was written.
    CHANGED = 1 of "audit, explain, report";
    /// A run in the record has no end.
    OPEN = 2 of "audit, explain, report";
    /// Something was refused, and who asked wants to hear of that.
    REFUSALS = 3 of "report";
    /// Something that was allowed elsewhere is not here.
    NARROWER = 1 of "import";
    /// Something restricts less here than elsewhere.
    WEAKER = 2 of "import";
    /// The supervisor refused, or the file could not be read or written.
    REFUSED = 1 of "request";
    /// What a shell reports for a command that wrote to a pipe that nobody reads.
    BROKEN_PIPE = 141 of "request";
    /// A worker is not as was asked, a job failed, or the machine is not as workers need it.
    NOT_SO = 1 of "start, stop, restart, validate, job";
    /// Nothing that was agreed to is meant.
    NOTHING = 1 of "revoke";
    /// The job wants input.
    WAITING = 2 of "job";
}

/// What a shell would report for a command that ended so: its status, or 128 and the signal.
pub fn of(exit: Exit) -> u8 {
    match exit {
        // wait(2) gives eight bits.
        Exit::Code(code) => (code & 0xff) as u8,
        Exit::Signal(signal) => 128u8.wrapping_add((signal & 0x7f) as u8),
        Exit::Unknown => OURS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_a_shell() {
        assert_eq!(of(Exit::Code(3)), 3);
        assert_eq!(of(Exit::Signal(9)), 137);
        assert_eq!(of(Exit::Signal(15)), 143);
    }
}
