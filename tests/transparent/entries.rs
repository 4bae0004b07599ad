//! Names: where everything may be written as the kernel alone would have it, and where something may not, not at all.

use crate::harness::{Workspace, feature, process, require, set_mode};
use crate::supervised::{Lists, Supervised, outside, probe, probe_outside};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a name can be, in a directory made by [`fixture`]: one of each kind, in all spellings that the kernel tells apart.
const NAMES: [&str; 56] = [
    "absent",
    "absent/",
    "absent//",
    "absent/x",
    "absent/.",
    "./absent",
    "file",
    "file/",
    "file/x",
    "file/.",
    "same",
    "empty",
    "empty/",
    "full",
    "full//",
    "full/inner",
    "full/inner/",
    "full/new",
    "full/.",
    "full/..",
    "full/../absent",
    "tofile",
    "tofile/",
    "tofile/x",
    "todir",
    "todir/",
    "todir/inner",
    "todir/new",
    "toempty",
    "toempty/",
    "dangling",
    "dangling/",
    "dangling/x",
    "loop",
    "loop/",
    "loop/x",
    "fifo",
    "fifo/",
    "readonly/new",
    "readonly/inner",
    "readonly/empty",
    "closed/new",
    "closed/.",
    "sticky/new",
    "sticky/inner",
    "LONG",
    "LONGEST",
    ".",
    "./",
    "..",
    "../",
    "/",
    "//",
    "/nowhere/x",
    "/proc/self/x",
    "/proc/self/cwd/absent",
];

/// Those that are tried as both ends of a call.
const ENDS: [&str; 14] = [
    "absent",
    "absent/",
    "file",
    "file/",
    "same",
    "empty",
    "full",
    "full/inner",
    "full/.",
    "tofile",
    "todir",
    "readonly/inner",
    "sticky/inner",
    "/proc/self/x",
];

/// Calls on one name.
const ONE: [&str; 13] = [
    "mkdir AT 777",
    "mknod AT file",
    "mknod AT fifo",
    "mknod AT socket",
    "unlink AT",
    "rmdir AT",
    "symlink anything AT",
    "truncate AT 3",
    "truncate AT 20",
    "mkdir-legacy AT",
    "mknod-legacy AT file",
    "unlink-legacy AT",
    "rmdir-legacy AT",
];

/// Calls on two.
const TWO: [&str; 5] = [
    "rename AT TO",
    "rename AT TO noreplace",
    "rename AT TO exchange",
    "link AT TO",
    "link-follow AT TO",
];

/// Their twins, which differ from them in their arguments only.
const TWINS: [&str; 3] = [
    "rename-legacy AT TO",
    "link-legacy AT TO",
    "symlink-legacy AT TO",
];

/// The calls that this machine's architecture has.
fn known(call: &&str) -> bool {
    cfg!(target_arch = "x86_64") || !call.contains("-legacy")
}

/// A directory with what a call is about in it.
fn fixture(at: &Path, call: &[String]) {
    fs::create_dir_all(at).expect("a directory can be made");
    let made = |made: std::io::Result<()>| made.expect("names can be made here");
    let write = |name: &str| made(fs::write(at.join(name), "content"));
    let names: Vec<&str> = call
        .iter()
        .filter_map(|word| word.split('/').next())
        .collect();
    let has = |of: &[&str]| of.iter().any(|name| names.contains(name));
    if has(&["file", "same", "tofile"]) {
        write("file");
        made(fs::hard_link(at.join("file"), at.join("same")));
    }
    for (directory, also) in [
        ("empty", "toempty"),
        ("full", "todir"),
        ("readonly", ""),
        ("closed", ""),
        ("sticky", ""),
    ] {
        if has(&[directory, also]) {
            made(fs::create_dir(at.join(directory)));
            if directory != "empty" {
                write(&format!("{directory}/inner"));
            }
        }
    }
    for (to, name) in [
        ("file", "tofile"),
        ("full", "todir"),
        ("empty", "toempty"),
        ("nowhere", "dangling"),
        ("loop", "loop"),
    ] {
        if has(&[name]) {
            made(symlink(to, at.join(name)));
        }
    }
    if has(&["other"]) {
        write("other");
    }
    if has(&["fifo"]) {
        let mode = nix::sys::stat::Mode::from_bits_retain(0o600);
        nix::unistd::mkfifo(&at.join("fifo"), mode).expect("a FIFO can be made");
    }
    if has(&["sticky"]) && nix::unistd::geteuid().is_root() {
        let nobody = Some(process::NOBODY);
        for name in ["sticky", "sticky/inner"] {
            made(std::os::unix::fs::chown(at.join(name), nobody, nobody));
        }
    }
    if has(&["readonly"]) {
        made(fs::create_dir(at.join("readonly/empty")));
    }
    for (name, mode) in [("sticky", 0o1777), ("readonly", 0o555), ("closed", 0o600)] {
        if has(&[name]) {
            set_mode(&at.join(name), mode);
        }
    }
}

/// Everything below a directory, as text: what two of them must have in common.
fn tree(at: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![at.to_owned()];
    while let Some(directory) = left.pop() {
        let mode = fs::metadata(&directory).expect("it is there").mode();
        // One that is closed must be looked into too, and removed later.
        set_mode(&directory, 0o700);
        let entries = fs::read_dir(&directory).expect("a directory can be listed");
        let name = directory.strip_prefix(at).expect("it lies below").display();
        found.push(format!("{name}/ mode={mode:o}"));
        for entry in entries {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("it is there");
            let kind = metadata.file_type();
            if kind.is_dir() {
                left.push(path);
                continue;
            }
            let content = if kind.is_symlink() {
                fs::read_link(&path).expect("a link").display().to_string()
            } else if kind.is_file() {
                fs::read(&path)
                    .unwrap_or_default()
                    .escape_ascii()
                    .to_string()
            } else {
                format!("fifo={} socket={}", kind.is_fifo(), kind.is_socket())
            };
            let name = path.strip_prefix(at).expect("it lies below").display();
            let owner = (metadata.uid(), metadata.gid());
            let (mode, links) = (metadata.mode(), metadata.nlink());
            found.push(format!(
                "{name} mode={mode:o} owner={owner:?} links={links} {content}"
            ));
        }
    }
    found.sort();
    found
}

fn spelled(name: &str) -> String {
    match name {
        "LONG" => "n".repeat(256),
        "LONGEST" => "./".repeat(2048),
        name => name.to_owned(),
    }
}

/// One call, each in a fresh directory of its own: inside, and beside it without us. Answers and trees must be the same.
fn compare(workspace: &Workspace, supervised: &Supervised, cases: &[Vec<String>]) {
    // What was removed is not made again at once: some file systems take their time over that.
    static ROUND: AtomicU32 = AtomicU32::new(0);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    let places = ["inside", "twin"].map(|name| workspace.make_dir(format!("{name}/{round}")));
    let words = |place: &Path| -> Vec<String> {
        let enter = |(number, case): (usize, &Vec<String>)| {
            let directory = place.join(number.to_string());
            let enter = [
                "chdir".to_owned(),
                directory.display().to_string(),
                "--".to_owned(),
            ];
            let end = (number + 1 < cases.len()).then(|| "--".to_owned());
            enter
                .into_iter()
                .chain(case.clone())
                .chain(end)
                .collect::<Vec<_>>()
        };
        cases.iter().enumerate().flat_map(enter).collect()
    };
    for place in &places {
        for (number, case) in cases.iter().enumerate() {
            fixture(&place.join(number.to_string()), case);
        }
    }
    let ours = supervised.probe(&places[0], &words(&places[0]));
    let kernels = probe_outside(&places[1], &words(&places[1]));
    assert_eq!(kernels.len(), 2 * cases.len());
    assert_eq!(ours.len(), kernels.len());
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(kernels[2 * number], "ok");
        assert_eq!(ours[2 * number + 1], kernels[2 * number + 1], "{case:?}");
        let [ours, kernels] = places
            .each_ref()
            .map(|place| tree(&place.join(number.to_string())));
        assert_eq!(ours, kernels, "{case:?}");
    }
}

fn brokered(workspace: &Workspace) -> Lists {
    workspace.make_dir("twin");
    Lists {
        entries: true,
        is_brokered: true,
        // Whatever a spelling leads to.
        ..Lists::writing(Path::new("/"))
    }
}

fn with(call: &str, at: &str, to: &str) -> Vec<String> {
    call.split(' ')
        .map(|word| match word {
            "AT" => spelled(at),
            "TO" => spelled(to),
            word => word.to_owned(),
        })
        .collect()
}

#[test]
fn calls_on_a_name_do_what_they_do_without_us() {
    require!(feature::listener());
    // The door and what it is held against are threads of one process here, and make files at the same time.
    require!(feature::own_directories());
    let workspace = Workspace::new();
    let supervised = Supervised::new(brokered(&workspace));
    for call in ONE.iter().filter(|call| known(call)) {
        let cases: Vec<_> = NAMES.iter().map(|name| with(call, name, "")).collect();
        compare(&workspace, &supervised, &cases);
    }
    assert_eq!(
        supervised.lines.all(),
        [""; 0],
        "what is allowed is not recorded"
    );
}

/// A link to another mount is refused for that, or before that because /proc has no such name: which, only /proc knows.
fn is_certain(case: &[String]) -> bool {
    !case[0].starts_with("link") || !case[2].starts_with("/proc")
}

#[test]
fn calls_on_two_names_do_what_they_do_without_us() {
    require!(feature::listener());
    // The door and what it is held against are threads of one process here, and make files at the same time.
    require!(feature::own_directories());
    let workspace = Workspace::new();
    let supervised = Supervised::new(brokered(&workspace));
    for call in TWO {
        for from in ENDS {
            let cases = ENDS.iter().map(|to| with(call, from, to));
            let cases: Vec<_> = cases.filter(|case| is_certain(case)).collect();
            compare(&workspace, &supervised, &cases);
        }
    }
    let twins = TWINS.iter().filter(|call| known(call));
    let cases = twins.flat_map(|call| {
        let both = |name| [with(call, name, "full/new"), with(call, "other", name)];
        ENDS.into_iter().flat_map(both)
    });
    let cases: Vec<_> = cases.filter(|case| is_certain(case)).collect();
    compare(&workspace, &supervised, &cases);
    assert_eq!(
        supervised.lines.all(),
        [""; 0],
        "what is allowed is not recorded"
    );
}

#[test]
fn faults_and_flags_are_answered_as_the_kernel_does() {
    require!(feature::listener());
    // The door and what it is held against are threads of one process here, and make files at the same time.
    require!(feature::own_directories());
    let workspace = Workspace::new();
    let supervised = Supervised::new(brokered(&workspace));
    let [ours, kernels] = ["inside", "twin"].map(|place| {
        workspace.write(format!("{place}/here/file"), "content");
        workspace.write(format!("{place}/there/file"), "content");
        let place = workspace.join(place);
        let words = ["umask", "027", "--", "entry-faults", "../there"];
        let said = match place.ends_with("inside") {
            true => supervised.probe(&place.join("here"), &words),
            false => probe_outside(&place.join("here"), &words),
        };
        (said, tree(&place))
    });
    for (ours, kernels) in ours.0[1].split(' ').zip(kernels.0[1].split(' ')) {
        assert_eq!(ours, kernels);
    }
    assert_eq!(ours, kernels);
}

#[test]
fn a_file_without_a_name_gets_one_from_who_can_write_it() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(brokered(&workspace));
    for how in [
        "written,magic",
        "written,itself",
        "exclusive,magic",
        "unlinked,magic",
    ] {
        let [ours, kernels] = ["inside", "twin"].map(|place| {
            workspace.write(format!("{place}/{how}/file"), "content");
            let place = workspace.join(place).join(how);
            let words = ["link-nameless", "name", how];
            let said = match place.starts_with(workspace.join("inside")) {
                true => supervised.probe(&place, &words),
                false => probe_outside(&place, &words),
            };
            (said, tree(&place))
        });
        assert_eq!(ours, kernels, "{how}");
    }
    let read = supervised.probe(
        &workspace.join("inside"),
        &["link-nameless", "name", "read,magic"],
    );
    assert_eq!(
        read,
        ["errno EACCES"],
        "what is only read says nothing about where it may appear"
    );
}

#[test]
fn no_file_grows_beyond_the_limit_of_the_caller() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(brokered(&workspace));
    let [ours, kernels] = ["inside", "twin"].map(|place| {
        let file = workspace.write(format!("{place}/file"), "much more than ten");
        let place = workspace.join(place);
        // A file that is longer may be cut; to make one longer ends the program.
        let words = "setrlimit 1 10 10 -- truncate file 12 -- truncate file 5 -- truncate file 11 -- truncate file 0";
        let words: Vec<&str> = words.split(' ').collect();
        let mut command = probe(&place, &words);
        let run = move || {
            let ran = crate::harness::run::run(&mut command);
            (ran.code(), ran.stdout)
        };
        let said = match place.ends_with("inside") {
            true => supervised.inside(run),
            false => outside(run),
        };
        (said, fs::read_to_string(file).expect("it is there"))
    });
    assert_eq!(ours, kernels);
    assert_eq!(ours.0, (128 + libc::SIGXFSZ, "ok\nok\nok\n".to_owned()));
    assert_eq!(ours.1, "much ");
}
