//! Who somebody is, and from whom they descend: the kernel's word.
//!
//! A process that loses its parent becomes the child of one of its ancestors, and of nobody else; so who is found among somebody's
//! ancestors, at whatever time, is one. The reverse does not hold: whoever lost a parent in between is no longer found to descend from
//! those above it, unless they adopt such processes. That costs a question more.

use std::os::fd::AsFd;
use std::sync::Arc;

use sys::pidfd::Pidfd;
use sys::status::Status;

use super::peer::lives;

/// How far up ancestors are looked for.
const FAR: usize = 64;

/// A process, whatever it executes.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub pid: i32,
    pub process: Arc<Pidfd>,
}

impl Identity {
    /// Whether it has not ended. Until then nobody else has its number.
    pub fn lives(&self) -> bool {
        lives(self.process.as_fd())
    }

    /// Whether both are the same one, which lives.
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.lives() && other.lives()
    }

    /// Whether it is that one or a descendant of it, as far as that can be told, and both live.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        let mut child = self.clone();
        for _ in 0..FAR {
            if child.is(ancestor) {
                return self.lives();
            }
            match child.parent() {
                Some(parent) => child = parent,
                None => return false,
            }
        }
        false
    }

    /// Its parent. `None` where it cannot be had for certain.
    fn parent(&self) -> Option<Self> {
        let number = || {
            let parent = Status::of(self.pid).ok()?.parent()?;
            (parent > 1 && self.lives()).then_some(parent)
        };
        let pid = number()?;
        let process = Arc::new(Pidfd::open(pid).ok()?);
        let parent = Self { pid, process };
        // Opened before it was its parent's number (again), and alive after that: then it was the parent that was opened.
        (number() == Some(pid) && parent.lives()).then_some(parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    fn identity(pid: i32) -> Identity {
        let process = Arc::new(Pidfd::open(pid).unwrap());
        Identity { pid, process }
    }

    /// A shell that starts a shell, says the number of that, and waits for a line.
    fn two() -> (Child, i32) {
        let script = "sh -c 'echo $$; read line' & wait";
        let mut command = Command::new("sh");
        // A background job of a shell has nothing to read but what it is given.
        let script = script.replace("'echo", "'exec 0<&3; echo");
        command.args(["-c", &format!("exec 3<&0; {script}")]);
        let mut first = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(first.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        (first, line.trim().parse().unwrap())
    }

    #[test]
    fn who_is_below_whom_is_told_of_those_who_live() {
        let (mut first, second) = two();
        let own = identity(std::process::id() as i32);
        let above = identity(first.id() as i32);
        let below = identity(second);
        for (one, other, is_below) in [
            (&own, &own, true),
            (&above, &own, true),
            (&below, &above, true),
            (&below, &own, true),
            (&above, &below, false),
            (&own, &below, false),
        ] {
            assert_eq!(one.is_below(other), is_below, "{one:?} {other:?}");
            assert_eq!(one.is(other), one.pid == other.pid);
        }
        // The one between is gone: whoever it left is nobody's that could be named.
        // What it reads from stays open, or it would end as well.
        let input = first.stdin.take();
        first.kill().unwrap();
        first.wait().unwrap();
        assert!(!below.is_below(&above));
        assert!(below.lives() && !above.lives());
        assert!(!above.is(&above), "a number that may be another's by now");
        drop(input);
    }
}
