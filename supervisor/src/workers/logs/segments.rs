//! One stream on disk: files named `WORKER.stdout.PLACE`, where the place is that of their first byte in the stream.

use super::{LogRules, Source};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The place behind it.
    pub next: u64,
    /// How many bytes before it are no longer there.
    pub skipped: u64,
    /// Whether there is more.
    pub more: bool,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the log {}: {source}", path.display())]
pub struct ReadError {
    /// The file or directory.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// A file of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    start: u64,
    path: PathBuf,
}

/// As many digits as the largest place has, so that names sort as places do.
const DIGITS: usize = 20;

fn prefix(source: &Source) -> String {
    format!("{}.{}.", source.worker, source.stream.name())
}

/// The files of a stream, the oldest first.
fn segments(directory: &Path, source: &Source) -> io::Result<Vec<Segment>> {
    let prefix = prefix(source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let place = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let place = place.filter(|place| place.len() == DIGITS);
        if let Some(start) = place.and_then(|place| place.parse().ok()) {
            let path = entry.path();
            found.push(Segment { start, path });
        }
    }
    found.sort();
    Ok(found)
}

/// Reads of a stream what lies behind `after`; without it, its last `lines`, or as much of its end as fits into `most` bytes.
///
/// # Errors
/// [`ReadError`]; a stream that nothing was written to is no error.
pub fn read(
    directory: &Path,
    source: &Source,
    after: Option<u64>,
    lines: Option<u32>,
    most: usize,
) -> Result<Chunk, ReadError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError { path, source }
    };
    let segments = segments(directory, source).map_err(failed(directory))?;
    let mut ends = Vec::with_capacity(segments.len());
    for segment in &segments {
        // One that is removed at this moment has nothing.
        let length = std::fs::metadata(&segment.path).map_or(0, |file| file.len());
        ends.push(segment.start + length);
    }
    let first = segments.first().map_or(0, |segment| segment.start);
    let end = ends.last().copied().unwrap_or(0);
    let wanted = match after {
        // A place that was never reached is one of another stream, from before its files were removed.
        Some(after) => after.min(end),
        None => end.saturating_sub(most as u64),
    };
    let start = wanted.max(first);
    let mut bytes = Vec::new();
    let mut place = start;
    for (segment, end) in segments.iter().zip(&ends) {
        if *end <= place || bytes.len() >= most {
            continue;
        }
        let place_in_file = place.saturating_sub(segment.start);
        let room = (most - bytes.len()) as u64;
        let mut file = match File::open(&segment.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&segment.path)(error)),
        };
        let read = file
            .seek(SeekFrom::Start(place_in_file))
            .and_then(|_| file.take(room).read_to_end(&mut bytes));
        place = segment.start + place_in_file + read.map_err(failed(&segment.path))? as u64;
    }
    let skipped = match after {
        Some(_) => start - wanted,
        None => 0,
    };
    if let (None, Some(lines)) = (after, lines) {
        let cut = begin_of_last(&bytes, lines);
        bytes.drain(..cut);
    }
    Ok(Chunk {
        next: place,
        more: place < end,
        bytes,
        skipped,
    })
}

/// Where the last `count` lines begin.
fn begin_of_last(bytes: &[u8], count: u32) -> usize {
    let mut left = count;
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if count == 0 {
        return bytes.len();
    }
    for (at, byte) in body.iter().enumerate().rev() {
        if *byte == b'\n' {
            left -= 1;
            if left == 0 {
                return at + 1;
            }
        }
    }
    0
}

/// Who appends to a stream.
#[derive(Debug)]
pub(super) struct Writer {
    directory: PathBuf,
    source: Source,
    rules: LogRules,
    open: Option<Open>,
    /// Bytes that were dropped since the last that was written.
    missing: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    start: u64,
    length: u64,
}

impl Writer {
    pub fn new(directory: &Path, source: &Source, rules: LogRules) -> Self {
        Self {
            directory: directory.to_owned(),
            source: source.clone(),
            rules,
            open: None,
            missing: 0,
        }
    }

    pub fn set_rules(&mut self, rules: LogRules) {
        self.rules = rules;
    }

    /// So much came and is not here.
    pub fn dropped(&mut self, count: u64) {
        self.missing += count;
    }

    /// Appends. What could not be written is dropped, and noted before what is written next.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), (u64, io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.append(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) => {
                    let lost = rest.len() as u64;
                    self.missing += lost;
                    // What is wrong may be wrong with this file alone.
                    self.open = None;
                    return Err((lost, error));
                }
            }
        }
        Ok(())
    }

    /// Appends some of it.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let missing = self.missing;
        let open = self.open()?;
        if missing > 0 {
            let note = format!("\n[supervise: {missing} bytes are missing here]\n");
            open.write_whole(note.as_bytes())?;
            self.missing = 0;
            return Ok(0);
        }
        let count = open.file.write(bytes)?;
        open.length += count as u64;
        match count {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// The segment that is being written: the last one, or a new one where that has its size.
    fn open(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) if open.length < self.rules.size => open,
            Some(full) => {
                let open = self.begin(full.start + full.length)?;
                self.remove_oldest()?;
                open
            }
            None => self.resume()?,
        };
        Ok(self.open.insert(open))
    }

    /// Goes on where the daemon before stopped.
    fn resume(&self) -> io::Result<Open> {
        match segments(&self.directory, &self.source)?.pop() {
            Some(Segment { start, path }) => {
                let file = options().open(path)?;
                let length = file.metadata()?.len();
                let open = Open {
                    file,
                    start,
                    length,
                };
                match length < self.rules.size {
                    true => Ok(open),
                    false => self.begin(start + length),
                }
            }
            None => self.begin(0),
        }
    }

    fn begin(&self, start: u64) -> io::Result<Open> {
        let name = format!("{}{start:0DIGITS$}", prefix(&self.source));
        let file = options().create(true).open(self.directory.join(name))?;
        let length = file.metadata()?.len();
        Ok(Open {
            file,
            start,
            length,
        })
    }

    fn remove_oldest(&self) -> io::Result<()> {
        let segments = segments(&self.directory, &self.source)?;
        let surplus = segments.len().saturating_sub(self.rules.count as usize);
        for segment in &segments[..surplus] {
            std::fs::remove_file(&segment.path)?;
        }
        Ok(())
    }
}

impl Open {
    /// All of it, or nothing.
    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Not in pieces: half a note on a full disk would be repeated for ever.
        let written = self.file.write_all(bytes);
        if written.is_err() {
            self.file.set_len(self.length)?;
        }
        written?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    options
}
