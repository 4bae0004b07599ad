//! The limit of tasks of a session.
//!
//! Counting is walking /proc, so it is done rarely: the last exact count and what was allowed since is an upper bound, and
//! only when that reaches the limit the session is counted anew. Nobody of the session can fork meanwhile, for it is this thread
//! that would allow it; who exits leaves its children to the root, which is looked at again until nothing new is found.
//! A task that was allowed and has not appeared yet escapes one count, never the next: the limit is exceeded by the
//! forks in flight at most, and for that long.

use crate::sandbox::Tag;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// A refusal stands for so many times as long as it took to find out: whoever hammers at the limit gets a fifth of our time.
const REST: u32 = 4;

/// Whether one more task may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes.
    Admitted,
    /// No, and the one before was.
    RefusedFirst,
    /// No again: a program that hammers at the limit says nothing new.
    RefusedAgain,
}

/// Counts the tasks below a process.
#[derive(Debug)]
pub(super) struct Tasks {
    root: i32,
    tag: Option<Tag>,
    limit: u64,
    /// Not less than there are, as far as is known.
    at_most: u64,
    refused_until: Option<Instant>,
    refused_last: bool,
}

impl Tasks {
    /// At most `limit` tasks below `root`. Others may have theirs there, too: then a tag tells them apart.
    pub fn new(root: i32, tag: Option<Tag>, limit: u64) -> Self {
        Self {
            root,
            tag,
            limit,
            // Unknown: the first one counts.
            at_most: u64::MAX,
            refused_until: None,
            refused_last: false,
        }
    }

    /// Whether one more may start.
    pub fn admit(&mut self) -> Admission {
        match (self.has_room(), self.refused_last) {
            (true, _) => {
                self.refused_last = false;
                Admission::Admitted
            }
            (false, true) => Admission::RefusedAgain,
            (false, false) => {
                self.refused_last = true;
                Admission::RefusedFirst
            }
        }
    }

    fn has_room(&mut self) -> bool {
        if self.at_most >= self.limit {
            if self
                .refused_until
                .is_some_and(|until| Instant::now() < until)
            {
                return false;
            }
            let start = Instant::now();
            // What cannot be counted is too much.
            self.at_most = count(self.root, self.tag, self.limit).unwrap_or(u64::MAX);
            if self.at_most >= self.limit {
                let took = start.elapsed().max(Duration::from_micros(100));
                self.refused_until = Some(Instant::now() + took * REST);
                return false;
            }
        }
        self.at_most += 1;
        true
    }
}

/// The tasks of all processes of a session below `root`, which is not counted; counting ends at `enough`. `None`: it cannot be told.
fn count(root: i32, tag: Option<Tag>, enough: u64) -> Option<u64> {
    let mut seen = HashSet::from([root]);
    let mut tasks = 0;
    loop {
        let before = seen.len();
        // Whoever lost its parent meanwhile is the root's child now.
        let mut left = children(root)?;
        left.retain(|child| seen.contains(child) || tag.is_none_or(|tag| tag.is_on(*child)));
        while let Some(process) = left.pop() {
            if !seen.insert(process) {
                continue;
            }
            // One that is gone by now has no tasks and, being no parent any more, no children.
            tasks += tasks_of(process).map_or(0, |tasks| tasks.len() as u64);
            if tasks >= enough {
                return Some(tasks);
            }
            left.extend(children(process).unwrap_or_default());
        }
        if seen.len() == before {
            return Some(tasks);
        }
    }
}

fn tasks_of(process: i32) -> Option<Vec<i32>> {
    let entries = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Some(names.collect())
}

/// The children of every task of a process. `None`: it is gone, or the kernel does not tell (CONFIG_PROC_CHILDREN).
fn children(process: i32) -> Option<Vec<i32>> {
    let mut all = Vec::new();
    let mut told = false;
    for task in tasks_of(process)? {
        let path = format!("/proc/{process}/task/{task}/children");
        if let Ok(text) = std::fs::read_to_string(path) {
            told = true;
            all.extend(
                text.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
    }
    told.then_some(all)
}

/// Whether this kernel tells who somebody's children are.
pub(super) fn can_count() -> bool {
    std::path::Path::new("/proc/thread-self/children").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::{Child, Command, Stdio};

    /// A process with two children of its own, all of them waiting for input.
    fn family() -> Child {
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0; (read x <&3) & (read x <&3) & echo; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut line)
            .unwrap();
        child
    }

    #[test]
    fn the_tasks_below_a_process_are_counted() {
        let mut child = family();
        let shell = child.id() as i32;
        assert_eq!(count(shell, None, 100), Some(2));
        assert_eq!(count(shell, None, 1), Some(1));
        // Those of another session are not counted.
        assert_eq!(count(shell, Some(Tag::new(1)), 100), Some(0));
        let mut tasks = Tasks::new(shell, None, 3);
        assert_eq!(tasks.admit(), Admission::Admitted);
        // The one that was allowed has not come, so it is counted out again.
        assert_eq!(tasks.admit(), Admission::Admitted);
        child.stdin.take().unwrap().write_all(b"\n\n").unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn at_the_limit_none_is_admitted() {
        let mut child = family();
        let mut tasks = Tasks::new(child.id() as i32, None, 2);
        assert_eq!(tasks.admit(), Admission::RefusedFirst);
        assert_eq!(tasks.admit(), Admission::RefusedAgain);
        child.stdin.take().unwrap().write_all(b"\n\n").unwrap();
        child.wait().unwrap();
        // Whose tasks cannot be counted gets no more.
        assert_eq!(tasks.admit(), Admission::RefusedAgain);
    }

    #[test]
    fn threads_are_tasks_too() {
        let before = tasks_of(std::process::id() as i32).unwrap().len();
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        assert!(tasks_of(std::process::id() as i32).unwrap().len() > before.min(1));
        drop(stop);
        assert!(thread.join().unwrap().is_err());
        assert!(can_count());
    }
}
