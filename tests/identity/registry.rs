//! The directory of manifests: what is wrong with one is said of that one, and of no other.

use crate::harness::feature;
use crate::harness::process::NOBODY;
use crate::harness::{Workspace, require, set_mode};
use crate::worker::manifest;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::workers::identity::{DaemonProcess, Endpoint, Here};
use supervisor::workers::manifest::{Manifest, ManifestError, State};
use supervisor::workers::registry::{EntryError, Registry, RegistryError};

fn own() -> DaemonProcess {
    let endpoint = Endpoint {
        namespace_id: "test".to_owned(),
        path: PathBuf::from("/run/w"),
    };
    DaemonProcess::current_process(endpoint, None).unwrap()
}

#[test]
fn a_directory_that_is_absent_is_empty_and_private_from_birth() {
    let workspace = Workspace::new();
    let path = workspace.join("a/b");
    let registry = Registry::open(&path).unwrap();
    assert!(registry.list().unwrap().is_empty());
    assert!(registry.read("w").unwrap().is_none());
    registry.write(&manifest("w", Some(own()))).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("w.json")), 0o600);
    let again = Registry::open(&path).unwrap();
    let read = again.read("w").unwrap().unwrap();
    assert_eq!(read.process.unwrap().pid, std::process::id() as i32);
    again.remove("w").unwrap();
    again.remove("w").unwrap();
    assert!(registry.list().unwrap().is_empty());
    let named = Manifest::new("../w", "s", "v", &Here::now().unwrap());
    assert!(matches!(
        registry.write(&named),
        Err(RegistryError::BadId { .. })
    ));
    assert_eq!(registry.read("../w").unwrap_err(), EntryError::BadId);
}

#[test]
fn a_directory_that_is_not_ours_alone_is_not_used() {
    let workspace = Workspace::new();
    let path = workspace.make_dir("registry");
    for mode in [0o701, 0o710, 0o770, 0o777, 0o1777] {
        set_mode(&path, mode);
        let found = Registry::open(&path).unwrap_err();
        assert!(
            matches!(found, RegistryError::Insecure { mode: is, .. } if is == mode),
            "{found}"
        );
    }
    set_mode(&path, 0o700);
    Registry::open(&path).unwrap();
    let link = workspace.join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        Registry::open(&link),
        Err(RegistryError::Symlink { .. })
    ));
    let file = workspace.write("file", "");
    assert!(matches!(
        Registry::open(&file),
        Err(RegistryError::NotADirectory { .. })
    ));
    require!(feature::root());
    std::os::unix::fs::chown(&path, Some(NOBODY), None).unwrap();
    let found = Registry::open(&path).unwrap_err();
    assert!(
        matches!(found, RegistryError::ForeignOwner { owner: NOBODY, .. }),
        "{found}"
    );
}

#[test]
fn each_damaged_entry_is_told_apart_and_hides_no_other() {
    let workspace = Workspace::new();
    let path = workspace.join("registry");
    let registry = Registry::open(&path).unwrap();
    let ids = [
        "good-1",
        "torn",
        "empty",
        "new",
        "changed",
        "open",
        "link",
        "fifo",
        "directory",
        "large",
        "other",
        "good-2",
    ];
    for id in ids {
        registry.write(&manifest(id, Some(own()))).unwrap();
    }
    let file = |id: &str| path.join(format!("{id}.json"));
    let text = |id: &str| std::fs::read_to_string(file(id)).unwrap();
    let rewrite = |id: &str, text: &str| std::fs::write(file(id), text).unwrap();
    rewrite("torn", &text("torn")[..200]);
    rewrite("empty", "");
    rewrite(
        "new",
        &text("new").replacen("\"schema\":1", "\"schema\":2", 1),
    );
    rewrite(
        "changed",
        &text("changed").replacen("\"uid\":", "\"uid\":1", 1),
    );
    set_mode(&file("open"), 0o640);
    let replaced = ["link", "fifo", "directory"];
    for id in replaced {
        std::fs::remove_file(file(id)).unwrap();
    }
    symlink(file("good-1"), file("link")).unwrap();
    nix::unistd::mkfifo(&file("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(file("directory")).unwrap();
    let large = std::fs::File::options()
        .write(true)
        .open(file("large"))
        .unwrap();
    large.set_len(1 << 40).unwrap();
    rewrite("other", &text("good-1"));
    // What is nobody's entry is nobody's.
    std::fs::write(path.join("README"), "").unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        registry.write(&manifest("foreign", Some(own()))).unwrap();
        std::os::unix::fs::chown(file("foreign"), Some(NOBODY), None).unwrap();
    }

    let listed = registry.list().unwrap();
    let found = |id: &str| {
        let entry = listed.iter().find(|(name, _)| name == id);
        entry
            .unwrap_or_else(|| panic!("{id} is not listed"))
            .1
            .clone()
    };
    let error = |id: &str| found(id).unwrap_err();
    let manifest_error = |id: &str| match error(id) {
        EntryError::Manifest(error) => error,
        other => panic!("{id}: {other}"),
    };
    assert_eq!(manifest_error("torn"), ManifestError::Torn { length: 200 });
    assert_eq!(manifest_error("empty"), ManifestError::Torn { length: 0 });
    assert_eq!(manifest_error("new"), ManifestError::TooNew { found: 2 });
    assert_eq!(manifest_error("changed"), ManifestError::Tampered);
    assert_eq!(error("open"), EntryError::Insecure { mode: 0o640 });
    assert_eq!(error("link"), EntryError::Symlink);
    assert_eq!(error("fifo"), EntryError::NotAFile);
    assert_eq!(error("directory"), EntryError::NotAFile);
    assert_eq!(error("large"), EntryError::TooLarge { size: 1 << 40 });
    assert_eq!(
        error("other"),
        EntryError::OtherWorker {
            id: "good-1".to_owned()
        }
    );
    for id in ["good-1", "good-2"] {
        assert_eq!(found(id).unwrap().state, State::Ready);
    }
    assert_eq!(listed.len(), ids.len() + usize::from(is_root));
    require!(feature::root());
    assert_eq!(error("foreign"), EntryError::ForeignOwner { owner: NOBODY });
}

#[test]
fn what_another_boot_left_is_collected_and_what_cannot_be_read_is_not() {
    let workspace = Workspace::new();
    let path = workspace.join("registry");
    let registry = Registry::open(&path).unwrap();
    let mut old = manifest("old", Some(own()));
    old.boot_id = "another".to_owned();
    old.extra = serde_json::json!({"tag": "x"});
    registry.write(&old).unwrap();
    registry.write(&manifest("now", Some(own()))).unwrap();
    std::fs::write(path.join("torn.json"), "{").unwrap();
    set_mode(&path.join("torn.json"), 0o600);
    std::fs::write(path.join("killed.new"), "{").unwrap();
    let removed = registry.collect().unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(
        (&*removed[0].id, &removed[0].extra["tag"]),
        ("old", &serde_json::json!("x"))
    );
    let left: Vec<String> = registry
        .list()
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(left, ["now", "torn"]);
    assert!(!path.join("killed.new").exists());
    assert!(registry.collect().unwrap().is_empty());
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let workspace = Workspace::new();
    let path = workspace.join("registry");
    let process = own();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (path, process) = (&path, &process);
            scope.spawn(move || {
                let registry = Registry::open(path).unwrap();
                for number in 0..50 {
                    let id = format!("w{writer}-{number}");
                    registry
                        .write(&manifest(&id, Some(process.clone())))
                        .unwrap();
                    // The same one by both, over and over.
                    registry
                        .write(&manifest("shared", Some(process.clone())))
                        .unwrap();
                }
            });
        }
    });
    let listed = Registry::open(&path).unwrap().list().unwrap();
    assert_eq!(listed.len(), 101);
    assert!(listed.iter().all(|(_, manifest)| manifest.is_ok()));
}

#[test]
fn a_writer_that_is_killed_leaves_the_old_manifest_or_the_new_one() {
    if let Some(path) = std::env::var_os("SUPERVISE_TEST_WRITES") {
        let registry = Registry::open(Path::new(&path)).unwrap();
        let process = own();
        for number in 0.. {
            let mut next = manifest("w", Some(process.clone()));
            next.extra = serde_json::json!({"number": number, "long": "x".repeat(50_000)});
            registry.write(&next).unwrap();
        }
    }
    let workspace = Workspace::new();
    let path = workspace.join("registry");
    let registry = Registry::open(&path).unwrap();
    registry.write(&manifest("w", Some(own()))).unwrap();
    let own_file = std::env::current_exe().expect("a test knows its own file");
    let name = "registry::a_writer_that_is_killed_leaves_the_old_manifest_or_the_new_one";
    for round in 0..20 {
        let mut command = Command::new(&own_file);
        command
            .args(["--exact", name])
            .env("SUPERVISE_TEST_WRITES", &path);
        let mut writer = crate::harness::run::start(&mut command);
        let pid = writer.child.id() as i32;
        crate::harness::run::eventually("it wrote", || {
            let read = registry.read("w").unwrap().unwrap();
            read.process.is_some_and(|process| process.pid == pid)
        });
        for _ in 0..round * 1000 {
            std::hint::spin_loop();
        }
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
        let read = registry.read("w").unwrap().unwrap();
        assert_eq!(read.process.unwrap().pid, pid);
        // Nor does its lock outlive it.
        registry.write(&manifest("other", None)).unwrap();
    }
    registry.collect().unwrap();
    let names = std::fs::read_dir(&path).unwrap().count();
    assert_eq!(names, 2, "and nothing beside");
}
