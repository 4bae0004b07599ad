//! The session's tag: a mark that every process of a session carries, and that none can lose or take on.
//!
//! It is a value of RLIMIT_RTTIME, random and so large (over 70,000 years of processor time) that it limits nothing. Limits
//! are inherited by every descendant and kept over every exec; the filter refuses to change this one; everybody may read it in
//! `/proc/PID/limits`. So membership can be told without privileges, cgroups or a walk up the tree of parents, also after
//! everything that knew the session has died.
//!
//! The hard limit is the tag. The soft limit says one thing more: where it is less, the process, or one that it descends from, has
//! locked itself further ([`Tag::narrow`]), and what the session may do is no more all that it may do.

use nix::errno::Errno;
use sys::pidfd::Pidfd;
use sys::process::{Limit, UNLIMITED, limit_of, resource, set_limit_of};

/// A session's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(u64);

/// Why processes cannot be marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTag {
    /// They carry the tag of a session above this one, which they cannot lose.
    Inside,
    /// The limit that would hold the tag is limited already.
    Limited,
    /// The limit that would hold the tag cannot be read.
    Unreadable,
}

impl std::fmt::Display for NoTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inside => "this is already the inside of a session",
            Self::Limited => "RLIMIT_RTTIME is limited",
            Self::Unreadable => "RLIMIT_RTTIME cannot be read",
        })
    }
}

/// The least value of a tag, in microseconds of real-time processor time.
const LEAST: u64 = 1 << 61;

/// How RLIMIT_RTTIME is called in /proc/PID/limits.
const LINE: &str = "Max realtime timeout";

impl Tag {
    /// A new tag from 60 random bits.
    pub fn new(random: u64) -> Self {
        Self(LEAST | random & (LEAST - 1))
    }

    /// A tag that no other session has.
    ///
    /// # Errors
    /// The kernel has no random numbers yet.
    pub fn random() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(Self::new)
    }

    /// Enough of it to tell sessions of one process apart.
    pub fn short(self) -> String {
        format!("{:08x}", self.0 as u32)
    }

    /// The tag that was written as `Tag::to_string` gives it.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text.trim(), 16)
            .ok()
            .filter(|value| Self::is_tag(*value))
            .map(Self)
    }

    /// The tag as a number; never 0.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The tag of that number.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::is_tag(number).then_some(Self(number))
    }

    fn is_tag(value: u64) -> bool {
        (LEAST..2 * LEAST).contains(&value)
    }

    /// Why this process cannot give tags; `None` when it can.
    pub(super) fn unavailable() -> Option<NoTag> {
        match sys::process::limit(resource::RTTIME) {
            Ok(Limit {
                hard: UNLIMITED, ..
            }) => None,
            Ok(Limit { hard, .. }) if Self::is_tag(hard) => Some(NoTag::Inside),
            Ok(_) => Some(NoTag::Limited),
            Err(_) => Some(NoTag::Unreadable),
        }
    }

    /// The limit that marks a process.
    pub(super) fn limit(self) -> (u32, Limit) {
        (
            resource::RTTIME,
            Limit {
                soft: self.0,
                hard: self.0,
            },
        )
    }

    /// The tag of whatever session the process with this pid belongs to.
    ///
    /// # Errors
    /// `ESRCH` when there is no such process, or its limits cannot be read.
    pub fn of(pid: i32) -> Result<Option<Self>, Errno> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).map_err(errno)?;
        let line = text.lines().find_map(|line| line.strip_prefix(LINE));
        let hard = line.and_then(|line| line.split_whitespace().nth(1));
        match hard.ok_or(Errno::ESRCH)? {
            "unlimited" => Ok(None),
            hard => Ok(hard.parse().ok().and_then(Self::from_number)),
        }
    }

    /// Whether the process with this pid carries the tag. A process that is gone does not.
    pub fn is_on(self, pid: i32) -> bool {
        self.marks(written(pid))
    }

    fn marks(self, limit: Option<Limit>) -> bool {
        limit.is_some_and(|limit| {
            limit.hard == self.0 && (self.0 - 1..=self.0).contains(&limit.soft)
        })
    }

    /// Notes that the process of this task locks itself further. Its descendants are noted with it, and nobody inside can take
    /// that back.
    ///
    /// # Errors
    /// The errno of `prlimit64(2)`: of a process of another user, among others.
    pub fn narrow(self, task: i32) -> Result<(), Errno> {
        let limit = Limit {
            soft: self.0 - 1,
            hard: self.0,
        };
        set_limit_of(task, resource::RTTIME, limit)
    }

    /// Whether the process of this task has locked itself further, as far as is known: one that does not carry the tag, or is
    /// gone, may have.
    pub fn is_narrowed(self, task: i32) -> bool {
        let limit = match limit_of(task, resource::RTTIME) {
            Ok(limit) => Some(limit),
            // Those of other users are told to everybody, but elsewhere.
            Err(_) => written(task),
        };
        limit != Some(self.limit().1)
    }

    /// Every living process that carries the tag, held by its pidfd: checked after it was opened, so that a recycled pid is
    /// not mistaken for the process that had it.
    ///
    /// # Errors
    /// The errno with which `/proc` could not be listed or a process not be opened.
    pub fn members(self) -> Result<Vec<Pidfd>, Errno> {
        let mut members = Vec::new();
        for entry in std::fs::read_dir("/proc").map_err(errno)? {
            let name = entry.map_err(errno)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if !self.is_on(pid) {
                continue;
            }
            let pidfd = match Pidfd::open(pid) {
                Ok(pidfd) => pidfd,
                Err(Errno::ESRCH) => continue,
                Err(errno) => return Err(errno),
            };
            if self.is_on(pid) && !pidfd.has_exited()? {
                members.push(pidfd);
            }
        }
        Ok(members)
    }

    /// How many tasks carry the tag: threads of living processes.
    ///
    /// # Errors
    /// The errno with which `/proc` could not be listed.
    pub fn tasks(self) -> Result<u64, Errno> {
        let mut tasks = 0;
        for entry in std::fs::read_dir("/proc").map_err(errno)? {
            let name = entry.map_err(errno)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if self.is_on(pid) {
                // One that has ended meanwhile has no threads.
                tasks += std::fs::read_dir(format!("/proc/{pid}/task"))
                    .map_or(0, |list| list.count() as u64);
            }
        }
        Ok(tasks)
    }
}

/// The limit that would be the tag, as everybody may read it.
fn written(task: i32) -> Option<Limit> {
    let text = std::fs::read_to_string(format!("/proc/{task}/limits")).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(LINE))?;
    let mut words = rest.split_whitespace().map(str::parse);
    Some(Limit {
        soft: words.next()?.ok()?,
        hard: words.next()?.ok()?,
    })
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_narrowed_still_carries_the_tag_and_so_do_its_children() {
        use std::process::Command;
        let tag = Tag::new(0x1234_5678_9abc_def0);
        let mut shell = Command::new("sh")
            .args(["-c", "read go; sleep 1000 & echo $!; wait"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        assert!(!tag.is_on(pid) && tag.is_narrowed(pid), "it has no tag");
        assert_eq!(Tag::of(pid), Ok(None));
        set_limit_of(pid, resource::RTTIME, tag.limit().1).unwrap();
        assert!(tag.is_on(pid) && !tag.is_narrowed(pid));
        assert_eq!(Tag::of(pid), Ok(Some(tag)));
        assert_eq!(written(pid), limit_of(pid, resource::RTTIME).ok());
        tag.narrow(pid).unwrap();
        assert!(tag.is_on(pid) && tag.is_narrowed(pid));
        std::io::Write::write_all(&mut shell.stdin.take().unwrap(), b"go\n").unwrap();
        let mut child = String::new();
        let mut said = std::io::BufReader::new(shell.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut said, &mut child).unwrap();
        let child: i32 = child.trim().parse().unwrap();
        assert!(tag.is_on(child) && tag.is_narrowed(child));
        Pidfd::open(child)
            .unwrap()
            .send_signal(libc::SIGKILL)
            .unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn the_text_of_a_tag_gives_the_tag_again() {
        let tag = Tag::new(0x1234_5678_9abc_def0);
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
        assert_eq!(Tag::parse("10"), None);
        assert_eq!(Tag::parse("ffffffffffffffff"), None);
    }
}
