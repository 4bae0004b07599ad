//! What may be done to files past the rules for paths.

use crate::harness::Workspace;
use crate::{let_through, raw, refused, strictest};
use supervisor::sandbox::filter::{Answer, FilterSpec, Signals};

#[test]
fn mounts_and_roots_stay() {
    let mut acts: Vec<String> = [
        "chroot /nonexistent",
        "pivot-root /nonexistent",
        "mount none /nonexistent tmpfs",
        "bind-mount /nonexistent /nonexistent",
        "umount /nonexistent",
        "fsopen",
        "open-tree /nonexistent",
        "move-mount /nonexistent /nonexistent",
        "mount-setattr /nonexistent",
    ]
    .map(str::to_owned)
    .to_vec();
    acts.push(raw(libc::SYS_fsconfig, "-1 0 0 0 0"));
    acts.push(raw(libc::SYS_fsmount, "-1 0 0"));
    acts.push(raw(libc::SYS_fspick, "-1 0 0"));
    // open_tree_attr
    acts.push(raw(467, "-1 0 0 0 0"));
    refused(&strictest(), "EPERM", &acts);
}

#[test]
fn nothing_is_opened_by_its_inode() {
    refused(
        &strictest(),
        "EPERM",
        &[
            "handle /etc/passwd".to_owned(),
            raw(libc::SYS_open_by_handle_at, "-100 0 0"),
        ],
    );
}

/// Everything that Landlock is not asked about when a file's metadata changes.
fn metadata(workspace: &Workspace) -> Vec<String> {
    workspace.write("f", "x");
    let file = workspace.join("f");
    let file = file.to_str().expect("a temporary path is UTF-8");
    let mut acts: Vec<String> = [
        "fchmodat F 600",
        "fchmodat2 F 600",
        "fchmod F 600",
        "fchownat F -1 -1",
        "fchown F -1 -1",
        "utimensat F",
        "futimens F",
        "setxattr F user.a b",
        "lsetxattr F user.a b",
        "fsetxattr F user.a b",
        "setxattrat F user.a b",
        "removexattr F user.a",
        "lremovexattr F user.a",
        "fremovexattr F user.a",
        "removexattrat F user.a",
        "file-setattr F",
    ]
    .map(|act| act.replace('F', file))
    .to_vec();
    if cfg!(target_arch = "x86_64") {
        let legacy = [
            "chmod F 600",
            "chown F -1 -1",
            "lchown F -1 -1",
            "utime F",
            "utimes F",
            "futimesat F",
        ];
        acts.extend(legacy.map(|act| act.replace('F', file)));
    }
    acts
}

#[test]
fn metadata_is_written_by_nobody() {
    refused(&strictest(), "EPERM", &metadata(&Workspace::new()));
}

#[test]
fn metadata_can_be_let_through() {
    let mut spec = strictest();
    spec.answers.metadata = Answer::Allow;
    let acts = metadata(&Workspace::new());
    // One file for all: what one act leaves, the next finds in both runs.
    let kept: Vec<&String> = acts.iter().filter(|act| !act.contains("xattr")).collect();
    let_through(&spec, &kept);
}

#[test]
fn inode_flags_do_not_change_through_a_descriptor_for_reading() {
    let workspace = Workspace::new();
    let file = workspace.write("f", "x");
    let file = file.to_str().expect("a temporary path is UTF-8");
    refused(
        &strictest(),
        "EPERM",
        &[
            "ioctl-setflags F",
            "ioctl-setxattr F",
            "ioctl-verity F",
            "ioctl-zero F",
        ]
        .map(|act| act.replace('F', file)),
    );
}

/// `ioctl` on no descriptor: the kernel would look at that first.
fn request(number: u64) -> String {
    raw(libc::SYS_ioctl, &format!("-1 {number:#x} 0"))
}

#[test]
fn requests_to_file_systems_are_a_list_of_what_may_be() {
    let refused_requests: [u64; 20] = [
        0x4008_6602, // FS_IOC_SETFLAGS
        0x4004_6602, // FS_IOC32_SETFLAGS
        0x401c_5820, // FS_IOC_FSSETXATTR
        0x4080_6685, // FS_IOC_ENABLE_VERITY
        0x4030_5828, // FS_IOC_RESVSP
        0x4030_5829, // FS_IOC_UNRESVSP
        0x4030_582a, // FS_IOC_RESVSP64
        0x4030_582b, // FS_IOC_UNRESVSP64
        0x4030_5839, // FS_IOC_ZERO_RANGE
        0xc004_5877, // FIFREEZE
        0x800c_6613, // FS_IOC_SET_ENCRYPTION_POLICY
        0xc050_6617, // FS_IOC_ADD_ENCRYPTION_KEY
        0x0000_6609, // EXT4_IOC_MIGRATE
        0x4008_7602, // FS_IOC_SETVERSION
        0x5000_940e, // BTRFS_IOC_SUBVOL_CREATE
        0x5000_9401, // BTRFS_IOC_SNAP_CREATE
        0x5000_940f, // BTRFS_IOC_SNAP_DESTROY
        0x4020_bc10, // BCH_IOCTL_SUBVOLUME_CREATE
        0x4004_7211, // FAT_IOCTL_SET_ATTRIBUTES
        0x4018_6f04, // OCFS2_IOC_REFLINK
    ];
    let acts: Vec<String> = refused_requests
        .iter()
        .map(|number| request(*number))
        .collect();
    refused(&strictest(), "EPERM", &acts);
    // The kernel takes 32 bits of a request.
    let acts: Vec<String> = refused_requests
        .iter()
        .map(|number| request(number | 0xdead_beef << 32))
        .collect();
    refused(&strictest(), "EPERM", &acts);
    let_through(
        &strictest(),
        &[
            request(0x4004_9409), // FICLONE
            request(0x4020_940d), // FICLONERANGE
            request(0x8008_6601), // FS_IOC_GETFLAGS
            request(0x801c_581f), // FS_IOC_FSGETXATTR
            request(0xc020_660b), // FS_IOC_FIEMAP
            request(0x541b),      // FIONREAD
            request(0x5421),      // FIONBIO
        ],
    );
}

#[test]
fn leases_and_directory_signals_are_refused() {
    let fcntl = |command: &str| raw(libc::SYS_fcntl, &format!("-1 {command} 0"));
    refused(
        &strictest(),
        "EPERM",
        &[
            fcntl("1024"),
            fcntl("1026"),
            fcntl("1040"),
            fcntl("0x100000400"),
            fcntl("0xffffffff00000402"),
        ],
    );
    // F_GETFD, F_GETFL, F_SETLK, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_ADD_SEALS
    let_through(
        &strictest(),
        &["1", "3", "6", "1030", "1031", "1033"].map(fcntl),
    );
}

#[test]
fn a_descriptor_sends_no_signals_where_landlock_does_not_scope_them() {
    let fcntl = |command: &str| raw(libc::SYS_fcntl, &format!("-1 {command} 0"));
    let acts = [
        fcntl("8"),
        fcntl("10"),
        fcntl("15"),
        request(0x8901),
        request(0x8902),
    ];
    refused(&strictest(), "EPERM", &acts);
    let_through(
        &FilterSpec {
            signals: Signals::Scoped,
            ..strictest()
        },
        &acts,
    );
}

#[test]
fn nobody_watches() {
    refused(
        &strictest(),
        "EPERM",
        &[
            raw(libc::SYS_fanotify_init, "0 0"),
            raw(libc::SYS_fanotify_mark, "-1 0 0 0 0"),
        ],
    );
    let watch = raw(libc::SYS_inotify_add_watch, "-1 0 0");
    refused(&strictest(), "EACCES", std::slice::from_ref(&watch));
    let mut spec = strictest();
    spec.answers.watches = Answer::Allow;
    let_through(&spec, &[watch]);
}

#[test]
fn no_file_is_made_that_others_run_as_this_user() {
    let workspace = Workspace::new();
    let at = |name: &str| workspace.join(name).display().to_string();
    let acts = [
        format!("open {} wronly,creat 4755", at("a")),
        format!("open {} wronly,creat 2755", at("b")),
        format!("open {} wronly,tmpfile 4755", workspace.path().display()),
        // A regular file with the bits 04000 and 02000.
        format!("mknod {} 0x8800", at("d")),
        format!("mknod {} 0x8400", at("e")),
    ];
    refused(&strictest(), "EPERM", &acts);
    let acts = [
        format!("open {} wronly,creat 755", at("c")),
        // Without O_CREAT nobody looks at the mode.
        format!("open {} rdonly 4755", at("c")),
    ];
    let_through(&strictest(), &acts);
}

#[test]
fn nothing_is_opened_for_neither_reading_nor_writing() {
    refused(&strictest(), "EACCES", &["open /etc/passwd wronly,rdwr"]);
    let_through(
        &strictest(),
        &["open /etc/passwd rdonly", "open /dev/null rdwr"],
    );
}
