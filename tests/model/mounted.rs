//! The same where directories are shown in other places too.

use crate::chance::{self, Chance};
use crate::harness::{feature, require};
use crate::mounts;
use crate::quiet::agree;
use crate::tree::{Kind, look, some_entry};
use std::path::Path;

/// Shows some things of the tree in some other places of it.
fn show(chance: &mut Chance, top: &Path) {
    // So that all of it can be taken away at once.
    mounts::bind(top, top).expect("root may");
    for _ in 0..1 + chance.below(3) {
        let (shown, place) = (some_entry(chance, top), some_entry(chance, top));
        let kinds = [&shown, &place].map(|path| look(path).map(|(_, kind)| kind));
        let is_alike = kinds[0] == kinds[1] && kinds[0] != Some(Kind::Link);
        if is_alike && shown != place {
            mounts::bind(&shown, &place).expect("root may");
        }
    }
}

#[test]
fn what_a_mount_shows_elsewhere_is_what_it_is_everywhere() {
    require!(feature::root());
    let tried = std::thread::spawn(|| {
        mounts::own()?;
        let clear = |top: &Path| mounts::detach(top).expect("it is mounted");
        Ok::<_, String>(agree("mounted", chance::steps(3000), show, clear))
    });
    let counts = tried
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Err(reason) = &counts {
        require!(Err::<(), _>(reason));
    }
    let counts = counts.expect("it was tried");
    assert!(counts.granted > 0 && counts.denied > 0, "{counts:?}");
}
