//! Real programs under the shipped presets: each does what it is for, and is refused what it must not have. What was refused is
//! looked at from the outside.

#[path = "../harness/mod.rs"]
mod harness;

mod denials;
mod house;

use harness::built::tree;
use harness::feature;
use harness::require;
use house::{House, SECRET};

/// What the kernel of these tests must have for anything to run.
fn sandbox() -> Result<(), String> {
    feature::landlock(1)
}

/// Copies `tests/programs/NAME` into the working directory, without what was built there.
fn take(house: &House, name: &str) {
    let from = tree().join("tests/programs").join(name);
    copy(&from, &house.work().join(name));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in
        std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()))
    {
        let path = entry.expect("an entry can be read").path();
        let name = path.file_name().expect("an entry has a name");
        match path.is_dir() {
            true if name == "target" => {}
            true => copy(&path, &to.join(name)),
            false => harness::built::copy_program(&path, &to.join(name)),
        }
    }
}

#[test]
fn shell_and_coreutils_do_a_days_work() {
    require!(sandbox());
    let house = House::new();
    take(&house, "shell");
    for policy in [None, Some("build")] {
        let day = house.work().join("day");
        std::fs::create_dir_all(&day).expect("the directory is ours");
        let ran = house.run(policy, &["sh", "shell/tour.sh", "day"]);
        assert_eq!(ran.lines(), ["done"], "{ran}");
        std::fs::remove_dir_all(&day).expect("the directory is ours");
    }
}

#[test]
fn coreutils_are_refused_what_lies_outside() {
    require!(sandbox());
    let house = House::new();
    let key = house.key();
    let outside = house.outside();
    std::fs::write(house.work().join("own"), "own").expect("the directory is ours");
    let before = house.look();
    let attempts: [&[&str]; 14] = [
        &["cat", &key],
        &["cp", &key, "copy"],
        &["dd", &format!("if={key}"), "of=copy"],
        &["ls", &outside],
        &["tail", "-c", "1", &key],
        &["ln", &key, "alias"],
        &["mv", &key, "moved"],
        &["rm", "-f", &key],
        &["cp", "own", &format!("{outside}/new")],
        &["mkdir", &format!("{outside}/new")],
        &["truncate", "-s", "0", &key],
        &["chmod", "0777", &key],
        &["touch", "-d", "2001-01-01", &key],
        &["sh", "-c", &format!("echo x >> {key}")],
    ];
    for attempt in attempts {
        let ran = house.run(Some("build"), attempt);
        assert_ne!(ran.code(), 0, "{attempt:?}: {ran}");
        assert!(
            !(124..=127).contains(&ran.code()),
            "the sandbox itself failed: {attempt:?}: {ran}"
        );
        assert!(!ran.stdout.contains(SECRET), "{attempt:?}: {ran}");
        assert_eq!(house.look(), before, "{attempt:?}");
    }
    // Through a link of its own making.
    let ran = house.run(
        Some("build"),
        &["sh", "-c", &format!("ln -s {key} link && cat link")],
    );
    assert!(ran.code() != 0 && !ran.stdout.contains(SECRET), "{ran}");
}

#[test]
fn git_commits_and_clones() {
    require!(sandbox());
    require!(feature::program("git"));
    let house = House::new();
    let script = "set -e
        git init -q -b main one
        cd one
        git config user.name Test
        git config user.email test@example.org
        echo text > file
        chmod +x file
        git add file
        git commit -q -m 'Add a file'
        cd ..
        git clone -q one two
        cd two
        git log --format=%s
        git fsck --strict
        test -x file";
    let ran = house.run(Some("build"), &["sh", "-c", script]);
    assert_eq!(ran.lines().first(), Some(&"Add a file"), "{ran}");
    // What it made is whole to those outside.
    let status = std::process::Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(house.work().join("two"))
        .args(["status", "--porcelain"])
        .output()
        .expect("git runs");
    assert!(
        status.status.success() && status.stdout.is_empty(),
        "{status:?}"
    );
}

#[test]
fn git_is_refused_repositories_and_hosts_that_nothing_grants() {
    require!(sandbox());
    require!(feature::program("git"));
    let house = House::new();
    let elsewhere = house.make("outside/repository");
    let made = std::process::Command::new("git")
        .args(["init", "-q", "--bare"])
        .arg(&elsewhere)
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let ran = house.run(
        Some("build"),
        &[
            "git",
            "clone",
            "-q",
            elsewhere.to_str().expect("UTF-8"),
            "copy",
        ],
    );
    assert_ne!(ran.code(), 0, "{ran}");
    let server = house::Server::start();
    let ran = house.run(
        Some("build"),
        &["git", "ls-remote", &format!("git://{}/x", server.address())],
    );
    assert_ne!(ran.code(), 0, "{ran}");
    assert_eq!(server.connections(), 0, "{ran}");
}

#[test]
fn an_agent_leaves_no_hook_behind() {
    require!(sandbox());
    require!(feature::program("git"));
    let house = House::new();
    let made = std::process::Command::new("git")
        .args(["init", "-q"])
        .arg(house.work())
        .status();
    assert!(made.is_ok_and(|status| status.success()));
    let hook = house.work().join(".git/hooks/pre-commit");
    let config = house.work().join(".git/config");
    let before = std::fs::read(&config).expect("git made it");
    for attempt in [
        "echo 'touch owned' > .git/hooks/pre-commit",
        "echo x > x; mv x .git/hooks/pre-commit",
        "mkdir h; mv .git/hooks old; mv h .git/hooks; echo x > .git/hooks/pre-commit",
        "git config core.fsmonitor 'touch owned'",
        "echo '[core]' >> .git/config",
    ] {
        let ran = house.run(Some("agent"), &["sh", "-c", attempt]);
        assert_ne!(ran.code(), 0, "{attempt}: {ran}");
        assert!(
            !(124..=127).contains(&ran.code()),
            "the sandbox itself failed: {attempt}: {ran}"
        );
        assert!(!hook.exists(), "{attempt}: {ran}");
        assert_eq!(
            std::fs::read(&config).expect("git made it"),
            before,
            "{attempt}: {ran}"
        );
    }
}

#[test]
fn python_reads_writes_threads_and_starts_programs() {
    require!(sandbox());
    require!(house::python());
    let house = House::new();
    take(&house, "python");
    let words = house.make("work/words");
    std::fs::write(words.join("a.txt"), "one two two").expect("the directory is ours");
    std::fs::write(words.join("b.txt"), "three").expect("the directory is ours");
    let ran = house.run(
        Some("build"),
        &["python3", "python/words.py", "words", "result.json"],
    );
    assert_eq!(ran.lines(), ["3 4"], "{ran}");
    let result = std::fs::read_to_string(house.work().join("result.json")).expect("it was written");
    assert!(result.contains("\"words\": 3"), "{result}");
}

#[test]
fn python_is_refused_secrets_connections_and_signals() {
    require!(sandbox());
    require!(house::python());
    let house = House::new();
    let server = house::Server::start();
    let program = format!(
        r#"
import os, socket
def refused(act):
    try:
        act()
    except PermissionError:
        return "refused"
    except OSError as error:
        return "failed " + str(error)
    return "done"
print(refused(lambda: open({key:?}).read()))
print(refused(lambda: open({key:?}, "a")))
print(refused(lambda: os.listdir({outside:?})))
print(refused(lambda: socket.create_connection(("127.0.0.1", {port}), 5)))
print(refused(lambda: os.kill({pid}, 0)))
print(refused(lambda: os.unshare(os.CLONE_NEWUSER) if hasattr(os, "unshare") else os.setpriority(0, {pid}, 5)))
"#,
        key = house.key(),
        outside = house.outside(),
        port = server.address().port(),
        pid = std::process::id(),
    );
    let ran = house.run(Some("build"), &["python3", "-c", &program]);
    let lines = ran.lines();
    for (at, line) in lines.iter().enumerate() {
        // Without any rule for the network there are not even sockets.
        let by_family = at == 3 && line.contains("Address family not supported");
        assert!(*line == "refused" || by_family, "{ran}");
    }
    assert_eq!(lines.len(), 6, "{ran}");
    assert_eq!(server.connections(), 0, "{ran}");
}

#[test]
fn gcc_compiles_and_includes_no_secret() {
    require!(sandbox());
    require!(feature::program("gcc"));
    let house = House::new();
    take(&house, "c");
    let ran = house.run(
        Some("build"),
        &["gcc", "-O1", "-o", "sum", "c/main.c", "c/sum.c"],
    );
    assert_eq!(ran.code(), 0, "{ran}");
    let ran = house.run(Some("build"), &["./sum", "40", "2"]);
    assert_eq!(ran.lines(), ["42"], "{ran}");
    let thief = format!(
        "#include \"{}\"\nint main(void) {{ return 0; }}\n",
        house.key()
    );
    std::fs::write(house.work().join("thief.c"), thief).expect("the directory is ours");
    let ran = house.run(Some("build"), &["gcc", "-E", "thief.c"]);
    assert_ne!(ran.code(), 0, "{ran}");
    assert!(
        !ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET),
        "{ran}"
    );
}

#[test]
fn make_builds_and_checks_and_its_recipes_are_confined() {
    require!(sandbox());
    require!(
        feature::program("make")
            .and(feature::program("cc"))
            .and(feature::program("ar"))
    );
    let house = House::new();
    take(&house, "c");
    let ran = house.run(Some("build"), &["make", "-j2", "-C", "c", "check"]);
    assert_eq!(ran.code(), 0, "{ran}");
    assert!(house.work().join("c/sum").exists());
    let recipe = format!("all:\n\tcp {} stolen\n", house.key());
    std::fs::write(house.work().join("Makefile"), recipe).expect("the directory is ours");
    let ran = house.run(Some("build"), &["make"]);
    assert_ne!(ran.code(), 0, "{ran}");
    assert!(!house.work().join("stolen").exists(), "{ran}");
}

#[test]
fn cargo_builds_a_crate_and_runs_it() {
    require!(sandbox());
    require!(feature::program("cargo").and(feature::program("cc")));
    let house = House::new();
    take(&house, "hello");
    let manifest = ["--offline", "--manifest-path", "hello/Cargo.toml"];
    let ran = house.run(
        Some("build"),
        &[&["cargo", "build"][..], &manifest].concat(),
    );
    assert_eq!(ran.code(), 0, "{ran}");
    let ran = house.run(Some("build"), &["hello/target/debug/hello", "de"]);
    assert_eq!(ran.lines(), ["Hallo, world"], "{ran}");
    let ran = house.run(
        Some("build"),
        &[&["cargo", "test", "--quiet"][..], &manifest].concat(),
    );
    assert_eq!(ran.code(), 0, "{ran}");
}

#[test]
fn a_build_script_reaches_nothing_outside() {
    require!(sandbox());
    require!(feature::program("cargo").and(feature::program("cc")));
    let house = House::new();
    take(&house, "hello");
    let server = house::Server::start();
    let script = format!(
        r#"use std::{{fs, net}};
fn main() {{
    let mut done = Vec::new();
    if fs::read({key:?}).is_ok() {{ done.push("read"); }}
    if fs::write("{outside}/new", "x").is_ok() {{ done.push("wrote"); }}
    if net::TcpStream::connect("{address}").is_ok() {{ done.push("connected"); }}
    if std::os::unix::net::UnixStream::connect({socket:?}).is_ok() {{ done.push("reached a socket"); }}
    fs::write("done", done.join(" ")).expect("the crate's own directory is writable");
    panic!("tried");
}}
"#,
        key = house.key(),
        outside = house.outside(),
        address = server.address(),
        socket = server.socket(),
    );
    std::fs::write(house.work().join("hello/build.rs"), script).expect("the directory is ours");
    let before = house.look();
    let ran = house.run(
        Some("build"),
        &[
            "cargo",
            "build",
            "--offline",
            "--manifest-path",
            "hello/Cargo.toml",
        ],
    );
    assert_ne!(ran.code(), 0, "{ran}");
    let done = std::fs::read_to_string(house.work().join("hello/done"));
    assert_eq!(
        done.unwrap_or_else(|error| panic!("{error}: {ran}")),
        "",
        "{ran}"
    );
    assert_eq!(house.look(), before);
    assert_eq!(server.connections(), 0);
}
