//! Who is measured, how each was told to do the job, and whether it does.

use crate::built::{Built, Pair};
use crate::programs::{self, BESIDE, PATTERN};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Which job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Write only where the work is, reach nobody.
    Plain,
    /// And something inside the work is not read.
    Denying,
}

/// What a job asks of who does it. Each is tried, and what is not so is said.
const CHECKS: [&str; 4] = [
    "run programs",
    "write where the work is and nowhere else",
    "reach nobody",
    "leave unread what is denied",
];

/// One way to run a command.
pub struct Subject {
    pub name: String,
    pub program: PathBuf,
    /// What stands before the command.
    pub words: Vec<String>,
    pub job: Job,
    pub version: String,
    /// Not one of ours, and not nothing.
    pub is_peer: bool,
    /// One process looks like two: they have the same memory.
    pub shares_memory: bool,
}

impl Subject {
    /// That command, done by it.
    pub fn command(&self, built: &Built, words: &[&str]) -> Command {
        let own: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let (program, words) = match self.is_bare() {
            true => (Path::new(words[0]), &words[1..]),
            false => (self.program.as_path(), words),
        };
        let mut command = programs::inside(built, program, &own);
        command.args(words).stderr(Stdio::null());
        command
    }

    /// No sandbox at all.
    pub fn is_bare(&self) -> bool {
        self.program.as_os_str().is_empty()
    }

    /// The line that is run, with `…` for the command.
    pub fn line(&self, built: &Built) -> String {
        if self.is_bare() {
            return "…".to_owned();
        }
        let program = self
            .program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let line = format!("{program} {} …", self.words.join(" "));
        let places = [
            (built.sub("programs"), "WORK"),
            (built.sub("cargo"), "CARGO"),
            (built.in_memory("tmp"), "TMP"),
            (built.place.path().to_owned(), "PLACE"),
        ];
        places.iter().fold(line, |line, (place, name)| {
            line.replace(&place.display().to_string(), name)
        })
    }
}

/// Somebody who is not measured, and why.
pub struct Absent {
    pub name: String,
    pub why: String,
}

/// All that are installed and do the job.
pub fn all(built: &Built) -> (Vec<Subject>, Vec<Absent>) {
    let mut subjects = Vec::new();
    let mut absent = Vec::new();
    let fixed = built.fixed.as_ref().map_err(Clone::clone);
    let kinds = [
        ("supervise", fixed),
        ("supervise, dynamic", Ok(&built.dynamic)),
    ];
    subjects.push(Subject {
        name: "bare".to_owned(),
        program: PathBuf::new(),
        words: Vec::new(),
        job: Job::Plain,
        version: String::new(),
        is_peer: false,
        shares_memory: false,
    });
    for (name, pair) in kinds {
        match pair.and_then(|pair| built.runs(pair).map(|()| pair)) {
            Ok(pair) => subjects.extend(ours(built, name, pair)),
            Err(why) => absent.push(Absent {
                name: name.to_owned(),
                why,
            }),
        }
    }
    for peer in peers(built) {
        let name = peer.name.clone();
        if !peer.program.is_absolute() {
            let why = "not installed".to_owned();
            absent.push(Absent { name, why });
            continue;
        }
        match refused_job(built, &peer) {
            None => subjects.push(peer),
            Some(why) => absent.push(Absent { name, why }),
        }
    }
    absent.push(Absent {
        name: "syd".to_owned(),
        why: "not measured: how it is told this was not tried".to_owned(),
    });
    absent.push(Absent {
        name: "landrun, denying".to_owned(),
        why: "cannot: no flag denies what lies inside what is granted".to_owned(),
    });
    for one in subjects.iter().filter(|one| !one.is_peer && !one.is_bare()) {
        if let Some(why) = refused_job(built, one) {
            panic!("{} does not do the job: {why}", one.name);
        }
    }
    (subjects, absent)
}

/// This, in several ways.
fn ours(built: &Built, name: &str, pair: &Pair) -> Vec<Subject> {
    let deny = format!("deny = [{:?}]", secret(built));
    let mut ways = vec![("", "static", "", Job::Plain)];
    if name == "supervise" {
        ways.extend([
            (", told of opens", "trapped", BESIDE, Job::Plain),
            (", opens all itself", "closed", PATTERN, Job::Plain),
            (", denying", "denying", deny.as_str(), Job::Denying),
            (", denying a pattern", "closed", PATTERN, Job::Denying),
        ]);
    }
    let make = |(way, file, rules, job)| {
        let policy = programs::policy(built, file, rules, "");
        Subject {
            name: format!("{name}{way}"),
            program: pair.supervise.clone(),
            words: vec![
                "--quiet".to_owned(),
                "--policy".to_owned(),
                policy.display().to_string(),
                "--".to_owned(),
            ],
            job,
            version: version(&pair.supervise),
            is_peer: false,
            shares_memory: true,
        }
    };
    ways.into_iter().map(make).collect()
}

/// What nobody is to read, where somebody denies.
fn secret(built: &Built) -> PathBuf {
    let secret = built.sub("programs/secret");
    std::fs::write(secret.join("key.never"), "a secret\n").expect("the directory is ours");
    secret
}

/// The others, each as its manual says that it is told such a thing.
fn peers(built: &Built) -> Vec<Subject> {
    let places = [
        built.sub("programs"),
        built.sub("cargo"),
        built.in_memory("tmp"),
    ]
    .map(|place| place.display().to_string());
    let secret = secret(built).display().to_string();
    let each = |flag: &str| -> String {
        places
            .iter()
            .map(|place| format!("{flag}{place} "))
            .collect()
    };
    let bound: String = places
        .iter()
        .map(|place| format!("--bind {place} {place} "))
        .collect();
    let settings = |name: &str, network: &str, denied: &str| {
        let path = built.place.path().join(name);
        // Programs write to it whatever they do.
        let written = [&places[..], &["/dev/null".to_owned()]].concat();
        let text = format!(
            "{{\"filesystem\":{{\"allowWrite\":{written:?},\"denyRead\":[{denied}],\"denyWrite\":[]}},\"network\":{{{network}}}}}\n"
        );
        std::fs::write(&path, text).expect("the directory is ours");
        path.display().to_string()
    };
    let none = "\"allowNetwork\":false";
    let domains = "\"allowedDomains\":[],\"deniedDomains\":[]";
    let denied = format!("{secret:?}");
    let bwrap =
        format!("--ro-bind / / --dev /dev --proc /proc {bound}--unshare-all --die-with-parent");
    let firejail = format!(
        "--quiet --noprofile --net=none --read-only=/ {}",
        each("--read-write=")
    );
    let sandlock = format!("run -r / -w /dev/null {}", each("-w "));
    let lines = [
        ("bwrap", "bwrap", Job::Plain, bwrap.clone()),
        ("firejail", "firejail", Job::Plain, firejail.clone()),
        (
            "landrun",
            "landrun",
            Job::Plain,
            format!(
                "--rox / --rw /dev/null {}--env PATH --env HOME --env TMPDIR --env CARGO_HOME",
                each("--rwx ")
            ),
        ),
        ("sandlock", "sandlock", Job::Plain, format!("{sandlock}--")),
        (
            "sandlock, no supervisor",
            "sandlock",
            Job::Plain,
            format!("{} --no-supervisor --", sandlock.trim_end()),
        ),
        (
            "landstrip",
            "landstrip",
            Job::Plain,
            format!("run -p {}", settings("landstrip.json", none, "")),
        ),
        (
            "nono",
            "nono",
            Job::Plain,
            format!(
                "run --silent --read / --allow-file /dev/null {}--block-net --",
                each("--allow ")
            ),
        ),
        (
            "nono wrap",
            "nono",
            Job::Plain,
            format!(
                "wrap --silent --read / --allow-file /dev/null {}--block-net --",
                each("--allow ")
            ),
        ),
        (
            "sandbox-runtime",
            "srt",
            Job::Plain,
            format!("--settings {}", settings("srt.json", domains, "")),
        ),
        (
            "bwrap, denying",
            "bwrap",
            Job::Denying,
            format!("{bwrap} --tmpfs {secret}"),
        ),
        (
            "firejail, denying",
            "firejail",
            Job::Denying,
            format!("{firejail}--blacklist={secret}"),
        ),
        (
            "sandlock, denying",
            "sandlock",
            Job::Denying,
            format!("{sandlock}--fs-deny {secret} --"),
        ),
        (
            "landstrip, denying",
            "landstrip",
            Job::Denying,
            format!("run -p {}", settings("landstrip-deny.json", none, &denied)),
        ),
        (
            "sandbox-runtime, denying",
            "srt",
            Job::Denying,
            format!("--settings {}", settings("srt-deny.json", domains, &denied)),
        ),
    ];
    let make = |(name, program, job, line): (&str, &str, Job, String)| Subject {
        name: name.to_owned(),
        program: found(program),
        words: line.split_whitespace().map(str::to_owned).collect(),
        job,
        version: version(&found(program)),
        is_peer: true,
        shares_memory: false,
    };
    lines.into_iter().map(make).collect()
}

/// Where it is installed; only its name where it is not.
fn found(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| PathBuf::from(program))
}

/// What it says of itself.
fn version(program: &Path) -> String {
    let said = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let said = said.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().trim().to_owned()
}

/// Why this is not one who does the job, if it is not.
fn refused_job(built: &Built, subject: &Subject) -> Option<String> {
    let inside = built.sub("programs").join("made-inside");
    let outside = built.sub("outside").join("made-outside");
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let port = listener.local_addr().ok()?.port();
    let run = |script: &str| {
        let mut command = subject.command(built, &["/bin/bash", "-c", script]);
        command.stdout(Stdio::piped()).output()
    };
    let succeeds = |script: &str| run(script).is_ok_and(|output| output.status.success());
    let makes = |path: &Path| {
        succeeds(&format!("echo made >{}", path.display()));
        std::fs::remove_file(path).is_ok()
    };
    let secret = format!("cat {}/key.never", secret(built).display());
    let lacks = [
        !succeeds("true"),
        !makes(&inside) || makes(&outside),
        succeeds(&format!(": </dev/tcp/127.0.0.1/{port}")),
        subject.job == Job::Denying && succeeds(&secret),
    ];
    let lacking: Vec<&str> = CHECKS
        .iter()
        .zip(lacks)
        .filter_map(|(check, lacks)| lacks.then_some(*check))
        .collect();
    (!lacking.is_empty()).then(|| {
        format!(
            "not measured: the words that are tried here are not the whole job ({})",
            lacking.join(", ")
        )
    })
}
