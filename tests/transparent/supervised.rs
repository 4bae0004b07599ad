//! A real door around real children: a thread that is filtered as a child would be starts them, another serves.

use crate::harness::{built, feature};
use crate::locked::lock_thread;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use supervisor::audit::{Decision, Error, Event};
use supervisor::policy::{
    Access, Allowed, Denial, Kind, Mechanism, Origin, Peer, Reason, Subject, Verdict,
};
use supervisor::policy::{NoFiles, Policy, Ruleset};
use supervisor::sandbox::{self, Kernel, Tag, prepare};
use supervisor::sources::{FileSystem, gather};
use supervisor::transparent::{Channel, Class, Door, Facts, Law, Recorder, numbers};
use sys::caps::CapSet;
use sys::journal::Journal;
use sys::seccomp::{self, Instruction, Listener};

/// A policy of a few lists.
#[derive(Default, Clone)]
pub struct Lists {
    /// Trees that may be written to.
    pub write: Vec<PathBuf>,
    /// Trees in them that may not.
    pub deny: Vec<PathBuf>,
    /// What may be written to is left to the supervisor.
    pub is_brokered: bool,
    /// Where connections may go.
    pub connect: Vec<SocketAddr>,
    /// Whether connections may go to what the session listens on.
    pub reaches_itself: bool,
    /// What may be bound; port 0 stands for every port.
    pub bind: Vec<SocketAddr>,
    /// Whether datagrams may be sent.
    pub udp: bool,
    /// How many tasks there may be.
    pub processes: Option<u64>,
    /// Whether opens are trapped, and none of them is the kernel's to allow.
    pub closed: bool,
    /// Whether calls that make, remove and move names are trapped.
    pub entries: bool,
    /// The tag of a session that this door serves from its beginning, or after another; nobody in these tests carries one.
    pub tag: Option<(Tag, Served)>,
    /// What stands for the session.
    pub session_socket: Option<PathBuf>,
}

/// Since when a door serves its session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Served {
    FromTheBeginning,
    AfterAnother,
}

impl Lists {
    pub fn writing(tree: &Path) -> Self {
        Self {
            write: vec![tree.to_owned()],
            ..Self::default()
        }
    }

    fn holds(trees: &[PathBuf], path: &Path) -> bool {
        trees.iter().any(|tree| path.starts_with(tree))
    }

    fn verdict(may: bool) -> Verdict {
        let rule = Origin::flag("--test");
        if may {
            Verdict::Allow(Allowed {
                rule,
                ttl: None,
                budget: None,
                mechanism: Mechanism::Landlock,
            })
        } else {
            Verdict::Deny(Denial {
                rule: None,
                access: Some(Access::WRITE),
                reason: Reason::NoRule,
            })
        }
    }
}

impl Law for Lists {
    fn decide_open(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        self.decide(subject, access)
    }

    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        assert!(subject.path.is_absolute());
        let denied = Self::holds(&self.deny, subject.path);
        let writes = access.contains(Access::WRITE);
        let verdict = Self::verdict(!denied && (!writes || Self::holds(&self.write, subject.path)));
        match verdict {
            // In these tests no Landlock enforces anything.
            Verdict::Allow(allowed) if self.closed || self.is_brokered => Verdict::Allow(Allowed {
                mechanism: Mechanism::Broker,
                ..allowed
            }),
            verdict => verdict,
        }
    }

    fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict {
        match kind {
            Kind::Directory => self.decide(subject, Access::WRITE),
            _ => self.decide_replace(subject),
        }
    }

    fn decide_replace(&self, subject: &Subject<'_>) -> Verdict {
        match self.deny.iter().any(|tree| tree.starts_with(subject.path)) {
            true => Self::verdict(false),
            false => self.decide(subject, Access::WRITE),
        }
    }

    fn decide_remove(&self, subject: &Subject<'_>) -> Verdict {
        self.decide(subject, Access::WRITE)
    }

    fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, _: Kind) -> Verdict {
        match self.decide_replace(from) {
            Verdict::Allow(_) => self.decide_replace(to),
            denied => denied,
        }
    }

    fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict {
        match self.decide(from, Access::WRITE) {
            Verdict::Allow(_) => self.decide(to, Access::WRITE),
            denied => denied,
        }
    }

    fn may_be_native(&self, _: &Path, _: Access) -> bool {
        true
    }

    fn knows_files(&self, _: Access) -> bool {
        false
    }

    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict {
        self.decide(subject, Access::WRITE)
    }

    fn decide_connect(&self, address: SocketAddr, peer: Peer) -> Verdict {
        let plain = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.reaches_itself && peer == Peer::Anybody && !self.connect.contains(&plain) {
            return Verdict::Deny(Denial {
                rule: None,
                access: None,
                reason: Reason::NotOwn,
            });
        }
        Self::verdict(self.reaches_itself || self.connect.contains(&plain))
    }

    fn reaches_itself(&self) -> bool {
        self.reaches_itself
    }

    fn decide_bind(&self, address: SocketAddr) -> Verdict {
        let port = SocketAddr::new(address.ip().to_canonical(), 0);
        Self::verdict(self.bind.contains(&port) || self.bind.contains(&address))
    }

    fn allows_udp(&self) -> bool {
        self.udp
    }
}

/// One line for each decision.
#[derive(Default, Clone)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .expect("no test panics while it holds this")
            .clone()
    }
}

impl Recorder for Lines {
    fn record(&mut self, event: &Event<'_>) -> Result<(), Error> {
        let Event::Decision(decision) = event else {
            panic!("the door records decisions only");
        };
        let text =
            |bytes: supervisor::audit::Bytes<'_>| String::from_utf8_lossy(bytes.0).into_owned();
        let Decision {
            call,
            path,
            asked,
            address,
            answer,
            errno,
            ..
        } = decision;
        let what = path.or(*asked).map(text).or(address.map(|a| a.to_string()));
        let what = what.unwrap_or_default();
        let errno = errno.map(|errno| format!("{errno:?}")).unwrap_or_default();
        let line = format!("{answer:?} {call} {what} {errno}");
        self.0
            .lock()
            .expect("no test panics while it holds this")
            .push(line.trim_end().to_owned());
        Ok(())
    }
}

type Order = Box<dyn FnOnce() + Send>;

/// A session: whatever runs in it is filtered, and served.
pub struct Supervised {
    orders: Option<Sender<Order>>,
    filtered: Option<JoinHandle<()>>,
    serving: Option<JoinHandle<()>>,
    stop: Arc<EventFd>,
    pub lines: Lines,
    pub channels: Receiver<Channel>,
}

impl Supervised {
    pub fn new(lists: Lists) -> Self {
        Self::of(lists.clone(), lists, Vec::new())
    }

    /// Under a policy, in which `$P` is a directory, and what Landlock makes of it. Opens and names are trapped.
    pub fn ruled(text: &str, place: &Path) -> Self {
        let probe = built::probe();
        let programs = probe.parent().expect("it lies in a directory");
        let text = text.replace("$P", place.to_str().expect("UTF-8"));
        let text = text.replace("PROGRAMS", programs.to_str().expect("UTF-8"));
        let text = format!("version = 1\ntmp = \"none\"\n{text}");
        let policy = Policy::parse("policy.toml", &text, &mut NoFiles);
        let policy = policy.unwrap_or_else(|error| panic!("{error}"));
        let facts = gather(&[], None, "/nowhere".into(), None).expect("facts");
        let ruleset = Ruleset::compile(&[policy], &facts, &FileSystem, &[]);
        let ruleset = ruleset.unwrap_or_else(|error| panic!("{error}"));
        let confinement = prepare(&ruleset, &Kernel::probe(), sandbox::Listener::Wanted, None);
        let confinement = confinement.expect("it can be enforced");
        let locks = confinement.rulesets().into_iter();
        let locks = locks.map(|lock| lock.try_clone_to_owned().expect("descriptors are free"));
        let lists = Lists {
            entries: true,
            ..Lists::default()
        };
        Self::of(ruleset, lists, locks.collect())
    }

    fn of(law: impl Law + Send + 'static, lists: Lists, locks: Vec<OwnedFd>) -> Self {
        let (orders, inbox) = channel::<Order>();
        let (hand_over, listener) = channel();
        let program = trapping(&lists);
        let filtered = std::thread::spawn(move || {
            confine();
            lock_thread(&locks.iter().map(AsFd::as_fd).collect::<Vec<_>>());
            let flags = seccomp::NEW_LISTENER | seccomp::WAIT_KILLABLE_RECV;
            let listener = seccomp::install(&program, flags)
                .expect("the filter can be installed")
                .expect("a listener was asked for");
            hand_over.send(listener).expect("the test waits for it");
            for order in inbox {
                order();
            }
        });
        let listener = listener.recv().expect("the filtered thread sends it");
        let stop = Arc::new(EventFd::new().expect("an eventfd"));
        let lines = Lines::default();
        let (tell, channels) = channel();
        let serving = std::thread::spawn({
            let (stop, lines) = (Arc::clone(&stop), lines.clone());
            move || serve(listener, &law, &lists, lines, &stop, &tell)
        });
        Self {
            orders: Some(orders),
            filtered: Some(filtered),
            serving: Some(serving),
            stop,
            lines,
            channels,
        }
    }

    /// Does something in the filtered thread: what that starts is supervised.
    pub fn inside<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = channel();
        let order = Box::new(move || tell.send(act()).expect("the test waits for it"));
        let orders = self.orders.as_ref().expect("it is going on");
        orders.send(order).expect("the filtered thread lives");
        result.recv().expect("what runs inside does not panic")
    }

    /// What the probe answers inside.
    pub fn probe<S: AsRef<OsStr>>(&self, directory: &Path, words: &[S]) -> Vec<String> {
        let command = probe(directory, words);
        self.inside(move || answers(command))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.orders.take());
        let filtered = self.filtered.take().map(JoinHandle::join);
        self.stop.write(1).expect("an eventfd takes a 1");
        let serving = self.serving.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(
                matches!(filtered, Some(Ok(()))),
                "the filtered thread failed"
            );
            assert!(matches!(serving, Some(Ok(()))), "the door failed");
        }
    }
}

/// What a child is: without capabilities, for ever.
fn confine() {
    sys::caps::restrict_thread(CapSet::EMPTY).expect("capabilities can be given up");
    seccomp::set_no_new_privs().expect("new privileges can be given up");
}

fn serve(
    listener: Listener,
    law: &dyn Law,
    lists: &Lists,
    mut lines: Lines,
    stop: &EventFd,
    channels: &Sender<Channel>,
) {
    // Exactly the child's capabilities.
    confine();
    let facts = Facts {
        session_socket: lists.session_socket.clone(),
        rulesets: Vec::new(),
        root: std::process::id() as i32,
        processes: lists.processes,
        closed: lists.closed,
        tag: lists.tag.map(|(tag, _)| tag),
        watched: None,
    };
    // As a daemon does it: whoever is to go on with the session holds its journal from the beginning.
    let journal = lists.tag.map(|_| {
        let file = Journal::blank(1);
        file.expect("memory for a call")
    });
    let mut door = Door::new(listener, journal, facts).expect("the door opens");
    if let Some((_, Served::AfterAnother)) = lists.tag {
        let served = door.resume_calls(law, &mut lines);
        served.expect("nothing waits that could fail");
    }
    loop {
        let (calls, done) = {
            let mut fds = [
                PollFd::new(door.calls(), PollFlags::POLLIN),
                PollFd::new(door.done(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut fds, PollTimeout::NONE).expect("descriptors can be polled");
            let [calls, done, stop] = fds.map(|fd| fd.revents().expect("flags that are known"));
            if !stop.is_empty() {
                return;
            }
            (calls, !done.is_empty())
        };
        let mut served = Vec::new();
        if !calls.is_empty() {
            let more = door.on_call(calls, law, &mut lines);
            served.push(more.expect("calls are served"));
        }
        if done {
            served.push(door.on_done(law, &mut lines).expect("results are served"));
        }
        for served in served {
            for channel in served.channels {
                channels.send(channel).expect("the test lives");
            }
            if served.is_closed {
                return;
            }
        }
    }
}

/// A filter that traps what the door answers, one comparison after the other.
fn trapping(lists: &Lists) -> Vec<Instruction> {
    let code = |bits: u32| bits as u16;
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let ret = code(libc::BPF_RET | libc::BPF_K);
    let mut trapped: Vec<_> = numbers(Class::Metadata)
        .chain(numbers(Class::OtherTask))
        .collect();
    if feature::pidfd_getfd().is_ok() {
        for class in [Class::Connect, Class::Bind, Class::Listen, Class::Watch] {
            trapped.extend(numbers(class));
        }
    }
    for (class, is_trapped) in [
        (Class::Open, lists.closed),
        (Class::Entry, lists.entries),
        (Class::NewTask, lists.processes.is_some()),
    ] {
        if is_trapped {
            trapped.extend(numbers(class));
        }
    }
    let mut program = vec![
        instruction(load, 0, 0, 0),
        // As in every session: its flags are in memory, where no filter sees them.
        instruction(equal, 0, 1, libc::SYS_clone3 as u32),
        instruction(ret, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    // As in every session: a descriptor that only names a file is the kernel's to give.
    let bits = code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K);
    for (number, flags) in by_flags() {
        let low_half = 16 + 8 * flags;
        program.extend([
            instruction(equal, 0, 4, number as u32),
            instruction(load, 0, 0, low_half),
            instruction(bits, 0, 1, libc::O_PATH as u32),
            instruction(ret, 0, 0, libc::SECCOMP_RET_ALLOW),
            instruction(load, 0, 0, 0),
        ]);
    }
    for (at, number) in trapped.iter().enumerate() {
        let to_trap = (trapped.len() - at) as u8;
        program.push(instruction(equal, to_trap, 0, *number as u32));
    }
    program.push(instruction(ret, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(instruction(ret, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    program
}

/// The opens whose flags are in a register, and in which.
fn by_flags() -> Vec<(libc::c_long, u32)> {
    vec![
        (libc::SYS_openat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, 1),
    ]
}

/// Does something in a thread that is what a child is, but not supervised.
pub fn outside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(move || {
        confine();
        act()
    });
    thread.join().expect("what runs outside does not panic")
}

/// The probe, to be run in a directory.
pub fn probe<S: AsRef<OsStr>>(directory: &Path, words: &[S]) -> Command {
    let mut command = Command::new(built::probe());
    command.args(words).current_dir(directory);
    command
}

/// What a probe answers, line by line.
pub fn answers(mut command: Command) -> Vec<String> {
    let ran = crate::harness::run::run(&mut command);
    ran.lines().iter().map(|line| (*line).to_owned()).collect()
}

/// What the probe answers to the same words without a supervisor.
pub fn probe_outside<S: AsRef<OsStr>>(directory: &Path, words: &[S]) -> Vec<String> {
    let command = probe(directory, words);
    outside(move || answers(command))
}
