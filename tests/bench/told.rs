//! Programs that do something as often as they are told to, a line of standard input at a time, and say how long it took.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A program that answers each line by the nanoseconds it took.
pub struct Told {
    child: Child,
    tell: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
    /// It may fail, and whoever tells it is told so.
    may_fail: bool,
}

impl Told {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let tell = child.stdin.take();
        let hear = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        Self {
            child,
            tell,
            hear,
            may_fail: false,
        }
    }

    /// The program, and its first child.
    pub fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"));
        let children = children.unwrap_or_default();
        let child = children.split(' ').next().and_then(|pid| pid.parse().ok());
        std::iter::once(own).chain(child).collect()
    }

    /// How long what the line says took.
    pub fn tell(&mut self, line: &str) -> Duration {
        let tell = self.tell.as_mut().expect("it is told until it is dropped");
        writeln!(tell, "{line}").expect("the program listens");
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("the program speaks");
        let nanos = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("the program said {line:?}"));
        Duration::from_nanos(nanos)
    }

    /// The same of somebody who may have ended, or may say something else.
    pub fn heard(&mut self, line: &str) -> Option<Duration> {
        self.may_fail = true;
        let tell = self.tell.as_mut()?;
        writeln!(tell, "{line}").ok()?;
        let mut line = String::new();
        self.hear.read_line(&mut line).ok()?;
        line.trim().parse().ok().map(Duration::from_nanos)
    }

    /// The process that was started.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it end, and says whether it did so well.
    pub fn end(mut self) -> bool {
        self.tell = None;
        self.child.wait().is_ok_and(|status| status.success())
    }

    /// The time on a processor that it and its descendants took to do what the line says: what others do meanwhile is not in it.
    pub fn spent(&mut self, line: &str) -> Duration {
        let before = spent_by(self.child.id());
        self.tell(line);
        spent_by(self.child.id()) - before
    }
}

/// What a process and its descendants have had of the processors so far.
fn spent_by(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let of_task = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.expect("a directory that can be listed").path();
        let read = |name| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        let (own, children) = (read("schedstat"), read("children"));
        let own = own
            .split_whitespace()
            .next()
            .and_then(|own| own.parse().ok());
        let children = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        Duration::from_nanos(own.unwrap_or(0)) + children.map(spent_by).sum::<Duration>()
    };
    tasks.map(of_task).sum()
}

impl Drop for Told {
    fn drop(&mut self) {
        // The end of its input is its end.
        self.tell = None;
        let status = self.child.wait().expect("our own child can be waited for");
        assert!(
            status.success() || self.may_fail || std::thread::panicking(),
            "a program that was told what to do failed: {status}"
        );
    }
}
