//! Finding the recorded process again, step by step; the first that does not hold ends it.

use super::{DaemonProcess, Held, Here, Mismatch, Rung};

/// What is done about a process whose executable cannot be read, because it hides its memory from its own user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Executables {
    /// It is not taken.
    Require,
    /// It is taken, and said to be without this proof.
    Prefer,
    /// Executables are not looked at.
    Skip,
}

/// What became of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// As recorded.
    Verified,
    /// There is no record of it.
    NotRecorded,
    /// It cannot be read, and that was allowed.
    Unreadable,
    /// Not tried, as was asked for.
    Skipped,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::NotRecorded => "not recorded",
            Self::Unreadable => "unreadable",
            Self::Skipped => "skipped",
        })
    }
}

/// By what a process was found to be the recorded one. Machine, boot, pid namespace and user always were as recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Found {
    /// How the kernel knew it.
    pub rung: Rung,
    /// When it was started.
    pub start_time: Step,
    /// Where it is accounted.
    pub cgroup: Step,
    /// What it executes.
    pub executable: Step,
}

impl DaemonProcess {
    /// Finds this process again.
    ///
    /// # Errors
    /// The first thing that is not as recorded.
    pub fn find(&self, executables: Executables) -> Result<(Held, Found), Mismatch> {
        self.find_from(&Here::now()?, executables)
    }

    /// The same where it is known already where this process is.
    ///
    /// # Errors
    /// As [`DaemonProcess::find`].
    pub fn find_from(
        &self,
        here: &Here,
        executables: Executables,
    ) -> Result<(Held, Found), Mismatch> {
        self.is_of(here)?;
        let (held, rung) = Held::reopen(self)?;
        let process = held.proc()?;
        let start_time = match process.start_ticks() {
            Ok(found) if found == self.start_ticks => Step::Verified,
            Ok(found) => {
                let recorded = self.start_ticks;
                return Err(Mismatch::StartTime { recorded, found });
            }
            // On the lowest rung nothing else tells it from another that has its number.
            Err(unknown @ Mismatch::Unknown { .. }) if rung == Rung::StartTicks => {
                return Err(unknown);
            }
            Err(Mismatch::Unknown { .. }) => Step::Unreadable,
            Err(mismatch) => return Err(mismatch),
        };
        let found = process.uid()?;
        if found != self.uid {
            let recorded = self.uid;
            return Err(Mismatch::User { recorded, found });
        }
        let cgroup = match &self.cgroup {
            None => Step::NotRecorded,
            Some(recorded) => match process.cgroup()? {
                found if found == *recorded => Step::Verified,
                found => {
                    let recorded = recorded.clone();
                    return Err(Mismatch::Cgroup { recorded, found });
                }
            },
        };
        let executable = match executables {
            Executables::Skip => Step::Skipped,
            Executables::Require | Executables::Prefer => match process.executable() {
                Ok(found) if found.sha256 == self.exe_sha256 => Step::Verified,
                Ok(found) => {
                    let recorded = self.exe_sha256;
                    let found = found.sha256;
                    return Err(Mismatch::Executable { recorded, found });
                }
                Err(Mismatch::ExecutableUnreadable { .. })
                    if executables == Executables::Prefer =>
                {
                    Step::Unreadable
                }
                Err(mismatch) => return Err(mismatch),
            },
        };
        let found = Found {
            rung,
            start_time,
            cgroup,
            executable,
        };
        Ok((held, found))
    }

    /// That its numbers mean something here. What is empty is equal to nothing.
    fn is_of(&self, here: &Here) -> Result<(), Mismatch> {
        if self.machine_id.is_empty() || self.machine_id != here.machine_id {
            // A machine without a name is known by its boot.
            let is_boot = self.machine_id == format!("boot {}", self.boot_id);
            return Err(match is_boot {
                true => Mismatch::Boot,
                false => Mismatch::Machine,
            });
        }
        if self.boot_id.is_empty() || self.boot_id != here.boot_id {
            return Err(Mismatch::Boot);
        }
        match self.pid_namespace == here.pid_namespace {
            true => Ok(()),
            false => Err(Mismatch::PidNamespace),
        }
    }
}
