//! What is told about a run while it goes: to people on standard error, to programs on a descriptor that they named.

use crate::exit;
use crate::hint;
use crate::render::{quoted, visible};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, RawFd};
use std::path::Path;
use std::time::Duration;
use supervisor::advice::Setting;
use supervisor::audit::{Counts, Layer, Refused, State, Status};
use supervisor::launch::Exit;
use supervisor::policy::{Origin, Source, Warning};
use supervisor::session::{self, Watch};

/// The version of the lines on the descriptor.
const SCHEMA: u32 = 1;

/// How much people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// Errors.
    Quiet,
    /// Warnings too, and why a command may have failed. Nothing of a run that went well.
    Usual,
    /// How the run is confined, and what came of it.
    Verbose,
}

/// Tells.
#[derive(Debug)]
pub struct Reporter {
    loudness: Loudness,
    status: Option<StatusLines>,
    /// What may be why the command fails, if it does.
    in_the_way: Vec<String>,
}

/// What is known when the command has started.
#[derive(Debug)]
pub struct Started<'a> {
    /// The session's name.
    pub session: &'a str,
    /// The command's process.
    pub pid: i32,
    /// Where the record of the run is written.
    pub audit: &'a Path,
    /// What confines it.
    pub layers: &'a [Layer<'a>],
}

/// What is known when it has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The session's name.
    pub session: &'a str,
    /// How.
    pub status: Status,
    /// The exit status that stands for it.
    pub exit: u8,
    /// What was decided.
    pub counts: Counts,
    /// What the policy refused, the most telling first.
    pub refused: &'a [Refused],
    /// Whose policy that was.
    pub setting: Setting<'a>,
    /// Where the record of the run is.
    pub audit: &'a Path,
}

/// One line on the descriptor. Fields may be added; those that are there keep their meaning.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Start {
        schema: u32,
        session: &'a str,
        pid: i32,
        audit: String,
        layers: &'a [Layer<'a>],
    },
    /// The command ended and left descendants, which are ended.
    Orphans { status: Status },
    /// The time on the wall is over, and the command was asked to end.
    TimedOut,
    End {
        session: &'a str,
        status: Status,
        exit: u8,
        #[serde(flatten)]
        counts: Counts,
    },
    /// There is no status of the command's own, and this is why. The last line, in place of an end or after it.
    Failed { exit: u8, message: &'a str },
}

impl Reporter {
    /// Takes the descriptor, if one was named. To be called before any other is opened: a number that the caller left free
    /// could otherwise be one of ours.
    ///
    /// # Errors
    /// What is wrong with the descriptor.
    pub fn open(loudness: Loudness, status_fd: Option<RawFd>) -> Result<Self, String> {
        let status = status_fd.map(StatusLines::open).transpose()?;
        Ok(Self {
            loudness,
            status,
            in_the_way: Vec::new(),
        })
    }

    /// Says what may go otherwise than the policy's author thought.
    /// That a policy or a record lies where it keeps the command from making files is said when the command fails.
    pub fn warnings(&mut self, warnings: &[Warning]) {
        for warning in warnings {
            let is_ours = |origin: &Origin| matches!(origin.source(), Source::Protected(_));
            if warning.origin.as_ref().is_some_and(is_ours) && self.loudness == Loudness::Usual {
                self.in_the_way.push(warning.to_string());
                continue;
            }
            let least = match warning.at_start {
                true => Loudness::Usual,
                false => Loudness::Verbose,
            };
            self.say(least, format_args!("warning: {warning}"));
        }
    }

    /// Nothing of ours keeps the command from making files: the supervisor makes them where the kernel was not told.
    pub fn nothing_is_in_the_way(&mut self) {
        self.in_the_way.clear();
    }

    /// Says what went wrong without consequence for the run.
    pub fn warn(&self, text: std::fmt::Arguments<'_>) {
        self.say(Loudness::Usual, format_args!("warning: {text}"));
    }

    /// Says something that only who asked for more wants to hear.
    pub fn verbose(&self, text: std::fmt::Arguments<'_>) {
        self.say(Loudness::Verbose, text);
    }

    /// The command runs.
    pub fn started(&mut self, started: &Started<'_>) {
        let names = |wanted: State| {
            let layers = started.layers.iter().filter(|layer| layer.state == wanted);
            let names: Vec<String> = layers
                .map(|layer| match layer.detail {
                    Some(detail) => format!("{} ({detail})", layer.name),
                    None => layer.name.to_owned(),
                })
                .collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        self.verbose(format_args!(
            "session {}, process {}",
            started.session, started.pid
        ));
        for (what, state) in [
            ("enforced", State::Enforced),
            ("weaker, as the policy allows", State::Weakened),
            ("missing, as the policy allows", State::Missing),
        ] {
            if let Some(names) = names(state) {
                self.verbose(format_args!("{what}: {names}"));
            }
        }
        self.verbose(format_args!("audit log: {}", started.audit.display()));
        self.tell(&Line::Start {
            schema: SCHEMA,
            session: started.session,
            pid: started.pid,
            audit: started.audit.display().to_string(),
            layers: started.layers,
        });
    }

    /// The command ended. Of one that went well nothing is said, of one that failed what may have been the reason.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        let Counts {
            granted,
            refused,
            asked,
            ..
        } = ended.counts;
        self.verbose(format_args!(
            "ended with {}: {granted} granted, {refused} refused, {asked} asked",
            ended.exit
        ));
        if ended.exit != 0 && refused > 0 {
            for line in hint::lines(ended.refused, ended.setting) {
                self.say(Loudness::Usual, format_args!("{line}"));
            }
            let requests = match refused {
                1 => "1 request was".to_owned(),
                many => format!("{many} requests were"),
            };
            self.say(
                Loudness::Usual,
                format_args!(
                    "{requests} refused; see: supervise explain --session {} --audit {}",
                    ended.session,
                    quoted(&ended.audit.display().to_string())
                ),
            );
        }
        if ended.exit != 0 {
            for warning in std::mem::take(&mut self.in_the_way) {
                self.warn(format_args!("{warning}"));
            }
        }
        self.tell(&Line::End {
            session: ended.session,
            status: ended.status,
            exit: ended.exit,
            counts: ended.counts,
        });
    }

    /// There is an exit status that is not the command's.
    pub fn failed(&mut self, exit: u8, message: &str) {
        self.say(Loudness::Quiet, format_args!("{message}"));
        self.tell(&Line::Failed { exit, message });
    }

    /// Writes what the reader of the descriptor had no room for until now, and waits a moment for it. A reader that went
    /// away or reads no more does not change how the run ended.
    pub fn finish(mut self) -> Result<(), String> {
        let Some(status) = &mut self.status else {
            return Ok(());
        };
        status.finish().map_err(|errno| {
            format!(
                "--status-fd {}: not all was written: {}",
                status.number,
                errno.desc()
            )
        })
    }

    fn say(&self, least: Loudness, text: std::fmt::Arguments<'_>) {
        let wanted = match least {
            Loudness::Quiet => true,
            Loudness::Usual => self.loudness != Loudness::Quiet,
            Loudness::Verbose => self.loudness == Loudness::Verbose,
        };
        if !wanted {
            return;
        }
        let mut said = String::from("supervise: ");
        for line in text.to_string().lines() {
            said.push_str(&visible(line));
            said.push('\n');
        }
        // A closed standard error leaves nobody to tell.
        let _unheard = std::io::stderr().write_all(said.as_bytes());
    }

    fn tell(&mut self, line: &Line<'_>) {
        if let Some(status) = &mut self.status {
            status.add(line);
        }
    }
}

impl Watch for Reporter {
    fn orphans(&mut self, exit: Exit) {
        self.verbose(format_args!(
            "the command ended with {} and left descendants, which are ended",
            exit::of(exit)
        ));
        let status = match exit {
            Exit::Code(code) => Status::Exited(code),
            Exit::Signal(signal) => Status::Killed(signal),
            Exit::Unknown => Status::Failed(exit::OURS.into()),
        };
        self.tell(&Line::Orphans { status });
    }

    fn timed_out(&mut self) {
        self.say(
            Loudness::Usual,
            format_args!("the time is over; the command is ended"),
        );
        self.tell(&Line::TimedOut);
    }
}

/// A descriptor that takes lines. The run never waits for who reads it: what finds no room stays here until there is some.
#[derive(Debug)]
struct StatusLines {
    number: RawFd,
    file: File,
    waiting: VecDeque<String>,
    broken: Option<Errno>,
}

/// How long the end of a run waits for a reader.
const PATIENCE: Duration = Duration::from_secs(2);

impl StatusLines {
    fn open(number: RawFd) -> Result<Self, String> {
        let bad = |what: &str| {
            format!(
                "--status-fd {number}: {what}; open it in the shell, as in {number}>status.jsonl"
            )
        };
        let fd = session::inherited_descriptor(number)
            .map_err(|_| bad("there is no such descriptor"))?;
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| bad(errno.desc()))?;
        if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY {
            return Err(bad("it is open for reading only"));
        }
        Ok(Self {
            number,
            file: File::from(fd),
            waiting: VecDeque::new(),
            broken: None,
        })
    }

    fn add(&mut self, line: &Line<'_>) {
        match serde_json::to_string(line) {
            Ok(text) => self.waiting.push_back(text + "\n"),
            Err(_) => self.broken = Some(Errno::EINVAL),
        }
        self.write(PollTimeout::ZERO);
    }

    fn finish(&mut self) -> Result<(), Errno> {
        self.write(PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO));
        match self.broken {
            Some(errno) => Err(errno),
            None if self.waiting.is_empty() => Ok(()),
            None => Err(Errno::EAGAIN),
        }
    }

    /// Writes while there is room. A pipe that can be written takes a line whole, since lines are shorter than PIPE_BUF.
    fn write(&mut self, timeout: PollTimeout) {
        while self.broken.is_none()
            && let Some(line) = self.waiting.front()
        {
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
            match poll(&mut fds, timeout) {
                Ok(0) => return,
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => {
                    self.broken = Some(errno);
                    return;
                }
            }
            match self.file.write_all(line.as_bytes()) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) => {
                    self.broken = Some(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_find_no_room_are_kept_in_order() {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut full = file.try_clone().unwrap();
        let size = 4096;
        loop {
            let mut fds = [PollFd::new(full.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, PollTimeout::ZERO).unwrap() == 0 {
                break;
            }
            full.write_all(&vec![b'\n'; size]).unwrap();
        }
        let mut lines = StatusLines {
            number: 9,
            file,
            waiting: VecDeque::new(),
            broken: None,
        };
        lines.add(&Line::TimedOut);
        lines.add(&Line::Failed {
            exit: 125,
            message: "why",
        });
        assert_eq!(lines.waiting.len(), 2);
        drop(full);
        let said = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
        assert_eq!(lines.finish(), Ok(()));
        drop(lines);
        let said = said.join().unwrap();
        let said: Vec<&str> = said.split('\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(
            said,
            [
                r#"{"event":"timed-out"}"#,
                r#"{"event":"failed","exit":125,"message":"why"}"#
            ]
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_reason_to_fail_before_the_end() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut lines = StatusLines {
            number: 9,
            file: File::from(std::os::fd::OwnedFd::from(writer)),
            waiting: VecDeque::new(),
            broken: None,
        };
        lines.add(&Line::TimedOut);
        assert_eq!(lines.finish(), Err(Errno::EPIPE));
    }
}
