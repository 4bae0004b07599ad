//! What is learned of what was seen, in a world of the test's making.

use super::*;
use crate::policy::Kind;
use std::path::Path;

/// Of these names files, and directories above them, are there.
struct There(&'static [&'static str]);

impl World for There {
    fn kind(&self, path: &Path) -> Option<Kind> {
        let below = |name: &&str| Path::new(name).starts_with(path);
        match self.0.iter().find(|name| below(name))? {
            name if Path::new(name) == path => Some(Kind::File),
            _ => Some(Kind::Directory),
        }
    }

    fn entries(&self, directory: &Path) -> usize {
        let inside = self.0.iter().filter_map(|name| {
            let rest = Path::new(name).strip_prefix(directory).ok()?;
            rest.iter().next()
        });
        inside.collect::<BTreeSet<_>>().len()
    }

    fn is_given(&self, path: &Path, access: Access) -> bool {
        path.starts_with("/usr") && !access.contains(Access::WRITE)
    }

    fn may_be_made(&self, _path: &Path) -> bool {
        false
    }

    fn secrets_in(&self, directory: &Path) -> Vec<PathBuf> {
        let inside = self.0.iter().map(PathBuf::from);
        let inside = inside.filter(|path| path.starts_with(directory));
        inside
            .filter(|path| crate::advice::sensitive::by_name(path).is_some())
            .collect()
    }
}

/// What is learned, and what is left out, where these things were done with these rights.
fn learned(
    there: &'static [&'static str],
    done: &[(&str, Access, &[Seen])],
) -> (Vec<(Key, String)>, Vec<String>) {
    let files = done.iter().map(|(path, access, seen)| {
        let deeds = Deeds {
            seen: seen.iter().copied().collect(),
            access: Some(*access),
            ..Deeds::default()
        };
        (PathBuf::from(path), deeds)
    });
    let things = Things {
        files: files.collect(),
        ..Things::default()
    };
    let scene = Scene {
        home: Some(Path::new("/home/u")),
        cwd: Path::new("/home/u/p"),
        tmpdir: Path::new("/tmp/run"),
        named: &[],
        world: &There(there),
    };
    let lesson = learn(&things, &scene);
    let lines = lesson.lines.into_iter().map(|line| (line.key, line.text));
    let left = lesson.left_out.into_iter().map(|(what, _)| what);
    let start = (Key::Read, "/home/u/[p]".to_owned());
    (
        lines.filter(|line| *line != start).collect(),
        left.collect(),
    )
}

fn lines(expected: &[(Key, &str)]) -> Vec<(Key, String)> {
    expected
        .iter()
        .map(|(key, text)| (*key, (*text).to_owned()))
        .collect()
}

const READ: (Access, &[Seen]) = (Access::READ, &[Seen::Opened]);

#[test]
fn most_of_a_directory_is_a_tree_and_a_little_of_it_is_not() {
    let there = &[
        "/home/u/p/src/a",
        "/home/u/p/src/b",
        "/home/u/p/src/c",
        "/opt/x/1/a",
        "/opt/x/1/b",
        "/opt/x/1/c",
        "/opt/x/1/d",
    ];
    let (access, seen) = READ;
    let read = |paths: &[&'static str]| {
        paths
            .iter()
            .map(|path| (*path, access, seen))
            .collect::<Vec<_>>()
    };
    let all = read(&[
        "/home/u/p/src/a",
        "/home/u/p/src/b",
        "/home/u/p/src/c",
        "/opt/x/1/a",
        "/usr/lib/x",
    ]);
    let expected = lines(&[(Key::Read, "$PWD/src?"), (Key::Read, "/opt/x/1/a?")]);
    assert_eq!(learned(there, &all), (expected, Vec::new()));
}

#[test]
fn no_tree_is_made_of_what_holds_everybodys_files() {
    let there = &[
        "/etc/a",
        "/etc/b",
        "/etc/c",
        "/home/u/a",
        "/home/u/b",
        "/home/u/c",
    ];
    let (access, seen) = READ;
    let done: Vec<_> = there.iter().map(|path| (*path, access, seen)).collect();
    let (found, _) = learned(there, &done);
    assert_eq!(found.len(), there.len(), "{found:?}");
    let listed = [("/home/u", Access::READ, &[Seen::Listed][..])];
    assert_eq!(
        learned(there, &listed).0,
        lines(&[(Key::Read, "/home/[u]")])
    );
}

#[test]
fn what_the_run_made_is_its_own_and_names_beside_are_granted_one_by_one() {
    let there = &["/home/u/p/out/a", "/home/u/p/log"];
    let made: &[Seen] = &[Seen::Made];
    let done = [
        ("/home/u/p/out", Access::WRITE, &[Seen::MadeDirectory][..]),
        ("/home/u/p/out/a", Access::WRITE, made),
        ("/home/u/p/log", Access::WRITE, made),
        (
            "/home/u/p/sedAbC123",
            Access::WRITE,
            &[Seen::Made, Seen::Removed],
        ),
        ("/tmp/run/x", Access::WRITE, made),
    ];
    let expected = [
        (Key::Write, "$PWD/out"),
        (Key::Write, "$PWD/sed*"),
        (Key::Make, "$PWD/out"),
        (Key::Request, "$PWD/log?"),
    ];
    assert_eq!(learned(there, &done), (lines(&expected), Vec::new()));
}

#[test]
fn what_is_sensitive_is_left_out_and_denied_where_a_tree_holds_it() {
    let there = &["/home/u/p/src/a", "/home/u/p/src/.env", "/home/u/.ssh/id"];
    let (access, seen) = READ;
    let done = [
        ("/home/u/p/src", access, &[Seen::Listed][..]),
        ("/home/u/p/src/a", access, seen),
        ("/home/u/.ssh/id", access, seen),
        ("/home/u/.ssh/new", Access::WRITE, &[Seen::Made]),
    ];
    let (found, left) = learned(there, &done);
    let expected = [(Key::Read, "$PWD/src?"), (Key::Deny, "$PWD/src/.env")];
    assert_eq!(found, lines(&expected));
    assert_eq!(left, ["/home/u/.ssh/new", "/home/u/.ssh/id"]);
}

#[test]
fn ports_of_this_machine_keep_their_address_and_those_elsewhere_do_not() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let things = Things {
        peers: [
            "127.0.0.1:5432",
            "127.0.0.1:8080",
            "93.184.216.34:443",
            "93.184.216.35:443",
        ]
        .map(address)
        .into(),
        own: ["127.0.0.1:8080", "[::1]:0"].map(address).into(),
        ..Things::default()
    };
    let scene = Scene {
        home: None,
        cwd: Path::new("/usr"),
        tmpdir: Path::new("/tmp/run"),
        named: &[],
        world: &There(&[]),
    };
    // Whoever listens on a port that the kernel chooses may be connected to on any.
    let own_alone = Things {
        own: [address("127.0.0.1:8080")].into(),
        ..things.clone()
    };
    let learned = |things: &Things| -> Vec<(Key, String)> {
        let lines = learn(things, &scene).lines.into_iter();
        lines.map(|line| (line.key, line.text)).collect()
    };
    let expected = [
        (Key::Connect, "*:443"),
        (Key::Connect, "127.0.0.1:5432"),
        (Key::Bind, "127.0.0.1:8080"),
        (Key::Loopback, "own"),
    ];
    assert_eq!(learned(&own_alone), lines(&expected));
    assert!(learned(&things).contains(&(Key::Bind, "[::1]:*".to_owned())));
}
