//! `supervise doctor`: which layers of the sandbox this machine can give, and what to do about those it cannot.

use crate::commands::daemon::Place;
use crate::preload;
use crate::setup;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::sandbox::Kernel;
use supervisor::witness::{self, Unheard};
use supervisor::workers::config::DaemonSettings;

/// One layer, and how it stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// A name that does not change between versions.
    layer: &'static str,
    state: State,
    detail: String,
    /// What to do, where something is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'static str>,
}

protocol::listed! {
    /// How a layer stands.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum State {
        /// It is there.
        Ok,
        /// The sandbox is weaker without it, or refuses policies that need it.
        Missing,
        /// No sandbox can be made without it.
        Required,
    }
}

/// The version of the JSON that `doctor --json` prints.
const SCHEMA: u32 = 1;

/// Prints a line for each layer. Fails when one is missing without which no sandbox can be made.
pub fn doctor(json: bool) -> ExitCode {
    let kernel = Kernel::probe();
    let findings = examine(&kernel, library(), records(&kernel));
    let workers = workers(&kernel);
    if json {
        println!(
            "{}",
            serde_json::json!({ "schema": SCHEMA, "layers": findings, "workers": workers })
        );
    } else {
        for finding in &findings {
            print!("{finding}");
        }
        if !workers.is_empty() {
            print!(
                "\nfor workers (supervise daemon):\n{}",
                setup::shown(&workers)
            );
        }
    }
    if findings
        .iter()
        .any(|finding| finding.state == State::Required)
    {
        return ExitCode::from(crate::exit::OURS);
    }
    ExitCode::SUCCESS
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Missing => "missing",
            State::Required => "MISSING",
        };
        writeln!(f, "{:<22} {state:<8} {}", self.layer, self.detail)?;
        match self.fix {
            Some(fix) => writeln!(f, "{:<31} fix: {fix}", ""),
            None => Ok(()),
        }
    }
}

/// What is not as a daemon would need it: beside the layers, which are looked at anyway.
fn workers(kernel: &Kernel) -> Vec<protocol::control::Finding> {
    let place = match Place::of(&DaemonSettings::default()) {
        Ok(place) => place.run(),
        Err(_) => PathBuf::from("/"),
    };
    let mut findings = setup::findings(kernel, &place);
    // Which is made at the first start.
    findings
        .retain(|found| found.code != setup::Check::RuntimeDirectory.as_str() || place.exists());
    findings.retain(|found| !found.code.ends_with("-missing"));
    findings
}

/// What programs preload where there is no listener.
fn library() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    preload::find(&own).ok_or_else(|| preload::missing(&own))
}

/// The names of all layers.
#[cfg(test)]
pub fn layers() -> Vec<&'static str> {
    let kernel = Kernel::probe();
    let findings = examine(&kernel, library(), records(&kernel));
    findings.iter().map(|finding| finding.layer).collect()
}

/// Whether the kernel's own records of its refusals can be read.
fn records(kernel: &Kernel) -> Result<(), Unheard> {
    witness::join(kernel).map(drop)
}

fn examine(
    kernel: &Kernel,
    library: Result<PathBuf, String>,
    records: Result<(), Unheard>,
) -> Vec<Finding> {
    let abi = kernel.landlock_abi;
    let landlock = |layer, least: u32, gives: &str, since| {
        finding(
            layer,
            abi >= least,
            gives.to_owned(),
            format!("needs Landlock ABI {least} ({since}), this kernel has {abi}"),
            "use a newer kernel, or say --best-effort for the layer, or name it under [require] best_effort",
        )
    };
    let mut files = finding(
        "landlock-files",
        abi >= 1,
        format!("Landlock ABI {abi}, errata {:#x}", kernel.landlock_errata),
        "Landlock is not there, and nothing else confines files".to_owned(),
        "use a kernel with CONFIG_SECURITY_LANDLOCK=y (Linux 5.13) and landlock among lsm= on its command line",
    );
    if files.state == State::Missing {
        files.state = State::Required;
    }
    vec![
        files,
        landlock("landlock-truncate", 3, "truncation needs the right to write", "Linux 6.2"),
        landlock("landlock-net", 4, "TCP ports are confined", "Linux 6.7"),
        landlock("landlock-ioctl", 5, "ioctls on devices need a right", "Linux 6.10"),
        landlock("landlock-scope", 6, "signals and abstract sockets end at the sandbox", "Linux 6.12"),
        finding(
            "seccomp-listener",
            kernel.notification,
            "the supervisor decides calls of unmodified programs".to_owned(),
            "user notification (Linux 5.0) is not there or is refused here: changes of metadata and Unix sockets will be refused as a whole".to_owned(),
            "use a newer kernel, or a container runtime whose filter allows seccomp(2)",
        ),
        finding(
            "seccomp-wait-killable",
            kernel.wait_killable,
            "signals do not interrupt a call that is being decided".to_owned(),
            "needs Linux 5.19: a signal may interrupt a call that is being decided, and it is then made again".to_owned(),
            "use a newer kernel",
        ),
        finding(
            "take-descriptors",
            kernel.take_descriptors,
            "connects can be decided and made by the supervisor".to_owned(),
            "pidfd_getfd is refused, as container runtimes do: Unix sockets and rules with network addresses cannot be had".to_owned(),
            "allow pidfd_getfd in the container's seccomp profile, or give the container CAP_SYS_PTRACE",
        ),
        finding(
            "session-tag",
            kernel.no_tag.is_none(),
            "every process of a session can be told and counted".to_owned(),
            kernel.no_tag.map(|reason| reason.to_string()).unwrap_or_default(),
            "run outside another sandbox, with RLIMIT_RTTIME unlimited",
        ),
        finding(
            "preload-library",
            library.is_ok(),
            format!(
                "where there is no listener, {} asks for what the kernel refuses",
                library.as_deref().unwrap_or(Path::new("")).display()
            ),
            library
                .as_ref()
                .err()
                .map(|why| format!("needed only where there is no listener: {why}"))
                .unwrap_or_default(),
            "put it beside supervise, or in ../lib/supervise",
        ),
        finding(
            "kernel-audit",
            records.is_ok(),
            "what the kernel refuses alone is read from its audit".to_owned(),
            records
                .err()
                .map(|why| format!("what the kernel refuses alone is in no record without --trace: {why}"))
                .unwrap_or_default(),
            match records {
                Err(Unheard::Off) => "auditctl -e 1 enables auditing, audit=1 on the kernel's command line from the start",
                Err(Unheard::Old) => "use a newer kernel, or --trace",
                _ => "run it as root of the machine, with auditing enabled (auditctl -e 1), or use --trace",
            },
        ),
    ]
}

fn finding(
    layer: &'static str,
    ok: bool,
    gives: String,
    lacks: String,
    fix: &'static str,
) -> Finding {
    match ok {
        true => Finding {
            layer,
            state: State::Ok,
            detail: gives,
            fix: None,
        },
        false => Finding {
            layer,
            state: State::Missing,
            detail: lacks,
            fix: Some(fix),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use supervisor::sandbox::NoTag;

    const NEW: Kernel = Kernel {
        landlock_abi: 7,
        landlock_errata: 0xf,
        notification: true,
        wait_killable: true,
        take_descriptors: true,
        no_tag: None,
    };

    fn states(kernel: &Kernel) -> Vec<(&'static str, State)> {
        examine(kernel, Ok(PathBuf::new()), Ok(()))
            .into_iter()
            .filter(|f| f.state != State::Ok)
            .map(|f| (f.layer, f.state))
            .collect()
    }

    #[test]
    fn a_new_kernel_lacks_nothing_and_an_old_one_says_what() {
        assert_eq!(states(&NEW), []);
        let old = Kernel {
            landlock_abi: 4,
            ..NEW
        };
        assert_eq!(
            states(&old),
            [
                ("landlock-ioctl", State::Missing),
                ("landlock-scope", State::Missing)
            ]
        );
    }

    #[test]
    fn without_landlock_there_is_no_sandbox() {
        assert_eq!(
            states(&Kernel {
                landlock_abi: 0,
                ..NEW
            })[0],
            ("landlock-files", State::Required)
        );
    }

    #[test]
    fn every_missing_layer_comes_with_a_fix() {
        let none = Kernel {
            landlock_abi: 0,
            landlock_errata: 0,
            notification: false,
            wait_killable: false,
            take_descriptors: false,
            no_tag: Some(NoTag::Limited),
        };
        let findings = examine(&none, Err("none".to_owned()), Err(Unheard::Old));
        assert!(
            findings
                .iter()
                .all(|finding| finding.state != State::Ok && finding.fix.is_some())
        );
    }
}
