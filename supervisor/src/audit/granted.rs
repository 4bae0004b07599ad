//! What the rules of a session have granted, as its log has it: for who goes on with a session that somebody else began.

use super::log::Log;
use super::verify::read;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The part of a record that is looked at.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(default, borrow)]
    session: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, borrow)]
    answer: Option<std::borrow::Cow<'a, str>>,
    #[serde(default, borrow)]
    rule: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    budgets: Vec<String>,
}

impl Log {
    /// How many grants each rule gave since this session started, by where the rule stands. `None`, so that nobody can tell: the
    /// last session that started in this log is not this one, or has ended, or the rules with a budget were others then, or the log
    /// is not as it was written.
    #[must_use]
    pub fn granted(&self, session: &str, budgets: &[String]) -> Option<BTreeMap<String, u32>> {
        let mut granted = None;
        let mut is_legible = true;
        let report = read(self.reader(), |event, line| {
            match event {
                b"start" | b"decision" => {}
                b"end" => return granted = None,
                _ => return,
            }
            let Ok(record) = serde_json::from_slice::<Record<'_>>(line) else {
                is_legible = false;
                return;
            };
            match (event, &mut granted) {
                (b"start", _) => {
                    let is_it =
                        record.session.as_deref() == Some(session) && record.budgets == budgets;
                    granted = is_it.then(BTreeMap::new);
                }
                (b"decision", Some(granted)) if record.answer.as_deref() == Some("granted") => {
                    let rule = record.rule.unwrap_or_default().into_owned();
                    let count: &mut u32 = granted.entry(rule).or_default();
                    *count = count.saturating_add(1);
                }
                _ => {}
            }
        });
        let is_whole = report.is_ok_and(|report| report.fault.is_none());
        granted.filter(|_| is_whole && is_legible)
    }
}

/// The file from its beginning, whoever else reads or writes it.
pub(super) struct Reader<'a> {
    pub file: &'a File,
    pub offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use crate::audit::{Answer, Bytes, Decision, Door, Event, Log, Start, Status, Who};
    use crate::policy::{Origin, Source};
    use std::collections::BTreeMap;
    use std::path::Path;

    fn budgets() -> Vec<String> {
        vec!["p.toml:1: path = \"/x\", 3 times".to_owned()]
    }

    fn start(log: &mut Log, session: &str) {
        let start = Start {
            session,
            version: "0",
            pid: 1,
            uid: 0,
            argv: Vec::new(),
            argv_more: 0,
            directory: Bytes(b"/"),
            policies: Vec::new(),
            kernel: Bytes(b"6.18"),
            landlock_abi: 7,
            landlock_errata: 0,
            layers: Vec::new(),
            budgets: budgets(),
        };
        log.record(&Event::Start(start)).unwrap();
    }

    fn decide(log: &mut Log, line: u32, answer: Answer) {
        let rule = Origin::line(Source::File("p\"\u{202e}.toml".into()), line);
        let who = Who {
            pid: 42,
            uid: 1000,
            exe: None,
        };
        let decision = Decision {
            rule: Some(&rule),
            ..Decision::new(Door::Call, "open", who, answer)
        };
        log.record(&Event::Decision(decision)).unwrap();
    }

    fn open(path: &Path) -> Log {
        Log::create(path).unwrap()
    }

    fn counted(entries: &[(u32, u32)]) -> Option<BTreeMap<String, u32>> {
        let name = |line| format!("p\"\u{202e}.toml:{line}");
        Some(
            entries
                .iter()
                .map(|(line, count)| (name(*line), *count))
                .collect(),
        )
    }

    #[test]
    fn the_grants_of_a_session_are_counted_over_all_who_served_it_and_those_of_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = open(&path);
        start(&mut log, "first");
        decide(&mut log, 1, Answer::Granted);
        log.finish(Status::Exited(0)).unwrap();
        let mut log = open(&path);
        assert_eq!(log.granted("first", &budgets()), None, "it has ended");
        start(&mut log, "second");
        assert_eq!(log.granted("second", &budgets()), counted(&[]));
        for (line, answer) in [
            (1, Answer::Asked),
            (1, Answer::Granted),
            (1, Answer::Refused),
            (2, Answer::Granted),
        ] {
            decide(&mut log, line, answer);
        }
        // Killed, in the middle of a line.
        drop(log);
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        std::io::Write::write_all(&mut file, b"{\"seq\":7,\"prev\":\"01").unwrap();
        let mut log = open(&path);
        decide(&mut log, 1, Answer::Granted);
        assert_eq!(
            log.granted("second", &budgets()),
            counted(&[(1, 2), (2, 1)])
        );
        assert_eq!(log.granted("first", &budgets()), None);
        assert_eq!(log.granted("third", &budgets()), None);
        assert_eq!(
            log.granted("second", &[]),
            None,
            "the policy is another one"
        );
        // Still written to as before.
        decide(&mut log, 2, Answer::Granted);
        assert_eq!(
            log.granted("second", &budgets()),
            counted(&[(1, 2), (2, 2)])
        );
    }

    #[test]
    fn what_was_changed_counts_for_nothing_that_could_be_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = open(&path);
        assert_eq!(log.granted("s", &budgets()), None, "an empty one");
        start(&mut log, "s");
        decide(&mut log, 1, Answer::Granted);
        decide(&mut log, 2, Answer::Asked);
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let without_grant: String = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("\"granted\""))
            .collect();
        for changed in [text.replacen("granted", "refused", 1), without_grant] {
            std::fs::write(&path, changed).unwrap();
            assert_eq!(open(&path).granted("s", &budgets()), None);
        }
        std::fs::write(&path, text).unwrap();
        assert_eq!(open(&path).granted("s", &budgets()), counted(&[(1, 1)]));
    }
}
