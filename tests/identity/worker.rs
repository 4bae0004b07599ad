//! A worker as a supervisor starts one, and what it records of it.

use crate::harness::Workspace;
use crate::harness::built::kept;
use crate::harness::process::inherit;
use crate::harness::run::eventually;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use protocol::probe::{Instance, Secret};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use supervisor::workers::handle::{BackendHandle, Error, Prober};
use supervisor::workers::identity::{
    Birth, DaemonProcess, Endpoint, Executable, Executables, Here,
};
use supervisor::workers::manifest::{Manifest, State};
use sys::pidfd::Pidfd;

pub const SERVICE: &str = "kept";
pub const VERSION: &str = "1.0";

/// Plenty, for a worker that is to be found whatever else the machine does.
pub fn patient() -> Prober {
    Prober {
        deadline: Duration::from_secs(20),
        ..Prober::default()
    }
}

/// What a worker inherits.
pub struct Outfit {
    pub endpoint: Endpoint,
    pub instance: Instance,
    pub secret: Secret,
    pub fds: Vec<(OwnedFd, RawFd)>,
}

pub const ENVIRONMENT: [(&str, &str); 2] = [
    ("SUPERVISE_WORKER_FD", "4"),
    ("SUPERVISE_WORKER_SECRET_FD", "5"),
];

impl Outfit {
    /// A socket bound at `path`, and a commission in a pipe.
    pub fn new(path: &Path) -> Self {
        let endpoint = Endpoint {
            namespace_id: "test".to_owned(),
            path: path.to_owned(),
        };
        Self::alike(endpoint, Instance::from(random()), Secret::from(random()))
    }

    pub fn alike(endpoint: Endpoint, instance: Instance, secret: Secret) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let bound = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        bind(bound.as_raw_fd(), &UnixAddr::new(&endpoint.path).unwrap()).unwrap();
        let commission = child_shim::worker::Commission {
            secret: secret.clone(),
            instance,
            boot_id: Here::now().unwrap().boot_id,
            endpoint: endpoint.path.to_str().unwrap().to_owned(),
            service: SERVICE.to_owned(),
            version: VERSION.to_owned(),
        };
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        File::from(writer).write_all(&commission.encode()).unwrap();
        Self {
            endpoint,
            instance,
            secret,
            fds: vec![(bound, 4), (reader, 5)],
        }
    }

    pub fn birth(&self) -> Birth {
        Birth {
            endpoint: Some(self.endpoint.clone()),
            instance: self.instance,
            secret: Some(self.secret.clone()),
            idle_timeout: None,
            has_cgroup: false,
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    sys::random::fill(&mut bytes).unwrap();
    bytes
}

/// A process that ends with the test, however that ends.
pub struct Companion(pub Child);

impl Drop for Companion {
    fn drop(&mut self) {
        // Both fail when it was waited for.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A worker that runs, and its record. Killed when the test is over.
pub struct Worker {
    pub child: Child,
    pub process: DaemonProcess,
    pub workspace: Workspace,
}

impl Worker {
    /// One that behaves like `how`.
    pub fn start(how: &str) -> Self {
        Self::start_of(&kept(), how, Workspace::new(), |_| {})
    }

    pub fn start_of(
        program: &Path,
        how: &str,
        workspace: Workspace,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program);
        command.arg(how);
        prepare(&mut command);
        Self::start_with(command, program, workspace, |child| child)
    }

    /// The worker is the child of that command, or whichever process `worker_of` makes of its number.
    pub fn start_with(
        mut command: Command,
        program: &Path,
        workspace: Workspace,
        worker_of: impl FnOnce(i32) -> i32,
    ) -> Self {
        let outfit = Outfit::new(&workspace.join("w"));
        let birth = outfit.birth();
        inherit(&mut command, outfit.fds)
            .envs(ENVIRONMENT)
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let executable = executable(program);
        // As long as nobody listens, nobody has said where the worker is.
        let path = workspace.join("w");
        eventually("the worker listened", || UnixStream::connect(&path).is_ok());
        let pidfd = Pidfd::open(worker_of(child.id() as i32)).unwrap();
        let process = DaemonProcess::of_child(&pidfd, &executable, birth).unwrap();
        Self {
            child,
            process,
            workspace,
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        self.process.endpoint.clone().unwrap()
    }

    pub fn manifest(&self) -> Manifest {
        manifest("w", Some(self.process.clone()))
    }

    /// The handle, or why there is none.
    pub fn probe(&self) -> Result<BackendHandle, Error> {
        self.probe_as(&self.process)
    }

    /// The same with another record.
    pub fn probe_as(&self, process: &DaemonProcess) -> Result<BackendHandle, Error> {
        patient().probe_with_service(SERVICE, VERSION, &self.endpoint(), process)
    }

    /// The same, where it does not matter whether the executable can be read.
    pub fn probe_preferring(&self) -> Result<BackendHandle, Error> {
        let prober = Prober {
            executables: Executables::Prefer,
            ..patient()
        };
        prober.probe_with_service(SERVICE, VERSION, &self.endpoint(), &self.process)
    }

    /// Whether this kernel opens processes by handles, and lets us: a container's filter does not.
    pub fn opens_by_handle(&self) -> bool {
        let handle = self.process.pidfs_handle;
        handle.is_some_and(|handle| handle.open().unwrap().is_some())
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // All fail when it is gone already. It need not be our child.
        if let Ok((held, _)) = self.process.find(Executables::Skip) {
            let _told = held.pidfd().send_signal(libc::SIGKILL);
        }
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

pub fn executable(path: &Path) -> Executable {
    Executable::of(&File::open(path).unwrap(), path).unwrap()
}

pub fn manifest(id: &str, process: Option<DaemonProcess>) -> Manifest {
    let here = Here::now().unwrap();
    Manifest {
        state: State::Ready,
        process,
        ..Manifest::new(id, SERVICE, VERSION, &here)
    }
}

/// A copy of the worker that differs from it in nothing that matters to how it runs.
pub fn other_build(directory: &Workspace, name: &str) -> PathBuf {
    let path = directory.join(name);
    crate::harness::built::copy_program(&kept(), &path);
    let status = Command::new("sh")
        .args(["-c", "echo x >> \"$0\""])
        .arg(&path)
        .status();
    assert!(status.unwrap().success());
    path
}
