//! For whom a yes speaks.

use serde::{Deserialize, Serialize};

/// For whom a yes speaks, when the same is asked for again. The narrower, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// For nobody: it was for this once.
    Once,
    /// For the process that asked, whatever it executes.
    Process,
    /// For that process and its descendants, while it lives.
    Subtree,
    /// For all of the session.
    Session,
}

impl Scope {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 4] = [Self::Once, Self::Process, Self::Subtree, Self::Session];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Process => "process",
            Self::Subtree => "subtree",
            Self::Session => "session",
        }
    }

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
