//! Which calls the supervisor decides while the program runs, given who can be asked at all.
//!
//! What the policy needs decided and nobody can decide is lacking, unless the policy names it under `best_effort`.

use super::filter::{AnonymousFiles, Answer, Answers, Arch, FilterSpec, Ptrace, Signals, Socket};
use super::lacking::Lacking;
use super::{ConfineError, Instead, Kernel, Listener, Metadata, NoTag, Opens};
use crate::policy::{Access, Brokered, PortRules, Ruleset, Transparent, Udp};

/// Which calls are decided by the supervisor while the program runs.
pub(super) struct Doors {
    pub metadata: Metadata,
    pub connect: bool,
    pub tcp_above: bool,
    pub opens: Opens,
    /// Decides to what sockets are bound: Landlock knows no names that are no files.
    bind: Answer,
    /// Decides who listens where Landlock is not asked.
    listen: Answer,
    /// TCP sockets can be made.
    has_tcp: bool,
    /// The session may connect to what it listens on, and whether it can; `None`: it may not.
    pub reaches_itself: Option<bool>,
    watches: Answer,
    pub processes: bool,
}

impl Doors {
    /// Those that this policy needs decided, and that somebody can decide with this kernel.
    pub fn find(
        ruleset: &Ruleset,
        kernel: &Kernel,
        listener: Listener,
        lacking: &mut Lacking<'_>,
    ) -> Result<Self, ConfineError> {
        let inside = kernel.no_tag == Some(NoTag::Inside);
        let no_listener = match listener {
            Listener::Wanted | Listener::Watching if kernel.notification => None,
            Listener::Wanted | Listener::Watching => {
                Some("this kernel has no seccomp user notification")
            }
            Listener::Taken => {
                Some("another supervisor above this process already listens (EBUSY)")
            }
        };
        let no_connect =
            no_listener.or((!kernel.take_descriptors).then_some("pidfd_getfd is refused here"));
        if let Some(reason) = no_connect {
            if ruleset.lists_unix_sockets() {
                lacking.add("unix", "the policy's rules for Unix sockets", reason);
            }
            if ruleset.needs_connect_door() {
                lacking.add("net", "the policy's rules for network addresses", reason);
            }
        }
        // Landlock is asked about ports that are bound, not about those that an unbound socket is given when it listens.
        // A permission and no restriction: where nobody can give it, or find out who listens, it is not there.
        let reaches_itself = ruleset
            .reaches_itself()
            .then(|| no_connect.is_none() && sys::listeners::at(1).is_ok());
        let has_tcp = uses_tcp(ruleset) || reaches_itself == Some(true);
        let is_limited = *ruleset.tcp_bind() != PortRules::Any || reaches_itself == Some(true);
        let is_port_free = is_limited && has_tcp;
        let listen = match no_connect {
            _ if !is_port_free => Answer::Allow,
            None => Answer::Notify,
            Some(_) if *ruleset.tcp_bind() == PortRules::none() => Answer::Refuse,
            Some(_) if inside => Answer::Allow,
            Some(reason) => {
                let what = "the policy's rules for ports to listen on";
                lacking.add("net", what, reason);
                Answer::Allow
            }
        };
        let opens = opens(
            ruleset.brokered(),
            ruleset.broker().transparent,
            no_listener,
        )?;
        let opens = match (listener, no_listener) {
            (Listener::Watching, None) => opens.watched(),
            (Listener::Watching, Some(reason)) => return Err(ConfineError::NoTrace { reason }),
            (Listener::Wanted | Listener::Taken, _) => opens,
        };
        let bind = match no_connect {
            None => Answer::Notify,
            // There are no Unix sockets then, and TCP ports are Landlock's.
            Some(_) => Answer::Allow,
        };
        let limited = ruleset.limits().processes.is_some();
        let no_count = no_listener
            .map(str::to_owned)
            .or(kernel.no_tag.map(|reason| reason.to_string()));
        let counts = no_count.is_none();
        if let (true, Some(reason)) = (limited, no_count) {
            lacking.add("limits", "the limit of processes", reason);
        }
        Ok(Self {
            metadata: match no_listener {
                None => Metadata::Decided,
                Some(_) if inside => Metadata::Above,
                Some(_) if lacking.may_be("metadata") => Metadata::Unguarded,
                Some(_) => Metadata::Refused,
            },
            connect: no_connect.is_none(),
            tcp_above: inside && no_connect.is_some() && uses_tcp(ruleset),
            opens,
            bind,
            listen,
            has_tcp,
            reaches_itself,
            watches: match no_connect {
                None => Answer::Notify,
                Some(_) if inside || lacking.may_be("metadata") => Answer::Allow,
                Some(_) => Answer::Refuse,
            },
            processes: limited && counts,
        })
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.metadata == Metadata::Decided
            || self.connect
            || self.processes
            || !self.opens.trapped().is_empty()
    }

    fn trap(&self, right: Access) -> Answer {
        if self.opens.trapped().contains(right) {
            Answer::Notify
        } else {
            Answer::Allow
        }
    }

    /// What the filter is to do about each call.
    pub fn filter_spec(&self, ruleset: &Ruleset, scoped: bool) -> FilterSpec {
        let mut sockets = Vec::new();
        for (wanted, socket) in [
            (self.has_tcp, Socket::Tcp),
            (ruleset.udp() == Udp::Any, Socket::Udp),
            // Without a door that decides connects, a Unix socket reaches every service of the host.
            (self.connect, Socket::UnixStream),
        ] {
            if wanted {
                sockets.push(socket);
            }
        }
        FilterSpec {
            arch: Arch::OURS,
            sockets,
            answers: Answers {
                metadata: match self.metadata {
                    Metadata::Decided => Answer::Notify,
                    Metadata::Refused => Answer::Refuse,
                    Metadata::Above | Metadata::Unguarded => Answer::Allow,
                },
                connect: if self.connect {
                    Answer::Notify
                } else {
                    Answer::Allow
                },
                bind: self.bind,
                listen: self.listen,
                processes: if self.processes {
                    Answer::Notify
                } else {
                    Answer::Allow
                },
                others: if self.any() {
                    Answer::Notify
                } else {
                    Answer::Refuse
                },
                watches: self.watches,
                reads: self.trap(Access::READ),
                writes: self.trap(Access::WRITE),
                domains: if self.opens.decided().is_empty() {
                    Answer::Allow
                } else {
                    Answer::Notify
                },
            },
            ptrace: if ruleset.process().ptrace_own {
                Ptrace::OwnDomain
            } else {
                Ptrace::Refused
            },
            anonymous_files: AnonymousFiles::NotExecutable,
            signals: if scoped {
                Signals::Scoped
            } else {
                Signals::Unscoped
            },
            allow: Vec::new(),
        }
    }
}

/// Who decides opens and changes, given why nobody can be asked.
fn opens(
    brokered: Brokered,
    transparent: Transparent,
    no_listener: Option<&'static str>,
) -> Result<Opens, ConfineError> {
    let rights = brokered.rights();
    let not_wanted = match transparent {
        Transparent::Preload => Some("the policy says transparent = \"preload\""),
        Transparent::None => Some("the policy says transparent = \"none\""),
        Transparent::Auto | Transparent::Notify => None,
    };
    match not_wanted.or(no_listener) {
        _ if rights.is_empty() => Ok(Opens::Landlock),
        Some(reason) if brokered.closed => Err(ConfineError::Closed { reason }),
        Some(_) if not_wanted.is_some() => Ok(Opens::SocketOnly(Instead::Chosen)),
        Some(reason) if transparent == Transparent::Notify => {
            Err(ConfineError::NoNotify { reason })
        }
        Some(_) => Ok(Opens::SocketOnly(Instead::NoListener)),
        None if brokered.closed => Ok(Opens::Closed(rights)),
        None => Ok(Opens::Trapped(rights)),
    }
}

/// Whether the policy has any use for TCP sockets.
pub(super) fn uses_tcp(ruleset: &Ruleset) -> bool {
    ruleset.needs_connect_door()
        || *ruleset.tcp_connect() != PortRules::none()
        || *ruleset.tcp_bind() != PortRules::none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BESIDE: Brokered = Brokered {
        read: true,
        write: false,
        closed: false,
    };

    fn without_listener(
        brokered: Brokered,
        transparent: Transparent,
    ) -> Result<Opens, ConfineError> {
        opens(brokered, transparent, Some("EBUSY"))
    }

    #[test]
    fn where_nobody_can_be_asked_it_is_the_policy_that_says_whether_that_will_do() {
        for (transparent, instead) in [
            (Transparent::Auto, Instead::NoListener),
            (Transparent::Preload, Instead::Chosen),
            (Transparent::None, Instead::Chosen),
        ] {
            let found = without_listener(BESIDE, transparent).expect("a sandbox");
            assert_eq!(found, Opens::SocketOnly(instead), "{transparent:?}");
        }
        let found = without_listener(BESIDE, Transparent::Notify);
        assert!(
            matches!(found, Err(ConfineError::NoNotify { .. })),
            "{found:?}"
        );
        let nothing = Brokered {
            read: false,
            ..BESIDE
        };
        let found = without_listener(nothing, Transparent::Notify).expect("a sandbox");
        assert_eq!(found, Opens::Landlock);
    }

    #[test]
    fn no_door_but_the_listener_serves_a_policy_that_leaves_no_open_to_the_kernel() {
        let closed = Brokered {
            closed: true,
            ..BESIDE
        };
        for transparent in [Transparent::Auto, Transparent::Preload, Transparent::None] {
            let found = without_listener(closed, transparent);
            assert!(
                matches!(found, Err(ConfineError::Closed { .. })),
                "{found:?}"
            );
        }
        for transparent in [Transparent::Preload, Transparent::None] {
            let found = opens(closed, transparent, None);
            assert!(
                matches!(found, Err(ConfineError::Closed { .. })),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_library_changes_nothing_about_what_is_trapped() {
        let trapped = Opens::Trapped(Access::READ);
        assert_eq!(trapped.preloaded(), trapped);
        let instead = Opens::SocketOnly(Instead::NoListener).preloaded();
        assert_eq!(instead, Opens::Preloaded(Instead::NoListener));
        assert_eq!(instead.trapped(), Access::NONE);
    }
}
