//! Under systemd: what a unit has to say, and whether one says it.

use super::config::{OnSupervisorExit, PoolFile};
use protocol::control::{Finding, Findings, Severity};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

protocol::listed! {
    /// What of a unit is looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Check {
        /// Whether a daemon is started.
        ExecStart = "unit-exec-start",
        /// Whether it says when it is ready.
        Type = "unit-type",
        /// Who is heard.
        NotifyAccess = "unit-notify-access",
        /// Who is killed at a stop.
        KillMode = "unit-kill-mode",
        /// Whether descriptors are kept.
        Store = "unit-store",
        /// Whether they are kept over a stop.
        Preserve = "unit-store-preserve",
        /// Whether it is started again.
        Restart = "unit-restart",
        /// Whether it may have cgroups.
        Delegate = "unit-delegate",
        /// Whether its directory is kept.
        RuntimeDirectory = "unit-runtime-directory",
    }
}

/// Whose service it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The system's.
    System,
    /// A user's.
    User,
}

/// The service that a process is part of, by its `/proc/PID/cgroup`: whose it is, and its name.
#[must_use]
pub fn service_of(cgroups: &str) -> Option<(Manager, String)> {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_manager = |name: &str| name.starts_with("user@");
    let manager = match path.split('/').any(is_manager) {
        true => Manager::User,
        false => Manager::System,
    };
    let mut names = path.rsplit('/');
    // Below it may be groups of its own.
    let name = names.find(|name| name.ends_with(".service"))?;
    (!is_manager(name)).then(|| (manager, name.to_owned()))
}

/// The text of a unit and of what is dropped in beside it, of the directories where units lie, the first of which counts most. It is read,
/// and nobody is asked who could keep whoever wants to know waiting.
#[must_use]
pub fn unit_in(places: &[PathBuf], name: &str) -> Option<String> {
    let read = |name: &str| {
        let mut files = places
            .iter()
            .map(|place| fs::read_to_string(place.join(name)));
        files.find_map(Result::ok)
    };
    let template = name
        .split_once('@')
        .map(|(template, _)| format!("{template}@.service"));
    let names: Vec<&str> = [Some(name), template.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    let mut text = names.iter().find_map(|name| read(name))?;
    let mut dropped = BTreeMap::new();
    for place in places.iter().rev() {
        for name in names.iter().rev() {
            let entries = fs::read_dir(place.join(format!("{name}.d")));
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                if path.extension().is_some_and(|kind| kind == "conf") {
                    dropped.insert(entry.file_name(), path);
                }
            }
        }
    }
    for path in dropped.values() {
        text.push('\n');
        text += &fs::read_to_string(path).unwrap_or_default();
    }
    Some(text)
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

/// Enough for hundreds of workers: each has a dozen.
const STORED: u32 = 4096;

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
             # The keeper says when its daemon serves, and that it lives; nobody else is heard.\n\
             Type=notify\n\
             NotifyAccess=main\n\
             ExecStart={} daemon --config {}\n\
             # {why}.\n\
             KillMode={kill}\n\
             TimeoutStopSec={}\n\
             Restart=on-failure\n\
             WatchdogSec={}\n\
             # What the keeper holds of workers that survive, for the next one; also over a stop, since systemd 254.\n\
             FileDescriptorStoreMax={STORED}\n\
             FileDescriptorStorePreserve=yes\n\
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

    /// The same of the unit that a daemon was started as: nothing where that starts something else, which started the daemon.
    #[must_use]
    pub fn validate_own(&self, unit: &str) -> Vec<Finding> {
        let found = self.validate(unit);
        let is_other = |found: &Finding| found.code == Check::ExecStart.as_str();
        match found.iter().any(is_other) {
            true => Vec::new(),
            false => found,
        }
    }

    /// What is not as it should be in a unit's text.
    #[must_use]
    pub fn validate(&self, unit: &str) -> Vec<Finding> {
        let settings = settings(unit);
        let get = |key: &str| settings.get(key).map(String::as_str);
        let mut found = Findings::default();
        let start = get("ExecStart").unwrap_or_default();
        let words: Vec<&str> = start.split_ascii_whitespace().collect();
        found.note(
            !words.contains(&"daemon") || !words.contains(&"--config"),
            Check::ExecStart.as_str(),
            Severity::Error,
            format!("ExecStart={start} does not start a daemon with a pool file"),
            "ExecStart=/path/to/supervise daemon --config /path/to/workers.toml",
        );
        let kind = get("Type").unwrap_or("simple");
        found.note(
            kind != "notify",
            Check::Type.as_str(),
            Severity::Warning,
            format!(
                "with Type={kind} the service is taken for started before its workers can be asked for"
            ),
            "Type=notify",
        );
        let access = get("NotifyAccess").unwrap_or("main");
        found.note(
            kind == "notify" && access != "main",
            Check::NotifyAccess.as_str(),
            Severity::Error,
            match access {
                "none" => "with NotifyAccess=none nobody is heard".to_owned(),
                _ => format!(
                    "with NotifyAccess={access} others than the keeper are heard, its workers too"
                ),
            },
            "NotifyAccess=main",
        );
        let kill = get("KillMode").unwrap_or("control-group");
        found.note(
            self.survives() && kill != "process",
            Check::KillMode.as_str(),
            Severity::Error,
            format!(
                "with KillMode={kill} a stop or restart of the service kills the workers that are to survive"
            ),
            "KillMode=process",
        );
        found.note(
            !self.survives() && kill == "process",
            Check::KillMode.as_str(),
            Severity::Info,
            "with KillMode=process nobody but the keeper ends what it leaves".to_owned(),
            "KillMode=mixed",
        );
        let stored = get("FileDescriptorStoreMax").and_then(|most| most.parse().ok());
        found.note(
            self.survives() && stored.unwrap_or(0) == 0,
            Check::Store.as_str(),
            Severity::Warning,
            "without FileDescriptorStoreMax= workers that survive their keeper are cut off"
                .to_owned(),
            "FileDescriptorStoreMax=4096",
        );
        let preserve = get("FileDescriptorStorePreserve").unwrap_or("restart");
        found.note(
            self.survives() && stored.unwrap_or(0) > 0 && (!is_yes(preserve) || preserve == "restart"),
            Check::Preserve.as_str(),
            Severity::Info,
            format!(
                "with FileDescriptorStorePreserve={preserve} workers are cut off when the service was stopped without them, or is given up"
            ),
            "FileDescriptorStorePreserve=yes (systemd 254)",
        );
        let restart = get("Restart").unwrap_or("no");
        found.note(
            restart == "no",
            Check::Restart.as_str(),
            Severity::Warning,
            "with Restart=no nobody starts a keeper that was killed again".to_owned(),
            "Restart=on-failure",
        );
        found.note(
            !is_yes(get("Delegate").unwrap_or("no")),
            Check::Delegate.as_str(),
            Severity::Info,
            "without Delegate=yes workers can have no cgroups of their own".to_owned(),
            "Delegate=yes",
        );
        let runtime = get("RuntimeDirectory").filter(|name| !name.is_empty());
        found.note(
            runtime.is_some() && self.survives() && get("RuntimeDirectoryPreserve").is_none_or(|word| word == "no"),
            Check::RuntimeDirectory.as_str(),
            Severity::Error,
            "RuntimeDirectory= is removed at a stop, and with it the sockets of workers that survive".to_owned(),
            "RuntimeDirectoryPreserve=yes",
        );
        found.findings
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
    fn a_daemon_is_told_of_the_service_that_it_is_and_of_no_other() {
        let of = |path: &str| service_of(&format!("1:name=systemd:/x.service\n0::{path}\n"));
        let own = |manager| Some((manager, "w@1.service".to_owned()));
        assert_eq!(of("/system.slice/w@1.service"), own(Manager::System));
        let user = "/user.slice/user-7.slice/user@7.service";
        assert_eq!(
            of(&format!("{user}/app.slice/w@1.service")),
            own(Manager::User)
        );
        assert_eq!(
            of(&format!("{user}/app.slice/w@1.service/sub")),
            own(Manager::User)
        );
        assert_eq!(of(user), None);
        assert_eq!(of("/user.slice/session-1.scope"), None);
        assert_eq!(service_of(""), None);

        let file = file("survive");
        let unit = service(&file).unit();
        let (first, last) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let places = [first.path().to_owned(), last.path().to_owned()];
        let codes = |name: &str| {
            let text = unit_in(&places, name)?;
            let found = service(&file).validate_own(&text).into_iter();
            Some(found.map(|finding| finding.code).collect::<Vec<_>>())
        };
        assert_eq!(codes("w.service"), None);
        fs::write(places[1].join("w.service"), &unit).unwrap();
        assert_eq!(codes("w.service"), Some(vec![]));
        // What is dropped in counts more, and in the first of all places most.
        for (place, mode) in [(&places[1], "mixed"), (&places[0], "process")] {
            let dropped = place.join("w.service.d");
            fs::create_dir(&dropped).unwrap();
            let text = format!("[Service]\nKillMode={mode}\n");
            fs::write(dropped.join("kill.conf"), text).unwrap();
            fs::write(dropped.join("kill.txt"), "[Service]\nType=simple\n").unwrap();
            let expected: &[&str] = if mode == "mixed" {
                &["unit-kill-mode"]
            } else {
                &[]
            };
            assert_eq!(codes("w.service").unwrap(), expected);
        }
        fs::write(
            places[0].join("w@.service"),
            unit.replace("Type=notify", ""),
        )
        .unwrap();
        assert_eq!(codes("w@1.service").unwrap(), ["unit-type"]);
        let other = unit
            .replace(" daemon ", " run ")
            .replace("KillMode=process", "");
        fs::write(places[0].join("w.service"), other).unwrap();
        assert_eq!(
            codes("w.service"),
            Some(vec![]),
            "of what started something else"
        );
    }

    #[test]
    fn what_a_unit_lacks_is_found_each_by_its_code() {
        let file = file("survive");
        let unit = service(&file).unit();
        for (good, bad, code) in [
            ("Type=notify", "Type=simple", "unit-type"),
            (
                "NotifyAccess=main",
                "NotifyAccess=all",
                "unit-notify-access",
            ),
            ("KillMode=process", "KillMode=mixed", "unit-kill-mode"),
            ("KillMode=process", "", "unit-kill-mode"),
            ("Restart=on-failure", "", "unit-restart"),
            ("FileDescriptorStoreMax=4096", "", "unit-store"),
            ("StoreMax=4096", "StoreMax=0", "unit-store"),
            (
                "StorePreserve=yes",
                "StorePreserve=restart",
                "unit-store-preserve",
            ),
            ("FileDescriptorStorePreserve=yes", "", "unit-store-preserve"),
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
}
