//! The four lines as text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    Code, Confirm, Error, Instance, MAX_LINE, MAX_NAME, Nonce, Probe, Proof, Ready, VERSION,
};
use crate::brief;

/// A message under its name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeLine<T> {
    probe: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofLine<T> {
    proof: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmLine {
    confirm: ConfirmText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadyLine {
    ready: ReadyText,
}

/// What every version of a probe and a proof has; later ones may have more.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
    nonce: Nonce,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeText {
    v: u32,
    nonce: Nonce,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofText {
    v: u32,
    nonce: Nonce,
    service: String,
    version: String,
    instance: Instance,
    pidfs: u64,
    mac: Code,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmText {
    mac: Code,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadyText {}

impl Probe {
    /// A probe of our own.
    #[must_use]
    pub fn new(nonce: Nonce) -> Self {
        Self {
            version: VERSION,
            nonce,
        }
    }

    /// Whether a line means to be a probe, of whatever version and however wrong: what a worker asks of the first line of a connection.
    #[must_use]
    pub fn begins(line: &[u8]) -> bool {
        serde_json::from_slice::<ProbeLine<serde::de::IgnoredAny>>(line).is_ok()
    }

    /// The line, with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (v, nonce) = (self.version, self.nonce);
        write(&ProbeLine {
            probe: ProbeText { v, nonce },
        })
    }

    /// Reads a line, with or without its newline. One of a later version may hold more than we know of.
    ///
    /// # Errors
    /// Why it is no probe.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        let Versioned { v, nonce } = read::<ProbeLine<Versioned>>("probe", line)?.probe;
        if v == VERSION {
            read::<ProbeLine<ProbeText>>("probe", line)?;
        }
        Ok(Self { version: v, nonce })
    }
}

impl Proof {
    /// The line, with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        write(&ProofLine {
            proof: ProofText {
                v: VERSION,
                nonce: self.nonce,
                service: self.service.clone(),
                version: self.version.clone(),
                instance: self.instance,
                pidfs: self.pidfs,
                mac: self.mac,
            },
        })
    }

    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// [`Error::Version`] when a worker of another version sent it; why else it is no proof.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        let head = read::<ProofLine<Versioned>>("proof", line)?.proof;
        if head.v != VERSION {
            return Err(Error::Version { theirs: head.v });
        }
        let text = read::<ProofLine<ProofText>>("proof", line)?.proof;
        for (field, name) in [("service", &text.service), ("version", &text.version)] {
            if name.len() > MAX_NAME {
                return Err(malformed(
                    "proof",
                    format!("`{field}` is longer than {MAX_NAME} bytes"),
                ));
            }
        }
        Ok(Self {
            nonce: text.nonce,
            service: text.service,
            version: text.version,
            instance: text.instance,
            pidfs: text.pidfs,
            mac: text.mac,
        })
    }
}

impl Confirm {
    /// The line, with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        write(&ConfirmLine {
            confirm: ConfirmText { mac: self.mac },
        })
    }

    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// Why it is no confirmation.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        let mac = read::<ConfirmLine>("confirmation", line)?.confirm.mac;
        Ok(Self { mac })
    }
}

impl Ready {
    /// The line, with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        write(&ReadyLine {
            ready: ReadyText {},
        })
    }

    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// Why it is not that word.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        read::<ReadyLine>("`ready`", line).map(|_| Self)
    }
}

/// Texts, numbers and digits: nothing that JSON cannot hold.
pub(super) fn write(line: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

fn read<T: DeserializeOwned>(message: &'static str, line: &[u8]) -> Result<T, Error> {
    if line.len() > MAX_LINE {
        return Err(Error::TooLong);
    }
    serde_json::from_slice(line).map_err(|error| malformed(message, error))
}

fn malformed(message: &'static str, detail: impl std::fmt::Display) -> Error {
    Error::Malformed {
        message,
        detail: brief(&detail.to_string()),
    }
}
