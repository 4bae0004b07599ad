//! What programs that know nothing of a supervisor take under one: where the kernel decides alone, where the supervisor is told of
//! each open and leaves it to the kernel, where it makes each open itself, and where a library asks it for what the kernel refuses.

use crate::built::{Built, Pair};
use crate::paired::{Subject, measure};
use crate::start::{is_installed, time};
use crate::table;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 20;
/// Of programs that make thousands of files, on a disk.
const FEW_ROUNDS: usize = 5;
/// Files in the trees that are packed, copied and looked through.
const FILES: usize = 10_000;

/// A program, and how much longer than alone it may take: trapped but granted by the kernel, made by the supervisor.
struct Program {
    name: &'static str,
    needs: &'static str,
    script: &'static str,
    goals: [Option<f64>; 2],
}

const fn program(
    name: &'static str,
    needs: &'static str,
    script: &'static str,
    goals: [Option<f64>; 2],
) -> Program {
    Program {
        name,
        needs,
        script,
        goals,
    }
}

const PROGRAMS: [Program; 7] = [
    program(
        "gcc -c",
        "gcc",
        "exec gcc -c small.c",
        [Some(1.25), Some(1.6)],
    ),
    program(
        "python3 import http.server",
        "python3",
        "exec /usr/bin/python3 -I -c 'import http.server'",
        [Some(1.25), Some(1.5)],
    ),
    program(
        "grep -r /usr/include",
        "grep",
        "! grep -rq 'nobody wrote this' /usr/include",
        [Some(3.0), Some(8.0)],
    ),
    program(
        "cargo build",
        "cargo",
        "rm -rf hello/target && exec cargo build --quiet --offline --manifest-path hello/Cargo.toml",
        [None, None],
    ),
    program(
        "git status, 10,000 files",
        "git",
        "exec git -C repository status --porcelain",
        [None, None],
    ),
    program(
        "tar x, 10,000 files",
        "tar",
        // In memory, and away again at once: on a disk, names that were removed a moment ago cost more than anything else here.
        "tar xf tree.tar -C \"$TMPDIR\" && rm -rf \"$TMPDIR/tree\"",
        [Some(2.0), Some(2.0)],
    ),
    program(
        "cp -a, 10,000 files",
        "cp",
        "cp -a tree \"$TMPDIR/copied\" && rm -rf \"$TMPDIR/copied\"",
        [Some(2.0), Some(2.0)],
    ),
];

/// What is denied and asked about lies where nobody looks.
pub const BESIDE: &str = "deny_write = [\"PLACE/beside/denied\"]\nask_read = [\"PLACE/asked\"]";

/// Policies under which all of them run, by what they add: rules, and who asks.
const POLICIES: [(&str, &str, &str); 4] = [
    ("static", "", ""),
    ("trapped", BESIDE, ""),
    ("closed", PATTERN, ""),
    (PRELOAD, BESIDE, "[broker]\ntransparent = \"preload\""),
];

/// Where a library asks that programs preload.
const PRELOAD: &str = "preload";

pub fn rows(built: &Built) {
    let pair = match built.best() {
        Ok(pair) => pair,
        Err(reason) => return table::missing("programs", &reason),
    };
    plant(built);
    let policies: Vec<_> = POLICIES
        .iter()
        .map(|(name, rules, doors)| (*name, policy(built, name, rules, doors)))
        .collect();
    for program in &PROGRAMS {
        if is_installed(program.needs) {
            compare(built, pair, program, &policies);
        } else {
            let reason = format!("{} is not installed", program.needs);
            table::missing(program.name, &reason);
        }
    }
}

fn compare(built: &Built, pair: &Pair, program: &Program, policies: &[(&str, PathBuf)]) {
    let words = ["/bin/sh", "-c", program.script];
    let bare = inside(built, Path::new(words[0]), &words[1..]);
    let mut commands = vec![("alone", bare)];
    let with_preload = built.with_preload(pair);
    for (name, policy) in policies {
        let supervise = match *name {
            PRELOAD => &with_preload,
            _ => &pair.supervise,
        };
        let mut command = inside(built, supervise, &["--quiet", "--policy"]);
        command.arg(policy).arg("--").args(words);
        commands.push((name, command));
    }
    let peers: [(&str, &[&str]); 3] = [
        ("bwrap", &["--dev-bind", "/", "/"]),
        ("sandlock", &["run", "-r", "/", "-w", "."]),
        (
            "nono",
            &["wrap", "--silent", "--allow", ".", "--read", "/", "--"],
        ),
    ];
    for (name, options) in peers {
        if is_installed(name) {
            let mut command = inside(built, Path::new(name), options);
            command.args(words);
            commands.push((name, command));
        }
    }
    // What cannot be run at all is not measured: a missing toolchain, a peer that wants more than there is.
    commands.retain_mut(|(name, command)| {
        let ran = command.output();
        let is_run = ran.is_ok_and(|output| output.status.success());
        if !is_run {
            table::missing(&format!("{}, {name}", program.name), "it fails here");
        }
        is_run
    });
    let subjects = commands
        .iter_mut()
        .map(|(name, command)| Subject::new(name, || time(command)));
    let rounds = match program.script.contains("rm -rf") {
        true => FEW_ROUNDS,
        false => ROUNDS,
    };
    let samples = measure(rounds, subjects.collect());
    let Some(alone) = samples.iter().find(|sample| sample.name == "alone") else {
        return;
    };
    for sample in samples.iter().filter(|sample| sample.name != "alone") {
        let goal = match sample.name.as_str() {
            "trapped" => program.goals[0],
            "closed" => program.goals[1],
            _ => None,
        };
        let what = format!("{}, {}", program.name, sample.name);
        table::row(&what, sample, alone, goal);
    }
}

/// What nobody has.
pub const PATTERN: &str = "deny = [\"$PWD/**/*.never\", \"/usr/**/*.never\"]";

/// A command in the directory that all was planted in, with the toolchain at hand.
pub fn inside(built: &Built, program: &Path, words: &[&str]) -> Command {
    let mut command = built.command(program);
    let toolchain = toolchain().map(|place| place.join("bin"));
    let path = std::env::join_paths(toolchain.into_iter().chain(usual_path()));
    command
        .args(words)
        .env("PATH", path.expect("no colon in it"))
        .env("CARGO_HOME", built.sub("cargo"))
        .current_dir(built.sub("programs"));
    command
}

fn usual_path() -> impl Iterator<Item = PathBuf> {
    ["/usr/local/bin", "/usr/bin", "/bin"]
        .into_iter()
        .map(PathBuf::from)
}

/// Where the compiler of Rust is, behind what chooses between several.
pub fn toolchain() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let text = output.ok().filter(|output| output.status.success())?.stdout;
    Some(PathBuf::from(String::from_utf8(text).ok()?.trim()))
}

pub fn policy(built: &Built, name: &str, rules: &str, doors: &str) -> PathBuf {
    for name in ["beside/denied", "asked"] {
        built.sub(name);
    }
    let places = ["programs", "cargo", "beside"].map(|name| built.sub(name));
    let rules = rules.replace("PLACE", &built.place.path().display().to_string());
    let exec: Vec<_> = places.iter().take(1).cloned().chain(toolchain()).collect();
    let text = format!(
        "version = 1\n[fs]\nexec = {exec:?}\nwrite = {places:?}\n{rules}\n{doors}\n[env]\npass = [\"CARGO_HOME\"]\n"
    );
    let path = built.place.path().join(format!("programs-{name}.toml"));
    std::fs::write(&path, text).expect("the directory is ours");
    path
}

/// Everything that the programs work on.
pub fn plant(built: &Built) {
    let place = built.sub("programs");
    let write = |name: &str, text: &str| {
        let path = place.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    };
    write(
        "small.c",
        "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n",
    );
    for directory in 0..FILES / 100 {
        built.sub(&format!("programs/tree/{directory}"));
        for file in 0..100 {
            write(
                &format!("tree/{directory}/{file}"),
                &format!("{directory} {file}\n"),
            );
        }
    }
    let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/hello");
    let script = format!(
        "cp -R {} hello && rm -rf hello/target && tar cf tree.tar tree && cp -R tree repository && cd repository && git init -q . && git add . \
         && git -c user.name=a -c user.email=a@b.c commit -qm all",
        hello.display()
    );
    let planted = inside(built, Path::new("/bin/sh"), &["-c", &script]).status();
    if !planted.is_ok_and(|status| status.success()) {
        table::missing("some programs", "what they work on could not be made");
    }
}
