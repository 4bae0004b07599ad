//! What other sandboxes promise, tried here: cases such as their own tests have, on their command lines, which
//! `supervise import` translates. And what of theirs is not to be had, with the reason.

#[path = "../harness/mod.rs"]
mod harness;

mod bwrap;
mod declined;
mod landrun;
mod others;
mod sandlock;

use harness::built::{peer, probe, supervise};
use harness::run::{Ran, run};
use harness::{Workspace, feature, set_mode};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;

/// One line of a shell's, with what has to come of it.
struct Case {
    /// What is promised.
    about: &'static str,
    /// `$SYSTEM` stands for the flags that grant the system's programs, `$PROBE` for the hostile child, `$HERE` for where it all
    /// lies, `$PORT` and `$OTHER` for ports on which somebody listens outside.
    line: &'static str,
    wants: Wants,
}

/// What has to come of a line.
enum Wants {
    /// It succeeds, and prints just that.
    Prints(&'static str),
    /// It exits with that.
    Exits(i32),
    /// The command fails, and this file is not there.
    FailsWithout(&'static str),
    /// The command fails, and this was neither printed nor said.
    FailsSilent(&'static str),
    /// It fails, or is not even begun, and says this.
    FailsSaying(&'static str),
    /// It succeeds, and this file says so.
    Leaves(&'static str, &'static str),
}

const fn case(about: &'static str, line: &'static str, wants: Wants) -> Case {
    Case { about, line, wants }
}

/// Whose command line, and how it says that the system's programs can be read and executed.
#[derive(Clone, Copy)]
struct Language {
    name: &'static str,
    system: &'static str,
    /// And that the directory it starts in can be read, which it must be here.
    start: &'static str,
}

const LANGUAGES: [Language; 5] = [
    Language {
        name: "landrun",
        system: "--rox PLACE ",
        start: "--ro . ",
    },
    Language {
        name: "bwrap",
        system: "--ro-bind PLACE PLACE ",
        start: "--ro-bind . . ",
    },
    Language {
        name: "sandlock",
        system: "-r PLACE ",
        start: "-r . ",
    },
    // They list nothing of the system.
    Language {
        name: "firejail",
        system: "",
        start: "",
    },
    Language {
        name: "nono",
        system: "",
        start: "--read . ",
    },
];

/// Where programs and what they need are, on one system or another.
const SYSTEM: [&str; 6] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
];

/// Files and directories that the lines are about.
struct Scene {
    workspace: Workspace,
    listeners: [TcpListener; 2],
}

impl Scene {
    fn new() -> Self {
        let workspace = Workspace::new();
        for (name, text) in [
            ("ro/file", "read only\n"),
            ("ro/inside/file", "read only, below\n"),
            ("ro/rw/file", "writable\n"),
            ("rw/file", "writable\n"),
            ("secret/key", "a secret\n"),
            ("home/file", "at home\n"),
            ("deep/a/b/file", "deep\n"),
            ("start/file", "where it starts\n"),
            ("with blank/in it/file", "blanks\n"),
            ("ro/tool", "#!/bin/sh\necho ran ro\n"),
            ("rw/tool", "#!/bin/sh\necho ran rw\n"),
            ("x/tool", "#!/bin/sh\necho ran\n"),
            ("x/other", "#!/bin/sh\necho ran other\n"),
            ("bin/--oddly-named", "#!/bin/sh\necho odd\n"),
        ] {
            let path = workspace.write(name, text);
            if text.starts_with("#!") {
                set_mode(&path, 0o755);
            }
        }
        symlink("../secret/key", workspace.join("ro/way-out")).expect("it is not there yet");
        symlink("file", workspace.join("ro/way-in")).expect("it is not there yet");
        for language in LANGUAGES {
            let link = workspace.join("bin").join(language.name);
            symlink(peer(), link).expect("it is not there yet");
        }
        let listen = |_| TcpListener::bind("127.0.0.1:0").expect("some port is free");
        Self {
            workspace,
            listeners: [(), ()].map(listen),
        }
    }

    fn run(&self, language: Language, line: &str) -> Ran {
        let here = SYSTEM
            .iter()
            .filter(|place| std::path::Path::new(place).exists());
        let system: String = here
            .map(|place| language.system.replace("PLACE", place))
            .chain([language.start.to_owned()])
            .collect();
        let port = |at: usize| self.listeners[at].local_addr().map(|own| own.port());
        let port = |at: usize| port(at).expect("it listens").to_string();
        let place = self.workspace.path();
        let line = line
            .replace("$SYSTEM", &system)
            .replace("$PROBE", &probe().display().to_string())
            .replace("$HERE", &place.display().to_string())
            .replace("$PORT", &port(0))
            .replace("$OTHER", &port(1));
        let path = format!("{}:/usr/bin:/bin", place.join("bin").display());
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", &line])
            .current_dir(place.join("start"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", &place)
            .env("TMPDIR", &place)
            .env("XDG_STATE_HOME", place.join("state"))
            .env("PWD", place.join("start"))
            .env("GIVEN", "a value")
            .env("PEER_SUPERVISE", supervise());
        run(&mut shell)
    }

    /// What is wrong with what came of a line.
    fn complaint(&self, wants: &Wants, ran: &Ran) -> Option<String> {
        let is_there = |name: &str| self.workspace.join(name).exists();
        let failed = ran.code() != 0;
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let complaint = match wants {
            Wants::Prints(text) if failed || ran.stdout != *text => format!("not {text:?}"),
            Wants::Exits(code) if ran.code() != *code => format!("not {code}"),
            Wants::FailsWithout(_) | Wants::FailsSilent(_) | Wants::FailsSaying(_) if !failed => {
                "it succeeds".to_owned()
            }
            Wants::FailsWithout(_) | Wants::FailsSilent(_) if ran.code() == OURS => {
                "it was not even run".to_owned()
            }
            Wants::FailsWithout(name) if is_there(name) => format!("{name} was made"),
            Wants::FailsSilent(text) if said.contains(text) => format!("{text:?} came out"),
            Wants::FailsSaying(text) if !said.contains(text) => format!("it does not say {text:?}"),
            Wants::Leaves(name, text) => {
                let left = std::fs::read_to_string(self.workspace.join(name));
                match left {
                    Ok(left) if left == *text && !failed => return None,
                    left => format!("{name} holds {left:?}"),
                }
            }
            _ => return None,
        };
        Some(complaint)
    }
}

/// What `supervise` exits with when it has failed itself.
const OURS: i32 = 125;

/// Whether lines can be tried here at all.
fn sandboxes() -> Result<(), String> {
    feature::landlock(6)?;
    feature::sockets()?;
    feature::own_directories()
}

/// Tries them all, and complains about all that are not so.
#[track_caller]
fn try_all(name: &str, cases: &[Case]) {
    let language = LANGUAGES.into_iter().find(|known| known.name == name);
    let language = language.expect("it is one of them");
    let mut complaints = Vec::new();
    for case in cases {
        let scene = Scene::new();
        let ran = scene.run(language, case.line);
        if let Some(complaint) = scene.complaint(&case.wants, &ran) {
            complaints.push(format!(
                "{}: {complaint}\n$ {}\n{ran}",
                case.about, case.line
            ));
        }
    }
    assert!(
        complaints.is_empty(),
        "{} of {} are not so:\n{}",
        complaints.len(),
        cases.len(),
        complaints.join("\n")
    );
}
