//! Where the library lies that programs preload.

use std::fs::File;
use std::path::{Path, PathBuf};

/// As the package `supervise-preload` builds it.
const NAME: &str = "libsupervise_preload.so";

/// The library that belongs to the command `own`: beside it, or where it is installed.
pub fn find(own: &Path) -> Option<PathBuf> {
    places(own).find(|library| {
        // Inside another sandbox it can be there and not be ours to read.
        library.is_file() && File::open(library).is_ok()
    })
}

/// Why there is none, and what to do.
pub fn missing(own: &Path) -> String {
    let places: Vec<_> = places(own)
        .filter_map(|library| Some(library.parent()?.display().to_string()))
        .collect();
    format!(
        "there is no {NAME} that can be read in {}; build it (cargo build --release -p supervise-preload) and put it there",
        places.join(" or ")
    )
}

/// The loader would take some names for several, or put directories into them: such a one cannot be told to it.
pub fn can_be_named(library: &Path) -> bool {
    library
        .to_str()
        .is_some_and(|name| !name.contains([' ', ':', '$', '\n', '\t']))
}

fn places(own: &Path) -> impl Iterator<Item = PathBuf> {
    let directory = own.parent();
    let installed = directory.and_then(Path::parent);
    let installed = installed.map(|above| above.join("lib/supervise"));
    let places = [directory.map(Path::to_owned), installed];
    places.into_iter().flatten().map(|place| place.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for file in files {
            let path = tree.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        tree
    }

    #[test]
    fn it_lies_beside_the_command_or_where_it_is_installed() {
        let here = format!("bin/{NAME}");
        let there = format!("lib/supervise/{NAME}");
        for (files, expected) in [(vec![&*here, &*there], &here), (vec![&*there], &there)] {
            let tree = tree(&files);
            let own = tree.path().join("bin/supervise");
            assert_eq!(find(&own), Some(tree.path().join(expected)));
        }
    }

    #[test]
    fn where_there_is_none_it_is_said_where_to_put_it() {
        // A directory is none.
        let tree = tree(&[&format!("bin/{NAME}/file")]);
        let own = tree.path().join("bin/supervise");
        assert_eq!(find(&own), None);
        let said = missing(&own);
        for part in ["cargo build", "/bin or ", "/lib/supervise"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn a_name_that_the_loader_would_take_apart_is_none() {
        for directory in ["two words", "a:b", "$ORIGIN"] {
            assert!(
                !can_be_named(&Path::new(directory).join(NAME)),
                "{directory}"
            );
        }
        assert!(can_be_named(Path::new("/usr/lib/supervise/é.so")));
    }
}
