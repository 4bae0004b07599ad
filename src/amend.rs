//! A policy file that comes to say more: the one object that somebody agreed to, after the change was shown.

use crate::args::{PolicyArgs, RunArgs};
use crate::commands::learn::{diff, merge};
use crate::law::Law;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::advice::learn::{Key, Lesson, Line};
use supervisor::advice::{sensitive, spelled};
use supervisor::broker::{Clerk, Proposal, Wanted};
use supervisor::policy::{Access, Approver, Library, PolicyText, Ruleset, Subject};
use supervisor::sources::PolicyFiles;

/// The policies of a run, of which the first says what may be.
#[derive(Debug)]
struct Keeper {
    args: PolicyArgs,
    home: Option<PathBuf>,
    tmp: PathBuf,
}

/// What is written, and what must still stand there then.
struct Change {
    before: String,
    after: String,
}

/// Who keeps the policy of a run whose questions are answered at the terminal.
pub fn clerk(args: &RunArgs, law: &Law, ruleset: &Ruleset, tmp: &Path) -> Option<Arc<dyn Clerk>> {
    let is_asked = ruleset.broker().approver == Approver::Terminal && args.text.is_none();
    is_asked.then(|| {
        let keeper = Keeper {
            args: args.policy.clone(),
            home: law.home().map(Path::to_owned),
            tmp: tmp.to_owned(),
        };
        Arc::new(keeper) as Arc<dyn Clerk>
    })
}

impl Clerk for Keeper {
    fn sensitive(&self, path: &Path) -> Option<String> {
        let secret = sensitive::of(path, self.home.as_deref());
        secret.map(|secret| secret.to_string())
    }

    fn propose(&self, wanted: &Wanted) -> Result<Proposal, String> {
        let file = policy_file(&self.args)?;
        let before =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let lesson = lesson(wanted, self.home.as_deref())?;
        let after = merge::merged(&unasked(&before, wanted, self.home.as_deref()), &lesson)?;
        if after == before {
            return Err(format!("{} says so already", file.display()));
        }
        self.check(wanted, &after)?;
        Ok(Proposal {
            shown: diff::shown(&before, &after),
            file,
            change: Box::new(Change { before, after }),
        })
    }

    fn write(&self, proposal: &Proposal) -> Result<(), String> {
        let change = proposal.change.downcast_ref::<Change>();
        let Change { before, after } = change.ok_or("it is not of this clerk's making")?;
        replace(&proposal.file, before, after)
    }
}

impl Keeper {
    /// Whether all policies together would then allow it.
    fn check(&self, wanted: &Wanted, after: &str) -> Result<(), String> {
        let mut files = Changed {
            text: Some(after.to_owned()),
        };
        let law = Law::read_from(&mut files, &self.args, self.tmp.clone());
        let ruleset = law.and_then(|law| law.compile(None));
        let ruleset =
            ruleset.map_err(|error| format!("it would be no policy any more: {error}"))?;
        match ruleset
            .decide(&Subject::named(&wanted.path), wanted.access)
            .is_allowed()
        {
            true => Ok(()),
            false => Err(
                "a denial, or another policy beside this one, would still not allow it".to_owned(),
            ),
        }
    }
}

/// The policy files, of which the first that is read has another text.
struct Changed {
    text: Option<String>,
}

impl Library for Changed {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        let found = PolicyFiles.text(path)?;
        Ok(match self.text.take() {
            Some(text) => PolicyText { text, ..found },
            None => found,
        })
    }
}

/// The file that says what may be.
fn policy_file(args: &PolicyArgs) -> Result<PathBuf, String> {
    let make = |preset: &str, why: String| {
        format!(
            "{why}; `supervise init --preset {preset} policy.toml` makes a file to add it to, and -p policy.toml names that"
        )
    };
    let Some(name) = args.policy.first() else {
        let why = "the policy is the built-in one, which is in no file".to_owned();
        return Err(make("build", why));
    };
    let text = name.to_string_lossy();
    if !text.contains('/') && !text.ends_with(".toml") {
        let why = format!("the policy is the preset {text}, which is compiled in");
        return Err(make(&text, why));
    }
    fs::canonicalize(name).map_err(|error| format!("{text}: {error}"))
}

/// The least that allows what is wanted.
fn lesson(wanted: &Wanted, home: Option<&Path>) -> Result<Lesson, String> {
    if !wanted.is_file {
        return Err("it is no plain file, and a rule would open all that is below it".to_owned());
    }
    let text = spelled(&wanted.path, home, "")
        .ok_or("its name means something else in a policy, a variable or a pattern")?;
    let (key, why) = match wanted.access.contains(Access::WRITE) {
        false => (Key::Read, "agreed to when it was asked for"),
        true if wanted.access.contains(Access::READ) => {
            (Key::Write, "agreed to when it was asked for")
        }
        true => (
            Key::Write,
            "agreed to when it was asked for; it can be read, too",
        ),
    };
    Ok(Lesson {
        lines: vec![Line {
            key,
            text,
            why: why.to_owned(),
        }],
        left_out: Vec::new(),
    })
}

/// The text without the entry that asks about this very file: what is allowed cannot be asked about, too.
fn unasked(before: &str, wanted: &Wanted, home: Option<&Path>) -> String {
    let list = match wanted.access.contains(Access::WRITE) {
        true => "ask_write",
        false => "ask_read",
    };
    let home = spelled(&wanted.path, home, "");
    let spellings = [home, spelled(&wanted.path, None, "")];
    let mut left = spellings
        .into_iter()
        .flatten()
        .flat_map(|text| [format!("{text}?"), text]);
    let without = left.find_map(|entry| merge::without(before, "fs", list, &entry));
    without.unwrap_or_else(|| before.to_owned())
}

/// Puts a new text in the place of a file, whole or not at all, if it still says what it said before. Its owner, its group and its
/// mode stay.
pub fn replace(file: &Path, before: &str, after: &str) -> Result<(), String> {
    let name = file.display();
    let failed = |error: std::io::Error| format!("cannot write {name}: {error}");
    let held = File::open(file).map_err(failed)?;
    let found = held.metadata().map_err(failed)?;
    if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!("{name} is no file of yours"));
    }
    if std::io::read_to_string(&held).map_err(failed)? != before {
        return Err(format!("{name} was changed by somebody else meanwhile"));
    }
    let mut new = file.file_name().unwrap_or_default().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = file.with_file_name(new);
    let made = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new);
    let written = made.and_then(|mut made| {
        made.write_all(after.as_bytes())?;
        if made.metadata()?.gid() != found.gid() {
            fchown(&made, None, Some(found.gid()))?;
        }
        made.set_permissions(found.permissions())?;
        made.sync_all()?;
        fs::rename(&new, file)
    });
    if let Err(error) = &written
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        // What was not finished is not left there; the first error is the one to tell.
        let _gone = fs::remove_file(&new);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    fn keeper(policy: &Path) -> Keeper {
        Keeper {
            args: PolicyArgs {
                policy: vec![policy.into()],
                ..PolicyArgs::default()
            },
            home: None,
            tmp: "/nowhere/tmp".into(),
        }
    }

    fn wanted(path: PathBuf, access: Access) -> Wanted {
        Wanted {
            path,
            access,
            is_file: true,
        }
    }

    const POLICY: &str =
        "# Mine.\nversion = 1\nbase = false\n[fs]\nask_read = [\"ROOT/data\"] # all of it\n";

    /// A directory with a policy, its canonical name, and a file that the policy asks about.
    fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        fs::create_dir(root.join("data")).unwrap();
        let data = root.join("data/a");
        fs::write(&data, "a").unwrap();
        fs::write(root.join("data/b"), "b").unwrap();
        let policy = root.join("policy.toml");
        fs::write(&policy, POLICY.replace("ROOT", root.to_str().unwrap())).unwrap();
        (place, policy, data)
    }

    #[test]
    fn one_file_is_added_with_the_comments_and_the_mode_that_were_there() {
        let (_place, policy, data) = scene();
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::read_to_string(&policy).unwrap();
        let keeper = keeper(&policy);
        let proposal = keeper.propose(&wanted(data.clone(), Access::READ)).unwrap();
        assert_eq!(proposal.file, policy);
        let entry = format!("{:?}", data.to_str().unwrap());
        let added: Vec<&str> = proposal
            .shown
            .lines()
            .filter(|line| line.starts_with('+'))
            .collect();
        assert!(
            added.iter().any(|line| line.contains(&entry)),
            "{}",
            proposal.shown
        );
        assert!(
            !proposal.shown.lines().any(|line| line.starts_with('-')),
            "{}",
            proposal.shown
        );
        assert_eq!(fs::read_to_string(&policy).unwrap(), before, "only shown");
        keeper.write(&proposal).unwrap();
        let after = fs::read_to_string(&policy).unwrap();
        for line in before.lines() {
            assert!(after.contains(line), "{after}");
        }
        assert_eq!(fs::metadata(&policy).unwrap().mode() & 0o777, 0o640);
        let law = Law::read(&keeper.args, "/nowhere/tmp".into()).unwrap();
        let ruleset = law.compile(None).unwrap();
        let may = |path: &Path, access| ruleset.decide(&Subject::named(path), access).is_allowed();
        assert!(may(&data, Access::READ));
        assert!(!may(&data, Access::WRITE) && !may(&data.with_file_name("b"), Access::READ));
        let again = keeper.propose(&wanted(data, Access::READ)).unwrap_err();
        assert!(again.contains("says so already"), "{again}");
        let left = fs::read_dir(policy.parent().unwrap()).unwrap().count();
        assert_eq!(left, 2, "data and policy");
    }

    #[test]
    fn an_entry_that_asks_about_that_very_file_becomes_one_that_allows_it() {
        let (_place, policy, data) = scene();
        let [a, b] = ["a", "b"].map(|name| data.with_file_name(name));
        let text = format!(
            "version = 1\nbase = false\n[fs]\nask_read = [\n    # both\n    {a:?},\n    {b:?},\n]\n"
        );
        fs::write(&policy, &text).unwrap();
        let keeper = keeper(&policy);
        let proposal = keeper.propose(&wanted(a.clone(), Access::READ)).unwrap();
        keeper.write(&proposal).unwrap();
        let ruleset = Law::read(&keeper.args, "/nowhere/tmp".into());
        let ruleset = ruleset.unwrap().compile(None).unwrap();
        let decide = |path: &Path| ruleset.decide(&Subject::named(path), Access::READ);
        assert!(decide(&a).is_allowed());
        assert!(matches!(decide(&b), supervisor::policy::Verdict::Ask(_)));
        let after = fs::read_to_string(&policy).unwrap();
        assert!(
            after.contains("    # both\n") && after.contains(&format!("{b:?}")),
            "{after}"
        );
    }

    #[test]
    fn what_cannot_be_said_in_one_file_is_not_added() {
        let (_place, policy, data) = scene();
        let refused = |keeper: &Keeper, wanted: &Wanted| keeper.propose(wanted).unwrap_err();
        let file = wanted(data.clone(), Access::READ);
        let directory = Wanted {
            path: data.parent().unwrap().to_owned(),
            is_file: false,
            ..file.clone()
        };
        let own = keeper(&policy);
        assert!(refused(&own, &directory).contains("all that is below it"));
        let pattern = data.with_file_name("a*");
        fs::write(&pattern, "").unwrap();
        assert!(refused(&own, &wanted(pattern, Access::READ)).contains("pattern"));
        let mut preset = keeper(Path::new("worker"));
        assert!(refused(&preset, &file).contains("supervise init --preset worker policy.toml"));
        preset.args.policy.clear();
        assert!(refused(&preset, &file).contains("supervise init --preset build policy.toml"));
        let mut narrowed = keeper(&policy);
        narrowed.args.policy.push(OsString::from("read-only"));
        assert!(refused(&narrowed, &file).contains("another policy"));
        let mut denied = keeper(&policy);
        denied.args.deny.push(data.into());
        assert!(refused(&denied, &file).contains("a denial"));
    }

    #[test]
    fn a_file_that_somebody_else_changed_meanwhile_stays_as_it_is() {
        let (_place, policy, data) = scene();
        let keeper = keeper(&policy);
        let proposal = keeper.propose(&wanted(data, Access::READ)).unwrap();
        fs::write(&policy, "version = 1\n").unwrap();
        let why = keeper.write(&proposal).unwrap_err();
        assert!(why.contains("meanwhile"), "{why}");
        assert_eq!(fs::read_to_string(&policy).unwrap(), "version = 1\n");
    }
}
