//! The built-in policy, compiled for the directory that the benchmark works in: what `supervise -- COMMAND` enforces there.

use crate::built::Built;
use std::sync::Arc;
use supervisor::policy::{Policy, Ruleset};
use supervisor::sandbox::{Confinement, Kernel, Listener, Tag, prepare};
use supervisor::sources::{FileSystem, gather};

/// The ruleset. The working directory of this process must be the one that commands run in.
pub fn ruleset(built: &Built) -> Ruleset {
    let policy = Policy::built_in().expect("the built-in policy is well formed");
    let facts = gather(&[], Some(built.sub("home")), built.sub("tmp"), None)
        .expect("facts about this process");
    Ruleset::compile(&[policy], &facts, &FileSystem, &[])
        .unwrap_or_else(|error| panic!("the built-in policy: {error}"))
}

/// What a child is locked with under it.
pub fn confinement(ruleset: &Ruleset) -> Result<Arc<Confinement>, String> {
    let kernel = Kernel::probe();
    let tag = kernel.no_tag.is_none().then(|| Tag::new(0x5eed));
    let confinement = prepare(ruleset, &kernel, Listener::Wanted, tag);
    confinement.map(Arc::new).map_err(|error| error.to_string())
}
