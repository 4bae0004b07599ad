//! What policies mean, on a world in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{
    Access, Entry, Facts, FileId, Flag, Kind, Library, Mechanism, NoFiles, Policy, PolicyError,
    PolicyText, PortRules, Preset, Protected, Reason, Repository, Ruleset, Subject, Transparent,
    Verdict, Warning, World,
};

/// A file system of a few names: directories, files and links.
pub(super) struct Memory {
    entries: BTreeMap<PathBuf, Node>,
    /// How often it was asked.
    pub asked: RefCell<usize>,
}

#[derive(Clone)]
enum Node {
    Object(Kind, u64),
    Link(PathBuf),
}

impl Memory {
    /// Paths, one each: `dir/` a directory, `a -> b` a link, `a = b` another name of the same file, else a file.
    pub fn new(paths: &[&str]) -> Self {
        let mut memory = Self {
            entries: BTreeMap::new(),
            asked: RefCell::new(0),
        };
        memory.object("/", Kind::Directory);
        for path in paths {
            if let Some((link, target)) = path.split_once(" -> ") {
                memory.parents(link);
                let node = Node::Link(target.into());
                memory.entries.insert(link.into(), node);
            } else if let Some((alias, file)) = path.split_once(" = ") {
                memory.parents(alias);
                let node = memory.entries[Path::new(file)].clone();
                memory.entries.insert(alias.into(), node);
            } else if let Some(directory) = path.strip_suffix('/') {
                memory.parents(directory);
                memory.object(directory, Kind::Directory);
            } else {
                memory.parents(path);
                let is_device = path.starts_with("/dev/");
                memory.object(path, if is_device { Kind::Device } else { Kind::File });
            }
        }
        memory
    }

    fn parents(&mut self, path: &str) {
        for above in Path::new(path).ancestors().skip(1) {
            if !self.entries.contains_key(above) {
                self.object(above, Kind::Directory);
            }
        }
    }

    fn object(&mut self, path: impl Into<PathBuf>, kind: Kind) {
        let number = self.entries.len() as u64 + 1;
        self.entries.insert(path.into(), Node::Object(kind, number));
    }

    fn names(&self, number: u64) -> u64 {
        let same = |node: &&Node| matches!(node, Node::Object(_, ino) if *ino == number);
        self.entries.values().filter(same).count() as u64
    }

    pub fn exists(&self, path: &str) -> bool {
        self.entries.contains_key(Path::new(path))
    }

    pub fn id(&self, path: &str) -> FileId {
        match self.entries[Path::new(path)] {
            Node::Object(_, ino) => FileId { dev: 1, ino },
            Node::Link(_) => panic!("{path} is a link"),
        }
    }
}

impl World for Memory {
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        *self.asked.borrow_mut() += 1;
        for above in path.ancestors().skip(1) {
            let node = self.entries.get(above);
            let is_directory = matches!(node, Some(Node::Object(Kind::Directory, _)));
            assert!(is_directory, "{} is asked about too early", path.display());
        }
        Ok(self.entries.get(path).map(|node| match node {
            Node::Object(kind, ino) => Entry {
                object: Some(FileId { dev: 1, ino: *ino }),
                kind: *kind,
                links: self.names(*ino),
            },
            Node::Link(_) => Entry {
                object: Some(FileId { dev: 1, ino: 0 }),
                kind: Kind::Link,
                links: 1,
            },
        }))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        match self.entries.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
        let below = self
            .entries
            .keys()
            .filter(|name| name.parent() == Some(path));
        Ok(below
            .filter_map(|name| name.file_name().map(OsStr::to_owned))
            .collect())
    }
}

/// Policy files by name.
struct Shelf(BTreeMap<&'static str, &'static str>);

impl Library for Shelf {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        let name = path.to_str().expect("a name of ours");
        let text = self.0.get(name).ok_or("No such file or directory")?;
        Ok(PolicyText {
            text: (*text).to_owned(),
            path: Path::new("/policies").join(name),
        })
    }
}

const SYSTEM: [&str; 16] = [
    "/usr/bin/sh",
    "/usr/lib/libc.so",
    "/bin -> usr/bin",
    "/lib -> usr/lib",
    "/etc/passwd",
    "/etc/shadow",
    "/dev/null",
    "/dev/tty",
    "/home/me/.ssh/id",
    "/repo/src/main.rs",
    "/repo/secret/key",
    "/repo/notes.txt",
    "/repo/.git/hooks/",
    "/repo/.git/config",
    "/repo/out/",
    "/proc/cpuinfo",
];

pub(super) fn facts() -> Facts {
    Facts {
        cwd: "/repo".into(),
        home: Some("/home/me".into()),
        user: Some("me".to_owned()),
        tmpdir: "/run/private".into(),
        repository: Some(Repository {
            root: "/repo".into(),
            common: None,
        }),
        variables: BTreeMap::new(),
    }
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(
        "policy.toml",
        &format!("version = 1\nbase = false\n{text}"),
        &mut NoFiles,
    )
}

pub(super) fn compile_in(world: &Memory, texts: &[&str]) -> Result<Ruleset, PolicyError> {
    let policies: Result<Vec<Policy>, PolicyError> = texts.iter().map(|text| parse(text)).collect();
    Ruleset::compile(&policies?, &facts(), world, &[])
}

fn compile(text: &str) -> Ruleset {
    compile_in(&Memory::new(&SYSTEM), &[text]).expect("a good policy")
}

fn error(text: &str) -> String {
    compile_in(&Memory::new(&SYSTEM), &[text])
        .expect_err("a bad policy")
        .to_string()
}

fn allows(ruleset: &Ruleset, path: &str, access: Access) -> bool {
    ruleset
        .decide(&Subject::named(Path::new(path)), access)
        .is_allowed()
}

/// The paths that the kernel is told to grant this right on, in the first layer.
fn natively(ruleset: &Ruleset, right: Access) -> Vec<String> {
    let first = ruleset.native_layers().next().expect("a layer");
    first
        .iter()
        .filter(|grant| grant.access.contains(right) && !grant.path.starts_with("/run/private"))
        .map(|grant| grant.path.display().to_string())
        .collect()
}

#[test]
fn what_is_not_allowed_is_denied() {
    let ruleset = compile("[fs]\nread = [\"/repo/src\"]");
    assert!(allows(&ruleset, "/repo/src/main.rs", Access::READ));
    assert!(!allows(&ruleset, "/repo/src/main.rs", Access::WRITE));
    assert!(!allows(&ruleset, "/repo/notes.txt", Access::READ));
    assert!(
        !allows(&ruleset, "/repo/src2", Access::READ),
        "a name that begins alike"
    );
    let nothing = ruleset.decide(&Subject::named(Path::new("/repo/src")), Access::NONE);
    assert!(!nothing.is_allowed(), "no right is not every right");
}

#[test]
fn writing_and_executing_imply_reading() {
    let ruleset = compile("[fs]\nwrite = [\"$PWD/out\"]\nexec = [\"/usr\"]");
    assert!(allows(
        &ruleset,
        "/repo/out/x",
        Access::READ | Access::WRITE
    ));
    assert!(!allows(&ruleset, "/repo/out/x", Access::EXEC));
    assert!(allows(&ruleset, "/usr/bin/sh", Access::READ | Access::EXEC));
    assert!(!allows(
        &ruleset,
        "/usr/bin/sh",
        Access::READ | Access::WRITE
    ));
}

#[test]
fn rules_reach_what_their_links_lead_to() {
    let ruleset = compile("[fs]\nexec = [\"/bin\"]");
    assert!(allows(&ruleset, "/usr/bin/sh", Access::EXEC));
    assert_eq!(natively(&ruleset, Access::EXEC), ["/usr/bin"]);
}

#[test]
fn a_name_means_the_same_in_a_directory_that_was_seen_before() {
    let world = Memory::new(&["/other/link -> /srv/x", "/srv/x/y", "/far/y/z"]);
    let mut policy = parse("").expect("good");
    for (flag, value) in [
        (Flag::Read, "/other"),
        (Flag::Exec, "/other/link"),
        (Flag::Read, "/far/y"),
        (Flag::Write, "/far/y/.."),
    ] {
        policy.add_flag(flag, OsStr::new(value)).expect("good");
    }
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert_eq!(natively(&ruleset, Access::EXEC), ["/srv/x"]);
    assert_eq!(natively(&ruleset, Access::WRITE), ["/far"]);
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let first = compile("[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]");
    let second = compile("[fs]\ndeny = [\"$PWD/secret\"]\nread = [\"$PWD\", \"$PWD/secret/key\"]");
    for ruleset in [first, second] {
        assert!(allows(&ruleset, "/repo/notes.txt", Access::READ));
        assert!(!allows(&ruleset, "/repo/secret/key", Access::READ));
        assert!(!allows(&ruleset, "/repo/secret", Access::READ));
    }
}

#[test]
fn a_denial_holds_for_the_object_under_another_name() {
    let world = Memory::new(&["/repo/secret", "/repo/alias = /repo/secret", "/repo/other"]);
    let ruleset = compile_in(
        &world,
        &["[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]"],
    )
    .expect("good");
    let alias = Subject {
        path: Path::new("/repo/alias"),
        object: Some(world.id("/repo/alias")),
    };
    let verdict = ruleset.decide(&alias, Access::READ);
    assert!(matches!(verdict, Verdict::Deny(denial) if denial.reason == Reason::Rule));
    assert_eq!(natively(&ruleset, Access::READ), ["/repo/other"]);
}

#[test]
fn it_is_known_whether_files_are_denied_for_what_they_are() {
    let world = Memory::new(&[
        "/repo/file",
        "/repo/secret/key",
        "/repo/shared/key",
        "/repo/alias = /repo/shared/key",
    ]);
    let knows = |rule: &str| {
        let text = format!("[fs]\nwrite = [\"$PWD\"]\n{rule}");
        let ruleset = compile_in(&world, &[&text]).expect("good");
        [Access::READ, Access::WRITE].map(|access| ruleset.knows_files(access))
    };
    let nothing = knows("deny = [\"$PWD/secret\", \"$PWD/**/*.key\", \"$PWD/absent\"]");
    assert_eq!(nothing, [false, false]);
    assert_eq!(knows("deny = [\"$PWD/file\"]"), [true, true]);
    assert_eq!(knows("deny_write = [\"$PWD/file\"]"), [false, true]);
    assert_eq!(knows("deny = [\"$PWD/shared\"]"), [true, true]);
}

#[test]
fn a_pattern_deeper_than_any_tree_is_refused() {
    let world = Memory::new(&["/repo/file"]);
    let deny = |names: usize| {
        let pattern = "/*".repeat(names);
        compile_in(&world, &[&format!("[fs]\ndeny = [\"$PWD{pattern}\"]")])
    };
    assert!(deny(127).is_ok());
    let error = deny(128).expect_err("too deep").to_string();
    assert!(error.contains("more than 127 names"), "{error}");
}

#[test]
fn a_denial_holds_for_the_files_in_it_under_names_elsewhere() {
    let world = Memory::new(&[
        "/repo/secret/deep/key",
        "/repo/src/a/alias = /repo/secret/deep/key",
        "/repo/src/b/plain",
        "/other/alias = /repo/secret/deep/key",
    ]);
    let text =
        "[fs]\nread = [\"$PWD\", \"/other\"]\nwrite = [\"$PWD/src\"]\ndeny = [\"$PWD/secret\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let alias = Path::new("/repo/src/a/alias");
    assert!(
        !allows(&ruleset, "/repo/src/a/alias", Access::READ),
        "by name"
    );
    let object = Some(world.id("/repo/src/a/alias"));
    let elsewhere = Subject {
        path: Path::new("/repo/src/later"),
        object,
    };
    assert!(
        !ruleset.decide(&elsewhere, Access::READ).is_allowed(),
        "by object"
    );
    let granted = natively(&ruleset, Access::READ);
    assert!(
        !granted.iter().any(|path| alias.starts_with(path)),
        "{granted:?}"
    );
    assert!(
        !granted
            .iter()
            .any(|path| Path::new("/other/alias").starts_with(path)),
        "{granted:?}"
    );
    assert!(granted.contains(&"/repo/src/b".to_owned()), "{granted:?}");
    assert!(!ruleset.warnings().iter().any(|warning| warning.at_start));
}

#[test]
fn a_denial_holds_under_every_name_that_leads_to_it() {
    let world = Memory::new(&[
        "/repo/real/key",
        "/repo/link -> real",
        "/repo/other",
        "/repo/deep/real2/",
        "/repo/deep/hop -> real2",
    ]);
    let text = "[fs]\nread = [\"$PWD\"]\nwrite = [\"$PWD\"]\ndeny = [\"$PWD/link\", \"$PWD/deep/hop/new\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    for path in [
        "/repo/link",
        "/repo/link/key",
        "/repo/real",
        "/repo/real/key",
        "/repo/deep/real2/new",
    ] {
        assert!(!allows(&ruleset, path, Access::READ), "{path}");
    }
    // Were the link replaced by a directory, the name would mean that.
    assert!(!allows(&ruleset, "/repo/deep/hop/new", Access::WRITE));
    assert_eq!(natively(&ruleset, Access::WRITE), ["/repo/other"]);
}

#[test]
fn a_denial_holds_for_what_does_not_exist_yet() {
    let ruleset = compile("[fs]\nwrite = [\"$PWD\"]\ndeny_write = [\"$PWD/.envrc\"]");
    assert!(!allows(&ruleset, "/repo/.envrc", Access::WRITE));
    assert!(allows(&ruleset, "/repo/.envrc", Access::READ));
    assert!(
        allows(&ruleset, "/repo/new", Access::WRITE),
        "by the supervisor"
    );
    assert_eq!(
        natively(&ruleset, Access::WRITE),
        [
            "/repo/.git",
            "/repo/notes.txt",
            "/repo/out",
            "/repo/secret",
            "/repo/src"
        ]
    );
    assert_eq!(natively(&ruleset, Access::READ)[0], "/repo");
    assert_eq!(ruleset.warnings().len(), 1);
}

#[test]
fn a_right_that_is_not_denied_stays_native() {
    let ruleset =
        compile("[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD\"]\ndeny_write = [\"$PWD/.git/hooks\"]");
    let whole = Subject::named(Path::new("/repo/.git/hooks/x"));
    for right in [Access::READ, Access::EXEC] {
        let verdict = ruleset.decide(&whole, right);
        assert!(
            matches!(verdict, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock)
        );
    }
    assert!(!ruleset.decide(&whole, Access::WRITE).is_allowed());
    let writable = natively(&ruleset, Access::WRITE);
    assert!(
        writable.contains(&"/repo/.git/config".to_owned()),
        "{writable:?}"
    );
    assert!(
        !writable
            .iter()
            .any(|path| path == "/repo" || path == "/repo/.git"),
        "{writable:?}"
    );
}

#[test]
fn a_pattern_leaves_its_tree_to_the_supervisor_and_no_more() {
    let text = "[fs]\nread = [\"$PWD\", \"/usr\"]\ndeny = [\"$PWD/src/**/*.pem\"]";
    let ruleset = compile(text);
    assert!(!allows(&ruleset, "/repo/src/a/b/c.pem", Access::READ));
    assert!(!allows(&ruleset, "/repo/src/c.pem/inside", Access::READ));
    let granted = natively(&ruleset, Access::READ);
    assert!(
        !granted.iter().any(|path| path.starts_with("/repo/src")),
        "{granted:?}"
    );
    assert!(granted.contains(&"/repo/out".to_owned()), "{granted:?}");
    assert!(granted.contains(&"/usr".to_owned()), "{granted:?}");
    let verdict = ruleset.decide(
        &Subject::named(Path::new("/repo/src/main.rs")),
        Access::READ,
    );
    assert!(matches!(verdict, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Broker));
    assert!(
        ruleset.warnings()[0]
            .message
            .contains("the supervisor's to give, at each open")
    );
}

#[test]
fn a_pattern_of_one_directory_is_left_out_by_listing_it() {
    let ruleset = compile("[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/*.txt\"]");
    let granted = natively(&ruleset, Access::READ);
    assert_eq!(
        granted,
        ["/repo/.git", "/repo/out", "/repo/secret", "/repo/src"]
    );
}

#[test]
fn under_a_denied_pattern_the_kernel_executes_and_does_not_read() {
    let ruleset = compile("[fs]\nexec = [\"$PWD\"]\ndeny = [\"$PWD/**/.env\", \"$PWD/secret\"]");
    assert!(ruleset.brokered().closed);
    let reading = natively(&ruleset, Access::READ);
    assert!(
        !reading.iter().any(|path| path.starts_with("/repo")),
        "{reading:?}"
    );
    // What is denied by its name is left out even so.
    assert_eq!(
        natively(&ruleset, Access::EXEC),
        ["/repo/.git", "/repo/notes.txt", "/repo/out", "/repo/src"]
    );
    let verdict = |path, right| ruleset.decide(&Subject::named(Path::new(path)), right);
    let by = |path, right| match verdict(path, right) {
        Verdict::Allow(allowed) => Some(allowed.mechanism),
        _ => None,
    };
    assert_eq!(
        by("/repo/out/main", Access::EXEC),
        Some(Mechanism::Landlock)
    );
    assert_eq!(by("/repo/out/main", Access::READ), Some(Mechanism::Broker));
    for right in [Access::READ, Access::EXEC] {
        assert_eq!(by("/repo/out/.env", right), None);
        assert_eq!(by("/repo/secret/key", right), None);
    }
}

#[test]
fn a_pattern_that_is_only_not_written_leaves_reading_and_executing_to_the_kernel() {
    let ruleset = compile(
        "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD\"]\ndeny_write = [\"$PWD/**/.git/hooks\"]",
    );
    for right in [Access::READ, Access::EXEC] {
        assert!(natively(&ruleset, right).contains(&"/repo".to_owned()));
    }
    assert!(
        !natively(&ruleset, Access::WRITE)
            .iter()
            .any(|path| path.starts_with("/repo"))
    );
    let brokered = ruleset.brokered();
    assert!(brokered.write && !brokered.read && !brokered.closed);
}

#[test]
fn too_much_to_list_is_no_reason_to_execute_what_is_denied_by_its_name() {
    let files: Vec<String> = (0..5000).map(|file| format!("/many/{file}")).collect();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.push("/many/key");
    let world = Memory::new(&files);
    let compile = |denied: &str| {
        let text = format!("[fs]\nexec = [\"/many\"]\ndeny = [\"{denied}\"]");
        compile_in(&world, &[&text])
    };
    let error = compile("/many/key").expect_err("it cannot be left out");
    assert!(error.to_string().contains("too much to be listed"));
    let ruleset = compile("/many/k*").expect("a match could be executed");
    assert!(ruleset.brokered().closed);
    assert_eq!(natively(&ruleset, Access::EXEC), ["/many"]);
    assert!(!natively(&ruleset, Access::READ).contains(&"/many".to_owned()));
}

#[test]
fn what_asks_matches_or_is_requested_is_the_supervisors_and_what_is_absent_waits() {
    let armed = |text: &str| {
        let brokered = compile(text).brokered();
        assert!(!brokered.closed, "{text}");
        (brokered.read, brokered.write)
    };
    let nothing = (false, false);
    assert_eq!(
        armed("[fs]\nread = [\"$PWD\", \"/absent?\"]\nwrite = [\"$PWD/out/absent?\"]"),
        nothing
    );
    assert_eq!(armed("[fs]\nask_read = [\"$PWD\"]"), (true, false));
    assert_eq!(armed("[fs]\nwrite = [\"$PWD/*.txt\"]"), (true, true));
    let request = "[[request]]\npath = \"$PWD/out\"\naccess = [\"read\"]\ndecision = \"allow\"";
    assert_eq!(armed(request), (true, false));
    // What the kernel gives anyway is not asked for.
    assert_eq!(
        armed(&format!("[fs]\nread = [\"$PWD\"]\n{request}")),
        nothing
    );
}

#[test]
fn a_further_policy_only_narrows() {
    let world = Memory::new(&SYSTEM);
    let wide = "[fs]\nread = [\"$PWD\", \"/etc\"]\n[net]\nconnect = [\"*:443\", \"*:80\"]\n[env]\npass = [\"A\", \"B\"]\n[limits]\nopen_files = 10";
    let narrow = "[fs]\nread = [\"$PWD/src\", \"/usr\"]\n[net]\nconnect = [\"*:443\", \"*:22\"]\n[env]\npass = [\"B\", \"C\"]\n[limits]\nopen_files = 99";
    let both = compile_in(&world, &[wide, narrow]).expect("good");
    assert!(allows(&both, "/repo/src/main.rs", Access::READ));
    for path in ["/repo/notes.txt", "/etc/passwd", "/usr/bin/sh"] {
        assert!(!allows(&both, path, Access::READ), "{path}");
    }
    assert_eq!(both.tcp_connect(), &PortRules::Ports([443].into()));
    assert_eq!(both.native_layers().len(), 2);
    let caller = ["A", "B", "C"].map(|name| (OsString::from(name), OsString::from("1")));
    assert_eq!(
        both.environment(&caller),
        [(OsString::from("B"), OsString::from("1"))]
    );
    assert_eq!(both.limits().open_files, Some(10));
}

#[test]
fn the_supervisor_protects_its_own() {
    let world = Memory::new(&SYSTEM);
    let policy = parse("[fs]\nwrite = [\"$PWD\"]").expect("good");
    let protected = [
        Protected {
            path: "/repo/audit".into(),
            access: Access::ALL,
            what: "audit log",
        },
        Protected {
            path: "/repo/notes.txt".into(),
            access: Access::WRITE,
            what: "policy file",
        },
    ];
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &protected).expect("good");
    assert!(!allows(&ruleset, "/repo/audit", Access::READ));
    assert!(allows(&ruleset, "/repo/notes.txt", Access::READ));
    assert!(!allows(&ruleset, "/repo/notes.txt", Access::WRITE));
    assert!(!natively(&ruleset, Access::WRITE).contains(&"/repo/notes.txt".to_owned()));
    let said: Vec<String> = ruleset.warnings().iter().map(ToString::to_string).collect();
    assert!(
        said.iter()
            .any(|text| text.starts_with("protected: audit log: this denies")),
        "{said:?}"
    );
}

#[test]
fn policy_files_are_protected_unasked() {
    let mut shelf = Shelf(
        [(
            "a.toml",
            "version = 1\nbase = false\n[fs]\nwrite = [\"/policies\"]",
        )]
        .into(),
    );
    let policy = Policy::named("a.toml", &mut shelf).expect("good");
    let world = Memory::new(&["/policies/a.toml", "/policies/b.toml"]);
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert!(!allows(&ruleset, "/policies/a.toml", Access::WRITE));
    assert!(allows(&ruleset, "/policies/b.toml", Access::WRITE));
}

#[test]
fn places_that_hold_everything_are_refused() {
    for (path, says) in [
        ("/", "holds everything"),
        ("/proc", "never opened as a whole"),
        ("/proc/self", "cannot be named by a rule"),
        ("/proc/1/environ", "cannot be named by a rule"),
        ("/dev", "every disk"),
    ] {
        for key in ["read", "write", "ask_read"] {
            let text = error(&format!("[fs]\n{key} = [\"{path}?\"]"));
            assert!(text.contains(says), "{key} {path}: {text}");
        }
    }
    assert!(error("[fs]\nwrite = [\"/proc/cpuinfo\"]").contains("ever written"));
    let world = Memory::new(&["/repo/proc -> /proc", "/proc/1/environ"]);
    assert!(
        compile_in(&world, &["[fs]\nread = [\"/repo/proc\"]"]).is_err(),
        "by a link"
    );
}

#[test]
fn a_missing_path_is_an_error_unless_it_may_be() {
    let text = error("[fs]\nread = [\"/nowhere\"]");
    assert!(
        text.contains("`/nowhere` does not exist") && text.contains("put `?` behind it"),
        "{text}"
    );
    let ruleset = compile("[fs]\nread = [\"/nowhere?\"]\nexec = [\"/later?\"]");
    let later = ruleset.decide(&Subject::named(Path::new("/nowhere")), Access::READ);
    assert!(matches!(later, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Broker));
    let exec = ruleset.decide(&Subject::named(Path::new("/later")), Access::EXEC);
    assert!(matches!(exec, Verdict::Deny(denial) if denial.reason == Reason::NotNative));
    assert_eq!(ruleset.files().iter().filter(|line| line.absent).count(), 2);
}

#[test]
fn directories_are_made_so_that_exec_can_hold() {
    let ruleset = compile("[fs]\nmake = [\"$PWD/target/debug\"]\nexec = [\"$PWD/target\"]");
    assert_eq!(
        ruleset.make_dirs(),
        [Path::new("/repo/target"), Path::new("/repo/target/debug")]
    );
    assert!(allows(&ruleset, "/repo/target/debug/x", Access::EXEC));
}

#[test]
fn a_link_where_the_child_writes_cannot_open_another_place() {
    let world = Memory::new(&[
        "/repo/target -> /home/me",
        "/home/me/.ssh/id",
        "/repo/in -> out",
        "/repo/out/",
    ]);
    let text = "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD/target\"]";
    let found = compile_in(&world, &[text])
        .expect_err("refused")
        .to_string();
    assert!(
        found.contains("stands where the child may write"),
        "{found}"
    );
    let made = "[fs]\nmake = [\"$PWD/target/new\"]\nwrite = [\"$PWD\"]";
    let found = compile_in(&world, &[made])
        .expect_err("refused")
        .to_string();
    assert!(
        found.contains("stands where the child may write"),
        "{found}"
    );
    let inside = "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD/in\"]";
    assert!(compile_in(&world, &[inside]).is_ok());
}

#[test]
fn what_is_shipped_does_not_write_the_home_directory() {
    let mut home = facts();
    home.cwd = "/home/me".into();
    let world = Memory::new(&SYSTEM);
    for policy in [Policy::built_in(), Policy::named("build", &mut NoFiles)] {
        let policy = policy.expect("shipped");
        let found = Ruleset::compile(&[policy], &home, &world, &[]).expect_err("refused");
        assert!(
            found
                .to_string()
                .contains("is the home directory or above it"),
            "{found}"
        );
    }
    let own = parse("[fs]\nwrite = [\"$PWD\"]").expect("good");
    assert!(
        Ruleset::compile(&[own], &home, &world, &[]).is_ok(),
        "the operator may"
    );
}

#[test]
fn questions_are_asked_and_what_is_allowed_is_not_asked_about() {
    let text = "[fs]\nread = [\"/etc\"]\nask_read = [\"$PWD\"]\nask_write = [\"/etc/passwd\"]\n[broker]\napprover = \"terminal\"";
    let ruleset = compile(text);
    let subject = Subject::named(Path::new("/repo/notes.txt"));
    assert!(matches!(
        ruleset.decide(&subject, Access::READ),
        Verdict::Ask(_)
    ));
    assert!(ruleset.warnings().is_empty());
    let anyway = error("[fs]\nread = [\"$PWD\"]\nask_read = [\"$PWD/secret\"]");
    assert!(anyway.contains("allows without asking"), "{anyway}");
    let nobody = compile("[fs]\nask_read = [\"$PWD\"]");
    assert!(nobody.warnings()[0].message.contains("answered with no"));
}

#[test]
fn requests_have_a_time_and_a_budget() {
    let text = "[[request]]\npath = \"$HOME/notes/**\"\naccess = [\"read\"]\ndecision = \"allow\"\nttl = \"10m\"\nbudget = 3";
    let world = Memory::new(&["/home/me/notes/"]);
    let ruleset = compile_in(&world, &[text]).expect("good");
    let inside = ruleset.decide(
        &Subject::named(Path::new("/home/me/notes/a/b")),
        Access::READ,
    );
    let Verdict::Allow(allowed) = inside else {
        panic!("{inside:?}")
    };
    assert_eq!(allowed.ttl, Some(std::time::Duration::from_secs(600)));
    assert_eq!(
        (allowed.budget, allowed.mechanism),
        (Some(3), Mechanism::Broker)
    );
    assert!(
        !allows(&ruleset, "/home/me/notes", Access::READ),
        "what is below, not itself"
    );
}

#[test]
fn addresses_are_decided_and_never_told_to_the_kernel() {
    let ruleset = compile(
        "[net]\nconnect = [\"127.0.0.1:5432\", \"*:443\", \"10.0.0.0/8:*\", \"[fd00::/8]:22\"]",
    );
    assert!(ruleset.needs_connect_door());
    assert_eq!(ruleset.tcp_connect(), &PortRules::Ports([443].into()));
    for (address, expected) in [
        ("127.0.0.1:5432", true),
        ("[::ffff:127.0.0.1]:5432", true),
        ("0.0.0.0:5432", true),
        ("127.0.0.2:5432", false),
        ("192.0.2.1:443", true),
        ("[2001:db8::1]:443", true),
        ("10.200.0.1:9", true),
        ("11.0.0.1:9", false),
        ("[fd12::1]:22", true),
        ("[fe80::1]:22", false),
    ] {
        let verdict =
            ruleset.decide_connect(address.parse().expect("an address"), super::Peer::Anybody);
        assert_eq!(verdict.is_allowed(), expected, "{address}");
    }
    let ports = compile("[net]\nconnect = [\"*:443\"]");
    assert!(!ports.needs_connect_door());
    assert_eq!(
        compile("[net]\nconnect = [\"*:*\"]").tcp_connect(),
        &PortRules::Any
    );
    assert_eq!(compile("").tcp_connect(), &PortRules::none());
}

#[test]
fn a_session_reaches_itself_and_whom_a_rule_names() {
    use super::Peer::{Anybody, Session};
    let own = compile(
        "[net]\nconnect = [\"*:443\", \"127.0.0.1:5432\", \"0.0.0.0/0:9\"]\nloopback = \"own\"",
    );
    assert!(own.needs_connect_door() && own.reaches_itself());
    assert_eq!(own.tcp_connect(), &PortRules::none());
    let connect = |address: &str, peer| {
        let verdict = own.decide_connect(address.parse().expect("an address"), peer);
        verdict.is_allowed()
    };
    for (address, anybody) in [
        ("127.0.0.1:5432", true),
        ("127.0.0.1:443", false),
        ("127.0.0.1:9", false),
        ("[::1]:8080", false),
        ("[::ffff:127.0.0.1]:8080", false),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("127.1.2.3:1", false),
    ] {
        assert_eq!(connect(address, Anybody), anybody, "{address}");
        assert!(connect(address, Session), "{address}");
    }
    for (address, both) in [("192.0.2.1:443", true), ("192.0.2.1:8080", false)] {
        assert_eq!(connect(address, Anybody), both, "{address}");
        assert_eq!(connect(address, Session), both, "{address}");
    }
    let refused = own.decide_connect("127.0.0.1:80".parse().expect("an address"), Anybody);
    assert!(matches!(refused, Verdict::Deny(denial) if denial.reason == Reason::NotOwn));
    // To listen there costs nobody else anything, but for low ports.
    let binds = |ruleset: &Ruleset, address: &str| {
        let address = address.parse().expect("an address");
        ruleset.decide_bind(address).is_allowed()
    };
    for (address, may) in [
        ("127.0.0.1:0", true),
        ("127.0.0.1:1024", true),
        ("[::1]:65535", true),
        ("[::ffff:127.0.0.1]:8080", true),
        ("127.0.0.1:1023", false),
        ("0.0.0.0:0", false),
        ("[::]:8080", false),
        ("[::ffff:0.0.0.0]:0", false),
        ("192.0.2.1:8080", false),
    ] {
        assert_eq!(binds(&own, address), may, "{address}");
    }
    let ports = compile("[net]\nbind = [\"*:8080\"]\nloopback = \"any\"");
    assert!(!ports.reaches_itself());
    assert!(binds(&ports, "0.0.0.0:8080") && binds(&ports, "[::1]:8080"));
    assert!(!binds(&ports, "127.0.0.1:0") && !binds(&ports, "127.0.0.1:8081"));
    // A further policy only narrows.
    let world = Memory::new(&[]);
    let texts = [
        "[net]\nloopback = \"own\"",
        "[net]\nloopback = \"any\"\nbind = [\"*:1\"]",
    ];
    let narrowed = compile_in(&world, &texts).expect("good");
    let local = "127.0.0.1:8080".parse().expect("an address");
    assert!(!narrowed.decide_connect(local, Anybody).is_allowed());
    assert!(narrowed.decide_connect(local, Session).is_allowed());
    assert!(!binds(&narrowed, "127.0.0.1:0"));
}

#[test]
fn what_may_be_bound_is_an_address_and_never_more_than_it() {
    let ruleset = compile(
        "[net]\nbind = [\"127.0.0.1:8080\", \"10.0.0.0/8:*\", \"[fd00::/8]:22\", \"*:443\", \"[::/0]:5\", \"0.0.0.0/8:6\"]",
    );
    assert!(ruleset.needs_connect_door());
    assert_eq!(ruleset.tcp_bind(), &PortRules::Ports([443].into()));
    let binds = |ruleset: &Ruleset, address: &str| {
        let address = address.parse().expect("an address");
        ruleset.decide_bind(address).is_allowed()
    };
    for (address, may) in [
        ("127.0.0.1:8080", true),
        ("[::ffff:127.0.0.1]:8080", true),
        ("127.0.0.1:8081", false),
        ("127.0.0.1:0", false),
        ("127.0.0.2:8080", false),
        ("[::1]:8080", false),
        ("0.0.0.0:8080", false),
        ("[::]:8080", false),
        ("[::ffff:0.0.0.0]:8080", false),
        ("10.1.2.3:0", true),
        ("0.0.0.0:0", false),
        ("[fd12::1]:22", true),
        ("[::]:22", false),
        ("0.0.0.0:443", true),
        ("[::]:443", true),
        ("[2001:db8::1]:5", true),
        ("[::]:5", false),
        ("0.0.0.0:6", false),
    ] {
        assert_eq!(binds(&ruleset, address), may, "{address}");
    }
    // The unspecified address is all of them.
    let all = compile("[net]\nbind = [\"0.0.0.0:1\", \"[::]:2\"]");
    for (address, may) in [
        ("0.0.0.0:1", true),
        ("192.0.2.1:1", true),
        ("[::ffff:0.0.0.0]:1", true),
        ("[::]:1", false),
        ("[::1]:1", false),
        ("[::]:2", true),
        ("0.0.0.0:2", true),
        ("[2001:db8::1]:2", true),
    ] {
        assert_eq!(binds(&all, address), may, "{address}");
    }
    assert_eq!(all.tcp_bind(), &PortRules::Ports([2].into()));
    // A further policy only narrows, and the kernel is told of no port that is not for every address.
    let world = Memory::new(&[]);
    let texts = [
        "[net]\nbind = [\"*:8080\"]",
        "[net]\nbind = [\"127.0.0.0/8:*\"]",
    ];
    let narrowed = compile_in(&world, &texts).expect("good");
    assert_eq!(narrowed.tcp_bind(), &PortRules::none());
    assert!(binds(&narrowed, "127.0.0.1:8080"));
    assert!(!binds(&narrowed, "0.0.0.0:8080") && !binds(&narrowed, "127.0.0.1:8081"));
}

#[test]
fn loopback_is_given_or_taken_as_a_whole() {
    let given = compile("[net]\nloopback = \"any\"");
    let local = "127.9.9.9:1".parse().expect("an address");
    assert!(
        given.needs_connect_door()
            && given
                .decide_connect(local, super::Peer::Anybody)
                .is_allowed()
    );
    let taken = compile("[net]\nconnect = [\"*:443\"]\nloopback = \"none\"");
    assert!(
        taken.needs_connect_door(),
        "the kernel cannot tell addresses apart"
    );
    assert_eq!(taken.tcp_connect(), &PortRules::none());
    assert!(
        !taken
            .decide_connect(
                "[::1]:443".parse().expect("an address"),
                super::Peer::Anybody
            )
            .is_allowed()
    );
    assert!(
        taken
            .decide_connect(
                "192.0.2.1:443".parse().expect("an address"),
                super::Peer::Anybody
            )
            .is_allowed()
    );
    assert!(!compile("").needs_connect_door());
}

#[test]
fn sockets_are_listed_or_lie_where_the_child_writes() {
    let world = Memory::new(&[
        "/run/db/sock",
        "/repo/out/",
        "/run/docker.sock",
        "/run/user/1000/bus",
    ]);
    let text = "[fs]\nwrite = [\"/run/user\", \"$PWD/out\"]\n[net]\nunix = [\"/run/db/sock\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let may = |ruleset: &Ruleset, path: &str| {
        ruleset
            .decide_unix(&Subject::named(Path::new(path)))
            .is_allowed()
    };
    assert!(may(&ruleset, "/run/db/sock") && may(&ruleset, "/repo/out/mine"));
    assert!(!may(&ruleset, "/repo/elsewhere"));
    assert!(!may(&ruleset, "/run/user/1000/bus"), "it starts programs");
    let named = compile_in(&world, &["[net]\nunix = [\"/run/docker.sock\"]"])
        .expect_err("refused")
        .to_string();
    assert!(named.contains("unconfined_peer = true"), "{named}");
    let meant = "[net]\nunix = [{ path = \"/run/docker.sock\", unconfined_peer = true }]";
    assert!(may(
        &compile_in(&world, &[meant]).expect("good"),
        "/run/docker.sock"
    ));
}

#[test]
fn variables_stand_for_facts_and_hold_no_patterns() {
    let mut odd = facts();
    odd.variables.insert("D".to_owned(), "/repo/a*".into());
    let world = Memory::new(&["/repo/a*/x", "/repo/abc/x", "/home/me/d/x"]);
    let policy = parse("[fs]\nread = [\"$D\", \"${E:-${F:-~}}/d\"]").expect("good");
    let ruleset = Ruleset::compile(&[policy], &odd, &world, &[]).expect("good");
    assert!(allows(&ruleset, "/repo/a*/x", Access::READ));
    assert!(!allows(&ruleset, "/repo/abc/x", Access::READ));
    assert!(allows(&ruleset, "/home/me/d/x", Access::READ));
    for (rule, says) in [
        ("$NOPE/x", "`$NOPE` has no value"),
        ("$HOM", "did you mean `$HOME`"),
        ("$(id)", "there is no shell here"),
        ("src", "\"$PWD/src\""),
        ("**/x", "\"$PWD/**/x\""),
        ("/repo/../etc", "`..` in a rule"),
        ("~root/x", "other users"),
        ("${HOME", "without its"),
        ("/repo/a**", "stand alone"),
    ] {
        let text = error(&format!("[fs]\ndeny = [\"{rule}\"]"));
        assert!(text.contains(says), "{rule}: {text}");
    }
}

#[test]
fn the_history_of_a_work_tree_comes_with_it() {
    let mut tree = facts();
    tree.repository = Some(Repository {
        root: "/repo".into(),
        common: Some("/main/.git".into()),
    });
    let world = Memory::new(&[
        "/repo/.git",
        "/repo/src/",
        "/main/.git/objects/",
        "/main/.git/hooks/",
        "/main/key",
    ]);
    let text = "[fs]\nwrite = [\"$REPO\"]\ndeny_write = [\"$REPO/.git/hooks\"]";
    let policy = parse(text).expect("good");
    let ruleset = Ruleset::compile(&[policy], &tree, &world, &[]).expect("good");
    assert!(allows(&ruleset, "/main/.git/objects/x", Access::WRITE));
    assert!(!allows(&ruleset, "/main/.git/hooks/x", Access::WRITE));
    assert!(
        !allows(&ruleset, "/repo/.git", Access::WRITE),
        "it says where the history is"
    );
    assert!(!allows(&ruleset, "/main/key", Access::READ));
}

#[test]
fn flags_add_and_take_paths_as_they_are() {
    let world = Memory::new(&["/repo/in[1]?.pdf", "/repo/out/", "/other/x"]);
    let mut policy = parse("").expect("good");
    for (flag, value) in [
        (Flag::Read, "in[1]?.pdf"),
        (Flag::Write, "out"),
        (Flag::Read, "../other"),
        (Flag::Connect, "*:443"),
        (Flag::KeepCap, "cap_chown"),
        (Flag::Env, "A=b=c"),
    ] {
        policy.add_flag(flag, OsStr::new(value)).expect("good");
    }
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert!(allows(&ruleset, "/repo/in[1]?.pdf", Access::READ));
    assert!(allows(&ruleset, "/repo/out/x", Access::WRITE));
    assert!(allows(&ruleset, "/other/x", Access::READ));
    assert!(ruleset.process().keep_caps.contains("CHOWN"));
    assert_eq!(
        ruleset.environment(&[]),
        [(OsString::from("A"), OsString::from("b=c"))]
    );
}

#[test]
fn a_flag_that_denies_a_pattern_is_no_rule_about_a_strange_name() {
    let world = Memory::new(&["/repo/in[1].pdf"]);
    let denied = |value: &str| {
        let mut policy = parse("[fs]\nread = [\"/repo\"]").expect("good");
        policy
            .add_flag(Flag::Deny, OsStr::new(value))
            .expect("good");
        Ruleset::compile(&[policy], &facts(), &world, &[])
    };
    let ruleset = denied("in[1].pdf").expect("that is a file");
    assert!(!allows(&ruleset, "/repo/in[1].pdf", Access::READ));
    let error = denied("**/.env").expect_err("that is none").to_string();
    assert!(error.contains("a pattern goes into a policy"), "{error}");
    // What is only not there yet is denied by its name.
    let ruleset = denied("later").expect("a plain name");
    assert!(!allows(&ruleset, "/repo/later", Access::READ));
}

#[test]
fn variables_that_change_programs_pass_by_full_name_only() {
    let ruleset = compile("[env]\npass = [\"LC_*\", \"L*\", \"P*\", \"G*\", \"PYTHONPATH\"]");
    let names = [
        "LC_ALL",
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "GIT_DIR",
        "GIT_SSH",
        "HOME",
    ];
    let caller = names.map(|name| (OsString::from(name), OsString::from("x")));
    let passed: Vec<OsString> = ruleset
        .environment(&caller)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(passed, ["LC_ALL", "PATH", "PYTHONPATH"]);
    assert!(error("[env]\npass = [\"LD_*\"]").contains("name each of them in full"));
    assert!(error("[env]\npass = [\"SUPERVISE_X\"]").contains("the supervisor's own"));
}

#[test]
fn extending_adds_and_a_rule_can_be_dropped_by_name() {
    let mut shelf = Shelf(
        [
            ("lib/a.toml", "version = 1\nbase = false\nextends = [\"b.toml\"]\n[fs]\nread = [\"/etc\"]"),
            ("lib/b.toml", "version = 1\nbase = false\n[fs]\ndeny = [\"/etc/shadow\"]\n[limits]\nopen_files = 5"),
            ("loop.toml", "version = 1\nbase = false\nextends = [\"loop.toml\"]"),
            ("up.toml", "version = 1\nbase = false\nextends = [\"../x.toml\"]"),
        ]
        .into(),
    );
    let world = Memory::new(&SYSTEM);
    let mut ruleset = |text: &str| {
        let policy = Policy::parse("p.toml", text, &mut shelf)?;
        Ruleset::compile(&[policy], &facts(), &world, &[])
    };
    let extended = ruleset("version = 1\nbase = false\nextends = [\"lib/a.toml\"]").expect("good");
    assert!(allows(&extended, "/etc/passwd", Access::READ));
    assert!(!allows(&extended, "/etc/shadow", Access::READ));
    assert_eq!(extended.limits().open_files, Some(5));
    let dropped = "version = 1\nbase = false\nextends = [{ preset = \"lib/a.toml\", without = [\"deny:/etc/shadow\"] }]";
    assert!(allows(
        &ruleset(dropped).expect("good"),
        "/etc/shadow",
        Access::READ
    ));
    let wrong =
        ruleset("version = 1\nextends = [{ preset = \"build\", without = [\"deny:$PWD\"] }]");
    assert!(
        wrong
            .expect_err("no such rule")
            .to_string()
            .contains("has no rule")
    );
    for (name, says) in [
        ("loop.toml", "extends itself"),
        ("up.toml", "climbs out"),
        ("none.toml", "No such file"),
        ("biuld", "did you mean `build`?"),
    ] {
        let text = ruleset(&format!("version = 1\nextends = [\"{name}\"]"))
            .expect_err("bad")
            .to_string();
        assert!(text.contains(says), "{name}: {text}");
        assert!(
            text.contains("p.toml:2:") || name.contains("toml"),
            "{text}"
        );
    }
}

#[test]
fn the_first_policy_names_the_door_of_programs_that_do_not_ask() {
    assert_eq!(compile("").broker().transparent, Transparent::Auto);
    for (word, door) in Transparent::NAMES {
        let text = format!("[broker]\ntransparent = \"{word}\"");
        assert_eq!(compile(&text).broker().transparent, door);
    }
    let found = error("[broker]\ntransparent = \"preloaded\"");
    assert!(found.contains("preload"), "{found}");
    let [first, further] =
        ["none", "preload"].map(|word| format!("[broker]\ntransparent = \"{word}\""));
    let both = compile_in(&Memory::new(&SYSTEM), &[&first, &further]).expect("good");
    assert_eq!(both.broker().transparent, Transparent::None);
    let ignored = |warning: &Warning| warning.message.contains("`transparent` is ignored");
    assert!(both.warnings().iter().any(ignored));
}

#[test]
fn what_cannot_be_enforced_yet_is_an_error() {
    for (text, says) in [
        (
            "[net]\nconnect = [\"example.org:443\"]",
            "host names cannot be enforced yet (later)",
        ),
        ("[net]\nconnect = [\"localhost:80\"]", "127.0.0.1:80"),
        ("[net]\nbind = [\"localhost:80\"]", "127.0.0.1:80"),
        (
            "[fs]\nask_exec = [\"$PWD\"]",
            "cannot be enforced yet (later)",
        ),
        ("[fs]\nexec = [\"$PWD/*.sh\"]", "knows no patterns"),
        (
            "[[request]]\npath = \"/x\"\naccess = [\"exec\"]\ndecision = \"allow\"",
            "on the child's behalf",
        ),
        ("[broker]\napprover = \"control\"", "not there yet (later)"),
    ] {
        let found = error(text);
        assert!(found.contains(says), "{text}: {found}");
    }
    assert_eq!(
        compile("[net]\nbind = [\"*:8080\"]").tcp_bind(),
        &PortRules::Ports([8080].into())
    );
}

#[test]
fn presets_are_good_policies_and_say_what_they_are_for() {
    let mut paths = SYSTEM.to_vec();
    paths.extend(["/home/me/.cargo/bin/cargo", "/home/me/.rustup/x"]);
    let world = Memory::new(&paths);
    for preset in Preset::ALL.into_iter().chain([Preset::BUILT_IN]) {
        assert!(
            preset.summary().ends_with('.'),
            "{}: {}",
            preset.name,
            preset.summary()
        );
        let policy =
            Policy::named(preset.name, &mut NoFiles).unwrap_or_else(|error| panic!("{error}"));
        let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]);
        let ruleset = ruleset.unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        assert!(
            allows(&ruleset, "/usr/bin/sh", Access::READ | Access::EXEC),
            "{}",
            preset.name
        );
        assert!(
            !allows(&ruleset, "/home/me/.ssh/id", Access::READ),
            "{}",
            preset.name
        );
        assert!(
            !allows(&ruleset, "/etc/passwd", Access::WRITE),
            "{}",
            preset.name
        );
    }
}

#[test]
fn the_agent_cannot_leave_what_runs_later() {
    let world = Memory::new(&SYSTEM);
    let policy = Policy::named("agent", &mut NoFiles).expect("shipped");
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    for path in [
        ".git/hooks/pre-commit",
        ".git/config",
        ".envrc",
        ".vscode/tasks.json",
        ".cargo/config.toml",
        "sub/.git/hooks/pre-commit",
        "sub/.git/commondir",
        "sub/.vscode/tasks.json",
        ".git/worktrees/one/commondir",
    ] {
        let path = Path::new("/repo").join(path);
        assert!(
            !ruleset
                .decide(&Subject::named(&path), Access::WRITE)
                .is_allowed(),
            "{}",
            path.display()
        );
    }
    // Nor by a link or a file in the place of a directory, or by moving one there.
    let subject = |path| Subject::named(Path::new(path));
    for kind in [Kind::File, Kind::Link] {
        for path in ["/repo/sub/.git", "/repo/.git", "/repo/sub/.cargo"] {
            assert!(
                !ruleset.decide_make(&subject(path), kind).is_allowed(),
                "{path}"
            );
        }
    }
    for (from, to) in [
        ("/repo/src", "/repo/sub/.git"),
        ("/repo/.git", "/repo/old"),
        ("/repo/src", "/repo/.cargo"),
    ] {
        let moved = ruleset.decide_move(&subject(from), &subject(to), Kind::Directory);
        assert!(!moved.is_allowed(), "{from} {to}");
    }
    // It can still commit, and build.
    for path in [".git/index", ".git/objects/aa", "src/main.rs", "target"] {
        let path = Path::new("/repo").join(path);
        assert!(
            ruleset
                .decide(&Subject::named(&path), Access::WRITE)
                .is_allowed()
        );
    }
    // Only writing is asked about.
    let brokered = ruleset.brokered();
    assert!(brokered.write && !brokered.read && !brokered.closed);
    for right in [Access::READ, Access::EXEC] {
        assert!(natively(&ruleset, right).contains(&"/repo".to_owned()));
    }
}

#[test]
fn compiling_asks_the_world_once_for_each_path() {
    let world = Memory::new(&SYSTEM);
    let policy =
        parse("tmp = \"none\"\n[fs]\nread = [\"/etc/passwd\", \"/etc/shadow\", \"/repo/src\"]");
    Ruleset::compile(&[policy.expect("good")], &facts(), &world, &[]).expect("good");
    assert_eq!(
        *world.asked.borrow(),
        6,
        "/, /etc, two files, /repo, /repo/src"
    );
}

#[test]
fn what_is_shared_with_the_host_is_reported() {
    let world = Memory::new(&["/dev/shm/", "/tmp/"]);
    let text = "tmp = \"shared\"\n[fs]\nwrite = [\"/dev/shm\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let said: Vec<String> = ruleset.warnings().iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|text| text.contains("/dev/shm")),
        "{said:?}"
    );
    assert!(said.iter().any(|text| text.contains("/tmp")), "{said:?}");
}

#[test]
fn a_path_that_is_not_canonical_is_no_subject() {
    let ruleset = compile("[fs]\nread = [\"/repo\"]\ndeny = [\"/repo/secret\"]");
    for path in [
        "/repo//secret",
        "/repo/./secret",
        "/repo/src/../secret",
        "repo/src",
        "/repo/src/",
        "",
    ] {
        assert!(!allows(&ruleset, path, Access::READ), "{path}");
    }
}
