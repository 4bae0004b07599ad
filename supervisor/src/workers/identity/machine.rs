//! Where this process is: which machine, which boot of it, which pid namespace.

use super::{Field, Mismatch};
use nix::errno::Errno;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A namespace, by the file that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    /// The device of its file.
    pub dev: u64,
    /// The inode of its file.
    pub ino: u64,
}

/// Where a process is that records others, or looks for them: numbers mean the same only in the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// The machine; never empty. One without a name of its own is known by its boot, which no other machine shares.
    pub machine_id: String,
    /// Its boot; never empty.
    pub boot_id: String,
    /// The pid namespace.
    pub pid_namespace: NamespaceId,
}

impl Here {
    /// Where this process is.
    ///
    /// # Errors
    /// [`Mismatch::Unknown`], also where `/proc` is that of another pid namespace: its numbers are of no use here.
    pub fn now() -> Result<Self, Mismatch> {
        let boot_id = text("/proc/sys/kernel/random/boot_id")
            .map_err(Mismatch::unknown(Field::Boot, "read boot_id"))?;
        let named = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
        let machine_id = named.iter().find_map(|path| {
            // systemd writes this where the machine has no name yet.
            text(path).ok().filter(|id| id != "uninitialized")
        });
        let own = nix::unistd::getpid().to_string();
        let is_ours = std::fs::read_link("/proc/self").is_ok_and(|pid| pid == Path::new(&own));
        if !is_ours {
            let unknown = Mismatch::unknown(Field::PidNamespace, "look at /proc/self");
            return Err(unknown(Errno::EXDEV));
        }
        let namespace = std::fs::metadata("/proc/self/ns/pid")
            .map_err(errno)
            .map_err(Mismatch::unknown(
                Field::PidNamespace,
                "stat /proc/self/ns/pid",
            ))?;
        Ok(Self {
            machine_id: machine_id.unwrap_or_else(|| format!("boot {boot_id}")),
            boot_id,
            pid_namespace: NamespaceId {
                dev: namespace.dev(),
                ino: namespace.ino(),
            },
        })
    }
}

/// What a file says; nothing is an error.
fn text(path: &str) -> Result<String, Errno> {
    let text = std::fs::read_to_string(path).map_err(errno)?;
    match text.trim() {
        "" => Err(Errno::ENODATA),
        text => Ok(text.to_owned()),
    }
}

pub(super) fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
