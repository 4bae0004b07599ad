//! The file's text: private mirrors of it, and the seal at its end.

use super::{Manifest, State};
use crate::audit::Digest;
use crate::workers::identity::{DaemonProcess, Endpoint, FileId, NamespaceId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::probe::{Instance, Secret};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::pidfs;

/// The form of the file that this supervisor writes, and the latest that it reads.
pub const SCHEMA: u32 = 1;

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A later supervisor wrote it.
    #[error("written by a later supervisor: schema {found}, where {SCHEMA} is known")]
    TooNew {
        /// Its form.
        found: u64,
    },
    /// It ends too early: whoever wrote it was interrupted.
    #[error("torn: it ends after {length} bytes, without its seal")]
    Torn {
        /// How much there is.
        length: usize,
    },
    /// It was changed after it was written.
    #[error("tampered with: its content is not what its seal says")]
    Tampered,
    /// It is sealed, and says what no supervisor of this version writes.
    #[error("malformed: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

const HEAD: &[u8] = b"{\"schema\":";
const SEAL: &[u8] = b",\"sha256\":\"";
const END: &[u8] = b"\"}\n";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: u32,
    id: String,
    service_name: String,
    service_version: String,
    state: StateText,
    boot_id: String,
    process: Option<ProcessText>,
    extra: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateText {
    Starting,
    Ready,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessText {
    pid: i32,
    exe_path: PathText,
    exe_sha256: String,
    exe_file: FileText,
    machine_id: String,
    boot_id: String,
    pid_namespace: (u64, u64),
    start_ticks: u64,
    started_at_ms: u64,
    uid: u32,
    cgroup: Option<String>,
    pidfs_handle: Option<String>,
    pidfs_inode: Option<u64>,
    instance: Instance,
    endpoint: Option<EndpointText>,
    secret: Option<Secret>,
    idle_timeout_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    dev: u64,
    ino: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointText {
    namespace_id: String,
    path: PathText,
}

/// A path: text where it is text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathText {
    Text(String),
    Bytes { b64: String },
}

impl Manifest {
    /// The content of its file.
    ///
    /// # Errors
    /// [`ManifestError::Malformed`] where `extra` cannot be written: JSON whose keys are no texts.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let text = Text {
            schema: SCHEMA,
            id: self.id.clone(),
            service_name: self.service_name.clone(),
            service_version: self.service_version.clone(),
            state: match self.state {
                State::Starting => StateText::Starting,
                State::Ready => StateText::Ready,
            },
            boot_id: self.boot_id.clone(),
            process: self.process.as_ref().map(ProcessText::of),
            extra: self.extra.clone(),
        };
        let mut line = serde_json::to_vec(&text).map_err(malformed)?;
        // Without the brace that ends it, which follows the seal.
        line.pop();
        let seal = Digest::of(&line).to_string();
        line.extend_from_slice(SEAL);
        line.extend_from_slice(seal.as_bytes());
        line.extend_from_slice(END);
        Ok(line)
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// [`ManifestError`]
    pub fn decode(line: &[u8]) -> Result<Self, ManifestError> {
        // First of all: a later form may be sealed in another way.
        if let Some(found) = schema(line)
            && found > u64::from(SCHEMA)
        {
            return Err(ManifestError::TooNew { found });
        }
        let body = unsealed(line)?;
        let mut whole = body.to_vec();
        whole.push(b'}');
        let text: Text = serde_json::from_slice(&whole).map_err(malformed)?;
        if !Self::is_id(&text.id) {
            return Err(malformed(format!("`{}` names no worker", text.id)));
        }
        Ok(Self {
            id: text.id,
            service_name: text.service_name,
            service_version: text.service_version,
            state: match text.state {
                StateText::Starting => State::Starting,
                StateText::Ready => State::Ready,
            },
            boot_id: text.boot_id,
            process: text.process.map(ProcessText::build).transpose()?,
            extra: text.extra,
        })
    }
}

/// The number after the first key, as far as there is one.
fn schema(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(HEAD)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

/// What stands before the seal, if the seal is right.
fn unsealed(line: &[u8]) -> Result<&[u8], ManifestError> {
    let torn = ManifestError::Torn { length: line.len() };
    let Some(rest) = line.strip_suffix(END) else {
        return Err(torn);
    };
    let Some((rest, digits)) = rest.len().checked_sub(64).map(|at| rest.split_at(at)) else {
        return Err(torn);
    };
    let body = rest.strip_suffix(SEAL).ok_or(ManifestError::Tampered)?;
    match Digest::parse(digits) {
        Some(seal) if seal == Digest::of(body) => Ok(body),
        _ => Err(ManifestError::Tampered),
    }
}

impl ProcessText {
    fn of(process: &DaemonProcess) -> Self {
        Self {
            pid: process.pid,
            exe_path: PathText::of(&process.exe_path),
            exe_sha256: process.exe_sha256.to_string(),
            exe_file: FileText {
                dev: process.exe_file.dev,
                ino: process.exe_file.ino,
                size: process.exe_file.size,
                mtime: process.exe_file.mtime,
                ctime: process.exe_file.ctime,
            },
            machine_id: process.machine_id.clone(),
            boot_id: process.boot_id.clone(),
            pid_namespace: (process.pid_namespace.dev, process.pid_namespace.ino),
            start_ticks: process.start_ticks,
            started_at_ms: process.started_at_ms,
            uid: process.uid,
            cgroup: process.cgroup.clone(),
            pidfs_handle: process.pidfs_handle.map(|handle| handle.to_string()),
            pidfs_inode: process.pidfs_inode,
            instance: process.instance,
            endpoint: process.endpoint.as_ref().map(|endpoint| EndpointText {
                namespace_id: endpoint.namespace_id.clone(),
                path: PathText::of(&endpoint.path),
            }),
            secret: process.secret.clone(),
            idle_timeout_ms: process.idle_timeout.map(|time| time.as_millis() as u64),
        }
    }

    fn build(self) -> Result<DaemonProcess, ManifestError> {
        let handle = self.pidfs_handle.map(|text| {
            pidfs::Handle::parse(&text).ok_or_else(|| malformed("`pidfs_handle` is none"))
        });
        if self.pid <= 0 {
            return Err(malformed("`pid` is no process"));
        }
        Ok(DaemonProcess {
            pid: self.pid,
            exe_path: self.exe_path.build()?,
            exe_sha256: Digest::parse(self.exe_sha256.as_bytes())
                .ok_or_else(|| malformed("`exe_sha256` is no hash"))?,
            exe_file: FileId {
                dev: self.exe_file.dev,
                ino: self.exe_file.ino,
                size: self.exe_file.size,
                mtime: self.exe_file.mtime,
                ctime: self.exe_file.ctime,
            },
            machine_id: self.machine_id,
            boot_id: self.boot_id,
            pid_namespace: NamespaceId {
                dev: self.pid_namespace.0,
                ino: self.pid_namespace.1,
            },
            start_ticks: self.start_ticks,
            started_at_ms: self.started_at_ms,
            uid: self.uid,
            cgroup: self.cgroup,
            pidfs_handle: handle.transpose()?,
            pidfs_inode: self.pidfs_inode,
            instance: self.instance,
            endpoint: match self.endpoint {
                None => None,
                Some(endpoint) => Some(Endpoint {
                    namespace_id: endpoint.namespace_id,
                    path: endpoint.path.build()?,
                }),
            },
            secret: self.secret,
            idle_timeout: self.idle_timeout_ms.map(Duration::from_millis),
        })
    }
}

impl PathText {
    fn of(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes {
                b64: STANDARD.encode(path.as_os_str().as_bytes()),
            },
        }
    }

    fn build(self) -> Result<PathBuf, ManifestError> {
        match self {
            Self::Text(text) => Ok(PathBuf::from(text)),
            Self::Bytes { b64 } => {
                let bytes = STANDARD.decode(b64).map_err(malformed)?;
                Ok(PathBuf::from(OsString::from_vec(bytes)))
            }
        }
    }
}

fn malformed(detail: impl std::fmt::Display) -> ManifestError {
    ManifestError::Malformed {
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::identity::Here;

    fn manifest() -> Manifest {
        let endpoint = Endpoint {
            namespace_id: "user".to_owned(),
            path: PathBuf::from(OsString::from_vec(b"/run/w\xff.sock".to_vec())),
        };
        let idle = Some(Duration::from_secs(1800));
        let process = DaemonProcess::current_process(endpoint, idle).unwrap();
        let here = Here::now().unwrap();
        Manifest {
            state: State::Ready,
            process: Some(process),
            extra: serde_json::json!({"sha256": "\",\"sha256\":\"", "tag": 1}),
            ..Manifest::new("build-0", "builder", "1.2", &here)
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let line = manifest().encode().unwrap();
        let read = Manifest::decode(&line).unwrap();
        assert_eq!(read.encode().unwrap(), line.clone().as_slice());
        let _json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let process = read.process.unwrap();
        assert_eq!(process.pid, std::process::id() as i32);
        assert_eq!(process.idle_timeout, Some(Duration::from_secs(1800)));
        let path = process.endpoint.unwrap().path;
        assert_eq!(path.as_os_str().as_bytes(), b"/run/w\xff.sock");
        let starting = Manifest::new("a", "s", "v", &Here::now().unwrap());
        let read = Manifest::decode(&starting.encode().unwrap()).unwrap();
        assert!(read.process.is_none() && read.state == State::Starting);
    }

    #[test]
    fn every_cut_is_torn_and_every_flipped_bit_is_found() {
        let line = manifest().encode().unwrap();
        for length in 0..line.len() {
            let error = Manifest::decode(&line[..length]).unwrap_err();
            assert_eq!(error, ManifestError::Torn { length });
        }
        for bit in 0..line.len() * 8 {
            let mut changed = line.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::decode(&changed).unwrap_err();
            let is_in_schema = (HEAD.len() * 8..(HEAD.len() + 1) * 8).contains(&bit);
            assert!(
                matches!(error, ManifestError::Tampered | ManifestError::Torn { .. })
                    || is_in_schema && matches!(error, ManifestError::TooNew { .. }),
                "bit {bit}: {error}"
            );
        }
    }

    #[test]
    fn a_later_form_is_told_apart_whatever_else_it_holds() {
        let later = b"{\"schema\":2,\"whatever\":[]}";
        assert_eq!(
            Manifest::decode(later).unwrap_err(),
            ManifestError::TooNew { found: 2 }
        );
    }

    #[test]
    fn what_is_sealed_and_makes_no_sense_is_malformed() {
        let line = manifest().encode().unwrap();
        let text = String::from_utf8(line).unwrap();
        let sealed = |from: &str, to: &str| {
            let body = text.split_at(text.len() - END.len() - 64 - SEAL.len()).0;
            assert!(body.contains(from), "{from}");
            let body = body.replacen(from, to, 1);
            let seal = Digest::of(body.as_bytes());
            format!("{body},\"sha256\":\"{seal}\"}}\n")
        };
        let pid = format!("\"pid\":{}", std::process::id());
        for (from, to) in [
            ("\"id\":\"build-0\"", "\"id\":\"../build-0\""),
            ("\"state\":\"ready\"", "\"state\":\"busy\""),
            (pid.as_str(), "\"pid\":0"),
            (pid.as_str(), "\"pid\":-1"),
            ("\"uid\":", "\"gid\":"),
            ("\"instance\":\"", "\"instance\":\"0"),
            ("\"exe_sha256\":\"", "\"exe_sha256\":\"0"),
        ] {
            let error = Manifest::decode(sealed(from, to).as_bytes()).unwrap_err();
            assert!(
                matches!(error, ManifestError::Malformed { .. }),
                "{to}: {error}"
            );
        }
    }

    #[test]
    fn names_are_those_of_files_that_hide_nothing() {
        for good in ["a", "build-0", "Build_0.1@x", &"x".repeat(64)] {
            assert!(Manifest::is_id(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a b",
            "a\0",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(!Manifest::is_id(bad), "{bad}");
        }
    }
}
