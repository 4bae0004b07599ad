//! The probe, seen from the client: a connection on which the recorded process itself proved what it is.

use super::super::identity::{DaemonProcess, Endpoint, Held};
use super::wire::{Wire, io};
use super::{Error, Impostor, ProbeFailure};
use nix::errno::Errno;
use protocol::probe::{Confirm, Context, Nonce, Probe, Proof, Ready, Secret, Side};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use sys::messages::Sender;
use sys::pidfs;

/// By what the sender of an answer is known to be the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attested {
    /// Its pidfd came with the answer, and is the worker's (Linux 6.9).
    Pidfd,
    /// Its number came with the answer, and the worker, whose number it is, lived before and after.
    Credentials,
}

impl std::fmt::Display for Attested {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pidfd => "pidfd",
            Self::Credentials => "credentials",
        })
    }
}

/// What a worker showed on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// How its answers were known to be its own.
    pub sender: Attested,
    /// Whether the socket, too, is one on which the worker itself listens. Under some policies its supervisor does that for it.
    pub is_listener: bool,
    /// Whether it said the inode of its pidfd, and it was right.
    pub knows_inode: bool,
    /// What it calls itself.
    pub service_name: String,
    /// In which version.
    pub service_version: String,
}

/// What must be true of a connection.
pub(super) struct Expected<'a> {
    pub process: &'a DaemonProcess,
    pub held: &'a Held,
    pub endpoint: &'a Endpoint,
    /// Name and version, where they matter.
    pub service: Option<(&'a str, &'a str)>,
}

impl Expected<'_> {
    /// Connects to the worker and has both sides prove themselves, all before `deadline`.
    pub fn meet(&self, deadline: Instant) -> Result<(UnixStream, Spoken), Error> {
        let secret = self.process.secret.as_ref();
        let secret = secret.ok_or(ProbeFailure::NoSecret)?;
        let wire = Wire::connect(&self.endpoint.path, deadline)?;
        let mut sender = Attested::Pidfd;
        let mut check = |from: Option<&Sender>| {
            if self.attested(from)? == Attested::Credentials {
                sender = Attested::Credentials;
            }
            Ok(())
        };
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| io("getrandom")(Errno::EIO))?;
        let client = Nonce::from(nonce);
        wire.send(&Probe::new(client).encode())?;
        let line = wire.line(&mut check)?;
        let proof = Proof::decode(&line).map_err(ProbeFailure::from)?;
        let context = self.context(client, &proof);
        self.proven(secret, &context, &proof)?;
        let mac = secret.mac(Side::Client, &context);
        wire.send(&Confirm { mac }.encode())?;
        let line = wire.line(&mut check)?;
        Ready::decode(&line).map_err(ProbeFailure::from)?;
        // A number is somebody's as long as he lives: what has come, came from this process.
        self.held.alive()?;
        let is_listener = wire
            .listener()
            .is_some_and(|(pid, pidfd)| self.is_worker(pid, pidfd.as_ref()) == Some(true));
        let spoken = Spoken {
            sender,
            is_listener,
            knows_inode: proof.pidfs != 0,
            service_name: proof.service,
            service_version: proof.version,
        };
        Ok((wire.into_stream()?, spoken))
    }

    fn context(&self, client: Nonce, proof: &Proof) -> Context<'_> {
        Context {
            client,
            worker: proof.nonce,
            instance: self.process.instance,
            boot_id: &self.process.boot_id,
            endpoint: self.endpoint.path.as_os_str().as_bytes(),
            pidfs: proof.pidfs,
        }
    }

    fn proven(
        &self,
        secret: &Secret,
        context: &Context<'_>,
        proof: &Proof,
    ) -> Result<(), ProbeFailure> {
        if proof.nonce == context.client {
            return Err(ProbeFailure::Nonce);
        }
        if was_seen(proof.nonce) {
            return Err(ProbeFailure::Replayed);
        }
        if proof.instance != self.process.instance {
            return Err(ProbeFailure::Instance);
        }
        if let Some(expected) = self.held.inode()
            && proof.pidfs != 0
            && proof.pidfs != expected
        {
            let found = proof.pidfs;
            return Err(ProbeFailure::PidfsInode { expected, found });
        }
        if !secret.verifies(Side::Worker, context, &proof.mac) {
            return Err(ProbeFailure::Code);
        }
        // Only now: what a stranger calls itself is nothing to compare.
        let Some((name, version)) = self.service else {
            return Ok(());
        };
        if proof.service != name {
            return Err(ProbeFailure::ServiceName {
                expected: name.to_owned(),
                found: proof.service.clone(),
            });
        }
        if proof.version != version {
            return Err(ProbeFailure::ServiceVersion {
                expected: version.to_owned(),
                found: proof.version.clone(),
            });
        }
        Ok(())
    }

    /// Whether the sender of some bytes is the worker, by the word of the kernel.
    fn attested(&self, sender: Option<&Sender>) -> Result<Attested, Error> {
        let sender = sender.ok_or(Error::VerifyPid(Impostor::Unknown))?;
        let found = sender.credentials.pid.as_raw();
        let expected = self.held.pid();
        if found <= 0 {
            return Err(Error::VerifyPid(Impostor::Unknown));
        }
        if found != expected {
            return Err(Error::VerifyPid(Impostor::Other { expected, found }));
        }
        let user = sender.credentials.uid.as_raw();
        if user != self.process.uid {
            let expected = self.process.uid;
            let found = user;
            return Err(Error::VerifyPid(Impostor::User { expected, found }));
        }
        match self.is_worker(found, sender.pidfd.as_ref()) {
            Some(true) => Ok(Attested::Pidfd),
            Some(false) => Err(Error::VerifyPid(Impostor::SameNumber { pid: expected })),
            None => {
                // It had the worker's number, which the worker had then: it lives still.
                self.held.alive()?;
                Ok(Attested::Credentials)
            }
        }
    }

    /// Whether a process that the kernel named is the worker; `None` where only its number can be compared, which is the worker's.
    fn is_worker(&self, pid: i32, pidfd: Option<&OwnedFd>) -> Option<bool> {
        if pid != self.held.pid() {
            return Some(false);
        }
        let found = pidfs::inode(pidfd?.as_fd()).ok().flatten()?;
        Some(self.held.inode()? == found)
    }
}

/// The last numbers that workers gave this process, which none of them may use again.
static SEEN: Mutex<VecDeque<Nonce>> = Mutex::new(VecDeque::new());

/// How many are remembered. The code covers our own number too: an older one proves nothing either.
const REMEMBERED: usize = 256;

fn was_seen(nonce: Nonce) -> bool {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains(&nonce) {
        return true;
    }
    if seen.len() == REMEMBERED {
        seen.pop_front();
    }
    seen.push_back(nonce);
    false
}
