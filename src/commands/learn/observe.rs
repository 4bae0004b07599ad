//! The policy that a command is observed under.

use super::Mode;
use super::ground::Base;
use std::path::Path;
use supervisor::advice::{quoted, sensitive};

/// Nearly everything that the user may do: the system is read and run, everything else written too. In guard mode without what is
/// sensitive.
pub fn policy(base: &Base, mode: Mode, home: &Path, cwd: &Path) -> String {
    let (denied, unix): (Vec<_>, _) = match mode {
        Mode::Observe => (Vec::new(), everywhere()),
        Mode::Guard => {
            let places = sensitive::places(Some(home)).filter(|place| place.path.exists());
            let places = places.filter_map(|place| place.path.to_str().map(quoted));
            (places.collect(), String::new())
        }
    };
    let all = whole(|_| true).join(", ");
    let mut written = whole(|name| !SYSTEM.contains(&name));
    written.extend([home, cwd].into_iter().filter_map(|path| {
        let is_wide = path.parent().is_none();
        path.to_str().filter(|_| !is_wide).map(quoted)
    }));
    written.extend(["/var/tmp?", "/dev/shm?"].map(quoted));
    format!(
        "version = 1\nextends = [{extends}]\n\
         [fs]\nread = [{kernel}]\nexec = [{all}]\nwrite = [{written}]\ndeny = [{denied}]\n\
         [net]\nconnect = [\"*:*\"]\nbind = [\"*:*\"]\nloopback = \"any\"\nudp = \"any\"\nunix = [{unix}]\n",
        extends = base.extends,
        kernel = KERNEL.map(quoted).join(", "),
        written = written.join(", "),
        denied = denied.join(", "),
    )
}

/// What no policy opens as a whole: processes, devices, the kernel's own. Of the first each may read its own.
const APART: [&str; 3] = ["proc", "dev", "sys"];

/// Of the kernel's own.
const KERNEL: [&str; 3] = ["/sys/devices?", "/sys/fs/cgroup?", "/sys/kernel/mm?"];

/// What nobody who is learned from should write, even where the user may.
const SYSTEM: [&str; 11] = [
    "bin", "boot", "etc", "lib", "lib32", "lib64", "opt", "run", "sbin", "usr", "var",
];

/// Everything else that lies in the root directory, as far as it is wanted.
fn whole(is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let is_link = entry.file_type().ok()?.is_symlink();
        let name = entry.file_name().into_string().ok()?;
        let is_apart =
            is_link || APART.contains(&name.as_str()) || name.contains(['$', '*', '?', '[']);
        (!is_apart && is_wanted(&name)).then(|| quoted(&format!("/{name}")))
    });
    names.collect()
}

/// Every socket file, whoever listens there.
fn everywhere() -> String {
    let names = whole(|_| true).into_iter();
    let rules = names.map(|name| format!("{{ path = {name}, unconfined_peer = true }}"));
    rules.collect::<Vec<_>>().join(", ")
}
