//! Under systemd: what a unit has to say, whether one says it, and what the service manager is told.

use super::config::{OnSupervisorExit, PoolFile};
use protocol::control::{Finding, Severity};
use std::collections::BTreeMap;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

/// Whose service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The system's.
    System,
    /// A user's.
    User,
}

/// What a unit is for.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// The program.
    pub program: &'a Path,
    /// The pool file.
    pub config: &'a Path,
    /// What it says.
    pub file: &'a PoolFile,
    /// Whose it is.
    pub manager: Manager,
}

/// How long the loop may be silent before it is taken for stuck.
const WATCHDOG: Duration = Duration::from_secs(30);

/// How much longer the end of everything takes than that of the slowest worker.
const END: Duration = Duration::from_secs(10);

impl Service<'_> {
    fn survives(&self) -> bool {
        let survive = OnSupervisorExit::Survive;
        self.file
            .kinds
            .iter()
            .any(|kind| kind.on_supervisor_exit == survive)
    }

    /// The unit's text.
    #[must_use]
    pub fn unit(&self) -> String {
        let slowest = self.file.kinds.iter().map(|kind| kind.stop_timeout).max();
        let stop = slowest.unwrap_or_default() + END;
        let (kill, why) = match self.survives() {
            true => (
                "process",
                "workers that survive are not the service manager's to kill",
            ),
            false => (
                "mixed",
                "the keeper ends its workers in order, what is left is killed",
            ),
        };
        let target = match self.manager {
            Manager::System => "multi-user.target",
            Manager::User => "default.target",
        };
        format!(
            "[Unit]\n\
             Description=Sandboxed workers of supervise\n\
             \n\
             [Service]\n\
             # The daemon says when it is ready, and that it lives; the keeper is what was started.\n\
             Type=notify\n\
             NotifyAccess=all\n\
             ExecStart={} daemon --config {}\n\
             # {why}.\n\
             KillMode={kill}\n\
             TimeoutStopSec={}\n\
             Restart=on-failure\n\
             WatchdogSec={}\n\
             Delegate=yes\n\
             \n\
             [Install]\n\
             WantedBy={target}\n",
            quoted(self.program),
            quoted(self.config),
            stop.as_secs(),
            WATCHDOG.as_secs(),
        )
    }

    /// What is not as it should be in a unit's text.
    #[must_use]
    pub fn validate(&self, unit: &str) -> Vec<Finding> {
        let settings = settings(unit);
        let get = |key: &str| settings.get(key).map(String::as_str);
        let mut found = Vec::new();
        let mut note = |is_so: bool, code: &str, severity, message: String, fix: &str| {
            if is_so {
                found.push(Finding {
                    code: code.to_owned(),
                    severity,
                    message,
                    fix: Some(fix.to_owned()),
                });
            }
        };
        let start = get("ExecStart").unwrap_or_default();
        let words: Vec<&str> = start.split_ascii_whitespace().collect();
        note(
            !words.contains(&"daemon") || !words.contains(&"--config"),
            "unit-exec-start",
            Severity::Error,
            format!("ExecStart={start} does not start a daemon with a pool file"),
            "ExecStart=/path/to/supervise daemon --config /path/to/workers.toml",
        );
        let kind = get("Type").unwrap_or("simple");
        note(
            kind != "notify",
            "unit-type",
            Severity::Warning,
            format!(
                "with Type={kind} the service is taken for started before its workers can be asked for"
            ),
            "Type=notify",
        );
        let access = get("NotifyAccess").unwrap_or("main");
        note(
            kind == "notify" && access != "all",
            "unit-notify-access",
            Severity::Error,
            format!(
                "with NotifyAccess={access} the daemon, which is not the main process, is not heard"
            ),
            "NotifyAccess=all",
        );
        let kill = get("KillMode").unwrap_or("control-group");
        note(
            self.survives() && kill != "process",
            "unit-kill-mode",
            Severity::Error,
            format!(
                "with KillMode={kill} a stop or restart of the service kills the workers that are to survive"
            ),
            "KillMode=process",
        );
        note(
            !self.survives() && kill == "process",
            "unit-kill-mode",
            Severity::Info,
            "with KillMode=process nobody but the keeper ends what it leaves".to_owned(),
            "KillMode=mixed",
        );
        let restart = get("Restart").unwrap_or("no");
        note(
            restart == "no",
            "unit-restart",
            Severity::Warning,
            "with Restart=no nobody starts a keeper that was killed again".to_owned(),
            "Restart=on-failure",
        );
        note(
            !is_yes(get("Delegate").unwrap_or("no")),
            "unit-delegate",
            Severity::Info,
            "without Delegate=yes workers can have no cgroups of their own".to_owned(),
            "Delegate=yes",
        );
        let runtime = get("RuntimeDirectory").filter(|name| !name.is_empty());
        note(
            runtime.is_some() && self.survives() && get("RuntimeDirectoryPreserve").is_none_or(|word| word == "no"),
            "unit-runtime-directory",
            Severity::Error,
            "RuntimeDirectory= is removed at a stop, and with it the sockets of workers that survive".to_owned(),
            "RuntimeDirectoryPreserve=yes",
        );
        found
    }
}

/// What the [Service] section says, the last word of each key.
fn settings(unit: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut is_service = false;
    let joined = unit.replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if let Some((key, value)) = line.split_once('=')
            && is_service
        {
            settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    settings
}

fn is_yes(word: &str) -> bool {
    !matches!(word, "no" | "false" | "off" | "0" | "")
}

/// A path as a word of ExecStart=.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let text = text.replace('%', "%%").replace('$', "$$");
    match text.contains([' ', '\t', '\'', '"', '\\', ';']) {
        true => format!("\"{text}\""),
        false => text,
    }
}

/// Who tells the service manager how it goes; nobody where there is none.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it is to be told that we live.
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Notifier {
    /// Begins with what the service manager put into the environment: `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    ///
    /// # Errors
    /// There is a service manager, and it cannot be told anything.
    pub fn of(socket: Option<&str>, watchdog_usec: Option<&str>) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let every = watchdog_usec.and_then(|time| time.parse().ok());
        // Half of it, as sd_watchdog_enabled(3) has it.
        let every = every.map(|time: u64| Duration::from_micros(time / 2));
        Ok(Self {
            socket: Some((socket, address)),
            every: every.filter(|every| !every.is_zero()),
            next: Some(Instant::now()),
        })
    }

    fn say(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            // A service manager that hears nothing does what its unit says.
            let _unheard = socket.send_to_addr(state.as_bytes(), address);
        }
    }

    /// Everything is served.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Another daemon takes over, or the pool file is read again.
    pub fn reloading(&self) {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
        let usec = now.map_or(0, |now| now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000);
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// Everything ends.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// When [`Notifier::live`] has something to say.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.next.filter(|_| self.every.is_some())
    }

    /// Says that we live, as often as that is wanted.
    pub fn live(&mut self, now: Instant) {
        if let Some(every) = self.every
            && self.due().is_some_and(|due| due <= now)
        {
            self.say("WATCHDOG=1");
            self.next = Some(now + every);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(on_exit: &str) -> PoolFile {
        let text = format!(
            "version = 1\n[[worker]]\nname = \"a\"\ncommand = [\"x\"]\nstop_timeout = \"40s\"\non_supervisor_exit = \"{on_exit}\"\n"
        );
        PoolFile::parse("w.toml", text, Path::new("/")).unwrap()
    }

    fn service(file: &PoolFile) -> Service<'_> {
        Service {
            program: Path::new("/usr/bin/supervise"),
            config: Path::new("/etc/my pool/100%.toml"),
            file,
            manager: Manager::User,
        }
    }

    fn codes(file: &PoolFile, unit: &str) -> Vec<String> {
        let found = service(file).validate(unit);
        found.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_unit_that_is_printed_is_valid_and_fits_the_workers() {
        for (on_exit, kill) in [("survive", "KillMode=process"), ("kill", "KillMode=mixed")] {
            let file = file(on_exit);
            let unit = service(&file).unit();
            assert!(unit.contains(kill), "{unit}");
            assert!(unit.contains("TimeoutStopSec=50"), "{unit}");
            let start = "ExecStart=/usr/bin/supervise daemon --config \"/etc/my pool/100%%.toml\"";
            assert!(unit.contains(start), "{unit}");
            assert!(unit.lines().all(|line| line == line.trim_start()), "{unit}");
            assert_eq!(codes(&file, &unit), [""; 0]);
        }
    }

    #[test]
    fn what_a_unit_lacks_is_found_each_by_its_code() {
        let file = file("survive");
        let unit = service(&file).unit();
        for (good, bad, code) in [
            ("Type=notify", "Type=simple", "unit-type"),
            (
                "NotifyAccess=all",
                "NotifyAccess=main",
                "unit-notify-access",
            ),
            ("KillMode=process", "KillMode=mixed", "unit-kill-mode"),
            ("KillMode=process", "", "unit-kill-mode"),
            ("Restart=on-failure", "", "unit-restart"),
            ("Delegate=yes", "Delegate=false", "unit-delegate"),
            (" daemon ", " run ", "unit-exec-start"),
            (
                "Delegate=yes",
                "Delegate=yes\nRuntimeDirectory=supervise",
                "unit-runtime-directory",
            ),
        ] {
            let changed = unit.replace(good, bad);
            assert_eq!(codes(&file, &changed), [code], "{bad}");
        }
        let elsewhere = format!("[Unit]\nKillMode=mixed\n# Type=simple\n{unit}");
        assert_eq!(
            codes(&file, &elsewhere),
            [""; 0],
            "of other sections and comments nothing"
        );
    }

    #[test]
    fn the_service_manager_is_told_and_told_again_that_we_live() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let heard = || {
            let mut buffer = [0; 200];
            let length = manager.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let mut notifier = Notifier::of(path.to_str(), Some("2000000")).unwrap();
        notifier.ready();
        assert_eq!(heard().as_deref(), Some("READY=1"));
        let now = Instant::now();
        notifier.live(now);
        assert_eq!(heard().as_deref(), Some("WATCHDOG=1"));
        assert_eq!(notifier.due(), Some(now + Duration::from_secs(1)));
        notifier.live(now);
        assert_eq!(heard(), None);
        notifier.reloading();
        assert!(heard().unwrap().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notifier.stopping();
        assert_eq!(heard().as_deref(), Some("STOPPING=1"));
        let mut nobody = Notifier::of(None, Some("1")).unwrap();
        nobody.live(now);
        assert_eq!(nobody.due(), None);
    }
}
