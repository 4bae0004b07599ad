//! Every word and number by which programs and people know what came of something, held against the page of the book that lists them.

use crate::commands::doctor;
use crate::{exit, setup};
use client::ControlError;
use protocol::control::{LifecycleState, Severity, StopReason};
use protocol::pool::{Occupation, SessionState};
use protocol::{Code, FaultCode};
use serde::Serialize;
use std::collections::BTreeSet;
use supervisor::audit::{Answer, Door, State};
use supervisor::launch::Step;
use supervisor::policy::{Access, Mechanism, Reason};
use supervisor::sandbox::{Layers, Metadata, Opens};
use supervisor::workers::systemd;

const PAGE: &str = include_str!("../docs/src/codes.md");

/// A code, behind where it is met.
type Row = (String, String);

/// The rows of the page's one table.
fn documented() -> Vec<Row> {
    let mut lines = PAGE.lines();
    assert!(
        lines.any(|line| line == "| where | code | meaning |"),
        "the table is there"
    );
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').splitn(3, '|').collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(!cells[2].trim().is_empty(), "it means nothing: {row}");
        let code = cells[1].trim().trim_matches('`');
        (cells[0].trim().to_owned(), code.to_owned())
    })
    .collect()
}

fn words<T: Serialize>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    let words = all.into_iter().map(|value| {
        let value = serde_json::to_value(value).expect("JSON");
        value.as_str().expect("a word").to_owned()
    });
    // What a later version says is read so, and never written.
    words.filter(|word| word != "unknown").collect()
}

/// The layers of a session that has all of them.
fn layers() -> Vec<String> {
    let layers = Layers {
        landlock_abi: 7,
        landlock_errata: 0,
        truncation: true,
        ioctl: true,
        tcp: true,
        scope: true,
        filter: 1,
        listener: true,
        wait_killable: true,
        metadata: Metadata::Decided,
        connect: true,
        tcp_above: false,
        reaches_itself: Some(true),
        opens: Opens::Trapped(Access::WRITE),
        processes: true,
        limits: "per-process",
        kept_capabilities: Vec::new(),
        tag: true,
    };
    let recorded = layers.recorded();
    recorded.iter().map(|layer| layer.name.to_owned()).collect()
}

/// What the code can say.
fn coded() -> Vec<Row> {
    let plain = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let groups: Vec<(&str, Vec<String>)> = vec![
        ("request", plain(&Code::ALL.map(Code::as_str))),
        (
            "control, pool",
            FaultCode::ALL
                .iter()
                .map(|code| code.as_str().to_owned())
                .collect(),
        ),
        ("client", plain(&ControlError::OWN)),
        ("state of a worker", words(LifecycleState::ALL)),
        ("stop reason", words(StopReason::ALL)),
        ("state of a job", words(SessionState::ALL)),
        ("occupation", words(Occupation::ALL)),
        ("doctor", plain(&doctor::layers())),
        ("doctor: state", words(doctor::State::ALL)),
        (
            "validate",
            plain(&setup::Check::ALL.map(setup::Check::as_str)),
        ),
        (
            "validate-unit",
            plain(&systemd::Check::ALL.map(systemd::Check::as_str)),
        ),
        ("validate: severity", words(Severity::ALL)),
        ("record: answer", words(Answer::ALL)),
        ("record: door", words(Door::ALL)),
        ("record: reason", words(Reason::ALL)),
        ("record: mechanism", words(Mechanism::ALL)),
        ("record: layer", layers()),
        ("record: state of a layer", words(State::ALL)),
        (
            "launch",
            Step::ALL.iter().map(|step| step.to_string()).collect(),
        ),
    ];
    let words = groups.into_iter().flat_map(|(place, words)| {
        words
            .into_iter()
            .map(move |word| (place.to_owned(), word))
            .collect::<Vec<_>>()
    });
    let statuses = exit::ALL.iter().map(|(of, status)| {
        let place = format!("exit status of {of}");
        (place, status.to_string())
    });
    statuses.chain(words).collect()
}

#[test]
fn the_page_lists_every_code_once_and_no_other() {
    let rows = documented();
    let documented: BTreeSet<Row> = rows.iter().cloned().collect();
    let coded: BTreeSet<Row> = coded().into_iter().collect();
    let missing: Vec<_> = coded.difference(&documented).collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
    let superfluous: Vec<_> = documented.difference(&coded).collect();
    assert!(superfluous.is_empty(), "nobody says: {superfluous:#?}");
    assert_eq!(rows.len(), documented.len(), "a row stands there twice");
}
