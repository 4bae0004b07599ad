//! The text of the kernel's records. It is the kernel's, but for names, which strangers chose: those are in quotes, or in
//! hexadecimal digits where they are no plain word, so that blanks part the fields and nothing else does.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use sys::audit;

/// What a record says, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Landlock refused something.
    Refused {
        /// The domain whose rules refused it.
        domain: u64,
        /// The rights that were missing, as the kernel calls them.
        blockers: Vec<String>,
        /// What it was about.
        about: About,
    },
    /// Which process made a domain. Said once, after the first thing that it refused.
    Made {
        /// The domain.
        domain: u64,
        /// The process that is confined by it.
        pid: i32,
    },
    /// Who made the call.
    Called(Call),
    /// There is no more of this number.
    Over,
    /// A reader of the records has left.
    Left {
        /// Whose reader it was.
        pid: i32,
    },
}

/// What something was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A file, or the directory of a name.
    Path(PathBuf),
    /// An address. The kernel leaves out the unspecified one.
    Address(SocketAddr),
    /// Another process, and the name that it gave itself.
    Process(i32, OsString),
    /// Nothing that is known here.
    Unknown,
}

/// A call, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The architecture of its number, as `linux/audit.h` has it.
    pub arch: u32,
    /// Its number.
    pub number: u32,
    /// What it came to: negative, an errno.
    pub exit: i64,
    /// The process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its program, where it has one.
    pub program: Option<PathBuf>,
}

/// What a record says, behind the number that it shares with others about the same call. `None`: nothing that is understood here.
#[must_use]
pub fn read(kind: u16, text: &[u8]) -> Option<(u64, Said)> {
    let (stamp, rest) = split_once(text, b": ")?;
    let number = stamp.strip_prefix(b"audit(")?.strip_suffix(b")")?;
    let (_, number) = split_once(number, b":")?;
    let number = decimal(number)?;
    let fields = Fields(rest);
    let said = match kind {
        audit::LANDLOCK_ACCESS => Said::Refused {
            domain: hexadecimal(fields.get("domain")?)?,
            blockers: fields
                .get("blockers")?
                .split(|byte| *byte == b',')
                .map(|blocker| String::from_utf8_lossy(blocker).into_owned())
                .collect(),
            about: about(fields),
        },
        audit::LANDLOCK_DOMAIN => Said::Made {
            domain: hexadecimal(fields.get("domain")?)?,
            pid: decimal(fields.get("pid")?)?,
        },
        audit::CALL => Said::Called(Call {
            arch: u32::try_from(hexadecimal(fields.get("arch")?)?).ok()?,
            number: decimal(fields.get("syscall")?)?,
            exit: decimal(fields.get("exit")?)?,
            pid: decimal(fields.get("pid")?)?,
            uid: decimal(fields.get("uid")?)?,
            program: fields.name("exe").map(PathBuf::from),
        }),
        audit::END => Said::Over,
        audit::READER if fields.get("op") == Some(b"disconnect") => Said::Left {
            pid: decimal(fields.get("pid")?)?,
        },
        _ => return None,
    };
    Some((number, said))
}

fn about(fields: Fields<'_>) -> About {
    let path = fields.name("path").map(PathBuf::from);
    // What has no path has a remark in its place.
    if let Some(path) = path.filter(|path| path.is_absolute()) {
        return About::Path(path);
    }
    if let Some(pid) = fields.get("opid").and_then(decimal) {
        return About::Process(pid, fields.name("ocomm").unwrap_or_default());
    }
    let address = address(fields, "daddr", "dest").or_else(|| address(fields, "saddr", "src"));
    address.map_or(About::Unknown, About::Address)
}

fn address(fields: Fields<'_>, address: &str, port: &str) -> Option<SocketAddr> {
    let port = fields.get(port).and_then(decimal);
    let ip = match fields.get(address) {
        Some(text) => Some(std::str::from_utf8(text).ok()?.parse().ok()?),
        None => None,
    };
    // Both are left out where they are 0.
    (ip.is_some() || port.is_some()).then(|| {
        let ip = ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        SocketAddr::new(ip, port.unwrap_or(0))
    })
}

/// Names, each with its value.
#[derive(Clone, Copy)]
struct Fields<'t>(&'t [u8]);

impl<'t> Fields<'t> {
    fn get(self, name: &str) -> Option<&'t [u8]> {
        let fields = self.0.split(|byte| *byte == b' ');
        fields
            .filter_map(|field| split_once(field, b"="))
            .find(|(known, _)| *known == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// One that a stranger chose.
    fn name(self, name: &str) -> Option<OsString> {
        let value = self.get(name)?;
        let bytes = match value.strip_prefix(b"\"") {
            Some(quoted) => quoted.strip_suffix(b"\"")?.to_vec(),
            None => unhexed(value)?,
        };
        Some(OsString::from_vec(bytes))
    }
}

fn unhexed(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs.iter().map(|pair| hexadecimal(pair));
    let bytes: Option<Vec<u8>> = bytes.map(|byte| u8::try_from(byte?).ok()).collect();
    bytes.filter(|bytes| !bytes.is_empty())
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    // A sign is no digit.
    let is_digits = digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| is_digits)?, 16).ok()
}

fn decimal<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn split_once<'t>(text: &'t [u8], at: &[u8]) -> Option<(&'t [u8], &'t [u8])> {
    let place = text.windows(at.len()).position(|window| window == at)?;
    Some((&text[..place], &text[place + at.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::audit::{CALL, END, LANDLOCK_ACCESS, LANDLOCK_DOMAIN, READER};

    // As Linux 6.18 wrote them.
    const STAMP: &str = "audit(1795325355.309:578): ";

    fn said(kind: u16, text: &str) -> Option<Said> {
        let (number, said) = read(kind, format!("{STAMP}{text}").as_bytes())?;
        assert_eq!(number, 578);
        Some(said)
    }

    fn refused(text: &str) -> (Vec<String>, About) {
        match said(LANDLOCK_ACCESS, text) {
            Some(Said::Refused {
                domain: 0x1_f182_2b75,
                blockers,
                about,
            }) => (blockers, about),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn each_kind_of_refusal_says_what_it_was_about() {
        let path = |path: &str| About::Path(path.into());
        for (text, blockers, about) in [
            (
                "domain=1f1822b75 blockers=fs.write_file,fs.read_file path=\"/dev/tty\" dev=\"devtmpfs\" ino=9",
                &["fs.write_file", "fs.read_file"][..],
                path("/dev/tty"),
            ),
            (
                "domain=1f1822b75 blockers=fs.read_file path=2F746D702F7365656E2F642069722F66 dev=\"vda\" ino=10330555",
                &["fs.read_file"],
                path("/tmp/seen/d ir/f"),
            ),
            (
                "domain=1f1822b75 blockers=scope.signal opid=1 ocomm=\"process_api\"",
                &["scope.signal"],
                About::Process(1, "process_api".into()),
            ),
            (
                "domain=1f1822b75 blockers=net.connect_tcp daddr=127.0.0.1 dest=99",
                &["net.connect_tcp"],
                About::Address("127.0.0.1:99".parse().unwrap()),
            ),
            (
                "domain=1f1822b75 blockers=net.bind_tcp src=8080",
                &["net.bind_tcp"],
                About::Address("0.0.0.0:8080".parse().unwrap()),
            ),
            (
                "domain=1f1822b75 blockers=net.connect_tcp daddr=::1 dest=443",
                &["net.connect_tcp"],
                About::Address("[::1]:443".parse().unwrap()),
            ),
            (
                "domain=1f1822b75 blockers=fs.read_file path=\"<too_long>\" dev=\"vda\" ino=7",
                &["fs.read_file"],
                About::Unknown,
            ),
        ] {
            let (known, found) = refused(text);
            assert_eq!(known, blockers, "{text}");
            assert_eq!(found, about, "{text}");
        }
    }

    #[test]
    fn a_domain_is_said_to_be_somebodys_once_and_its_end_says_nothing() {
        let made = "domain=1f1822b75 status=allocated mode=enforcing pid=13619 uid=0 exe=\"/root/.pyenv/versions/3.11.7/bin/python3.11\" comm=\"python3\"";
        assert_eq!(
            said(LANDLOCK_DOMAIN, made),
            Some(Said::Made {
                domain: 0x1_f182_2b75,
                pid: 13619
            })
        );
        let gone = "domain=1f1822b75 status=deallocated denials=20";
        assert_eq!(said(LANDLOCK_DOMAIN, gone), None);
    }

    #[test]
    fn a_call_says_who_made_it_and_what_it_came_to() {
        let text = "arch=c000003e syscall=59 success=no exit=-13 a0=556358918ea0 a1=556358919ec0 a2=556358914fa0 \
                    a3=2c88f54d3dda90e3 items=0 ppid=13619 pid=13668 auid=4294967295 uid=1000 gid=0 euid=0 suid=0 fsuid=0 egid=0 \
                    sgid=0 fsgid=0 tty=(none) ses=4294967295 comm=\"bash\" exe=\"/usr/bin/bash\" key=(null)";
        let call = Call {
            arch: 0xc000_003e,
            number: 59,
            exit: -13,
            pid: 13668,
            uid: 1000,
            program: Some("/usr/bin/bash".into()),
        };
        assert_eq!(said(CALL, text), Some(Said::Called(call)));
        assert_eq!(said(END, ""), Some(Said::Over));
        let reader = "pid=26881 uid=0 auid=4294967295 tty=(none) ses=4294967295 comm=\"supervise\" exe=\"/usr/bin/supervise\" nl-mcgrp=1";
        let left = format!("{reader} op=disconnect res=1");
        assert_eq!(said(READER, &left), Some(Said::Left { pid: 26881 }));
        assert_eq!(said(READER, &format!("{reader} op=connect res=1")), None);
    }

    #[test]
    fn a_name_that_looks_like_fields_is_none() {
        // The kernel writes each name that has a blank or a quote in digits.
        let text =
            "domain=1f1822b75 blockers=fs.read_file path=\"/tmp/path=/etc\" dev=\"vda\" ino=1";
        assert_eq!(refused(text).1, About::Path("/tmp/path=/etc".into()));
    }

    #[test]
    fn what_is_no_record_is_nothing() {
        for text in [
            "",
            "domain=",
            "domain=xyz blockers=fs.read_file",
            "domain=+1 blockers=fs.read_file",
            "blockers=fs.read_file path=\"/a\"",
            "domain=1f1822b75",
        ] {
            assert_eq!(said(LANDLOCK_ACCESS, text), None, "{text}");
        }
        for text in [
            "domain=1 blockers=a",
            "audit(1.2): domain=1 blockers=a",
            "audit(1.2:3) domain=1",
        ] {
            assert_eq!(read(LANDLOCK_ACCESS, text.as_bytes()), None, "{text}");
        }
        assert_eq!(said(1327, "proctitle=6C73"), None);
    }
}
