//! Names under policies, with Landlock in force: what a rule denies stays as it is, whatever is tried; the rest goes on.

use crate::harness::run::eventually;
use crate::harness::{Workspace, feature, require};
use crate::supervised::{Supervised, probe_outside};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

/// A tree of which a directory, some hooks and a pattern of files are kept.
const POLICY: &str = "[fs]\nexec = [\"PROGRAMS\"]\nwrite = [\"$P/yard\", \"$P/free\"]\n\
    deny = [\"$P/yard/secret\", \"$P/yard/kept/**/.env\"]\ndeny_write = [\"$P/yard/.git/hooks\"]";

fn plant(workspace: &Workspace) {
    for name in [
        "yard/secret/key",
        "yard/.git/hooks/run",
        "yard/.git/index",
        "yard/kept/sub/.env",
        "yard/kept/file",
        "yard/src/file",
        "yard/file",
        "free/file",
        "free/tree/.env",
    ] {
        workspace.write(name, name);
    }
    symlink("secret", workspace.join("yard/way")).expect("a link");
    symlink("secret/key", workspace.join("yard/tokey")).expect("a link");
}

/// The names below a directory, and what is in the files.
fn tree(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![top.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("it can be listed") {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path)
                .expect("it is there")
                .file_type();
            let content = match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => {
                    left.push(path.clone());
                    "/".to_owned()
                }
                (_, true) => fs::read_link(&path).expect("a link").display().to_string(),
                _ if kind.is_file() => fs::read_to_string(&path).unwrap_or_default(),
                _ => String::new(),
            };
            found.push(format!("{} {content}", path.display()));
        }
    }
    found.sort();
    found
}

#[test]
fn what_is_denied_is_neither_moved_nor_made_nor_linked() {
    require!(feature::listener());
    require!(feature::landlock(3));
    let workspace = Workspace::new();
    plant(&workspace);
    let work = workspace.join("yard");
    let before = tree(&workspace.path());
    let supervised = Supervised::ruled(POLICY, &workspace.path());
    for (act, expected) in [
        // Onto what is denied, whether it is there or not.
        ("rename file secret/new", "EACCES"),
        ("rename file secret/key", "EACCES"),
        ("rename file secret", "EACCES"),
        ("rename src secret", "EACCES"),
        ("rename file kept/.env", "EACCES"),
        ("rename file kept/any/where/.env", "ENOENT"),
        ("rename file .git/hooks/run", "EACCES"),
        ("rename file tokey/x", "ENOTDIR"),
        ("rename file way/new", "EACCES"),
        // Out of it.
        ("rename secret/key file", "EACCES"),
        ("rename secret src/secret", "EACCES"),
        ("rename kept/sub/.env file", "EACCES"),
        ("rename .git/hooks other", "EACCES"),
        // What it lies in.
        ("rename .git other", "EACCES"),
        ("rename .git src/git", "EACCES"),
        ("rename file secret/key exchange", "EACCES"),
        ("rename secret/key file exchange", "EACCES"),
        ("rename .git src exchange", "EACCES"),
        ("rename src .git exchange", "EACCES"),
        ("rmdir .git", "EACCES"),
        ("rmdir secret", "EACCES"),
        // A directory may hold what may not be where it would go.
        ("rename ../free/tree kept/tree", "EXDEV"),
        ("rename kept/sub ../free/sub", "EXDEV"),
        ("rename kept/file ../free/tree exchange", "EXDEV"),
        // Other names of it, and other things of its name.
        ("link secret/key other", "EACCES"),
        ("link-follow tokey other", "EACCES"),
        ("link-magic secret/key other", "EACCES"),
        ("link file secret/new", "EACCES"),
        ("link file kept/.env", "EACCES"),
        ("symlink /etc kept/.env", "EACCES"),
        ("symlink /etc secret/new", "EACCES"),
        ("symlink /etc .git/hooks/new", "EACCES"),
        ("mkdir secret/new", "EACCES"),
        ("mkdir kept/.env", "EACCES"),
        ("mkdir kept/sub/.env/new", "ENOTDIR"),
        ("mkdir way/new", "EACCES"),
        ("mkdir /proc/self/cwd/secret/new", "EACCES"),
        ("mkdir src/../secret/./new", "EACCES"),
        ("mknod kept/.env file", "EACCES"),
        ("mknod .git/hooks/new fifo", "EACCES"),
        // It stays as it is.
        ("unlink secret/key", "EACCES"),
        ("unlink kept/sub/.env", "EACCES"),
        ("unlink .git/hooks/run", "EACCES"),
        ("truncate secret/key 0", "EACCES"),
        ("truncate tokey 0", "EACCES"),
        ("truncate .git/hooks/run 0", "EACCES"),
        // And where nothing may be written, nothing may be done.
        ("mkdir ../other", "EACCES"),
        ("rename file ../other", "EACCES"),
        ("rename ../yard other", "EACCES"),
        ("unlink ../nothing", "ENOENT"),
        // What is there, is there; and what is not, is not: to say so takes no right.
        ("mkdir secret", "EEXIST"),
        ("mkdir secret/key", "EEXIST"),
        ("symlink /etc kept/sub/.env", "EEXIST"),
        ("rename file secret/key noreplace", "EEXIST"),
        ("unlink secret/new", "ENOENT"),
        ("rmdir secret/new", "ENOENT"),
        ("rename secret/new file", "ENOENT"),
        ("rename file secret/new exchange", "ENOENT"),
        // Devices are nobody's to make.
        ("mknod src/null character 259", "EPERM"),
        ("rename file other whiteout", "EPERM"),
    ] {
        let words: Vec<&str> = act.split(' ').collect();
        let recorded = supervised.lines.all().len();
        assert_eq!(
            supervised.probe(&work, &words),
            [format!("errno {expected}")],
            "{act}"
        );
        let lines = supervised.lines.all();
        let is_ours = matches!(expected, "EACCES" | "EXDEV" | "EPERM");
        assert_eq!(
            lines.len() - recorded,
            usize::from(is_ours),
            "{act}: {lines:?}"
        );
        if is_ours {
            let last = lines.last().expect("one was added");
            assert!(
                last.starts_with("Refused ") && last.ends_with(expected),
                "{act}: {last}"
            );
        }
    }
    assert_eq!(tree(&workspace.path()), before);
}

#[test]
fn what_is_allowed_goes_on_beside_what_is_denied() {
    require!(feature::listener());
    require!(feature::landlock(3));
    let workspace = Workspace::new();
    let [ours, kernels] = ["ours", "kernels"].map(|name| {
        plant(&workspace);
        let place = workspace.join(name);
        fs::create_dir(&place).expect("it is new");
        for name in ["yard", "free"] {
            fs::rename(workspace.join(name), place.join(name)).expect("it can be moved");
        }
        place
    });
    let supervised = Supervised::ruled(POLICY, &ours);
    let acts = [
        "rename file other",
        "rename other src/file",
        "rename src/file kept/file",
        "rename kept/file src/file",
        "rename kept ../yard/kept",
        "link src/file new",
        "link new .git/new",
        "symlink secret/key src/link",
        "rename src/link link",
        "unlink link",
        "mkdir new-directory",
        "mkdir new-directory/one/",
        "rename new-directory/one new-directory/two exchange",
        "rename new-directory/one src exchange",
        // What the kernel was told about stays with the directory; what has its name is ours to do.
        "rename src old",
        "mkdir src",
        "mknod src/fifo fifo",
        "mkdir src/below",
        "symlink x src/below/link",
        "unlink src/below/link",
        "rmdir src/below",
        "unlink src/fifo",
        "rmdir src",
        "truncate new 3",
        "unlink new",
        "rename ../free/file file",
        "rename ../free/tree tree",
        "rename old src",
        "rename src/one src/two",
    ];
    for act in acts {
        let words: Vec<&str> = act.split(' ').collect();
        let said = supervised.probe(&ours.join("yard"), &words);
        assert_eq!(said, probe_outside(&kernels.join("yard"), &words), "{act}");
        let trees = [&ours, &kernels].map(|place| {
            let prefix = place.display().to_string();
            let names = tree(place).into_iter();
            names
                .map(|line| line.replacen(&prefix, "", 1))
                .collect::<Vec<_>>()
        });
        assert_eq!(trees[0], trees[1], "{act}");
    }
    assert_eq!(supervised.lines.all(), [""; 0]);
}

#[test]
fn a_thread_makes_names_where_it_is_itself() {
    require!(feature::own_directories());
    require!(feature::listener());
    require!(feature::landlock(3));
    let workspace = Workspace::new();
    let act = ["entries-of-thread", "own", "made"];
    plant(&workspace);
    let [ours, kernels] = ["yard", "twin"].map(|place| {
        workspace.make_dir(format!("{place}/own"));
        let at = workspace.join(place);
        let said = match place {
            "yard" => Supervised::ruled(POLICY, &workspace.path()).probe(&at, &act),
            _ => probe_outside(&at, &act),
        };
        let mode = |name: &str| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(at.join(name))
                .map(|metadata| metadata.mode() & 0o777)
                .ok()
        };
        (
            said,
            mode("own/made"),
            mode("own/moved"),
            mode("made"),
            mode("inner"),
        )
    });
    assert_eq!(ours, kernels);
    assert_eq!(ours.0, ["ok"]);
}

/// How many tries: enough that without the door's care each of these races is lost.
const TRIES: &str = "500";

/// Runs a race, again and again for as long as `SUPERVISE_RACE_SECONDS` says, and until both of its sides were met. What must not
/// be never was.
#[track_caller]
fn race(supervised: &Supervised, at: &Path, words: &[&str]) {
    let given = std::env::var("SUPERVISE_RACE_SECONDS").ok();
    let seconds = given.map_or(0, |text| text.parse().expect("it is a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut allowed, mut refused) = (0, 0);
    eventually(
        "both sides of the race are met, for as long as it is to last",
        || {
            loop {
                let [met, denied] = race_once(supervised, at, words);
                (allowed, refused) = (allowed + met, refused + denied);
                if Instant::now() >= end {
                    return allowed > 0 && refused > 0;
                }
            }
        },
    );
    let line = format!("RACE {}: {} tries\n", words[0], allowed + refused);
    // Past the test runner, which would swallow it.
    let said = std::io::stderr().lock().write_all(line.as_bytes());
    said.expect("standard error takes a line");
}

/// How often it met what is allowed, and what is refused.
#[track_caller]
fn race_once(supervised: &Supervised, at: &Path, words: &[&str]) -> [u64; 2] {
    let said = supervised.probe(at, &[words, &[TRIES]].concat()).join(" ");
    let count = |name: &str| -> u64 {
        let value = said.split(' ').find_map(|word| word.strip_prefix(name));
        value
            .unwrap_or_else(|| panic!("{said}"))
            .parse()
            .expect("a number")
    };
    assert_eq!(count("hit="), 0, "{words:?}: {said}");
    [count("allowed="), count("refused=")]
}

#[test]
fn no_race_puts_a_name_where_none_may_be() {
    require!(feature::listener());
    require!(feature::landlock(3));
    require!(feature::processors(2));
    let workspace = Workspace::new();
    plant(&workspace);
    let work = workspace.join("yard");
    workspace.make_dir("yard/one");
    // One byte from what is denied: seldom is it neither.
    workspace.make_dir("yard/sacret");
    symlink("one", work.join("good")).expect("a link");
    symlink("secret", work.join("bad")).expect("a link");
    workspace.write("free/trap/.env", "x");
    let supervised = Supervised::ruled(POLICY, &workspace.path());
    race(
        &supervised,
        &work,
        &["race-mkdir", "sacret/new", "secret/new"],
    );
    race(
        &supervised,
        &work,
        &[
            "race-mkdir-swap",
            "good",
            "bad",
            "good/new",
            "one/new",
            "secret/new",
        ],
    );
    race(
        &supervised,
        &work,
        &["race-rename", "file", "kept/xenv", "kept/.env"],
    );
    let kinds = [
        "race-kind",
        "../free/file",
        "../free/trap",
        "kept/arrived",
        "kept/arrived/.env",
    ];
    race(&supervised, &work, &kinds);
    assert!(!work.join("secret/new").exists());
    assert_eq!(
        fs::read_to_string(work.join("secret/key")).expect("it is there"),
        "yard/secret/key"
    );
}
