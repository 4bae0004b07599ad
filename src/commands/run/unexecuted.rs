//! What kept a program from being executed: itself, what its first line names, or what loads it. Looked at when the kernel has refused
//! the first exec, which nobody sees but the one who made it.

use super::found::real_subject;
use crate::hint;
use nix::fcntl::OFlag;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use supervisor::advice::Setting;
use supervisor::audit::{
    Answer, Bytes, Decision, Door, Event, Log, Object, Refused, Refuser, Takes, Who,
};
use supervisor::policy::{Access, Denial, Mechanism, Ruleset, Verdict};

/// So many interpreters may run each other, and one more; the kernel gives up sooner.
const DEEPEST: usize = 6;
/// As much of a first line as the kernel reads (`BINPRM_BUF_SIZE`).
const LINE: u64 = 256;

/// Something that may not be executed, and what for.
#[derive(Debug)]
pub struct Unexecuted {
    what: &'static str,
    path: PathBuf,
    denial: Denial,
}

impl Unexecuted {
    /// Follows a program to what loads it. `None`: the rules have nothing against any of it, or it cannot be read.
    pub fn find(program: &Path, cwd: &Path, ruleset: &Ruleset) -> Option<Self> {
        let mut what = "it";
        let mut path = cwd.join(program);
        for _ in 0..DEEPEST {
            let real = path.canonicalize().ok()?;
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits())
                .open(&real)
                .ok()?;
            if !file.metadata().ok()?.is_file() {
                return None;
            }
            let verdict = real_subject(&real, &file).map(|it| ruleset.decide(&it, Access::EXEC));
            if let Ok(Verdict::Deny(denial)) = verdict {
                let path = real;
                return Some(Self { what, path, denial });
            }
            let next;
            (what, next) = named_by(&file)?;
            path = cwd.join(next);
        }
        None
    }

    /// Writes down that it was refused, and says so.
    pub fn record(self, log: &mut Log, program: &Path, setting: Setting<'_>) -> String {
        let detail = self.denial.to_string();
        let who = Who {
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            uid: nix::unistd::getuid().as_raw(),
            exe: Some(Bytes::from(program)),
        };
        // The command did not start, recorded or not.
        let _recorded = log.record(&Event::Decision(Decision {
            path: Some(Bytes::from(self.path.as_path())),
            access: Some(Access::EXEC),
            code: Some("denied"),
            errno: Some(nix::errno::Errno::EACCES),
            reason: Some(self.denial.reason),
            rule: self.denial.rule.as_ref(),
            mechanism: Some(Mechanism::Landlock),
            detail: Some(&detail),
            ..Decision::new(Door::Kernel, "execve", who, Answer::Refused)
        }));
        let refused = Refused {
            object: Object::File(self.path.clone()),
            access: Access::EXEC,
            reason: Some(self.denial.reason),
            rule: self.denial.rule,
            detail,
            program: None,
            by: Refuser::Kernel,
            takes: Takes::Nothing,
            times: 1,
        };
        let mut said = hint::lines(std::slice::from_ref(&refused), setting);
        let remedy = said.drain(1..).map(|line| format!("; {line}"));
        let remedy: String = remedy.collect();
        format!(
            "{}, {}, may not be executed: {}{remedy}",
            self.what,
            hint::shown(&self.path),
            refused.detail
        )
    }
}

/// What a program is executed by, and what that is to it.
fn named_by(file: &File) -> Option<(&'static str, PathBuf)> {
    let mut begins = Vec::new();
    file.take(LINE).read_to_end(&mut begins).ok()?;
    if let Some(line) = begins.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t'));
        let name = words.find(|word| !word.is_empty())?;
        return Some(("the interpreter in its first line", as_path(name)));
    }
    Some(("its loader", as_path(&loader(file, &begins)?)))
}

/// The loader that an ELF file names (elf(5), `PT_INTERP`), of 64 bits and our own order of bytes.
fn loader(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    const PT_INTERP: u32 = 3;
    let short = |bytes: &[u8], at: usize| {
        let number = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_le_bytes(number))
    };
    let long = |bytes: &[u8], at: usize| {
        let number = bytes.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(number))
    };
    // ELFCLASS64, ELFDATA2LSB.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (first, size, count) = (long(header, 32)?, short(header, 54)?, short(header, 56)?);
    for number in 0..u64::from(count.min(64)) {
        let mut entry = [0; 56];
        let at = first.checked_add(number * u64::from(size))?;
        file.read_exact_at(&mut entry, at).ok()?;
        let kind = u32::from_le_bytes(entry[..4].try_into().ok()?);
        if kind == PT_INTERP {
            let length = usize::try_from(long(&entry, 32)?).ok()?;
            let mut name = vec![0; length.min(4096)];
            file.read_exact_at(&mut name, long(&entry, 8)?).ok()?;
            name.pop_if(|last| *last == 0);
            return Some(name);
        }
    }
    None
}

fn as_path(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn named(text: &[u8]) -> Option<(&'static str, PathBuf)> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text).expect("room");
        named_by(&File::open(file.path()).expect("it is there"))
    }

    #[test]
    fn what_a_program_is_executed_by_is_found() {
        let script = |line: &[u8]| named(line).map(|(_, path)| path);
        assert_eq!(script(b"#!/bin/sh\necho\n"), Some("/bin/sh".into()));
        assert_eq!(script(b"#! \t/a/b -c x"), Some("/a/b".into()));
        assert_eq!(script(b"#!\n/bin/sh"), None);
        assert_eq!(script(b"data"), None);
        let own = std::fs::read("/proc/self/exe").expect("a program");
        for length in 0..300 {
            // Whatever is cut off.
            let _nothing_certain = named(&own[..length]);
        }
    }

    #[test]
    fn the_loader_is_the_one_that_the_file_names() {
        let mut elf = vec![0; 64 + 2 * 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 2;
        let entry = 64 + 56;
        elf[entry] = 3;
        let end = elf.len() as u64;
        elf[entry + 8..entry + 16].copy_from_slice(&end.to_le_bytes());
        elf[entry + 32] = 8;
        elf.extend(b"/lib/ld\0");
        assert_eq!(named(&elf), Some(("its loader", "/lib/ld".into())));
        elf[entry] = 1;
        assert_eq!(named(&elf), None);
        // A table beyond all numbers.
        elf[32..40].fill(0xff);
        assert_eq!(named(&elf), None);
    }
}
