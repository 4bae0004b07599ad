//! Exit statuses: the command's own, or what `timeout(1)`, `env(1)` and shells use for the rest.

use supervisor::launch::Exit;

/// The time on the wall was over.
pub const TIMED_OUT: u8 = 124;
/// Ours: bad usage, a bad policy, a sandbox that could not be made. The command has not run, or was ended.
pub const OURS: u8 = 125;

/// The command was found and cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub const NOT_FOUND: u8 = 127;

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
