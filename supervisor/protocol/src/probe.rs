//! The probe: how a worker and whoever would use it prove to each other, over a connection that neither trusts, that both know the
//! secret that was left between them when the worker was started.
//!
//! Four lines of JSON, two each way, before anything else is said:
//!
//! ```text
//! client  {"probe":{"v":1,"nonce":"…"}}
//! worker  {"proof":{"v":1,"nonce":"…","service":"…","version":"…","instance":"…","pidfs":0,"mac":"…"}}
//! client  {"confirm":{"mac":"…"}}
//! worker  {"ready":{}}
//! ```
//!
//! A code ([`Secret::mac`]) covers the nonces of both, so none can be used again, and everything that makes this worker this one, so
//! it speaks for no other. The two sides have different labels: what one sent is no answer to itself. *Which process* answers is not
//! told here; that is the kernel's word, and whoever reads the proof asks for it.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

mod commission;
mod lines;

pub use commission::Commission;

/// The version of the probe that this crate speaks.
pub const VERSION: u32 = 1;

/// The most bytes of a line of the probe, with its newline. What a stranger may make us hold before it has proven anything.
pub const MAX_LINE: usize = 4096;

/// The longest name of a service, and the longest version of one, in bytes.
pub const MAX_NAME: usize = 128;

/// Why a line is not the one that had to come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is longer than [`MAX_LINE`].
    #[error("a line of more than {MAX_LINE} bytes")]
    TooLong,
    /// It is not that message.
    #[error("not a {message}: {detail}")]
    Malformed {
        /// What had to come.
        message: &'static str,
        /// What is wrong with it; may quote the stranger.
        detail: String,
    },
    /// The other side speaks another version of the probe.
    #[error("version {theirs} of the probe, where {VERSION} is spoken")]
    Version {
        /// What it speaks.
        theirs: u32,
    },
}

/// Bytes that stand in a text as two lower-case hexadecimal digits each, and in no other spelling.
macro_rules! hexadecimal {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// What these digits stand for.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                parse(text.as_bytes(), &mut bytes).then_some(Self(bytes))
            }
        }

        impl From<[u8; $bytes]> for $name {
            fn from(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, &'static str> {
                Self::parse(&text).ok_or(concat!("not ", $bytes, " bytes in hexadecimal digits"))
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                digits(&value.0)
            }
        }
    };
}

/// What two sides know and nobody else: 256 random bits, one for each worker. It is never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Secret([u8; 32]);

/// One life of one worker: 128 random bits, public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Instance([u8; 16]);

/// A number that its sender uses once.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce([u8; 32]);

/// A message authentication code that somebody sent. It is compared with the right one in a time that tells nothing, by
/// [`Secret::verifies`] alone.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Code([u8; 32]);

hexadecimal!(Secret, 32);
hexadecimal!(Instance, 16);
hexadecimal!(Nonce, 32);
hexadecimal!(Code, 32);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digits(&self.0))
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&digits(&self.0))
    }
}

/// Who makes a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The worker, in its proof.
    Worker,
    /// Whoever probes it, in the confirmation.
    Client,
}

impl Side {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Worker => b"supervise worker 1",
            Self::Client => b"supervise client 1",
        }
    }
}

/// What both sides must mean, each by what it knows itself: a code covers all of it.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The nonce of the probe.
    pub client: Nonce,
    /// The nonce of the proof.
    pub worker: Nonce,
    /// Which life of the worker.
    pub instance: Instance,
    /// Which boot of the machine.
    pub boot_id: &'a str,
    /// The path of the worker's socket.
    pub endpoint: &'a [u8],
    /// The inode of the worker's pidfd, as the proof says it: 0 where the worker cannot tell.
    pub pidfs: u64,
}

impl Secret {
    /// The code of one side: HMAC-SHA-256 over
    /// `label ‖ 0 ‖ client nonce ‖ worker nonce ‖ instance ‖ boot id ‖ endpoint ‖ pidfs`.
    ///
    /// Nonces are 32 bytes. Instance (as its 32 digits), boot id and endpoint each follow their length, a little-endian number of 64
    /// bits, so that nothing can pass from one to the next; `pidfs` is such a number.
    #[must_use]
    pub fn mac(&self, side: Side, context: &Context<'_>) -> Code {
        Code(self.code(side, context).finalize().into_bytes().into())
    }

    /// Whether `sent` is that code. How long it takes does not tell how much of it is right.
    #[must_use]
    pub fn verifies(&self, side: Side, context: &Context<'_>, sent: &Code) -> bool {
        self.code(side, context).verify_slice(&sent.0).is_ok()
    }

    fn code(&self, side: Side, context: &Context<'_>) -> Hmac<Sha256> {
        let mut code = keyed(&self.0);
        code.update(side.label());
        code.update(&[0]);
        code.update(&context.client.0);
        code.update(&context.worker.0);
        let instance = digits(&context.instance.0);
        let parts = [
            instance.as_bytes(),
            context.boot_id.as_bytes(),
            context.endpoint,
        ];
        for part in parts {
            code.update(&(part.len() as u64).to_le_bytes());
            code.update(part);
        }
        code.update(&context.pidfs.to_le_bytes());
        code
    }
}

/// HMAC takes keys of any length, so that none can be refused.
fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    // The key as HMAC itself pads it.
    Hmac::new(&block.into())
}

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The version that the client speaks. A worker answers in its own.
    pub version: u32,
    /// New for every probe.
    pub nonce: Nonce,
}

/// The worker's answer.
#[derive(Clone, Debug)]
pub struct Proof {
    /// New for every proof.
    pub nonce: Nonce,
    /// What kind of worker it is.
    pub service: String,
    /// Of which version.
    pub version: String,
    /// Which life of it.
    pub instance: Instance,
    /// The inode of its own pidfd; 0 where it cannot tell.
    pub pidfs: u64,
    /// [`Side::Worker`]'s.
    pub mac: Code,
}

/// The client's proof.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// [`Side::Client`]'s.
    pub mac: Code,
}

/// The worker's last word: the connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready;

/// Two digits for each byte.
fn digits(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

/// Whether `text` is as many bytes as there is room for, in lower-case digits.
fn parse(text: &[u8], bytes: &mut [u8]) -> bool {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * bytes.len() {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return false,
        }
    }
    true
}
