//! Places that no policy should open by the way: keys, tokens, histories, what browsers know, sockets of daemons.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a place is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Secret {
    /// Keys, passwords, tokens.
    Keys,
    /// What was typed.
    History,
    /// What a browser or a mail program knows.
    Profile,
    /// A service that acts outside of every sandbox.
    Daemon,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keys => "keys, passwords or tokens",
            Self::History => "a history of what was typed",
            Self::Profile => "what a browser or a mail program keeps",
            Self::Daemon => "the socket of a service that acts outside of every sandbox",
        })
    }
}

/// A sensitive place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub secret: Secret,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.secret)
    }
}

/// Below the home directory.
const AT_HOME: &[(Secret, &[&str])] = &[
    (
        Secret::Keys,
        &[
            ".ssh",
            ".gnupg",
            ".aws",
            ".azure",
            ".kube",
            ".docker/config.json",
            ".netrc",
            ".pgpass",
            ".my.cnf",
            ".git-credentials",
            ".npmrc",
            ".yarnrc.yml",
            ".pypirc",
            ".vault-token",
            ".terraform.d/credentials.tfrc.json",
            ".cargo/credentials",
            ".cargo/credentials.toml",
            ".gem/credentials",
            ".password-store",
            ".config/gcloud",
            ".config/gh",
            ".config/hub",
            ".config/op",
            ".config/sops",
            ".config/containers/auth.json",
            ".config/git/credentials",
            ".local/share/keyrings",
            ".local/share/kwalletd",
        ],
    ),
    (
        Secret::History,
        &[
            ".bash_history",
            ".zsh_history",
            ".histfile",
            ".local/share/fish/fish_history",
            ".python_history",
            ".node_repl_history",
            ".psql_history",
            ".mysql_history",
            ".sqlite_history",
            ".rediscli_history",
            ".lesshst",
            ".viminfo",
            ".local/share/recently-used.xbel",
        ],
    ),
    (
        Secret::Profile,
        &[
            ".mozilla",
            ".thunderbird",
            ".config/chromium",
            ".config/google-chrome",
            ".config/BraveSoftware",
            ".config/microsoft-edge",
            ".config/vivaldi",
            ".config/opera",
            ".config/Signal",
            ".config/Slack",
            "snap/firefox",
            "snap/chromium",
        ],
    ),
];

/// Wherever it is.
const ANYWHERE: &[(Secret, &[&str])] = &[
    (
        Secret::Keys,
        &[
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/sudoers",
            "/etc/sudoers.d",
            "/etc/ssl/private",
            "/etc/ssh",
            "/var/lib/sss",
            "/root",
        ],
    ),
    (
        Secret::Daemon,
        &[
            "/run/docker.sock",
            "/run/containerd",
            "/run/podman",
            "/run/crio",
            "/run/dbus",
            "/run/systemd",
            "/run/user",
            "/run/snapd.socket",
            "/run/libvirt",
            "/var/run/docker.sock",
            "/tmp/.X11-unix",
        ],
    ),
];

/// File names that are sensitive in every directory.
const NAMES: &[&str] = &[
    ".env",
    ".envrc",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "credentials.json",
];

/// How such names end.
const ENDS: &[&str] = &[".pem", ".key", ".p12", ".pfx", ".kdbx", ".keystore", ".jks"];

/// The sensitive places that have a name of their own.
pub fn places(home: Option<&Path>) -> impl Iterator<Item = Place> {
    let at_home = home.into_iter().flat_map(|home| {
        AT_HOME.iter().flat_map(move |(secret, names)| {
            names.iter().map(move |name| Place {
                path: home.join(name),
                secret: *secret,
            })
        })
    });
    let home = home.map(Path::to_owned);
    let anywhere = ANYWHERE.iter().flat_map(|(secret, paths)| {
        paths.iter().map(move |path| Place {
            path: PathBuf::from(path),
            secret: *secret,
        })
    });
    // Somebody's own home is named by what is in it.
    at_home.chain(anywhere.filter(move |place| {
        home.as_ref()
            .is_none_or(|home| !home.starts_with(&place.path))
    }))
}

/// Why this path is sensitive: by what it lies in, or by its name. `None`: it is not known to be.
#[must_use]
pub fn of(path: &Path, home: Option<&Path>) -> Option<Secret> {
    let within = places(home).find(|place| path.starts_with(&place.path));
    within.map(|place| place.secret).or_else(|| by_name(path))
}

/// The same by the name alone.
#[must_use]
pub fn by_name(path: &Path) -> Option<Secret> {
    let name = path.file_name()?.to_str()?;
    if NAMES.contains(&name) || ENDS.iter().any(|end| name.ends_with(end)) {
        return Some(Secret::Keys);
    }
    name.ends_with("_history").then_some(Secret::History)
}

/// The sensitive places that lie below a directory.
pub fn below(directory: &Path, home: Option<&Path>) -> impl Iterator<Item = Place> {
    places(home).filter(move |place| place.path.starts_with(directory) && place.path != directory)
}
