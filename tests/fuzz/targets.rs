//! What must hold of anything that somebody else can have written, one function for each kind of input: it is refused, or it is what it
//! says, and read again as it was read. A panic is a failure.

use protocol::control::{ControlRequest, FromDaemon};
use protocol::lines::Lines;
use protocol::pool::PoolRequest;
use protocol::probe::{Commission, Confirm, Probe, Proof, Ready};
use protocol::{Answer, Error, SupervisorMessage, SupervisorResponse, frame};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use supervisor::audit::Digest;
use supervisor::policy::{NoFiles, Policy};
use supervisor::witness::{self, About, Said, Trail};
use supervisor::workers::config::PoolFile;
use supervisor::workers::desired::{DesiredError, DesiredFile};
use supervisor::workers::identity::Here;
use supervisor::workers::jobs::Ledger;
use supervisor::workers::manifest::Manifest;
use supervisor::workers::registry::Registry;
use sys::audit;

/// What is done with an input.
pub type Target = fn(&[u8]);

/// Each kind of input, by name.
pub const TARGETS: [(&str, Target); 11] = [
    ("frames", frames),
    ("lines", lines),
    ("control", control),
    ("jobs", jobs),
    ("probe", probe),
    ("manifest", manifest),
    ("registry", registry),
    ("desired", desired),
    ("pool_file", pool_file),
    ("policy", policy),
    ("kernel_audit", kernel_audit),
];

/// Frames of the supervisor's socket, one behind the other.
pub fn frames(mut data: &[u8]) {
    while let Some((header, rest)) = data.split_first_chunk() {
        let Ok(length) = frame::length(*header) else {
            return;
        };
        let Some((body, rest)) = rest.split_at_checked(length) else {
            return;
        };
        data = rest;
        let mut again = Vec::new();
        if let Ok(message) = SupervisorMessage::decode(body) {
            message.encode(&mut again).expect("it came in a frame");
            let read = SupervisorMessage::decode(&again[size_of_val(header)..]);
            assert_eq!(read.expect("our own"), message);
        }
        again.clear();
        if let Ok(response) = SupervisorResponse::decode(body) {
            match response.encode(&mut again) {
                Ok(()) => {
                    let read = SupervisorResponse::decode(&again[size_of_val(header)..]);
                    assert_eq!(read.expect("our own"), response);
                }
                // A contradiction that only its reader passes over.
                Err(_) => assert!(again.is_empty(), "a part of it was written"),
            }
        }
    }
}

/// What a stream holds: the lines, and why there are no more.
fn split(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Error>) {
    let (mut lines, mut found) = (Lines::new(), Vec::new());
    for part in stream.chunks(piece) {
        let mut left = part;
        while !left.is_empty() {
            let space = lines.space();
            let count = space.len().min(left.len());
            space[..count].copy_from_slice(&left[..count]);
            lines.filled(count);
            left = &left[count..];
            loop {
                match lines.next_line() {
                    Ok(Some(line)) => found.push(line.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (found, Some(error)),
                }
            }
        }
    }
    (found, None)
}

/// A stream of lines, in pieces as large as its first byte says.
pub fn lines(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else {
        return;
    };
    let (pieces, whole) = (
        split(stream, usize::from(*piece) + 1),
        split(stream, usize::MAX),
    );
    assert_eq!(pieces, whole);
    let longest = whole.0.iter().map(Vec::len).max().unwrap_or(0);
    assert!(longest <= protocol::lines::MAX);
}

/// Whatever the line was, it is answered, and the answer fits on a line.
fn is_answered(answer: Answer) {
    let mut line = Vec::new();
    answer.encode(&mut line);
    assert!(line.len() <= protocol::lines::MAX + 1);
    let read = Answer::decode(line.trim_ascii_end()).expect("our own");
    assert!(!read.ok() && read.error().is_some());
}

/// Both directions of the control socket.
pub fn control(data: &[u8]) {
    match ControlRequest::decode(data) {
        Err(unanswerable) => is_answered(unanswerable.into()),
        Ok(request) => {
            let mut again = Vec::new();
            request.encode(&mut again).expect("it was a line");
            let read = ControlRequest::decode(again.trim_ascii_end());
            assert_eq!(read.map_err(drop), Ok(request));
        }
    }
    match FromDaemon::decode(data) {
        Ok(FromDaemon::Event(event)) => {
            let mut again = Vec::new();
            if event.encode(&mut again).is_ok() {
                let read = FromDaemon::decode(again.trim_ascii_end());
                assert_eq!(read, Ok(FromDaemon::Event(event)));
            }
        }
        Ok(FromDaemon::Answer(answer)) => {
            let mut again = Vec::new();
            answer.encode(&mut again);
            let read = Answer::decode(again.trim_ascii_end());
            assert!(read.is_ok());
        }
        Err(_) => {}
    }
}

/// Both directions of a worker's jobs.
pub fn jobs(data: &[u8]) {
    match PoolRequest::decode(data) {
        Err(unanswerable) => is_answered(unanswerable.into()),
        Ok(request) => {
            let mut again = Vec::new();
            request.encode(&mut again).expect("it was a line");
            let read = PoolRequest::decode(again.trim_ascii_end());
            assert_eq!(read.map_err(drop), Ok(request));
        }
    }
    if let Ok(answer) = Answer::decode(data) {
        let mut again = Vec::new();
        answer.encode(&mut again);
        let read = Answer::decode(again.trim_ascii_end());
        assert!(read.is_ok());
    }
}

/// The lines with which a worker and its client prove who they are, and what the worker is told first.
pub fn probe(data: &[u8]) {
    macro_rules! is_read_again {
        ($($line:ty),*) => {$(
            if let Ok(line) = <$line>::decode(data) {
                let again = line.encode();
                let read = <$line>::decode(again.trim_ascii_end()).expect("our own");
                assert_eq!(read.encode(), again);
            }
        )*};
    }
    is_read_again!(Probe, Proof, Confirm, Ready, Commission);
    assert!(Probe::decode(data).is_err() || Probe::begins(data));
}

/// A manifest as it lies there, and the same with a seal that is right.
pub fn manifest(data: &[u8]) {
    for text in [data.to_vec(), sealed(data)] {
        let Ok(manifest) = Manifest::decode(&text) else {
            continue;
        };
        assert!(Manifest::is_id(&manifest.id));
        let again = manifest.encode().expect("it was one");
        let read = Manifest::decode(&again).expect("our own");
        assert_eq!(read.encode().expect("our own"), again);
    }
}

/// Puts the seal of the text behind it, in the place of the one that is there.
fn sealed(data: &[u8]) -> Vec<u8> {
    const SEAL: &[u8] = br#","sha256":""#;
    let at = data.windows(SEAL.len()).rposition(|part| part == SEAL);
    let body = &data[..at.unwrap_or(data.len())];
    let mut text = body.to_vec();
    text.extend_from_slice(SEAL);
    text.extend_from_slice(Digest::of(body).to_string().as_bytes());
    text.extend_from_slice(b"\"}\n");
    text
}

/// A directory of ours alone, in memory where that can be had.
fn with_directory(act: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let base = match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    };
    let directory = tempfile::Builder::new()
        .prefix("supervise-fuzz-")
        .tempdir_in(base)
        .expect("a directory");
    act(directory.path());
}

fn write_private(path: &Path, data: &[u8]) {
    fs::write(path, data).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("ours");
}

/// A registry in which one entry is anything: the other is found, and what cannot be read is left where it is.
pub fn registry(data: &[u8]) {
    with_directory(|directory| {
        let path = directory.join("registry");
        let registry = Registry::open(&path).expect("made");
        let here = Here::now().expect("here");
        let good = Manifest::new("good-1", "good", "1", &here);
        registry.write(&good).expect("written");
        write_private(&path.join("bad-1.json"), &sealed(data));
        write_private(&path.join("bad-2.json"), data);
        let listed = registry.list().expect("a list");
        let is_found = |(id, manifest): &(String, Result<Manifest, _>)| {
            id == "good-1" && manifest.as_ref().is_ok_and(|found| found.id == "good-1")
        };
        assert!(listed.iter().any(is_found));
        for (id, manifest) in &listed {
            // Nobody is taken for somebody else.
            assert!(
                manifest
                    .as_ref()
                    .map_or(true, |manifest| manifest.id == *id)
            );
        }
        let unread = listed.iter().filter(|(_, manifest)| manifest.is_err());
        let unread: Vec<_> = unread.map(|(id, _)| format!("{id}.json")).collect();
        let (removed, left) = registry.sift().expect("sifted");
        assert_eq!(removed.len() + left.len(), listed.len());
        assert!(unread.iter().all(|name| path.join(name).exists()));
    });
}

/// What is wanted of workers: never taken for nothing, and kept as it was read. The same bytes as a ledger of jobs.
pub fn desired(data: &[u8]) {
    with_directory(|directory| {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).expect("ours");
        let file = DesiredFile::in_directory(directory).expect("ours");
        write_private(file.path(), data);
        match file.read() {
            Ok(wanted) => {
                assert!(!wanted.is_empty() || says_nobody(data));
                file.write(&wanted).expect("there is room");
                assert_eq!(file.read().expect("our own"), wanted);
            }
            Err(DesiredError::Malformed { .. } | DesiredError::TooNew { .. }) => {
                assert_eq!(fs::read(file.path()).expect("it is there"), data);
            }
            Err(other) => panic!("{other}"),
        }
        let path = directory.join("jobs");
        write_private(&path, data);
        if let Ok(mut ledger) = Ledger::open(&path) {
            let sid = "0".repeat(32);
            ledger.given(&sid, "a-1", "b").expect("there is room");
            let entries = ledger.entries().clone();
            drop(ledger);
            let again = Ledger::open(&path).expect("our own");
            assert_eq!(again.entries(), &entries);
        }
    });
}

/// Whether a file of what is wanted names no worker.
fn says_nobody(data: &[u8]) -> bool {
    let text: Result<protocol::Value, _> = std::str::from_utf8(data)
        .map_err(drop)
        .and_then(|text| text.parse().map_err(drop));
    let workers = text
        .ok()
        .and_then(|text| text["workers"].as_object().cloned());
    workers.is_some_and(|workers| workers.is_empty())
}

/// The text of a pool file.
pub fn pool_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match PoolFile::parse("workers.toml", text.to_owned(), Path::new("/here")) {
        Ok(file) => {
            let mut ids: Vec<String> = file.kinds.iter().flat_map(|kind| kind.ids()).collect();
            assert!(ids.iter().all(|id| Manifest::is_id(id)));
            let count = ids.len();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), count, "two workers have one name");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// The text of a policy. A policy that is read narrows itself to itself.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Policy::parse("policy.toml", text, &mut NoFiles) {
        Ok(policy) => {
            let again = Policy::parse("policy.toml", text, &mut NoFiles);
            assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(policy)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What the kernel says of its refusals: whatever it is, it takes no more room than it had, and the number is the one that stands there.
pub fn kernel_audit(data: &[u8]) {
    for kind in [
        audit::LANDLOCK_ACCESS,
        audit::LANDLOCK_DOMAIN,
        audit::CALL,
        audit::END,
        audit::READER,
    ] {
        let Some((number, said)) = witness::read(kind, data) else {
            continue;
        };
        let text = String::from_utf8_lossy(data);
        let stands = text.split_once(':').is_some_and(|(_, rest)| {
            let digits = rest.split_once("): ").map(|(digits, _)| digits.parse());
            digits == Some(Ok(number))
        });
        assert!(stands, "{text}");
        if let Said::Refused {
            blockers, about, ..
        } = &said
        {
            // What is no text is replaced by something longer.
            let length: usize = blockers.iter().map(String::len).sum();
            assert!(length <= 3 * data.len());
            if let About::Path(path) = about {
                assert!(path.is_absolute() && path.as_os_str().len() <= data.len());
            }
        }
        let mut trail = Trail::new(1, 1);
        assert!(trail.hear(number, said).is_empty(), "of whom nobody knows");
    }
}
