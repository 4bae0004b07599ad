//! The steps of a launch, by name: what a failure is reported under.

/// One step between the clone and the exec, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// The guardian prepares itself: subreaper, notice of its parent's death.
    Guardian = 1,
    /// The child is cloned.
    Clone,
    /// The child is to die with the guardian; fails when the guardian is already gone.
    ParentDeath,
    /// A session of its own, for what has no terminal.
    OwnSession,
    /// The guardian leads a session that the command's own terminal controls.
    OwnTerminal,
    /// The command has the foreground of that.
    Foreground,
    /// Resource limits, the session tag among them.
    Limits,
    /// The working directory.
    WorkingDirectory,
    /// Capabilities: bounding, permitted, effective, inheritable, ambient.
    Capabilities,
    /// `no_new_privs`.
    NoNewPrivileges,
    /// The Landlock rulesets.
    Landlock,
    /// The seccomp filter and its listener.
    Seccomp,
    /// Unsharing and closing the table of file descriptors.
    Descriptors,
    /// Standard input, output, error and what is passed on.
    StandardStreams,
    /// How many files may be open.
    OpenFiles,
    /// Signal dispositions and mask.
    Signals,
    /// The program itself.
    Exec,
}

impl Step {
    /// Every step, in this order.
    pub const ALL: [Self; 17] = [
        Self::Guardian,
        Self::Clone,
        Self::ParentDeath,
        Self::OwnSession,
        Self::OwnTerminal,
        Self::Foreground,
        Self::Limits,
        Self::WorkingDirectory,
        Self::Capabilities,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Seccomp,
        Self::Descriptors,
        Self::StandardStreams,
        Self::OpenFiles,
        Self::Signals,
        Self::Exec,
    ];

    /// The step that `number` stands for.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u32 == number)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Guardian => "prepare the guardian",
            Self::Clone => "clone the child",
            Self::ParentDeath => "bind the child's life to its parent's",
            Self::OwnSession => "start a session of its own",
            Self::OwnTerminal => "take a terminal of its own",
            Self::Foreground => "take the foreground of its terminal",
            Self::Limits => "set resource limits",
            Self::WorkingDirectory => "enter the working directory",
            Self::Capabilities => "drop capabilities",
            Self::NoNewPrivileges => "set no_new_privs",
            Self::Landlock => "enforce the Landlock ruleset",
            Self::Seccomp => "install the seccomp filter",
            Self::Descriptors => "close inherited file descriptors",
            Self::StandardStreams => "place standard streams",
            Self::OpenFiles => "limit open files",
            Self::Signals => "restore signals",
            Self::Exec => "execute the program",
        })
    }
}
