//! What goes on while it is looked at: what workers write, and what happens to them.

use super::client::Client;
use super::verbs::Common;
use super::{ask, shown, understood};
use protocol::control::{ControlRequest, LogChunk, LogStream};
use serde_json::json;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long nothing may come before it is asked again.
const FOLLOW: Duration = Duration::from_millis(200);

/// How much of a stream is looked at first for its last lines: about as much as comes at once.
const PART: u64 = 10_000;

pub fn logs(common: &Common, worker: &str, lines: u32, follow: bool) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    let mut places = Vec::new();
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        let mut source = Source {
            client: &mut client,
            worker,
            stream,
        };
        let last = source.last(lines)?;
        if show(common, stream, &last).is_err() {
            // Whoever stopped reading has what was wanted.
            return Ok(ExitCode::SUCCESS);
        }
        places.push((stream, last.next));
    }
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let mut came = false;
        for (stream, place) in &mut places {
            let mut source = Source {
                client: &mut client,
                worker,
                stream: *stream,
            };
            loop {
                let chunk = source.part(Some(*place))?;
                came |= chunk.next != *place;
                *place = chunk.next;
                if show(common, *stream, &chunk).is_err() {
                    return Ok(ExitCode::SUCCESS);
                }
                if !chunk.more {
                    break;
                }
            }
        }
        if !came {
            std::thread::sleep(FOLLOW);
        }
    }
}

/// What a worker writes to one place.
struct Source<'a> {
    client: &'a mut Client,
    worker: &'a str,
    stream: LogStream,
}

impl Source<'_> {
    /// What lies behind a place, as much as comes at once; without one nothing of it but where it ends.
    fn part(&mut self, after: Option<u64>) -> Result<LogChunk, String> {
        let request = ControlRequest::Logs {
            worker: self.worker.to_owned(),
            stream: self.stream,
            after,
            lines: after.is_none().then_some(0),
        };
        understood(ask(self.client, request)?)
    }

    /// The last lines, in however many parts they come.
    fn last(&mut self, lines: u32) -> Result<LogChunk, String> {
        let end = self.part(None)?.next;
        let mut back = PART;
        loop {
            let from = end.saturating_sub(back);
            let (mut text, mut next) = (String::new(), from);
            let mut is_all = from == 0;
            while next < end {
                let chunk = self.part(Some(next))?;
                is_all |= chunk.skipped > 0;
                // Of a character whose rest has not come nothing is told.
                if chunk.next == next {
                    break;
                }
                text += &chunk.text;
                next = chunk.next;
            }
            let begin = begin_of_last(&text, lines);
            if is_all || begin.is_some() {
                text.drain(..begin.unwrap_or(0));
                let (skipped, more) = (0, false);
                return Ok(LogChunk {
                    text,
                    next,
                    skipped,
                    more,
                });
            }
            back = back.saturating_mul(4);
        }
    }
}

/// Where the last `count` lines begin, if a line ends before them.
fn begin_of_last(text: &str, count: u32) -> Option<usize> {
    let Some(before) = count.checked_sub(1) else {
        return Some(text.len());
    };
    let body = text.strip_suffix('\n').unwrap_or(text);
    let (at, _) = body.rmatch_indices('\n').nth(before as usize)?;
    Some(at + 1)
}

fn show(common: &Common, stream: LogStream, chunk: &LogChunk) -> io::Result<()> {
    let LogChunk {
        text,
        next,
        skipped,
        ..
    } = chunk;
    if text.is_empty() && *skipped == 0 {
        return Ok(());
    }
    if common.json {
        let part = json!({ "stream": stream, "text": text, "next": next, "skipped": skipped });
        let mut out = io::stdout().lock();
        return writeln!(out, "{part}").and_then(|()| out.flush());
    }
    if *skipped > 0 {
        crate::render::warn(format!("{skipped} bytes are no longer there"));
    }
    let text = shown::log(text);
    match stream {
        LogStream::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        }
        LogStream::Stderr => io::stderr().write_all(text.as_bytes()),
    }
}

pub fn events(common: &Common) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    ask(&mut client, ControlRequest::Subscribe { after: None })?;
    loop {
        let event = match client.event() {
            Ok(event) => event,
            Err(why) => return Err(format!("the daemon is gone: {why}")),
        };
        let line = match common.json {
            true => json!(event).to_string(),
            false => shown::event(&event.event),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::begin_of_last;

    #[test]
    fn the_last_lines_begin_behind_the_end_of_another() {
        for (text, count, begin) in [
            ("one\ntwo\nthree\n", 2, Some(4)),
            ("one\ntwo\nthree", 2, Some(4)),
            ("one\ntwo\n", 2, None),
            ("one\ntwo\n", 3, None),
            ("\n\n", 1, Some(1)),
            ("", 1, None),
            ("one\n", 0, Some(4)),
        ] {
            assert_eq!(begin_of_last(text, count), begin, "{text:?} {count}");
        }
    }
}
