//! The clock by which the kernel says when a process was started. In a time namespace it stands otherwise than elsewhere on the
//! machine: what is recorded is what it would be in none.

use super::machine::errno;
use super::{Field, Mismatch};
use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use std::sync::OnceLock;
use std::time::Duration;

const NANOS: i128 = 1_000_000_000;

/// How far this process's clock is ahead of the machine's, in nanoseconds. It stays in its namespace.
fn ahead() -> Result<i128, Mismatch> {
    static AHEAD: OnceLock<i128> = OnceLock::new();
    if let Some(ahead) = AHEAD.get() {
        return Ok(*ahead);
    }
    let unknown = Mismatch::unknown(Field::StartTime, "read /proc/self/timens_offsets");
    let ahead = match std::fs::read_to_string("/proc/self/timens_offsets").map_err(errno) {
        Ok(text) => offset(&text).ok_or_else(|| unknown(Errno::ENODATA))?,
        // A kernel without such namespaces.
        Err(Errno::ENOENT) => 0,
        Err(errno) => return Err(unknown(errno)),
    };
    Ok(*AHEAD.get_or_init(|| ahead))
}

/// The line of the clock that goes on while the machine sleeps: its name, seconds, nanoseconds.
fn offset(text: &str) -> Option<i128> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut words = lines.find_map(|mut words| (words.next()? == "boottime").then_some(words))?;
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanos: i64 = words.next()?.parse().ok()?;
    Some(i128::from(seconds) * NANOS + i128::from(nanos))
}

/// Ticks of the machine's clock in a second, as `/proc` counts them.
fn per_second() -> Result<u64, Mismatch> {
    let unknown = Mismatch::unknown(Field::StartTime, "sysconf");
    let ticks = sysconf(SysconfVar::CLK_TCK).map_err(&unknown)?;
    let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
    ticks
        .filter(|ticks| *ticks > 0)
        .ok_or_else(|| unknown(Errno::ENODATA))
}

/// What `/proc` says here, as it would be said in no time namespace.
pub(super) fn of_the_machine(ticks: u64) -> Result<u64, Mismatch> {
    let ahead = ahead()?;
    // Namespaces are ahead or behind by whole seconds; of another one a tick may be lost, and nobody is found by it then.
    let ahead = ahead * i128::from(per_second()?) / NANOS;
    let ticks = u64::try_from(i128::from(ticks) - ahead);
    ticks.map_err(|_| Mismatch::unknown(Field::StartTime, "subtract")(Errno::ERANGE))
}

/// How long ago the machine's clock said that.
pub(super) fn since(ticks: u64) -> Result<Duration, Mismatch> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME);
    let now = now.map_err(Mismatch::unknown(Field::StartTime, "clock_gettime"))?;
    let now = i128::from(now.tv_sec()) * NANOS + i128::from(now.tv_nsec()) - ahead()?;
    let start = i128::from(ticks) * NANOS / i128::from(per_second()?);
    let nanos = u64::try_from((now - start).max(0)).unwrap_or(u64::MAX);
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_processes_are_started_by_is_found_ahead_and_behind() {
        let text = "monotonic           7         0\nboottime          -60  500000000\n";
        assert_eq!(offset(text), Some(-60 * NANOS + NANOS / 2));
        assert_eq!(offset("boottime 1000000 0\n"), Some(1_000_000 * NANOS));
        for none in ["", "monotonic 7 0\n", "boottime 7\n", "boottime x 0\n"] {
            assert_eq!(offset(none), None, "{none}");
        }
    }
}
