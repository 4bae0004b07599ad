//! What a worker is told at its birth, over a descriptor that it inherits: who it is, and the secret by which it can show that.

use serde::{Deserialize, Serialize};

use super::{Context, Error, Instance, MAX_LINE, MAX_NAME, Nonce, Secret, VERSION};
use crate::brief;

/// One line of JSON on the descriptor that `SUPERVISE_WORKER_SECRET_FD` numbers; the worker reads and closes it. Neither its arguments
/// nor its environment have the secret: those can be read by others.
#[derive(Clone, Debug)]
pub struct Commission {
    /// Known to whoever started the worker, and to the worker.
    pub secret: Secret,
    /// Which life of the worker this is.
    pub instance: Instance,
    /// The boot of the machine during which it was started.
    pub boot_id: String,
    /// Where its socket is bound.
    pub endpoint: String,
    /// What kind of worker it is.
    pub service: String,
    /// Of which version.
    pub version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    v: u32,
    secret: Secret,
    instance: Instance,
    boot_id: String,
    endpoint: String,
    service: String,
    version: String,
}

impl Commission {
    /// The line, with its newline.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        super::lines::write(&Text {
            v: VERSION,
            secret: self.secret.clone(),
            instance: self.instance,
            boot_id: self.boot_id.clone(),
            endpoint: self.endpoint.clone(),
            service: self.service.clone(),
            version: self.version.clone(),
        })
    }

    /// Reads the line, with or without its newline.
    ///
    /// # Errors
    /// [`Error::Version`] when another version of the supervisor wrote it; why else it is none.
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        // What is wrong is not quoted: it may be the secret.
        let malformed = |detail: &str| Error::Malformed {
            message: "commission",
            detail: brief(detail),
        };
        if line.len() > 2 * MAX_LINE {
            return Err(Error::TooLong);
        }
        let head: Versioned =
            serde_json::from_slice(line).map_err(|_| malformed("not an object with a version"))?;
        if head.v != VERSION {
            return Err(Error::Version { theirs: head.v });
        }
        let text: Text =
            serde_json::from_slice(line).map_err(|_| malformed("a field is wrong or missing"))?;
        if text.boot_id.is_empty() {
            return Err(malformed("`boot_id` is empty"));
        }
        if text.service.len() > MAX_NAME || text.version.len() > MAX_NAME {
            return Err(malformed("`service` or `version` is too long"));
        }
        Ok(Self {
            secret: text.secret,
            instance: text.instance,
            boot_id: text.boot_id,
            endpoint: text.endpoint,
            service: text.service,
            version: text.version,
        })
    }

    /// What a code of a probe covers, as the worker knows it.
    #[must_use]
    pub fn context(&self, client: Nonce, worker: Nonce, pidfs: u64) -> Context<'_> {
        Context {
            client,
            worker,
            instance: self.instance,
            boot_id: &self.boot_id,
            endpoint: self.endpoint.as_bytes(),
            pidfs,
        }
    }
}
