//! A child that makes any call with any arguments, of which some make sense: thousands each time, and as many as anybody likes with
//! `SUPERVISE_RANDOM_CALLS=1000000 cargo test --test escape random` (and `SUPERVISE_RANDOM_SEED` to begin elsewhere). What must not
//! change is looked at from outside, and what must not be read has a mark that the child looks for in all that it gets.

use crate::harness::built::{installed, probe, supervise};
use crate::harness::process::{NOBODY, as_uid, is_alive, marked, state};
use crate::harness::run::{DEADLINE, eventually, eventually_reads, start};
use crate::harness::{feature, require, set_mode};
use crate::scene::{Scene, assert_unchanged};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Names beside denials, a pattern, a tree that may be read, limits: something for every door.
const POLICY: &str = r#"
version = 1
[fs]
write = ["{W}", "{O}/named"]
read = ["{O}/given"]
deny = ["{W}/secret"DENIED]
deny_write = ["{W}/.git/hooks"]
exec = ["{P}"]
[limits]
file_size = "1MiB"
processes = 64
"#;

/// Stands in everything that must not be read, and nowhere else.
const MARK: &str = "q7Zk~mArk";

/// As many calls as one scene is good for.
const ROUND: u64 = 40_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// The mark as the child is told it: nobody who reads its command line finds it there.
fn turned_over() -> String {
    MARK.bytes().map(|byte| format!("{:02x}", !byte)).collect()
}

/// What is full of marks, and what else is needed.
fn furnish(scene: &Scene) {
    let marks = MARK.repeat(400);
    let (work, outside) = (scene.work(), scene.outside());
    for (place, name) in [
        (&work, "secret/key"),
        (&work, "secret/deep/er"),
        (&work, "sub/.env"),
        (&outside, "file"),
        (&outside, "dir/file"),
    ] {
        std::fs::write(place.join(name), &marks).expect("a file");
    }
    // Who lists such a directory has read it.
    for directory in [
        work.join("secret"),
        work.join("secret/deep"),
        outside.join("dir"),
        outside.clone(),
    ] {
        std::fs::write(directory.join(MARK), "x").expect("a file");
    }
    std::fs::create_dir(outside.join("given")).expect("a directory");
    std::fs::write(outside.join("given/file"), "given").expect("a file");
    std::fs::write(outside.join("named"), "named").expect("a file");
}

/// Everything that nobody inside may change: all but the part of the work area that may be written.
fn guarded(scene: &Scene) -> BTreeMap<PathBuf, String> {
    let mut seen = scene.snapshot();
    let work = scene.work();
    let guarded = [work.join("secret"), work.join(".git/hooks")];
    seen.retain(|path, _| {
        !path.starts_with(&work) || guarded.iter().any(|place| path.starts_with(place))
    });
    let named = scene.outside().join("named");
    for (path, facts) in &mut seen {
        let found = path.symlink_metadata().expect("it was there");
        if *path == named {
            // It may be changed, and nothing else may have its name.
            *facts = format!("inode={} links={}", found.ino(), found.nlink());
            continue;
        }
        *facts += &format!(
            " inode={} written={}.{}",
            found.ino(),
            found.mtime(),
            found.mtime_nsec()
        );
    }
    seen
}

/// What there is to say of a file that is open, whatever it is called.
fn facts(file: &File) -> (String, Vec<u8>) {
    let found = file.metadata().expect("it is open");
    let mut content = vec![0; MARK.len() * 400];
    let read = file.read_at(&mut content, 0).expect("a file");
    content.truncate(read);
    let facts = format!(
        "mode={:o} owner={}:{} size={} links={} changed={}.{}",
        found.mode(),
        found.uid(),
        found.gid(),
        found.size(),
        found.nlink(),
        found.ctime(),
        found.ctime_nsec()
    );
    (facts, content)
}

/// The numbers of what must not be open inside.
fn secrets(scene: &Scene) -> BTreeSet<(u64, u64)> {
    let open = ["given", "named"].map(|name| scene.outside().join(name));
    let is_secret = |path: &&PathBuf| !open.iter().any(|place| path.starts_with(place));
    let seen = scene.snapshot();
    let places = [scene.work().join("secret"), scene.outside()];
    let paths = seen
        .keys()
        .filter(|path| places.iter().any(|place| path.starts_with(place)));
    let env = scene.work().join("sub/.env");
    paths
        .filter(is_secret)
        .chain([&env])
        .map(|path| {
            let found = path.symlink_metadata().expect("it is there");
            (found.dev(), found.ino())
        })
        .collect()
}

/// Whether a descriptor is more than a name (`O_PATH`).
fn is_open(process: i32, number: &str) -> Option<bool> {
    let text = std::fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & libc::O_PATH == 0)
}

/// A secret that a process has open now.
fn held(process: i32, secrets: &BTreeSet<(u64, u64)>) -> Option<String> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    entries.flatten().find_map(|entry| {
        let number = entry.file_name().into_string().ok()?;
        let found = std::fs::metadata(entry.path()).ok()?;
        let is_secret = secrets.contains(&(found.dev(), found.ino()));
        (is_secret && is_open(process, &number)?).then(|| format!("{process} has {number} open"))
    })
}

/// The same, seen while the process stands still: a number may mean something else from one look to the next.
fn held_for_sure(process: i32, secrets: &BTreeSet<(u64, u64)>) -> Option<String> {
    held(process, secrets)?;
    let signal = |signal| kill(Pid::from_raw(process), signal).is_ok();
    if !signal(Signal::SIGSTOP) {
        return None;
    }
    eventually("it stood still or was gone", || {
        state(process).is_none_or(|state| ['T', 't', 'Z', 'X'].contains(&state))
    });
    let found = held(process, secrets);
    signal(Signal::SIGCONT);
    found
}

/// What a process has open, but for the list of that, which it opens once, when it first needs it, for good.
fn descriptors(process: i32) -> Vec<String> {
    let list = format!("/proc/{process}/fd");
    // Of one that is gone nothing is left.
    let entries = std::fs::read_dir(&list).into_iter().flatten();
    let targets = entries.flatten().filter_map(|entry| {
        let target = entry.path().read_link().ok()?;
        Some(target.to_string_lossy().into_owned())
    });
    let mut open: Vec<_> = targets.filter(|target| *target != list).collect();
    open.sort();
    open
}

/// So many calls in a sandbox of their own.
fn round(seed: u64, calls: u64, user: Option<u32>) -> String {
    let scene = Scene::new();
    furnish(&scene);
    let programs = user.map(|_| installed());
    let (command, child) = match &programs {
        Some(programs) => (programs.supervise.clone(), programs.probe.clone()),
        None => (supervise(), probe()),
    };
    let denied = if seed.is_multiple_of(2) {
        ", \"{W}/**/.env\""
    } else {
        ", \"{W}/sub/.env\""
    };
    let policy = POLICY.replace("DENIED", denied);
    scene.policy(&policy.replace("{P}", child.to_str().expect("UTF-8")));
    let listener = UnixListener::bind(scene.outside().join("sock")).expect("a socket");
    listener
        .set_nonblocking(true)
        .expect("a socket need not wait");
    let work = scene.work();
    let base = work.parent().expect("the base").to_owned();
    if let Some(user) = user {
        scene.give_to(user);
        set_mode(&base, 0o755);
    }
    let env = File::open(work.join("sub/.env")).expect("a file");
    let (before, env_before) = (guarded(&scene), facts(&env));
    let secrets = secrets(&scene);
    let text = format!(
        "linger-until {{W}}/first {{W}}/go -- random-calls {} {calls} {} {{W}} {{O}} {} -- linger-until {{W}}/second {{W}}/end \
         -- read {{O}}/given/file -- read {{W}}/secret/key -- read {{O}}/file -- write {{W}}/.git/hooks/x x \
         -- fchmodat {{O}}/given/file 777 -- write {{W}}/after x -- fchmodat {{W}}/after 600",
        seed << 32,
        turned_over(),
        std::process::id()
    );
    let mut words = vec![child.into_os_string()];
    words.extend(scene.words(&text).into_iter().map(Into::into));
    let flags = [PathBuf::from("--policy"), scene.policy_file()];
    let mut supervise = scene.supervise_by(&command, &flags, &words);
    if let Some(user) = user {
        as_uid(&mut supervise, user);
    }
    let running = start(&mut supervise);
    eventually_reads(&work.join("first"));
    let open = descriptors(running.pid());
    std::fs::write(work.join("go"), "").expect("a file");
    let second = work.join("second");
    let mark = turned_over();
    let mut found = None;
    let mut looks = 0;
    while !second.exists() && is_alive(running.pid()) && found.is_none() {
        let inside = marked(&mark)
            .into_iter()
            .filter(|pid| *pid != running.pid());
        found = inside.filter_map(|pid| held_for_sure(pid, &secrets)).next();
        looks += 1;
    }
    let story = format!("seed {seed}, user {user:?}");
    assert_eq!(found, None, "{story}");
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = descriptors(running.pid());
        // Of who last spoke on the session's socket the supervisor keeps who that is.
        if left.len() <= open.len() + 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{story}: {left:#?} of {open:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    std::fs::write(work.join("end"), "").expect("a file");
    let ran = running.wait();
    let answers = ran.lines();
    assert_eq!(answers.len(), 10, "{story}: {ran}");
    assert!(answers[1].starts_with("ok made="), "{story}: {ran}");
    let rest = [
        "ok given",
        "errno EACCES",
        "errno EACCES",
        "errno EACCES",
        "errno EACCES",
        "ok",
        "ok",
    ];
    assert_eq!(answers[3..], rest, "{story}: {ran}");
    assert_unchanged(&before, &guarded(&scene));
    assert_eq!(facts(&env), env_before, "{story}");
    assert!(
        listener.accept().is_err(),
        "{story}: somebody outside was connected to"
    );
    assert!(looks > 0, "{story}: nobody looked");
    answers[1].to_owned()
}

#[track_caller]
fn in_rounds(usual: u64, user: Option<u32>) {
    let mut left = number("SUPERVISE_RANDOM_CALLS").unwrap_or(usual);
    let mut seed = number("SUPERVISE_RANDOM_SEED").unwrap_or(1);
    while left > 0 {
        let calls = left.min(ROUND);
        let said = round(seed, calls, user);
        // Past the test runner, which would swallow it.
        let line = format!("RANDOM seed {seed}, user {user:?}: {said}\n");
        let said = std::io::stderr().lock().write_all(line.as_bytes());
        said.expect("standard error takes a line");
        left -= calls;
        seed += 1;
    }
}

#[test]
fn whatever_calls_are_made_nothing_is_read_or_changed_that_the_policy_does_not_give() {
    require!(feature::sockets());
    in_rounds(10_000, None);
}

#[test]
fn whatever_calls_an_ordinary_user_makes_nothing_is_read_or_changed_that_the_policy_does_not_give()
{
    require!(feature::root());
    require!(feature::sockets());
    in_rounds(10_000, Some(NOBODY));
}

/// Otherwise that nothing is found says nothing. It takes a few thousand calls, and ends there.
#[test]
fn the_mark_is_found_where_the_policy_lets_it_be_read() {
    require!(feature::listener());
    let scene = Scene::new();
    furnish(&scene);
    scene.policy(
        &POLICY
            .replace("{W}/secret\"DENIED", "{W}/none\"")
            .replace("{O}/given", "{O}"),
    );
    let acts = format!(
        "random-calls 1 200000 {} {{W}} {{O}} {}",
        turned_over(),
        std::process::id()
    );
    let performed = scene.perform(&acts);
    assert!(
        performed.answers()[0].starts_with("ok FOUND"),
        "{}",
        performed.ran
    );
}
