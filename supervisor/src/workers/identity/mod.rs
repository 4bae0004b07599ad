//! Who a worker is, recorded so that a later supervisor finds that very process again and no other.
//!
//! In: a record ([`DaemonProcess`]) that an earlier supervisor wrote. Out: the process, held by its pidfd ([`Held`]), and how it was found
//! ([`Found`]); or the one thing that is not as recorded ([`Mismatch`]).
//!
//! What never happens here: a signal, a connection, trust in a number. A pid says where to look in `/proc`, and the pidfd, looked at
//! again after each read, says that what was read was of this process.

mod attach;
mod clock;
mod executable;
mod held;
mod machine;
mod mismatch;

pub use attach::{Executables, Found, Step};
pub use executable::{Executable, FileId};
pub use held::{Held, Rung};
pub use machine::{Here, NamespaceId};
pub use mismatch::{Field, Mismatch};

use crate::audit::Digest;
use held::ProcDir;
use nix::errno::Errno;
use protocol::probe::{Commission, Instance, Secret};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use sys::pidfd::Pidfd;
use sys::pidfs;

/// Where a worker can be spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Which set of endpoints it belongs to: those of one pool, of one user, of the system. The same path means another worker in another
    /// set.
    pub namespace_id: String,
    /// The path of its Unix stream socket.
    pub path: PathBuf,
}

/// A worker, as it was when it was started: everything by which it is known again.
#[derive(Debug, Clone)]
pub struct DaemonProcess {
    /// Its number, in the pid namespace below.
    pub pid: i32,
    /// The path that was executed. For people: no decision rests on it.
    pub exe_path: PathBuf,
    /// What was executed.
    pub exe_sha256: Digest,
    /// The file that was executed. For people: it may have been replaced since.
    pub exe_file: FileId,
    /// The machine.
    pub machine_id: String,
    /// The boot of that machine.
    pub boot_id: String,
    /// The pid namespace of who recorded this, in which the pid is a number. The worker itself may live in another.
    pub pid_namespace: NamespaceId,
    /// When it was started, in clock ticks since the boot, outside of all time namespaces: the third name of a process, after handle
    /// and inode.
    pub start_ticks: u64,
    /// When it was started, in milliseconds since 1970. For people.
    pub started_at_ms: u64,
    /// Its user.
    pub uid: u32,
    /// Its cgroup, as `/proc/PID/cgroup` has it; recorded where workers have cgroups of their own.
    pub cgroup: Option<String>,
    /// The name by which the kernel opens it again (Linux 6.14).
    pub pidfs_handle: Option<pidfs::Handle>,
    /// The inode of its pidfd (Linux 6.9).
    pub pidfs_inode: Option<u64>,
    /// Which life of this worker. Also tells two processes apart that are alike in everything else.
    pub instance: Instance,
    /// Where it listens; `None` for a program that does not speak with us.
    pub endpoint: Option<Endpoint>,
    /// What it and its supervisor know, and nobody else; `None` with no endpoint.
    pub secret: Option<Secret>,
    /// After so long without a request it ends by itself; `None` is never.
    pub idle_timeout: Option<Duration>,
}

/// What is recorded of a process beside what the kernel tells of it.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Where it will listen.
    pub endpoint: Option<Endpoint>,
    /// Which life of this worker it is.
    pub instance: Instance,
    /// What it was given to prove that.
    pub secret: Option<Secret>,
    /// After so long without a request it will end by itself.
    pub idle_timeout: Option<Duration>,
    /// Whether it has a cgroup of its own, that it must not leave.
    pub has_cgroup: bool,
}

impl DaemonProcess {
    /// Records a process that this one holds from its birth. `executable` is what was opened, hashed and executed; for a script, its
    /// interpreter.
    ///
    /// # Errors
    /// [`Mismatch`] with what could not be found out.
    pub fn of_child(
        pidfd: &Pidfd,
        executable: &Executable,
        birth: Birth,
    ) -> Result<Self, Mismatch> {
        Self::record(pidfd, birth, |_| Ok(executable.clone()))
    }

    /// Records this very process, which is about to serve at `endpoint` and to end after `idle_timeout` without a request. It makes a
    /// secret and an instance of its own: [`DaemonProcess::commission`] is what it answers probes with.
    ///
    /// # Errors
    /// [`Mismatch`] with what could not be found out.
    pub fn current_process(
        endpoint: Endpoint,
        idle_timeout: Option<Duration>,
    ) -> Result<Self, Mismatch> {
        let own = Pidfd::open(nix::unistd::getpid().as_raw())
            .map_err(Mismatch::unknown(Field::Process, "pidfd_open"))?;
        let birth = Birth {
            endpoint: Some(endpoint),
            instance: Instance::from(random()?),
            secret: Some(Secret::from(random()?)),
            idle_timeout,
            has_cgroup: false,
        };
        Self::record(&own, birth, |process| process.executable())
    }

    fn record(
        pidfd: &Pidfd,
        birth: Birth,
        executable: impl FnOnce(&ProcDir<'_>) -> Result<Executable, Mismatch>,
    ) -> Result<Self, Mismatch> {
        let here = Here::now()?;
        let held = Held::of(pidfd)?;
        let process = held.proc()?;
        let executable = executable(&process)?;
        let unknown = |operation| Mismatch::unknown(Field::Process, operation);
        Ok(Self {
            pid: held.pid(),
            exe_path: executable.path,
            exe_sha256: executable.sha256,
            exe_file: executable.file,
            machine_id: here.machine_id,
            boot_id: here.boot_id,
            pid_namespace: here.pid_namespace,
            start_ticks: process.start_ticks()?,
            started_at_ms: since_1970(),
            uid: process.uid()?,
            cgroup: match birth.has_cgroup {
                true => Some(process.cgroup()?),
                false => None,
            },
            pidfs_handle: pidfs::Handle::of(pidfd.as_fd()).map_err(unknown("name_to_handle_at"))?,
            pidfs_inode: held.inode(),
            instance: birth.instance,
            endpoint: birth.endpoint,
            secret: birth.secret,
            idle_timeout: birth.idle_timeout,
        })
    }

    /// How long ago it was started: by the clock of its start, which goes on while the machine sleeps. Means something on the machine
    /// and in the boot of the record only.
    ///
    /// # Errors
    /// [`Mismatch::Unknown`]
    pub fn age(&self) -> Result<Duration, Mismatch> {
        clock::since(self.start_ticks)
    }

    /// What this worker is told, or tells itself, so that it can answer probes: as a service of that name and version. `None` where it has
    /// no endpoint, no secret, or an endpoint whose path is no text.
    #[must_use]
    pub fn commission(&self, service: &str, version: &str) -> Option<Commission> {
        Some(Commission {
            secret: self.secret.clone()?,
            instance: self.instance,
            boot_id: self.boot_id.clone(),
            endpoint: self.endpoint.as_ref()?.path.to_str()?.to_owned(),
            service: service.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// A new life of a worker, and what it proves that with.
///
/// # Errors
/// The kernel has no random numbers yet.
pub fn fresh() -> Result<(Instance, Secret), Mismatch> {
    Ok((Instance::from(random()?), Secret::from(random()?)))
}

/// Random bytes of the kernel's.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Mismatch> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes).map_err(|_| Errno::EIO);
    filled.map_err(Mismatch::unknown(Field::Process, "getrandom"))?;
    Ok(bytes)
}

fn since_1970() -> u64 {
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    passed.map_or(0, |passed| passed.as_millis() as u64)
}
