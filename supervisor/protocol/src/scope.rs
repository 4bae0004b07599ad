//! For whom a yes speaks.

use serde::{Deserialize, Serialize};

crate::listed! {
    /// For whom a yes speaks, when the same is asked for again. The narrower, the less.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Scope {
        /// For nobody: it was for this once.
        Once = "once",
        /// For the process that asked, whatever it executes.
        Process = "process",
        /// For that process and its descendants, while it lives.
        Subtree = "subtree",
        /// For all of the session.
        Session = "session",
    }
}

impl Scope {
    /// What the word means.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_word_for_people_and_on_the_wire() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
            assert_eq!(serde_json::json!(scope), scope.as_str());
        }
        assert_eq!(Scope::from_name("for ever"), None);
        assert!(Scope::ALL.is_sorted());
    }
}
