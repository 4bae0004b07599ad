//! A keeper with the least of daemons: it starts so many workers of one command under one policy, serves them, and takes over those
//! of the daemon before.
//!
//! `keeping keep DIR COUNT bound|free|unrecorded TEXT -- COMMAND…` keeps; `keeping serve …` is what it starts. The workers start in DIR/work; DIR/log
//! gets a line for each thing that happens, DIR/daemon the pid of the daemon, DIR/out what the workers say.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use supervisor::audit::Log;
use supervisor::launch::{Command, Exit, Orphans, Program};
use supervisor::policy::{Facts, NoFiles, Policy, Ruleset};
use supervisor::sandbox::{Confinement, Kernel, Listener, Tag, prepare};
use supervisor::sources::FileSystem;
use supervisor::workers::keeper::{Daemon, Given, Inheritance, Link, keep};
use supervisor::workers::stable::{Adoption, Birth, Happening, Stable, Worker};
use sys::seccomp;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let what = words.remove(0);
    if what == "keep" {
        let place = Path::new(&words[0]).join("place");
        words.insert(0, "serve".into());
        let daemon = Daemon {
            place,
            program: std::env::current_exe().expect("this program has a name"),
            arguments: words,
        };
        return match keep(&daemon).expect("the keeper keeps") {
            Exit::Code(code) => ExitCode::from(code as u8),
            Exit::Signal(signal) => ExitCode::from(128 + signal as u8),
            Exit::Unknown => unreachable!("the daemon is the keeper's child"),
        };
    }
    serve(&Orders::read(&words));
    ExitCode::SUCCESS
}

struct Orders {
    directory: PathBuf,
    count: usize,
    is_bound: bool,
    is_recorded: bool,
    text: String,
    command: Vec<OsString>,
}

impl Orders {
    fn read(words: &[OsString]) -> Self {
        let text = |at: usize| words[at].to_str().expect("text").to_owned();
        assert_eq!(words[4], "--");
        Self {
            directory: words[0].clone().into(),
            count: text(1).parse().expect("a number"),
            is_bound: text(2) == "bound",
            is_recorded: text(2) == "free",
            text: text(3),
            command: words[5..].to_vec(),
        }
    }

    fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    fn ruleset(&self) -> Arc<Ruleset> {
        let policy = Policy::parse("test.toml", &self.text, &mut NoFiles).expect("a policy");
        let facts = Facts {
            cwd: self.work(),
            home: None,
            user: None,
            tmpdir: self.directory.join("tmp"),
            repository: None,
            variables: Default::default(),
        };
        let ruleset = Ruleset::compile(&[policy], &facts, &FileSystem, &[]).expect("a ruleset");
        Arc::new(ruleset)
    }

    fn confinement(&self, ruleset: &Ruleset, tag: Tag) -> Arc<Confinement> {
        let prepared = prepare(ruleset, &Kernel::probe(), Listener::Wanted, Some(tag));
        Arc::new(prepared.expect("the policy can be enforced"))
    }

    fn log(&self, tag: Tag) -> Log {
        Log::create(&self.directory.join(format!("audit-{tag}.jsonl"))).expect("a log")
    }

    fn birth(&self) -> Birth {
        let tag = Tag::random().expect("random numbers");
        let ruleset = self.ruleset();
        let name = &self.command[0];
        let anywhere = |_: &Program| Ok(());
        let program = Program::find(name, OsStr::new("/usr/bin:/bin"), Path::new("/"), &anywhere);
        let text = |word: &OsString| CString::new(word.as_bytes()).expect("no zero in it");
        Birth {
            command: Command {
                program: program.expect("the command is there"),
                argv: self.command.iter().map(text).collect(),
                envp: vec![c"PATH=/usr/bin:/bin".into(), c"SUPERVISE_FD=3".into()],
                working_directory: File::open(self.work()).expect("a directory").into(),
                pass: Vec::new(),
                streams: [None, None, None],
                terminal: None,
                signal_mask: 0,
                orphans: Orphans::Kill,
            },
            confinement: self.confinement(&ruleset, tag),
            ruleset,
            tag,
            is_bound: self.is_bound,
            log: self.log(tag),
            seat: None,
            socket_path: self.directory.join("socket"),
        }
    }

    fn adoption(&self, given: &Given) -> Adoption {
        let ruleset = self.ruleset();
        let confinement = self.confinement(&ruleset, given.tag);
        Adoption {
            capabilities: confinement.capabilities(),
            closed: confinement.layers().opens.closed(),
            ruleset,
            log: self.log(given.tag),
            session: given.tag.to_string(),
            seat: None,
            socket_path: self.directory.join("socket"),
            wall: None,
        }
    }
}

/// Does to this process what Yama does to one that is nobody's ancestor: it reads no memory of others, and takes none of their
/// descriptors. That the kernel can do so it still says.
fn look_at_nobody() {
    let instruction = |code: u32, jt, jf, k: u32| seccomp::Instruction {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let is = |k, jt, jf| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jt, jf, k);
    let answer = |k| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, k);
    let filter = [
        load(0),
        is(libc::SYS_process_vm_readv as u32, 4, 0),
        is(libc::SYS_pidfd_getfd as u32, 0, 2),
        // The first argument.
        load(16),
        is(u32::MAX, 0, 1),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    seccomp::set_no_new_privs().expect("new privileges can be given up");
    let listener = seccomp::install(&filter, 0).expect("the filter can be installed");
    assert!(listener.is_none());
    let mut byte = [0];
    let read = sys::process_memory::read_exact(
        std::process::id() as i32,
        &raw const filter as u64,
        &mut byte,
    );
    assert_eq!(read, Err(Errno::EPERM), "nobody is asked yet");
}

fn serve(orders: &Orders) {
    if std::env::var_os("KEEPING_LOOKS_AT_NOBODY").is_some() {
        look_at_nobody();
    }
    let append = |name: &str| {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options.open(orders.directory.join(name)).expect("a file")
    };
    let mut log = append("log");
    let keeper = std::io::stdin().as_fd().try_clone_to_owned();
    let inheritance = Link::open(keeper.expect("standard input")).expect("a keeper");
    let Inheritance { link, workers, .. } = inheritance;
    let mut stable = Stable::new(link).expect("a stable");
    let mut say = |what: &str| writeln!(log, "{what}").expect("the log takes a line");
    let mut living: Vec<Worker> = Vec::new();
    let is_first = workers.is_empty();
    for given in workers {
        let adoption = orders.adoption(&given);
        let worker = stable.adopt(given, adoption).expect("a worker is adopted");
        say(&format!("adopted {} {}", worker.pid, worker.has_listener));
        living.push(worker);
    }
    for _ in 0..if is_first { orders.count } else { 0 } {
        match stable.start(orders.birth()) {
            Ok(worker) => {
                if orders.is_recorded {
                    stable.may_outlive(worker.tag).expect("a keeper");
                }
                say(&format!("started {}", worker.pid));
                living.push(worker);
            }
            Err(error) => say(&format!("not started: {error}")),
        }
    }
    // Replaced, so that whoever reads it reads a whole one.
    let (new, name) = (
        orders.directory.join("daemon.new"),
        orders.directory.join("daemon"),
    );
    std::fs::write(&new, std::process::id().to_string()).expect("a file");
    std::fs::rename(new, name).expect("a file");
    stable.link().ready().expect("a keeper");
    let mut out = append("out");
    let mut is_ending = false;
    while !living.is_empty() || !is_ending {
        let mut fds = vec![
            PollFd::new(stable.link().as_fd(), PollFlags::POLLIN),
            PollFd::new(stable.events(), PollFlags::POLLIN),
        ];
        let streams = |worker: &Worker| {
            let streams = [&worker.output, &worker.errors];
            streams.map(|fd| fd.as_ref().map(|fd| fd.try_clone().expect("a descriptor")))
        };
        let open: Vec<OwnedFd> = living.iter().flat_map(streams).flatten().collect();
        fds.extend(
            open.iter()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        poll(&mut fds, PollTimeout::NONE).expect("poll");
        for fd in &fds[2..] {
            if fd.revents().is_some_and(|what| !what.is_empty()) {
                pour(fd.as_fd(), &mut out, &mut living);
            }
        }
        stable.hear().expect("a keeper");
        while let Some(happening) = stable.next_happening().expect("a keeper") {
            match happening {
                Happening::Stop => {
                    is_ending = true;
                    for worker in &living {
                        stable.signal(worker.tag, libc::SIGTERM).expect("a signal");
                    }
                }
                Happening::Ended { tag, how } => {
                    living.retain(|worker| worker.tag != tag);
                    say(&format!("ended {how:?}"));
                }
            }
        }
    }
    stable.link().last().expect("a keeper");
}

/// Copies what a worker said; forgets a stream that is over.
fn pour(from: std::os::fd::BorrowedFd<'_>, out: &mut File, living: &mut [Worker]) {
    let mut buffer = [0; 4096];
    let length = nix::unistd::read(from, &mut buffer).unwrap_or(0);
    out.write_all(&buffer[..length]).expect("a file");
    if length > 0 {
        return;
    }
    let is_same = |fd: &OwnedFd| {
        let of = |fd| nix::sys::stat::fstat(fd).map(|status| status.st_ino);
        of(fd.as_fd()) == of(from)
    };
    for worker in living {
        worker.output = worker.output.take().filter(|fd| !is_same(fd));
        worker.errors = worker.errors.take().filter(|fd| !is_same(fd));
    }
}
