//! The text of a pool file, key by key.

use super::{DaemonSettings, ExeCheck, Kind, OnSupervisorExit, PoolFile, RestartWhen, Speaks};
use crate::policy::{Node, PolicyError, Reader, Site, Source, SourceText};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

const TOP: [&str; 3] = ["version", "daemon", "worker"];
const DAEMON: [&str; 4] = ["control_group", "runtime", "state", "workers"];
const WORKER: [&str; 20] = [
    "name",
    "command",
    "policy",
    "count",
    "directory",
    "env",
    "idle_timeout",
    "stop_timeout",
    "restart",
    "restart_burst",
    "restart_window",
    "backoff",
    "backoff_max",
    "on_supervisor_exit",
    "recycle_after_jobs",
    "recycle_after_bytes",
    "speaks",
    "log_size",
    "log_count",
    "exe_check",
];
const WHEN: [(&str, RestartWhen); 3] = [
    ("always", RestartWhen::Always),
    ("on-failure", RestartWhen::OnFailure),
    ("never", RestartWhen::Never),
];
const ON_EXIT: [(&str, OnSupervisorExit); 2] = [
    ("kill", OnSupervisorExit::Kill),
    ("survive", OnSupervisorExit::Survive),
];
const SPEAKS: [(&str, Speaks); 2] = [("pool", Speaks::Pool), ("nothing", Speaks::Nothing)];
const CHECK: [(&str, ExeCheck); 3] = [
    ("require", ExeCheck::Require),
    ("prefer", ExeCheck::Prefer),
    ("skip", ExeCheck::Skip),
];

/// The most workers of one kind.
const MOST: u64 = 10_000;

/// The longest name of a kind: it is part of a socket's path.
const LONGEST_NAME: usize = 32;

impl PoolFile {
    /// Reads the text of the file that is called `name`. Nothing is expanded or looked up; relative paths are below the file's own
    /// directory, which must be given as an absolute path.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(name: &str, text: String, directory: &Path) -> Result<Self, PolicyError> {
        let text = Arc::new(SourceText::new(Source::File(name.into()), text));
        let reader = Reader { text: &text };
        let walk = Walk { reader, directory };
        let root = reader.root()?;
        let mut file = Self {
            daemon: DaemonSettings::default(),
            kinds: Vec::new(),
        };
        let mut version = false;
        for (key, node) in root.get_ref() {
            match key.get_ref().as_ref() {
                "version" => {
                    walk.version(node)?;
                    version = true;
                }
                "daemon" => file.daemon = walk.daemon(node)?,
                "worker" => file.kinds = walk.workers(node)?,
                _ => return Err(reader.unknown(key, "a pool file", &TOP)),
            }
        }
        if !version {
            let site = reader.site(0..0);
            return Err(
                PolicyError::at(&site, "the pool file does not say its version")
                    .help("begin it with `version = 1`"),
            );
        }
        Ok(file)
    }
}

/// The walk over one pool file.
struct Walk<'t> {
    reader: Reader<'t>,
    directory: &'t Path,
}

impl Walk<'_> {
    fn version(&self, node: &Node<'_>) -> Result<(), PolicyError> {
        match self.reader.integer(node)? {
            1 => Ok(()),
            other => Err(self
                .reader
                .error(
                    node,
                    format!("version {other} of the pool file is not known"),
                )
                .help("this program knows `version = 1`")),
        }
    }

    fn daemon(&self, node: &Node<'_>) -> Result<DaemonSettings, PolicyError> {
        let mut settings = DaemonSettings::default();
        for (key, value) in self.reader.table(node, "[daemon]")? {
            match key.get_ref().as_ref() {
                "control_group" => {
                    settings.control_group = Some(self.reader.string(value)?.to_owned());
                }
                "runtime" => settings.runtime = Some(self.path(value)?),
                "state" => settings.state = Some(self.path(value)?),
                "workers" => settings.workers = Some(self.path(value)?),
                _ => return Err(self.reader.unknown(key, "[daemon]", &DAEMON)),
            }
        }
        Ok(settings)
    }

    /// A path, seen from the file's directory.
    fn path(&self, node: &Node<'_>) -> Result<PathBuf, PolicyError> {
        let text = self.reader.string(node)?;
        if text.is_empty() {
            return Err(self.reader.error(node, "an empty path"));
        }
        Ok(self.directory.join(text))
    }

    fn workers(&self, node: &Node<'_>) -> Result<Vec<Kind>, PolicyError> {
        let DeValue::Array(tables) = node.get_ref() else {
            return Err(self
                .reader
                .expected(node, "tables, each begun with `[[worker]]`"));
        };
        let mut kinds: Vec<Kind> = Vec::with_capacity(tables.len());
        for table in tables {
            let (kind, name) = self.worker(table)?;
            if kinds.iter().any(|other| other.name == kind.name) {
                let message = format!("there is another kind of worker named `{}`", kind.name);
                return Err(PolicyError::at(&name, message));
            }
            kinds.push(kind);
        }
        Ok(kinds)
    }

    /// One kind, and where its name stands.
    fn worker(&self, node: &Node<'_>) -> Result<(Kind, Site), PolicyError> {
        let reader = &self.reader;
        let (mut name, mut site) = (None, reader.site(node.span()));
        let mut kind = Kind::bare();
        for (key, value) in reader.table(node, "[[worker]]")? {
            match key.get_ref().as_ref() {
                "name" => {
                    name = Some(self.name(value)?);
                    site = reader.site(value.span());
                }
                "command" => kind.command = self.strings(value)?,
                "policy" => kind.policy = self.policies(value)?,
                "count" => kind.count = self.count(value, MOST)?,
                "directory" => kind.directory = Some(self.directory_of(value)?),
                "env" => kind.env = self.environment(value)?,
                "idle_timeout" => kind.idle_timeout = self.time_or_never(value)?,
                "stop_timeout" => kind.stop_timeout = reader.duration(value)?,
                "restart" => kind.restart.when = reader.choice(value, &WHEN)?,
                "restart_burst" => kind.restart.burst = self.count(value, MOST)?,
                "restart_window" => kind.restart.window = reader.duration(value)?,
                "backoff" => kind.restart.backoff = reader.duration(value)?,
                "backoff_max" => kind.restart.backoff_most = reader.duration(value)?,
                "on_supervisor_exit" => {
                    kind.on_supervisor_exit = reader.choice(value, &ON_EXIT)?;
                }
                "recycle_after_jobs" => kind.recycle.jobs = Some(self.positive(value)?),
                "recycle_after_bytes" => kind.recycle.bytes = Some(self.bytes(value)?),
                "speaks" => kind.speaks = reader.choice(value, &SPEAKS)?,
                "log_size" => kind.log.size = self.bytes(value)?,
                "log_count" => kind.log.count = self.count(value, 1000)?,
                "exe_check" => kind.exe_check = reader.choice(value, &CHECK)?,
                _ => return Err(reader.unknown(key, "[[worker]]", &WORKER)),
            }
        }
        kind.name = name.ok_or_else(|| reader.error(node, "this worker has no `name`"))?;
        if kind.command.is_empty() {
            return Err(PolicyError::at(&site, "this worker has no `command`")
                .help("a list: command = [\"/usr/bin/prog\", \"argument\"]"));
        }
        Ok((kind, site))
    }

    fn name(&self, node: &Node<'_>) -> Result<String, PolicyError> {
        let name = self.reader.string(node)?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || !name.chars().all(is_plain) || name.len() > LONGEST_NAME {
            return Err(self.reader.error(
                node,
                format!("a name begins with a lower-case letter and is up to {LONGEST_NAME} letters, digits and `-`"),
            ));
        }
        let is_like_an_id = name
            .rsplit_once('-')
            .is_some_and(|(_, end)| end.is_empty() || end.bytes().all(|b| b.is_ascii_digit()));
        if is_like_an_id {
            return Err(self.reader.error(
                node,
                "a name does not end in a number: the workers of a kind are numbered",
            ));
        }
        Ok(name.to_owned())
    }

    fn strings(&self, node: &Node<'_>) -> Result<Vec<String>, PolicyError> {
        let items = self.reader.array(node)?.iter();
        items
            .map(|item| self.reader.string(item).map(str::to_owned))
            .collect()
    }

    /// One policy, or a list of which each further one narrows. Files are named from the pool file's directory.
    fn policies(&self, node: &Node<'_>) -> Result<Vec<String>, PolicyError> {
        let names = match node.get_ref() {
            DeValue::Array(_) => self.strings(node)?,
            _ => vec![self.reader.string(node)?.to_owned()],
        };
        let placed = names.into_iter().map(|name| {
            let is_file = name.contains('/') || name.ends_with(".toml");
            match is_file {
                true => self.directory.join(name).to_string_lossy().into_owned(),
                false => name,
            }
        });
        Ok(placed.collect())
    }

    fn directory_of(&self, node: &Node<'_>) -> Result<String, PolicyError> {
        let text = self.reader.string(node)?;
        if text.starts_with('$') || text.starts_with('/') {
            return Ok(text.to_owned());
        }
        Ok(self.path(node)?.to_string_lossy().into_owned())
    }

    fn environment(&self, node: &Node<'_>) -> Result<Vec<(String, String)>, PolicyError> {
        let mut environment = Vec::new();
        for (key, value) in self.reader.table(node, "env = { NAME = \"value\" }")? {
            let name = key.get_ref().as_ref();
            if name.is_empty() || name.contains(['=', '\0']) {
                let site = self.reader.site(key.span());
                return Err(PolicyError::at(&site, "this cannot name a variable"));
            }
            environment.push((name.to_owned(), self.reader.string(value)?.to_owned()));
        }
        Ok(environment)
    }

    /// A time, or 0, which is never.
    fn time_or_never(&self, node: &Node<'_>) -> Result<Option<Duration>, PolicyError> {
        match node.get_ref().is_integer() && self.reader.integer(node)? == 0 {
            true => Ok(None),
            false => self.reader.duration(node).map(Some),
        }
    }

    fn count(&self, node: &Node<'_>, most: u64) -> Result<u32, PolicyError> {
        let number = self.reader.integer(node)?;
        u32::try_from(number)
            .ok()
            .filter(|_| (1..=most).contains(&number))
            .ok_or_else(|| {
                self.reader
                    .error(node, format!("a number from 1 to {most} is wanted here"))
            })
    }

    fn positive(&self, node: &Node<'_>) -> Result<u64, PolicyError> {
        let number = self.reader.integer(node)?;
        match number {
            0 => Err(self.reader.error(node, "this is at least 1")),
            number => Ok(number),
        }
    }

    fn bytes(&self, node: &Node<'_>) -> Result<u64, PolicyError> {
        match self.reader.size(node)? {
            0..4096 => Err(self.reader.error(node, "this is at least 4096 bytes")),
            size => Ok(size),
        }
    }
}
