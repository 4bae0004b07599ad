//! What is granted, and what is not.

use crate::harness::feature::root;
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::run::{run, start};
use crate::harness::{Workspace, require, set_mode};
use crate::rig::*;
use nix::errno::Errno;
use protocol::{Code, Create, OpenFlags, OpenRequest};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use supervisor::broker::{Peer, Progress};
use supervisor::policy::{Approver, Mechanism};

#[test]
fn what_the_policy_allows_is_granted_and_nothing_else() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "inside");
        place.write("closed/a", "outside");
    });
    let grant = rig.granted(read(rig.place.join("open/a")));
    assert_eq!(grant.mechanism, Mechanism::Broker);
    assert_eq!(content(grant), "inside");
    let refusal = rig.refused(read(rig.place.join("closed/a")));
    denied(&refusal);
    assert_eq!((refusal.errno, refusal.rule), (Errno::EACCES, None));
    let refusal = rig.refused(read(rig.place.join("open/none")));
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::NoSuchFile, Errno::ENOENT)
    );
}

#[test]
fn every_access_must_be_allowed() {
    let policy = rule("$P/open", "\"read\"", "decision = \"allow\"");
    let mut rig = Rig::new(&policy, Approver::Deny, |place| {
        place.write("open/a", "x");
    });
    let path = rig.place.join("open/a");
    rig.granted(read(&path));
    denied(&rig.refused(write(&path)));
    let both = OpenRequest {
        access: protocol::Access::ReadWrite,
        ..read(&path)
    };
    denied(&rig.refused(both));
    // To make a file is to write, also for one who only wants to read it.
    let made = OpenRequest {
        create: Create::Yes,
        ..read(rig.place.join("open/b"))
    };
    denied(&rig.refused(made));
    assert!(!rig.place.join("open/b").exists());
}

#[test]
fn a_rule_for_a_file_or_directory_covers_no_other_name() {
    let policy = rule("$P/f", "\"read\", \"write\"", "decision = \"allow\"")
        + &rule("$P/d", "\"read\", \"write\"", "decision = \"allow\"");
    let mut rig = Rig::new(&policy, Approver::Deny, |place| {
        place.write("f", "f");
        place.write("fc", "other");
        place.write("d/x", "x");
        place.write("dx", "other");
        place.write("dd/x", "other");
    });
    let path = |name: &str| rig.place.join(name);
    let (f, inside, below, others) = (
        path("f"),
        path("d/x"),
        path("f/c"),
        [path("fc"), path("dx"), path("dd/x"), path("d/../fc")],
    );
    rig.granted(read(f));
    rig.granted(read(inside));
    assert_eq!(rig.refused(read(below)).errno, Errno::ENOTDIR);
    for other in others {
        denied(&rig.refused(read(other)));
    }
    denied(&rig.refused(create(rig.place.join("f2"), Create::New)));
}

#[test]
fn a_link_is_decided_on_by_where_it_leads() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("closed/a", "outside");
        place.write("open/a", "inside");
        symlink(place.join("closed/a"), place.join("open/out")).unwrap();
        symlink(place.join("closed"), place.join("open/dir")).unwrap();
        symlink(place.join("closed/new"), place.join("open/dangling")).unwrap();
        symlink(place.join("open/a"), place.join("closed/in")).unwrap();
    });
    denied(&rig.refused(read(rig.place.join("open/out"))));
    denied(&rig.refused(read(rig.place.join("open/dir/a"))));
    denied(&rig.refused(read(rig.place.join("open/../closed/a"))));
    denied(&rig.refused(create(rig.place.join("open/dangling"), Create::Yes)));
    denied(&rig.refused(create(rig.place.join("open/dir/new"), Create::Yes)));
    assert!(!rig.place.join("closed/new").exists());
    assert_eq!(
        content(rig.granted(read(rig.place.join("closed/in")))),
        "inside"
    );
}

#[test]
fn a_denied_file_is_denied_under_every_name_it_has() {
    let policy = format!("[fs]\ndeny = [\"$P/open/secret\"]\n{}", open_below());
    let mut rig = Rig::new(&policy, Approver::Deny, |place| {
        place.write("open/secret", "secret");
        fs::hard_link(place.join("open/secret"), place.join("open/alias")).unwrap();
        symlink("secret", place.join("open/link")).unwrap();
    });
    for name in ["open/secret", "open/alias", "open/link", "open/./secret"] {
        let refusal = rig.refused(read(rig.place.join(name)));
        denied(&refusal);
        assert!(refusal.rule.is_some(), "{name}: {refusal:?}");
    }
    // Another file may not take its name.
    fs::remove_file(rig.place.join("open/secret")).unwrap();
    denied(&rig.refused(create(rig.place.join("open/secret"), Create::New)));
    assert!(!rig.place.join("open/secret").exists());
}

#[test]
fn names_are_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"open/\xff\x1b[2K\n");
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write(name, "bytes");
    });
    assert_eq!(content(rig.granted(read(rig.place.join(name)))), "bytes");
    let records = rig.records();
    assert!(records[0]["path"]["b64"].is_string());
}

#[test]
fn a_directory_is_granted_for_listing_only() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/d/a", "");
    });
    let path = rig.place.join("open/d");
    let directory = |request| OpenRequest {
        flags: OpenFlags::DIRECTORY,
        ..request
    };
    let grant = rig.granted(directory(read(&path)));
    let names = nix::dir::Dir::from_fd(grant.fd).unwrap().into_iter();
    assert!(names.flatten().any(|entry| entry.file_name() == c"a"));
    let refusal = rig.refused(directory(write(&path)));
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::BadRequest, Errno::EISDIR)
    );
    assert_eq!(rig.refused(write(&path)).errno, Errno::EISDIR);
    let file = rig.refused(directory(read(path.join("a"))));
    assert_eq!(file.errno, Errno::ENOTDIR);
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "kept");
    });
    let path = rig.place.join("open/a");
    let truncated = OpenRequest {
        flags: OpenFlags::TRUNCATE,
        ..read(&path)
    };
    assert_eq!(rig.refused(truncated).code, Code::BadRequest);
    let made = OpenRequest {
        flags: OpenFlags::DIRECTORY,
        create: Create::Yes,
        ..read(&path)
    };
    assert_eq!(rig.refused(made).code, Code::BadRequest);
    assert_eq!(fs::read_to_string(&path).unwrap(), "kept");
}

#[test]
fn devices_that_are_the_supervisors_own_are_never_granted() {
    const DEVICES: [&str; 5] = [
        "/dev/tty",
        "/dev/ptmx",
        "/dev/console",
        "/dev/mem",
        "/dev/port",
    ];
    let allow = |path: &str| rule(path, "\"read\", \"write\"", "decision = \"allow\"");
    let mut policy = allow("/dev/null") + &allow("/dev/zero") + &allow("/dev/pts/*");
    for device in DEVICES {
        if std::path::Path::new(device).exists() {
            policy += &allow(device);
        }
    }
    let mut rig = Rig::new(&policy, Approver::Deny, |_| {});
    rig.granted(write("/dev/null"));
    rig.granted(read("/dev/zero"));
    for device in DEVICES {
        let refusal = rig.refused(read(device));
        let is_refused = matches!(refusal.errno, Errno::EACCES | Errno::ENOENT);
        assert!(is_refused, "{device}: {refusal:?}");
        assert_eq!(
            refusal.rule, None,
            "it is not the policy that refuses {device}"
        );
        assert_ne!(refusal.code, Code::Denied, "{device}");
    }
    let terminal = nix::pty::openpty(None, None).unwrap();
    let name = nix::unistd::ttyname(&terminal.slave).unwrap();
    assert_eq!(rig.refused(read(name)).errno, Errno::EACCES);
}

#[test]
fn a_disk_below_the_files_is_never_granted() {
    require!(root());
    let mut rig = Rig::new(&open_below(), Approver::Deny, |_| {});
    let disk = rig.place.join("open/disk");
    let mode = nix::sys::stat::Mode::S_IRWXU;
    let device = nix::sys::stat::makedev(7, 200);
    let made = nix::sys::stat::mknod(&disk, nix::sys::stat::SFlag::S_IFBLK, mode, device);
    require!(made.map_err(|error| format!("no device can be made here: {error}")));
    assert_eq!(rig.refused(read(&disk)).errno, Errno::EACCES);
}

/// Makes a file on behalf of somebody with that umask, who makes another one there: with which permissions.
fn made_under(umask: u32, rig: &mut Rig, directory: &str) -> [u32; 2] {
    let [granted_as, own] = ["granted", "own"].map(|of| {
        let name = format!("{directory}/{of}-{umask:03o}");
        rig.place.join(name)
    });
    let command = format!("umask {umask:03o}; : > \"$0\"; echo ready; exec sleep 60");
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).arg(&own);
    let mut asker = start(&mut shell);
    asker.until_it_says("ready");
    let pidfd = sys::pidfd::Pidfd::open(asker.pid()).unwrap();
    let peer = Peer {
        pid: asker.pid(),
        uid: 0,
        pidfd: Some(pidfd.as_fd()),
    };
    let request = OpenRequest {
        mode: 0o4666,
        ..create(&granted_as, Create::New)
    };
    let outcome = match rig.claim_of(&peer, request) {
        Progress::Done(outcome) => outcome,
        Progress::Pending(ticket) => rig.wait(ticket),
    };
    drop(granted(outcome));
    [granted_as, own].map(|path| fs::metadata(&path).unwrap().mode() & 0o7777)
}

#[test]
fn the_umask_of_the_asker_counts_and_not_ours() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |_| {});
    for umask in [0o000, 0o022, 0o077] {
        let made = made_under(umask, &mut rig, "open");
        assert_eq!(made, [0o666 & !umask; 2], "{umask:o}");
    }
}

#[test]
fn where_a_directory_has_default_permissions_the_umask_counts_as_little_as_without_us() {
    // posix_acl_xattr_header, then posix_acl_xattr_entry: the owner, a user, the group, the mask, the others.
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 6, NOBODY),
        (0x04, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(permissions.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.make_dir("open/shared");
    });
    let directory = fs::File::open(rig.place.join("open/shared")).unwrap();
    let name = c"system.posix_acl_default";
    let set = sys::metadata::set_xattr(directory.as_fd(), name, &acl, 0);
    require!(set.map_err(|errno| format!("no default permissions can be set here: {errno}")));
    for umask in [0o000, 0o027, 0o077] {
        let made = made_under(umask, &mut rig, "open/shared");
        assert_eq!(made, [0o660; 2], "{umask:o}");
    }
}

#[test]
fn a_budget_counts_grants_of_its_rule() {
    let policy = rule("$P/open", "\"read\"", "decision = \"allow\"\nbudget = 2")
        + &rule("$P/more", "\"read\"", "decision = \"allow\"");
    let mut rig = Rig::new(&policy, Approver::Deny, |place| {
        place.write("open/a", "");
        place.write("more/a", "");
    });
    let path = rig.place.join("open/a");
    rig.granted(read(&path));
    // What fails costs nothing.
    assert_eq!(
        rig.refused(read(rig.place.join("open/none"))).code,
        Code::NoSuchFile
    );
    rig.granted(read(&path));
    assert_eq!(rig.refused(read(&path)).code, Code::Limit);
    for _ in 0..5 {
        rig.granted(read(rig.place.join("more/a")));
    }
}

#[test]
fn a_thousand_claims_in_a_burst_are_all_granted() {
    let mut rig = Rig::new(&open_below(), Approver::Deny, |place| {
        place.write("open/a", "x");
    });
    let path = rig.place.join("open/a");
    let files: Vec<_> = (0..200).map(|_| rig.granted(read(&path))).collect();
    drop(files);
    for _ in 0..1000 {
        rig.granted(read(&path));
    }
    assert_eq!(rig.records().len(), 1200);
}

#[test]
fn the_kernel_has_the_last_word_for_an_ordinary_user() {
    const NAME: &str = "grants::the_kernel_has_the_last_word_for_an_ordinary_user";
    if is_inner() {
        let policy = open_below();
        let mut rig = Rig::new(&policy, Approver::Deny, |place| {
            place.write("open/mine", "mine");
            place.write("open/locked", "locked");
            set_mode(&place.join("open/locked"), 0o000);
            set_mode(&place.make_dir("open/shut"), 0o555);
        });
        assert_eq!(
            content(rig.granted(read(rig.place.join("open/mine")))),
            "mine"
        );
        let refusal = rig.refused(read(rig.place.join("open/locked")));
        assert_eq!((refusal.code, refusal.errno), (Code::Failed, Errno::EACCES));
        let refusal = rig.refused(create(rig.place.join("open/shut/a"), Create::Yes));
        assert_eq!((refusal.code, refusal.errno), (Code::Failed, Errno::EACCES));
        set_mode(&rig.place.join("open/shut"), 0o755);
        return;
    }
    require!(root());
    let place = Workspace::open_to_all();
    let copy = place.join("test");
    crate::harness::built::copy_program(&std::env::current_exe().unwrap(), &copy);
    let mut command = Command::new(&copy);
    let inner = inner(NAME);
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        command.env(name, value.unwrap());
    }
    let ran = run(as_uid(command.current_dir("/"), NOBODY));
    assert!(ran.status.success(), "{ran:?}");
    assert!(ran.stdout.contains("1 passed"), "{ran:?}");
}
