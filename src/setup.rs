//! What of this machine and account is not as workers need it: each with a word that does not change, how bad it is, and what to do.

use protocol::control::{Finding, Findings, Severity};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use supervisor::sandbox::Kernel;

/// The longest path of a socket: `sun_path` has 108 bytes, of which the last is zero.
const LONGEST_SOCKET: usize = 107;

/// What follows the directory in the longest path of a worker's socket: its name, a number, the socket.
const LONGEST_NAME: usize = "/".len() + 32 + "-10000".len() + "/socket".len();

protocol::listed! {
    /// What is looked at.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Check {
        /// Landlock.
        Landlock = "landlock-missing",
        /// The listener of the seccomp filter.
        Listener = "listener-missing",
        /// By what the processes of a worker are told apart.
        Tag = "tag-missing",
        /// Where sockets of workers are.
        RuntimeDirectory = "runtime-directory",
        /// How long their paths are.
        SocketPath = "socket-path",
        /// Whether they outlive the user's last session.
        Linger = "linger",
    }
}

/// What is known about the machine and the account.
#[derive(Clone, Copy, Debug)]
struct Account<'a> {
    kernel: &'a Kernel,
    /// Where sockets of workers are.
    place: &'a Path,
    /// The mode and owner of that directory are as they should be.
    is_private: bool,
    /// A user's service manager started this, and ends with the user's last session.
    ends_with_the_session: bool,
}

/// Looks, and says what is not as it should be. `place` is the directory in which sockets of workers are.
pub fn findings(kernel: &Kernel, place: &Path) -> Vec<Finding> {
    let own = nix::unistd::geteuid();
    let is_private = std::fs::symlink_metadata(place).is_ok_and(|directory| {
        directory.is_dir() && directory.uid() == own.as_raw() && directory.mode() & 0o077 == 0
    });
    let user = nix::unistd::User::from_uid(own).ok().flatten();
    let lingers = user.is_some_and(|user| {
        Path::new("/var/lib/systemd/linger")
            .join(user.name)
            .exists()
    });
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let is_of_user = cgroup.contains("/user@");
    examine(&Account {
        kernel,
        place,
        is_private,
        ends_with_the_session: is_of_user && !lingers,
    })
}

/// What was found, for people.
pub fn shown(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let severity = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
            Severity::Info | Severity::Unknown => "info",
        };
        let fix = finding.fix.as_deref().unwrap_or("none");
        format!(
            "{:<22} {severity:<8} {}\n{:<31} fix: {fix}\n",
            finding.code, finding.message, ""
        )
    });
    lines.collect()
}

fn examine(account: &Account<'_>) -> Vec<Finding> {
    let kernel = account.kernel;
    let mut found = Findings::default();
    found.note(
        kernel.landlock_abi == 0,
        Check::Landlock.as_str(),
        Severity::Error,
        "Landlock is not there, and nothing else confines files".to_owned(),
        "use a kernel with CONFIG_SECURITY_LANDLOCK=y (Linux 5.13) and landlock among lsm= on its command line",
    );
    found.note(
        !kernel.notification,
        Check::Listener.as_str(),
        Severity::Warning,
        "the supervisor cannot decide calls of unmodified programs".to_owned(),
        "use a newer kernel, or a container runtime whose filter allows seccomp(2)",
    );
    if let Some(reason) = kernel.no_tag {
        found.note(
            true,
            Check::Tag.as_str(),
            Severity::Error,
            format!("the processes of a worker cannot be told apart from others: {reason}"),
            "run the daemon outside of any sandbox, with RLIMIT_RTTIME unlimited",
        );
    }
    found.note(
        !account.is_private,
        Check::RuntimeDirectory.as_str(),
        Severity::Error,
        format!(
            "{} is not a directory that only you can enter",
            account.place.display()
        ),
        "set XDG_RUNTIME_DIR to a directory of yours with mode 0700, or name one as `runtime` under [daemon]",
    );
    let length = account.place.as_os_str().as_bytes().len() + LONGEST_NAME;
    found.note(
        length > LONGEST_SOCKET,
        Check::SocketPath.as_str(),
        Severity::Warning,
        format!(
            "sockets of workers in {} may need {length} bytes for their paths, of which the kernel takes {LONGEST_SOCKET}",
            account.place.display()
        ),
        "set XDG_RUNTIME_DIR to a shorter path, or name a shorter `runtime` under [daemon]",
    );
    found.note(
        account.ends_with_the_session,
        Check::Linger.as_str(),
        Severity::Warning,
        "the user's service manager ends everything when the user's last session does".to_owned(),
        "loginctl enable-linger",
    );
    found.findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervisor::sandbox::NoTag;

    const NEW: Kernel = Kernel {
        landlock_abi: 7,
        landlock_errata: 0,
        notification: true,
        wait_killable: true,
        take_descriptors: true,
        no_tag: None,
    };

    fn codes(account: &Account<'_>) -> Vec<String> {
        let findings = examine(account);
        assert!(findings.iter().all(|finding| finding.fix.is_some()));
        findings.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn where_all_is_well_nothing_is_found_and_else_each_thing_with_its_fix() {
        let good = Account {
            kernel: &NEW,
            place: Path::new("/run/user/1000/supervise/daemon"),
            is_private: true,
            ends_with_the_session: false,
        };
        assert_eq!(codes(&good), [""; 0]);
        let old = Kernel {
            landlock_abi: 0,
            notification: false,
            no_tag: Some(NoTag::Limited),
            ..NEW
        };
        let long = "/x".repeat(40);
        let bad = Account {
            kernel: &old,
            place: Path::new(&long),
            is_private: false,
            ends_with_the_session: true,
        };
        assert_eq!(
            codes(&bad),
            Check::ALL.map(Check::as_str),
            "of all that is looked at"
        );
    }
}
