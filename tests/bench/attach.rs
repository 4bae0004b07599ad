//! What it takes to find workers again that somebody else started, and to have each prove itself.

use crate::built::Built;
use crate::paired::{Subject, measure};
use crate::table;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use protocol::probe::{Instance, Secret};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use supervisor::workers::handle::{BackendHandle, Prober};
use supervisor::workers::identity::{Birth, DaemonProcess, Endpoint, Executable, Here};
use supervisor::workers::manifest::{Manifest, State};
use supervisor::workers::registry::Registry;
use sys::pidfd::Pidfd;

const PROBES: usize = 400;
const ROUNDS: usize = 20;

/// Workers of one registry. They end with it.
struct Stable {
    children: Vec<Child>,
    registry: Registry,
}

impl Drop for Stable {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both fail only when it has ended already.
            let _killed = child.kill();
            let _reaped = child.wait();
        }
    }
}

pub fn rows(built: &Built) {
    let pair = built.fixed.as_ref().unwrap_or(&built.dynamic);
    let executable = File::open(&pair.kept).map_err(|error| error.to_string());
    let executable = executable
        .and_then(|file| Executable::of(&file, &pair.kept).map_err(|errno| errno.to_string()));
    let executable = match executable {
        Ok(executable) => executable,
        Err(reason) => return table::missing("attach", &reason),
    };
    for count in [1, 100, 1000] {
        match stable(built, &pair.kept, &executable, count) {
            Ok(stable) => attach(&stable, count),
            Err(reason) => table::missing(&format!("attach, {count} workers"), &reason),
        }
    }
}

fn attach(stable: &Stable, count: usize) {
    if count == 1 {
        let manifest = stable.registry.list().expect("it can be listed").remove(0);
        let manifest = manifest.1.expect("it was just written");
        let process = manifest.process.clone().expect("there is one");
        let endpoint = process.endpoint.expect("there is one");
        let samples = measure(
            PROBES,
            vec![
                Subject::new("probe of a worker", || {
                    let start = Instant::now();
                    let handle = BackendHandle::try_from_manifest(&manifest);
                    let took = start.elapsed();
                    drop(handle.expect("it is the worker").expect("there is one"));
                    took
                }),
                Subject::new("connect and two echoes", || {
                    echoes(&endpoint.path, &manifest)
                }),
            ],
        );
        table::row("probe of a worker", &samples[0], &samples[1], None);
        table::within(
            "probe of a worker",
            samples[0].median(),
            Duration::from_millis(1),
        );
    }
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| once(stable, count)).collect();
    times.sort();
    let goal = Duration::from_millis(1) * u32::try_from(count).expect("a few");
    table::within(
        &format!("attach, {count} workers"),
        times[times.len() / 2],
        goal,
    );
}

/// All manifests read, and a verified handle for each.
fn once(stable: &Stable, count: usize) -> Duration {
    let start = Instant::now();
    let manifests = stable.registry.list().expect("it can be listed");
    let manifests = manifests.into_iter();
    let manifests: Vec<Manifest> = manifests
        .map(|(_, manifest)| manifest.expect("it was just written"))
        .collect();
    let handles = Prober::default().try_from_manifests(&manifests);
    let handles = handles.into_iter();
    let handles: Vec<BackendHandle> = handles
        .map(|handle| handle.expect("it is the worker").expect("there is one"))
        .collect();
    let took = start.elapsed();
    assert_eq!(handles.len(), count);
    took
}

/// What a connection with two lines each way costs that nobody verifies: the worker echoes after a probe of its own.
fn echoes(path: &Path, manifest: &Manifest) -> Duration {
    // Untimed: who has shown itself once is echoed.
    let handle = BackendHandle::try_from_manifest(manifest);
    let handle = handle.expect("it is the worker").expect("there is one");
    let mut stream = handle.connect().expect("it is kept").into_inner();
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let start = Instant::now();
    let raw = UnixStream::connect(path).expect("it listens");
    let mut line = String::new();
    for _ in 0..2 {
        stream.write_all(b"hello\n").expect("it listens");
        reader.read_line(&mut line).expect("it answers");
    }
    let took = start.elapsed();
    drop(raw);
    took
}

fn stable(
    built: &Built,
    program: &Path,
    executable: &Executable,
    count: usize,
) -> Result<Stable, String> {
    let directory = built.sub(&format!("stable-{count}"));
    let registry =
        Registry::open(&directory.join("registry")).map_err(|error| error.to_string())?;
    let mut stable = Stable {
        children: Vec::new(),
        registry,
    };
    let here = Here::now().map_err(|error| error.to_string())?;
    for number in 0..count {
        let id = format!("w{number}");
        let (child, process) = start(built, program, executable, directory.join(&id))?;
        stable.children.push(child);
        let manifest = Manifest {
            state: State::Ready,
            process: Some(process),
            ..Manifest::new(&id, "kept", "1", &here)
        };
        let written = stable.registry.write(&manifest);
        written.map_err(|error| error.to_string())?;
    }
    // Whoever is not there yet is waited for by nobody later.
    for (_, manifest) in stable.registry.list().map_err(|error| error.to_string())? {
        let manifest = manifest.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = BackendHandle::try_from_manifest(&manifest) {
            if Instant::now() > deadline {
                return Err(error.to_string());
            }
        }
    }
    Ok(stable)
}

/// A worker whose socket is its standard input, and whose commission comes where its output would go.
fn start(
    built: &Built,
    program: &Path,
    executable: &Executable,
    path: PathBuf,
) -> Result<(Child, DaemonProcess), String> {
    let failed = |errno: nix::errno::Errno| errno.to_string();
    let bound = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let bound = bound.map_err(failed)?;
    bind(bound.as_raw_fd(), &UnixAddr::new(&path).map_err(failed)?).map_err(failed)?;
    let mut random = [0; 48];
    sys::random::fill(&mut random).map_err(failed)?;
    let (secret, instance) = random.split_at(32);
    let birth = Birth {
        endpoint: Some(Endpoint {
            namespace_id: "bench".to_owned(),
            path: path.clone(),
        }),
        instance: Instance::from(<[u8; 16]>::try_from(instance).expect("the rest")),
        secret: Some(Secret::from(
            <[u8; 32]>::try_from(secret).expect("the first"),
        )),
        idle_timeout: None,
        has_cgroup: false,
    };
    let commission = child_shim::worker::Commission {
        secret: birth.secret.clone().expect("it was just made"),
        instance: birth.instance,
        boot_id: Here::now().map_err(|error| error.to_string())?.boot_id,
        endpoint: path.to_string_lossy().into_owned(),
        service: "kept".to_owned(),
        version: "1".to_owned(),
    };
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(failed)?;
    let written = File::from(writer).write_all(&commission.encode());
    written.map_err(|error| error.to_string())?;
    let mut command: Command = built.command(program);
    command
        .arg("serve")
        .env("SUPERVISE_WORKER_FD", "0")
        .env("SUPERVISE_WORKER_SECRET_FD", "1")
        .stdin(Stdio::from(bound))
        .stdout(Stdio::from(reader));
    let child = command.spawn().map_err(|error| error.to_string())?;
    let pidfd = Pidfd::open(child.id() as i32).map_err(failed)?;
    let process = DaemonProcess::of_child(&pidfd, executable, birth);
    Ok((child, process.map_err(|error| error.to_string())?))
}
