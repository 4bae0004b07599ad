//! The unit that the daemon was started as, where a service manager started it.

use protocol::control::Finding;
use std::path::{Path, PathBuf};
use supervisor::workers::systemd::{Manager, Service, service_of, unit_in};

/// What is not as it should be in it; nothing where there is none, or none that can be read.
pub fn findings(config: &Path) -> Vec<Finding> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = service_of(&cgroups).and_then(|(manager, name)| {
        let unit = unit_in(&places(manager), &name)?;
        let file = super::read(config).ok()?;
        let program = super::own_program().ok()?;
        let service = Service {
            program: &program,
            config,
            file: &file,
            manager,
        };
        Some(service.validate_own(&unit))
    });
    found.unwrap_or_default()
}

/// Where units lie, the first of which counts most: systemd.unit(5).
fn places(manager: Manager) -> Vec<PathBuf> {
    let lasting = |kind: &str| {
        let all = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];
        all.map(|place| Path::new(place).join("systemd").join(kind))
    };
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let own = |variable: &str, below: Option<&str>| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        let usual = || Some(home.as_ref()?.join(below?));
        Some(named.or_else(usual)?.join("systemd/user"))
    };
    let own = [
        own("XDG_CONFIG_HOME", Some(".config")),
        own("XDG_RUNTIME_DIR", None),
        own("XDG_DATA_HOME", Some(".local/share")),
    ];
    let of_user = own.into_iter().flatten().chain(lasting("user"));
    match manager {
        Manager::User => of_user.collect(),
        // Or a user's that somebody started otherwise than the system does.
        Manager::System => lasting("system").into_iter().chain(of_user).collect(),
    }
}
