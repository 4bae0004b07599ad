//! The record of one worker, as a file holds it.
//!
//! ```text
//! {"schema":1,"id":"build-0", … ,"sha256":"<SHA-256 of everything before this field>"}
//! ```
//! The hash has no key: it tells a torn or altered file from a whole one. Whoever may write the file may also hash it; it lies where only its
//! owner can, and what it says is believed only as far as the kernel and the worker itself confirm it.

mod text;

pub use text::{ManifestError, SCHEMA};

use super::identity::{DaemonProcess, Here};

/// How far a worker was when this was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It may not run yet, or has not yet shown who it is.
    Starting,
    /// It answered a probe, or runs and is known not to.
    Ready,
}

/// What a later supervisor needs to find a worker again. It holds the worker's secret: it is a file of mode 0600 in a directory of
/// mode 0700.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The worker's name, unique in its registry, and the name of the file: see [`Manifest::is_id`].
    pub id: String,
    /// What kind of worker it is.
    pub service_name: String,
    /// Of which version.
    pub service_version: String,
    /// How far it is.
    pub state: State,
    /// The boot during which this was written.
    pub boot_id: String,
    /// The process, once there is one.
    pub process: Option<DaemonProcess>,
    /// What else whoever keeps workers wants to find again; means nothing here.
    pub extra: serde_json::Value,
}

impl Manifest {
    /// Of a worker for which there is no process yet.
    #[must_use]
    pub fn new(id: &str, service_name: &str, service_version: &str, here: &Here) -> Self {
        Self {
            id: id.to_owned(),
            service_name: service_name.to_owned(),
            service_version: service_version.to_owned(),
            state: State::Starting,
            boot_id: here.boot_id.clone(),
            process: None,
            extra: serde_json::Value::Null,
        }
    }

    /// Whether a text can be a worker's name: letters, digits, `-`, `_`, `.` and `@`, at most 64 of them, the first a letter or a digit.
    #[must_use]
    pub fn is_id(text: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        begins && text.len() <= 64 && text.bytes().all(is_plain)
    }
}
