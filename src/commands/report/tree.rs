//! What a run was granted and refused, as a tree of names.

use super::record::{Answer, Decision, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Deeper names are shown in one piece: whoever chose a path may have made it as deep as the kernel lets him.
const DEEPEST: usize = 40;

/// A name, with what was decided about it and what lies below.
#[derive(Debug, Default)]
pub struct Node {
    /// What was decided about this very object.
    pub marks: BTreeSet<(Answer, Kind)>,
    /// What lies below, by name.
    pub below: BTreeMap<String, Node>,
}

impl Node {
    /// The tree of all that these decisions are about: files by their paths, everything else below `network`.
    pub fn of<'a>(decisions: impl Iterator<Item = &'a Decision>) -> Self {
        let mut root = Self::default();
        for decision in decisions {
            let Some(node) = root.at(&decision.object) else {
                continue;
            };
            let marks = decision.kinds.iter().map(|kind| (decision.answer, *kind));
            node.marks.extend(marks);
        }
        root.joined()
    }

    fn at(&mut self, object: &str) -> Option<&mut Self> {
        if object.is_empty() {
            return None;
        }
        let mut steps: Vec<&str> = match object.strip_prefix('/') {
            Some(path) => std::iter::once("/")
                .chain(path.splitn(DEEPEST, '/').filter(|step| !step.is_empty()))
                .collect(),
            None => vec![object],
        };
        if !object.starts_with('/') {
            steps.insert(0, "network");
        }
        Some(steps.into_iter().fold(self, |node, step| {
            node.below.entry(step.to_owned()).or_default()
        }))
    }

    /// The same with names in one piece where nothing branches off and nothing was decided in between.
    fn joined(mut self) -> Self {
        let below = std::mem::take(&mut self.below);
        for (name, node) in below {
            let mut node = node.joined();
            let mut name = name;
            if node.marks.is_empty() && node.below.len() == 1 {
                let (only, inner) = node.below.pop_first().unwrap_or_default();
                let slash = if name.ends_with('/') { "" } else { "/" };
                name = format!("{name}{slash}{only}");
                node = inner;
            }
            self.below.insert(name, node);
        }
        self
    }

    /// How much was refused at and below this name.
    pub fn refused(&self) -> usize {
        let here = self.marks.iter();
        let here = here.filter(|(answer, _)| *answer == Answer::Refused);
        here.count() + self.below.values().map(Self::refused).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(objects: &[&str]) -> Node {
        let mut root = Node::default();
        for object in objects {
            let node = root.at(object).unwrap();
            node.marks.insert((Answer::Refused, Kind::Read));
        }
        root.joined()
    }

    #[test]
    fn names_that_do_not_branch_are_one() {
        let root = tree(&["/usr/share/a", "/usr/share/b/c", "10.0.0.1:443"]);
        let names: Vec<_> = root.below.keys().collect();
        assert_eq!(names, ["/usr/share", "network/10.0.0.1:443"]);
        let share: Vec<_> = root.below["/usr/share"].below.keys().collect();
        assert_eq!(share, ["a", "b/c"]);
        assert_eq!(root.refused(), 3);
    }

    #[test]
    fn the_depth_of_a_name_is_bounded() {
        fn depth(node: &Node) -> usize {
            1 + node.below.values().map(depth).max().unwrap_or(0)
        }
        let deep: Vec<String> = (0..1000).map(|n| format!("{}/y", "/x".repeat(n))).collect();
        let root = tree(&deep.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(depth(&root) < 50, "{}", depth(&root));
    }
}
