//! Streams of real pipes, on real disks and on a full one.

use super::*;
use std::fs;
use std::fs::File;
use std::io::Write as _;

const RULES: LogRules = LogRules {
    size: 4096,
    count: 3,
};

struct House {
    directory: tempfile::TempDir,
    logs: Logs,
}

fn source() -> Source {
    Source {
        worker: "a-1".to_owned(),
        stream: Stream::Output,
    }
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let logs = Logs::begin(directory.path()).unwrap();
        Self { directory, logs }
    }

    /// The worker's end of a stream.
    fn worker(&self, rules: LogRules) -> File {
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        self.logs.take(source(), rules, ours).unwrap();
        theirs.into()
    }

    fn read(&self, after: Option<u64>, lines: Option<u32>, most: usize) -> Chunk {
        self.logs.flush();
        self.logs.read(&source(), after, lines, most).unwrap()
    }

    fn files(&self) -> Vec<(String, u64)> {
        let mut files: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, entry.metadata().unwrap().len())
            })
            .collect();
        files.sort();
        files
    }
}

#[test]
fn what_a_worker_writes_is_read_line_by_line_from_any_place() {
    let house = House::new();
    assert_eq!(
        house.read(None, None, 100).bytes,
        b"",
        "nothing was written yet"
    );
    let mut worker = house.worker(RULES);
    worker.write_all(b"one\ntwo\nthree\n").unwrap();
    let last = house.read(None, Some(2), 1000);
    assert_eq!(last.bytes, b"two\nthree\n");
    assert_eq!((last.next, last.more), (14, false));
    worker.write_all(b"four").unwrap();
    let next = house.read(Some(last.next), None, 1000);
    assert_eq!((&next.bytes[..], next.skipped), (&b"four"[..], 0));
    let part = house.read(Some(0), None, 5);
    assert_eq!(
        (&part.bytes[..], part.next, part.more),
        (&b"one\nt"[..], 5, true)
    );
    assert_eq!(house.read(None, Some(0), 1000).bytes, b"");
    assert_eq!(house.read(None, None, 1000).bytes, b"one\ntwo\nthree\nfour");
}

#[test]
fn files_have_their_size_and_the_oldest_are_removed_and_counted() {
    let house = House::new();
    let mut worker = house.worker(RULES);
    let mut written = Vec::new();
    for number in 0..4000 {
        written.extend_from_slice(format!("line {number}\n").as_bytes());
    }
    for part in written.chunks(1000) {
        worker.write_all(part).unwrap();
        house.logs.flush();
    }
    let files = house.files();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(
        files.iter().all(|(_, size)| *size <= RULES.size + 1000),
        "{files:?}"
    );
    let chunk = house.read(Some(0), None, 1 << 20);
    assert!(chunk.skipped > 0);
    assert_eq!(chunk.bytes, written[chunk.skipped as usize..]);
    assert_eq!(chunk.next, written.len() as u64);
}

#[test]
fn whoever_follows_reads_everything_once_over_all_files() {
    let house = House::new();
    let mut worker = house.worker(LogRules {
        count: 1000,
        ..RULES
    });
    let (mut written, mut followed, mut place) = (Vec::new(), Vec::new(), 0);
    for number in 0..2000 {
        let line = format!("line {number}\n");
        worker.write_all(line.as_bytes()).unwrap();
        written.extend_from_slice(line.as_bytes());
        if number % 7 == 0 {
            let chunk = house.read(Some(place), None, 333);
            place = chunk.next;
            followed.extend(chunk.bytes);
        }
    }
    loop {
        let chunk = house.read(Some(place), None, 333);
        place = chunk.next;
        followed.extend(chunk.bytes);
        if !chunk.more {
            break;
        }
    }
    assert_eq!(followed, written);
}

#[test]
fn the_next_daemon_goes_on_in_the_same_stream() {
    let mut house = House::new();
    let mut worker = house.worker(RULES);
    worker.write_all(b"before ").unwrap();
    // What is in the pipe when it ends is written still.
    house.logs = Logs::begin(house.directory.path()).unwrap();
    let mut worker = house.worker(RULES);
    worker.write_all(b"after").unwrap();
    assert_eq!(house.read(Some(0), None, 100).bytes, b"before after");
    assert_eq!(house.files().len(), 1);
}

#[test]
fn a_worker_that_floods_never_waits_for_a_disk_that_does_not_take_anything() {
    let house = House::new();
    // A FIFO that nobody reads stands where the file would be: it cannot be opened for writing.
    let name = format!("a-1.stdout.{:020}", 0);
    let path = house.directory.path().join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut worker = house.worker(RULES);
    let flood = vec![b'x'; 8 << 20];
    worker.write_all(&flood).unwrap();
    worker.write_all(b"\n").unwrap();
    house.logs.flush();
    let trouble = house.logs.trouble("a-1").expect("it is said");
    assert_eq!(trouble.dropped, flood.len() as u64 + 1);
    assert!(trouble.error.is_some());
    fs::remove_file(&path).unwrap();
    worker.write_all(b"again\n").unwrap();
    let text = String::from_utf8(house.read(None, None, 1000).bytes).unwrap();
    let note = format!("[supervise: {} bytes are missing here]", flood.len() + 1);
    assert!(text.contains(&note) && text.ends_with("again\n"), "{text}");
}

#[test]
fn a_full_disk_drops_and_says_so_and_goes_on_when_there_is_room() {
    let mut writer = Writer::new(Path::new("/nowhere"), &source(), RULES);
    let (lost, error) = writer.write(b"12345").unwrap_err();
    assert_eq!((lost, error.kind()), (5, io::ErrorKind::NotFound));
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(directory.path(), &source(), RULES);
    writer.dropped(7);
    writer.write(b"x").unwrap();
    let chunk = read(directory.path(), &source(), Some(0), None, 100).unwrap();
    assert_eq!(chunk.bytes, b"\n[supervise: 7 bytes are missing here]\nx");
}

#[test]
fn the_end_of_a_worker_ends_its_stream_and_frees_its_pipe() {
    let house = House::new();
    for number in 0..2000 {
        let mut worker = house.worker(RULES);
        write!(worker, "{number} ").unwrap();
    }
    let text = house.read(Some(0), None, 1 << 20);
    assert!(
        text.bytes.ends_with(b"1999 "),
        "with as many descriptors as there are"
    );
}
