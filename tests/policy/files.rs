//! Which files are taken as policies.

use crate::harness::Workspace;
use nix::sys::stat::Mode;
use std::os::unix::fs::symlink;
use std::path::Path;
use supervisor::policy::{Library, Policy};
use supervisor::sources::PolicyFiles;

fn refusal(path: &Path) -> String {
    PolicyFiles.text(path).expect_err("it is refused")
}

#[test]
fn what_is_not_a_plain_small_text_is_refused_each_for_its_reason() {
    let place = Workspace::new();
    let good = place.write("good.toml", "version = 1\n");
    let link = place.join("link.toml");
    symlink(&good, &link).expect("a link");
    assert!(refusal(&link).contains("symbolic link"));

    let fifo = place.join("fifo.toml");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    assert!(
        refusal(&fifo).contains("not a regular file"),
        "and nobody waits for its writer"
    );
    assert!(refusal(&place.path()).contains("not a regular file"));
    assert!(refusal(Path::new("/dev/zero")).contains("not a regular file"));

    let huge = place.write("huge.toml", " ".repeat((1 << 20) + 1));
    assert!(refusal(&huge).contains("larger than 1 MiB"));
    let endless = place.join("sparse.toml");
    let file = std::fs::File::create(&endless).expect("a file");
    file.set_len(1 << 40).expect("a hole");
    assert!(
        refusal(&endless).contains("larger than 1 MiB"),
        "and memory is not filled with it"
    );

    let binary = place.write("binary.toml", b"version = 1 # \xff\n");
    assert!(refusal(&binary).contains("not UTF-8 text (byte 14)"));
    assert!(refusal(&place.join("absent.toml")).contains("No such file"));
}

#[test]
fn a_policy_is_read_once() {
    let place = Workspace::new();
    let path = place.write(
        "policy.toml",
        "version = 1\nbase = false\n[fs]\nread = [\"/usr\"]\n",
    );
    let name = path.to_str().expect("a name of ours");
    let policy = Policy::named(name, &mut PolicyFiles).expect("good");
    std::fs::write(&path, "version = 1\n[fs]\nread = [\"/\"]\n").expect("a file");
    assert_eq!(policy.files().collect::<Vec<_>>(), [path.as_path()]);
}

#[test]
fn what_a_policy_extends_is_found_beside_it_and_read_the_same_way() {
    let place = Workspace::new();
    place.write("shared/strict.toml", "version = 1\nbase = false\n");
    let path = place.write(
        "a.toml",
        "version = 1\nbase = false\nextends = [\"shared/strict.toml\"]\n",
    );
    let policy =
        Policy::named(path.to_str().expect("a name of ours"), &mut PolicyFiles).expect("good");
    assert_eq!(policy.files().count(), 2);
    std::fs::remove_file(place.join("shared/strict.toml")).expect("it was there");
    symlink("/etc/passwd", place.join("shared/strict.toml")).expect("a link");
    let error = Policy::named(path.to_str().expect("a name of ours"), &mut PolicyFiles);
    let error = error.expect_err("it is a link now").to_string();
    assert!(
        error.contains("symbolic link") && error.contains("a.toml:3:12"),
        "{error}"
    );
}
