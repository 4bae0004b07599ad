//! Calls that are left to the kernel once they were decided on registers alone: new tasks, priorities and limits, domains within ours.

use super::{Claim, Court, Door, DoorError};
use crate::sandbox::Tag;
use crate::transparent::failure::Failure;
use crate::transparent::tasks::{Admission, Tasks};
use nix::errno::Errno;

impl Door {
    /// A new task: counted.
    pub(super) fn task(&mut self, claim: Claim, court: &mut Court<'_>) -> Result<(), DoorError> {
        // Where no limit is set nothing should trap this; it is no more dangerous for that.
        let admission = self
            .tasks
            .as_mut()
            .map_or(Admission::Admitted, Tasks::admit);
        match admission {
            Admission::Admitted => {
                // All that the kernel will look at is in registers, which wait with their thread and were judged by the filter.
                self.leave_to_the_kernel(claim)
            }
            Admission::RefusedFirst => {
                let why = "the session has as many tasks as it may have";
                self.fail(claim, Failure::Refused(Errno::EAGAIN, why), court)
            }
            Admission::RefusedAgain => self.errno(claim.id, Errno::EAGAIN),
        }
    }

    /// A Landlock domain within the session's: what the caller and its descendants are refused there, nobody may do on their
    /// behalf from now on.
    pub(super) fn narrow(&mut self, claim: Claim, court: &mut Court<'_>) -> Result<(), DoorError> {
        let noted = self.facts.tag.map(|tag| tag.narrow(claim.thread.0));
        if noted == Some(Ok(())) {
            self.has_narrowed = true;
            // The domain is a descriptor of the caller's, which it may exchange now as well as then.
            return self.leave_to_the_kernel(claim);
        }
        let why = "that it locks itself further cannot be noted";
        self.fail(claim, Failure::Refused(Errno::EPERM, why), court)
    }

    /// Whether the caller is locked further than the session. Then only the kernel knows what it may do.
    pub(super) fn is_narrowed(&self, claim: Claim) -> bool {
        let is_narrowed = |tag: Tag| tag.is_narrowed(claim.thread.0);
        self.has_narrowed && self.facts.tag.is_some_and(is_narrowed)
    }

    /// Priorities and limits.
    ///
    /// A caller may tune itself: its own thread or its process. No other task: a thread that has ended leaves its number to
    /// anybody's process, while the caller's own two numbers stay what they are for as long as it waits.
    pub(super) fn tune(
        &mut self,
        claim: Claim,
        task: i32,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let is_own = [0, claim.thread.0].contains(&task) || claim.thread.process() == Ok(task);
        if is_own {
            // Whose and which is in registers. The values, in memory, are the caller's to choose, now as well as then.
            return self.leave_to_the_kernel(claim);
        }
        let why = "a task that is not the caller";
        self.fail(claim, Failure::Refused(Errno::EPERM, why), court)
    }
}
