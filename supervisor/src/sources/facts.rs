//! What variables stand for: the user, the directories, the repository.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
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

/// Finds out what rules may name. `directory` is where the command will start: where this process is, if it is not given. `home` stands for the user's directory where the operator chose another; `tmpdir` is the
/// private directory of the run, which need not exist yet.
///
/// # Errors
/// When the working directory or the user cannot be found out.
pub fn gather(
    environment: &[(OsString, OsString)],
    home: Option<PathBuf>,
    tmpdir: PathBuf,
    directory: Option<&Path>,
) -> Result<Facts, FactsError> {
    let cwd = match directory {
        None => nix::unistd::getcwd().map_err(FactsError::Directory)?,
        Some(directory) => named_by_kernel(directory).map_err(FactsError::Directory)?,
    };
    let (name, directory) = user(nix::unistd::getuid())?.unzip();
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

/// A directory by the name that getcwd(2) would give there. Nobody goes there to ask: others of this process are where they are.
fn named_by_kernel(directory: &Path) -> Result<PathBuf, Errno> {
    let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let real = fs::canonicalize(directory).map_err(errno)?;
    match fs::metadata(&real).map_err(errno)?.is_dir() {
        true => Ok(real),
        false => Err(Errno::ENOTDIR),
    }
}

/// The user's name and directory. Most users stand in the file; to ask the C library costs many times as much as to read that, so
/// it is asked only for those whom other databases know.
fn user(uid: Uid) -> Result<Option<(String, PathBuf)>, FactsError> {
    let file = fs::read("/etc/passwd").unwrap_or_default();
    let mut lines = file.split(|byte| *byte == b'\n');
    if let Some(found) = lines.find_map(|line| entry(line, uid)) {
        return Ok(Some(found));
    }
    let found = User::from_uid(uid).map_err(FactsError::User)?;
    Ok(found.map(|user| (user.name, user.dir)))
}

/// What a line of passwd(5) says, if it is about this user: `name:password:uid:gid:about:directory:shell`.
fn entry(line: &[u8], uid: Uid) -> Option<(String, PathBuf)> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = std::str::from_utf8(fields.next()?).ok()?;
    let number = std::str::from_utf8(fields.nth(1)?).ok()?;
    let directory = fields.nth(2)?;
    let is_about = number.parse() == Ok(uid.as_raw()) && fields.count() == 1;
    is_about.then(|| (name.to_owned(), OsStr::from_bytes(directory).into()))
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
    use super::*;

    #[test]
    fn the_file_of_users_says_what_the_c_library_says() {
        let uid = nix::unistd::getuid();
        let known = User::from_uid(uid).expect("it can be asked");
        assert_eq!(
            user(uid).expect("it can be read"),
            known.map(|user| (user.name, user.dir))
        );
        let me = Uid::from_raw(7);
        let found = Some(("me".to_owned(), PathBuf::from("/home/me")));
        assert_eq!(entry(b"me:x:7:8:Me, Myself:/home/me:/bin/sh", me), found);
        for other in [
            "me:x:77:7:7:/home/me:/bin/sh",
            "me:x:7:8:/home/me",
            "+::::::",
            "",
        ] {
            assert_eq!(entry(other.as_bytes(), me), None, "{other}");
        }
    }

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
