//! What the policy needs and cannot have here: collected, so that all of it is said at once.

use super::{ConfineError, Kernel};
use crate::policy::BestEffort;
use std::fmt;

/// A layer that the policy needs, cannot be had, and is not named as best effort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name under `best_effort`.
    pub name: &'static str,
    /// What would not be enforced.
    pub what: &'static str,
    /// Why.
    pub reason: String,
}

/// Collects what is missing.
pub(super) struct Lacking<'r> {
    best_effort: &'r BestEffort,
    found: Vec<Missing>,
}

impl<'r> Lacking<'r> {
    pub fn nothing(best_effort: &'r BestEffort) -> Self {
        Self {
            best_effort,
            found: Vec::new(),
        }
    }

    /// Whether the policy lets that layer be missing.
    pub fn may_be(&self, name: &str) -> bool {
        self.best_effort.allows(name)
    }

    /// `what` cannot be had.
    pub fn add(&mut self, name: &'static str, what: &'static str, reason: impl Into<String>) {
        if !self.may_be(name) {
            let reason = reason.into();
            self.found.push(Missing { name, what, reason });
        }
    }

    /// Whether Landlock is of that ABI; else it is added.
    pub fn has(
        &mut self,
        name: &'static str,
        what: &'static str,
        abi: u32,
        kernel: &Kernel,
    ) -> bool {
        let here = kernel.landlock_abi;
        if here < abi {
            let reason = format!("Landlock ABI {abi} is needed, this kernel has {here}");
            self.add(name, what, reason);
        }
        here >= abi
    }

    /// # Errors
    /// All that is missing.
    pub fn done(self) -> Result<(), ConfineError> {
        match self.found.is_empty() {
            true => Ok(()),
            false => Err(ConfineError::Missing(self.found)),
        }
    }
}

/// A sentence for each, and how to run without them.
pub(super) struct Said<'m>(pub &'m [Missing]);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Missing { what, reason, .. } in self.0 {
            writeln!(f, "{what} cannot be enforced: {reason}")?;
        }
        let mut names: Vec<&str> = self.0.iter().map(|missing| missing.name).collect();
        names.sort_unstable();
        names.dedup();
        let flag = names.join(",");
        write!(
            f,
            "to run without: --best-effort {flag}, or best_effort = {names:?} under [require] in the policy"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_said_at_once_with_one_remedy() {
        let none = BestEffort::default();
        let mut lacking = Lacking::nothing(&none);
        lacking.add("scope", "one thing", "it is so");
        lacking.add("net", "a second", "it is so");
        lacking.add("net", "a third", "because");
        let error = lacking.done().expect_err("three are missing");
        assert_eq!(
            error.to_string(),
            "one thing cannot be enforced: it is so\na second cannot be enforced: it is so\na third cannot be enforced: because\n\
             to run without: --best-effort net,scope, or best_effort = [\"net\", \"scope\"] under [require] in the policy"
        );
        assert!(Lacking::nothing(&none).done().is_ok());
    }
}
