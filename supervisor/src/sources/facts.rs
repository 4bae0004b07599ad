//! What variables stand for: the user, the directories, the repository.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{Uid, User, geteuid};

use crate::policy::{Facts, Repository};

/// The variables of the environment that rules may name. They name places, and only if they are absolute.
const PLACES: [&str; 7] = [
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_RUNTIME_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
];

/// The facts could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The working directory is gone, or cannot be named.
    #[error("the working directory cannot be named: {}", .0.desc())]
    Directory(Errno),
    /// The user database could not be asked.
    #[error("the user's entry in the password database cannot be read: {}", .0.desc())]
    User(Errno),
}

/// Finds out what rules may name. `home` stands for the user's directory where the operator chose another; `tmpdir` is the
/// private directory of the run, which need not exist yet.
///
/// # Errors
/// When the working directory or the user cannot be found out.
pub fn gather(
    environment: &[(OsString, OsString)],
    home: Option<PathBuf>,
    tmpdir: PathBuf,
) -> Result<Facts, FactsError> {
    let cwd = nix::unistd::getcwd().map_err(FactsError::Directory)?;
    let user = User::from_uid(nix::unistd::getuid()).map_err(FactsError::User)?;
    let (name, directory) = user.map(|user| (user.name, user.dir)).unzip();
    // A user without an entry, as containers have them, has only the environment's word.
    let told = environment.iter().find(|(name, _)| name == "HOME");
    let home = home
        .or(directory)
        .or_else(|| told.map(|(_, value)| PathBuf::from(value)))
        .filter(|home| home.is_absolute());
    // As the kernel names it: a home may be reached through links.
    let home = home.map(|home| fs::canonicalize(&home).unwrap_or(home));
    let mut variables = BTreeMap::new();
    for (variable, value) in environment {
        let place = variable.to_str().filter(|name| PLACES.contains(name));
        if let Some(place) = place
            && Path::new(value).is_absolute()
        {
            variables.insert(place.to_owned(), value.clone());
        }
    }
    Ok(Facts {
        repository: repository(&cwd),
        cwd,
        home,
        user: name,
        tmpdir,
        variables,
    })
}

/// The nearest directory above that has `.git` in it. Who puts a `.git` into a directory that many can write must not thereby
/// open it: it counts only if it is the user's own, or of who owns the working directory.
fn repository(cwd: &Path) -> Option<Repository> {
    let starter = fs::metadata(cwd).ok()?.uid();
    let root = cwd
        .ancestors()
        .find(|directory| fs::symlink_metadata(directory.join(".git")).is_ok())?;
    let git = fs::symlink_metadata(root.join(".git")).ok()?;
    let owner = Uid::from_raw(git.uid());
    if owner != geteuid() && owner != Uid::from_raw(starter) {
        return None;
    }
    let common = if git.is_file() { common(root) } else { None };
    Some(Repository {
        root: root.to_owned(),
        common,
    })
}

/// The history of a work tree. Its `.git` file is the tree's own claim, so it is believed only where the place it names is a
/// repository's record of exactly this work tree.
fn common(root: &Path) -> Option<PathBuf> {
    let pointer = first_line(&root.join(".git"))?;
    let record = fs::canonicalize(root.join(pointer.strip_prefix("gitdir: ")?)).ok()?;
    let back = first_line(&record.join("gitdir"))?;
    let knows_us =
        fs::canonicalize(record.join(back)).ok()? == fs::canonicalize(root.join(".git")).ok()?;
    let worktrees = record.parent()?;
    let common = worktrees.parent()?;
    let is_repository = worktrees.file_name()? == "worktrees"
        && common.join("HEAD").is_file()
        && common.join("objects").is_dir();
    (knows_us && is_repository).then(|| common.to_owned())
}

/// The first line of a small file.
fn first_line(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > 4096 {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::repository;
    use std::fs;

    #[test]
    fn a_work_tree_has_its_history_where_the_repository_knows_it() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let top = fs::canonicalize(place.path()).expect("it has a name");
        let record = top.join("main/.git/worktrees/tree");
        fs::create_dir_all(&record).expect("directories");
        fs::create_dir_all(top.join("main/.git/objects")).expect("directories");
        fs::create_dir_all(top.join("tree/src")).expect("directories");
        fs::write(top.join("main/.git/HEAD"), "ref: refs/heads/main\n").expect("a file");
        let pointer = format!("gitdir: {}\n", record.display());
        fs::write(top.join("tree/.git"), pointer).expect("a file");

        let unknown = repository(&top.join("tree/src")).expect("a repository");
        assert_eq!(
            unknown.common, None,
            "the repository does not know this tree yet"
        );

        let back = format!("{}\n", top.join("tree/.git").display());
        fs::write(record.join("gitdir"), back).expect("a file");
        let known = repository(&top.join("tree/src")).expect("a repository");
        assert_eq!(known.root, top.join("tree"));
        assert_eq!(known.common, Some(top.join("main/.git")));
    }

    #[test]
    fn a_work_tree_cannot_claim_another_directory() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let top = fs::canonicalize(place.path()).expect("it has a name");
        fs::create_dir_all(top.join("victim")).expect("directories");
        fs::create_dir_all(top.join("tree")).expect("directories");
        let pointer = format!("gitdir: {}\n", top.join("victim").display());
        fs::write(top.join("tree/.git"), pointer).expect("a file");
        let found = repository(&top.join("tree")).expect("a repository");
        assert_eq!(found.common, None);
    }
}
