//! Writes down for the floor what a launch must do, so that the floor follows the presets.

use crate::built::Built;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use supervisor::policy::{Access, NativeGrant, Ruleset};
use supervisor::sandbox::Confinement;

/// Rights of linux/landlock.h: all 16 up to ABI 5, and those that a file can have.
const ALL: u64 = 0xffff;
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Both rights of TCP.
const NET: u64 = 3;

/// A record of this many bytes where no run has left one.
const RECORD: usize = 600;

/// Writes the plan of a launch under `ruleset`: counts, filter, record, rules, one after the other.
pub fn write(built: &Built, ruleset: &Ruleset, confinement: &Confinement) -> PathBuf {
    let filter = confinement.filter();
    let grants: Vec<&NativeGrant> = ruleset.native_layers().flatten().collect();
    let record = vec![b'r'; record_length(built)];
    let mut bytes = Vec::new();
    for number in [
        grants.len() as u64,
        filter.len() as u64,
        record.len() as u64,
        ALL,
        NET,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    for instruction in filter {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    bytes.extend(record);
    for grant in grants {
        bytes.extend(rights(grant).to_le_bytes());
        bytes.extend(grant.path.as_os_str().as_bytes());
        bytes.push(0);
    }
    let path = built.place.path().join("plan");
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn rights(grant: &NativeGrant) -> u64 {
    let mut rights = IOCTL_DEV;
    if grant.access.contains(Access::READ) {
        rights |= READ_FILE | READ_DIR;
    }
    if grant.access.contains(Access::EXEC) {
        rights |= EXECUTE;
    }
    if grant.access.contains(Access::WRITE) {
        rights |= ALL & !EXECUTE;
    }
    if grant.is_dir {
        rights
    } else {
        rights & OF_FILES
    }
}

/// As long as the start record of a real run, which is the longest line that one writes.
fn record_length(built: &Built) -> usize {
    let logs = std::fs::read_dir(built.sub("state").join("supervise"));
    let texts = logs
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path()).ok());
    let longest = texts.filter_map(|text| text.split(|byte| *byte == b'\n').map(<[u8]>::len).max());
    longest.max().unwrap_or(RECORD)
}
