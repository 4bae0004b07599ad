//! Names that change while a claim is considered.

use crate::rig::*;
use nix::fcntl::{RenameFlags, renameat2};
use protocol::Create;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use supervisor::broker::Outcome;
use supervisor::policy::Approver;

const TRIES: usize = 100_000;

/// Exchanges two names for as long as `work` goes on.
fn while_exchanging(first: PathBuf, second: PathBuf, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let here = nix::fcntl::AT_FDCWD;
            while !is_over.load(Ordering::Relaxed) {
                let flags = RenameFlags::RENAME_EXCHANGE;
                renameat2(here, &first, here, &second, flags).expect("names can be exchanged");
            }
        });
        // Also when it panics, lest the other thread go on for ever.
        let end = End(&is_over);
        work();
        drop(end);
    });
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a claim for `name` yields in many tries: grants of `inside`, refusals, and nothing else.
fn never_outside(rig: &mut Rig, name: &str, inside: u64, tries: usize) -> (usize, usize) {
    let path = rig.place.join(name);
    let (mut granted, mut refused) = (0, 0);
    for _ in 0..tries {
        match rig.ask(read(&path)) {
            Outcome::Granted(grant) => {
                let found = nix::sys::stat::fstat(&grant.fd).unwrap().st_ino;
                assert_eq!(found, inside, "fd {}", grant.fd.as_raw_fd());
                granted += 1;
            }
            Outcome::Refused(_) => refused += 1,
        }
    }
    (granted, refused)
}

#[test]
fn a_link_that_is_exchanged_all_the_time_never_leads_outside() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "inside");
        place.write("closed/a", "outside");
        symlink(place.join("open/a"), place.join("open/one")).unwrap();
        symlink(place.join("closed/a"), place.join("open/two")).unwrap();
    });
    let inside = fs::metadata(rig.place.join("open/a")).unwrap().ino();
    let names = (rig.place.join("open/one"), rig.place.join("open/two"));
    let mut counts = (0, 0);
    while_exchanging(names.0, names.1, || {
        counts = never_outside(&mut rig, "open/one", inside, TRIES);
    });
    assert!(
        counts.0 > 0 && counts.1 > 0,
        "nothing was exchanged: {counts:?}"
    );
}

#[test]
fn a_directory_that_is_exchanged_all_the_time_never_leads_outside() {
    let policy = rule("$P/open/d/a", "\"read\"", "decision = \"allow\"");
    let mut rig = Rig::new(&policy, Approver::Deny, |place| {
        place.write("open/d/a", "inside");
        place.write("closed/a", "outside");
        symlink(place.join("closed"), place.join("open/link")).unwrap();
    });
    let inside = fs::metadata(rig.place.join("open/d/a")).unwrap().ino();
    let names = (rig.place.join("open/d"), rig.place.join("open/link"));
    let mut counts = (0, 0);
    while_exchanging(names.0, names.1, || {
        counts = never_outside(&mut rig, "open/d/a", inside, TRIES / 4);
    });
    assert!(
        counts.0 > 0 && counts.1 > 0,
        "nothing was exchanged: {counts:?}"
    );
}

#[test]
fn a_file_is_never_made_outside() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.make_dir("open/d");
        place.make_dir("closed");
        symlink(place.join("closed"), place.join("open/link")).unwrap();
    });
    let names = (rig.place.join("open/d"), rig.place.join("open/link"));
    let mut made = 0;
    while_exchanging(names.0, names.1, || {
        for number in 0..TRIES / 20 {
            let path = rig.place.join(format!("open/d/{number}"));
            made += usize::from(matches!(
                rig.ask(create(path, Create::Yes)),
                Outcome::Granted(_)
            ));
        }
    });
    assert!(made > 0, "nothing was made");
    assert_eq!(fs::read_dir(rig.place.join("closed")).unwrap().count(), 0);
}

#[test]
fn what_others_make_and_remove_at_the_same_time_is_opened_or_made() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |_| {});
    let path = rig.place.join("open/a");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::write(&path, "theirs").unwrap();
                // Gone already when ours was refused.
                let _gone = fs::remove_file(&path);
            }
        });
        let end = End(&is_over);
        let mut granted = 0;
        for _ in 0..5000 {
            match rig.ask(create(&path, Create::Yes)) {
                Outcome::Granted(_) => granted += 1,
                // Every attempt found what the one before did not.
                Outcome::Refused(refusal) => {
                    assert!(
                        matches!(
                            refusal.errno,
                            nix::errno::Errno::EEXIST | nix::errno::Errno::ENOENT
                        ),
                        "{refusal:?}"
                    );
                }
            }
        }
        assert!(granted > 4000, "{granted}");
        drop(end);
    });
}
