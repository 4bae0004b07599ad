//! A policy in the making: rules that our parser takes, and notes about everything else.

use crate::render;
use std::collections::BTreeMap;
use std::fmt::Write;
use supervisor::advice::quoted;
use supervisor::audit::Printable;
use supervisor::policy::{NoFiles, Policy};

/// How what is here compares with what was said there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It holds here in any case, or means nothing here.
    Same,
    /// It was allowed there, and is not here.
    Narrower,
    /// It restricts less here.
    Weaker,
}

impl Weight {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Weaker, "WEAKER here than there:"),
        (Self::Narrower, "Allowed there, and not here:"),
        (Self::Same, "Needs no rule here:"),
    ];
}

/// A table of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Fs,
    Net,
    Limits,
    Process,
    Env,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Fs => "fs",
            Self::Net => "net",
            Self::Limits => "limits",
            Self::Process => "process",
            Self::Env => "env",
        }
    }
}

/// The policy so far.
#[derive(Debug, Default)]
pub struct Draft {
    /// Before the tables.
    head: Vec<String>,
    /// Lists, each entry as TOML with what it was there.
    lists: BTreeMap<(Table, &'static str), Vec<(String, String)>>,
    /// Single values, as TOML.
    values: BTreeMap<(Table, &'static str), (String, String)>,
    /// Variables that are set.
    set: BTreeMap<String, String>,
    notes: Vec<(Weight, String, String)>,
    /// Whether the policy begins with nothing, not even what every program needs.
    is_bare: bool,
    /// What is to be run, where that was said.
    command: Vec<String>,
    /// Where it is to start.
    directory: Option<String>,
}

/// Facts about the machine. Of processes, `/proc` shows the program itself alone.
const FACTS: [&str; 7] = [
    "cpuinfo",
    "meminfo",
    "stat",
    "loadavg",
    "uptime",
    "version",
    "filesystems",
];

/// What stands for everything: a policy has no `/`, which would hold devices and other processes, too.
const EVERYTHING: [&str; 8] = [
    "/usr?", "/etc?", "/opt?", "/srv?", "/var?", "/mnt?", "$HOME?", "$PWD",
];

/// And where there are programs that are not in `/usr`.
const PROGRAMS: [&str; 6] = [
    "/bin?",
    "/sbin?",
    "/lib?",
    "/lib32?",
    "/lib64?",
    "/nix/store?",
];

impl Draft {
    /// Says what became of something that was said there.
    pub fn note(&mut self, weight: Weight, said: &str, why: &str) {
        let note = (weight, said.to_owned(), why.to_owned());
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether there is a note of that weight or worse.
    pub fn worst(&self) -> Weight {
        let weights = self.notes.iter().map(|(weight, ..)| *weight);
        weights.max().unwrap_or(Weight::Same)
    }

    /// Has the policy begin with nothing: there, the system's programs are listed like everything else.
    pub fn bare(&mut self) {
        self.is_bare = true;
        self.head("base = false");
    }

    /// What is to be run.
    pub fn command(&mut self, words: &[String]) {
        self.command = words.to_vec();
    }

    /// Where that starts.
    pub fn directory(&mut self, said: &str, path: &str) {
        self.directory = Some(path.to_owned());
        let why =
            "supervise run has --chdir, too: what is relative in the policy is relative to it then";
        self.note(Weight::Same, said, why);
    }

    /// How it is run under the policy in that file; `None`: nobody said what.
    pub fn line(&self, policy: &str) -> Option<String> {
        // Without a `/` it might be the name of a preset.
        let policy = match policy.contains('/') {
            true => policy.to_owned(),
            false => format!("./{policy}"),
        };
        let mut words = vec!["supervise".to_owned(), "-p".to_owned(), policy];
        if let Some(directory) = &self.directory {
            words.extend(["--chdir".to_owned(), directory.clone()]);
        }
        words.push("--".to_owned());
        words.extend_from_slice(&self.command);
        let words: Vec<_> = words.iter().map(|word| render::quoted(word)).collect();
        (!self.command.is_empty()).then(|| words.join(" "))
    }

    /// Facts about the machine.
    pub fn facts(&mut self, said: &str) {
        for name in FACTS {
            self.path("read", said, &format!("/proc/{name}?"));
        }
        let why = "of processes it shows the program itself alone, where its opens are seen";
        self.note(Weight::Narrower, said, why);
    }

    /// Devices without a memory, and the terminal.
    pub fn devices(&mut self, said: &str) {
        for name in ["null", "zero", "full", "tty", "ptmx"] {
            self.path("write", said, &format!("/dev/{name}?"));
        }
        for name in ["random", "urandom"] {
            self.path("read", said, &format!("/dev/{name}?"));
        }
        let why = "plain devices; no terminals of its own, and no /dev/shm: name others one by one";
        self.note(Weight::Narrower, said, why);
    }

    /// A line before the tables, such as `tmp = "none"`.
    pub fn head(&mut self, line: &str) {
        self.head.push(line.to_owned());
    }

    /// Adds a path to a list of `[fs]`. What a denial cannot say is weaker then, what a grant cannot, narrower.
    pub fn path(&mut self, key: &'static str, said: &str, path: &str) {
        let weight = match key {
            "deny" | "deny_write" => Weight::Weaker,
            _ => Weight::Narrower,
        };
        if path.trim_end_matches(['?', '/']).is_empty() && path.starts_with('/') {
            match weight {
                Weight::Weaker => self.note(
                    weight,
                    said,
                    "everything cannot be denied; nothing is allowed but what is listed",
                ),
                _ => self.everything(key, said),
            }
            return;
        }
        // What is wrong with a pattern is found where it is first used.
        let is_wrong = |name: &str| {
            (name.contains("**") && name != "**") || (name.contains('[') && !name.contains(']'))
        };
        if path.split('/').any(is_wrong) {
            return self.note(weight, said, "this is no pattern here");
        }
        if weight == Weight::Narrower {
            let bare = path.trim_end_matches('?').trim_end_matches('/');
            match bare {
                "/proc" if self.is_bare => return self.facts(said),
                "/dev" if self.is_bare => return self.devices(said),
                "/proc" | "/sys" => {
                    let why = "facts about the machine and about the program itself can be read in any case; the rest holds other processes' secrets";
                    return self.note(weight, said, why);
                }
                "/dev" => {
                    let why = "plain devices (null, zero, full, random, tty) are there in any case; name others one by one";
                    return self.note(weight, said, why);
                }
                _ => {}
            }
        }
        self.entry(Table::Fs, key, said, &quoted(path), weight);
    }

    fn everything(&mut self, key: &'static str, said: &str) {
        for path in EVERYTHING {
            self.entry(Table::Fs, key, said, &quoted(path), Weight::Narrower);
        }
        if self.is_bare {
            for path in PROGRAMS {
                self.entry(Table::Fs, key, said, &quoted(path), Weight::Narrower);
            }
            self.facts(said);
            self.devices(said);
        }
        self.note(
            Weight::Narrower,
            said,
            "`/` would hold devices and other processes; what is listed stands for it, and can be cut down",
        );
    }

    /// Adds an entry, given as TOML, to a list.
    pub fn entry(
        &mut self,
        table: Table,
        key: &'static str,
        said: &str,
        toml: &str,
        otherwise: Weight,
    ) {
        if !self.can_say(table, key, said, &format!("[{toml}]"), otherwise) {
            return;
        }
        let list = self.lists.entry((table, key)).or_default();
        if !list.iter().any(|(known, _)| known == toml) {
            list.push((toml.to_owned(), said.to_owned()));
        }
    }

    /// Sets a value, given as TOML.
    pub fn value(
        &mut self,
        table: Table,
        key: &'static str,
        said: &str,
        toml: &str,
        otherwise: Weight,
    ) {
        if self.can_say(table, key, said, toml, otherwise) {
            let value = (toml.to_owned(), said.to_owned());
            self.values.insert((table, key), value);
        }
    }

    /// Whether a policy takes that value; why not is noted.
    fn can_say(
        &mut self,
        table: Table,
        key: &str,
        said: &str,
        value: &str,
        otherwise: Weight,
    ) -> bool {
        let text = format!(
            "version = 1\nbase = false\n[{}]\n{key} = {value}\n",
            table.name()
        );
        let refusal = refused(&text);
        if let Some(error) = &refusal {
            self.note(otherwise, said, error);
        }
        refusal.is_none()
    }

    /// Sets a variable of the environment.
    pub fn variable(&mut self, said: &str, name: &str, value: &str) {
        let line = format!("{} = {}", quoted(name), quoted(value));
        let text = format!("version = 1\nbase = false\n[env]\nset = {{ {line} }}\n");
        match refused(&text) {
            Some(error) => self.note(Weight::Narrower, said, &error),
            None => {
                self.set.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// All of the network.
    pub fn whole_network(&mut self, said: &str) {
        for key in ["connect", "bind"] {
            self.entry(Table::Net, key, said, "\"*:*\"", Weight::Narrower);
        }
        self.value(Table::Net, "udp", said, "\"any\"", Weight::Narrower);
        let why =
            "of sockets those of TCP and UDP; Unix sockets are listed one by one under `unix`";
        self.note(Weight::Narrower, said, why);
    }

    /// The policy's text. `from`: whose words it is made of.
    pub fn toml(&self, from: &str) -> String {
        let mut text = format!(
            "# Made of what {from} was told, by `supervise import`. Read it: `supervise check` says what it gives.\n"
        );
        for (weight, title) in Weight::ALL {
            let notes = self.notes.iter().filter(|(own, ..)| *own == weight);
            let mut notes = notes.peekable();
            if notes.peek().is_some() {
                let _infallible = writeln!(text, "#\n# {title}");
            }
            for (_, said, why) in notes {
                let _infallible = writeln!(text, "#   {}: {}", seen(said), seen(why));
            }
        }
        text.push_str("version = 1\n");
        for line in &self.head {
            text.push_str(line);
            text.push('\n');
        }
        for table in [
            Table::Fs,
            Table::Net,
            Table::Limits,
            Table::Process,
            Table::Env,
        ] {
            self.table(table, &mut text);
        }
        text
    }

    fn table(&self, table: Table, text: &mut String) {
        let lists = self.lists.iter().filter(|((own, _), _)| *own == table);
        let values = self.values.iter().filter(|((own, _), _)| *own == table);
        let has_set = table == Table::Env && !self.set.is_empty();
        let before = text.len();
        for ((_, key), entries) in lists {
            let _infallible = writeln!(text, "{key} = [");
            for (toml, said) in entries {
                let _infallible = writeln!(text, "    {toml},  # {}", seen(said));
            }
            text.push_str("]\n");
        }
        for ((_, key), (toml, said)) in values {
            let _infallible = writeln!(text, "{key} = {toml}  # {}", seen(said));
        }
        if has_set {
            let set = self.set.iter();
            let set = set.map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
            let _infallible = writeln!(text, "set = {{ {} }}", set.collect::<Vec<_>>().join(", "));
        }
        if text.len() > before {
            text.insert_str(before, &format!("\n[{}]\n", table.name()));
        }
    }
}

/// What our parser has against a text, in one line.
fn refused(text: &str) -> Option<String> {
    let error = Policy::parse("imported", text, &mut NoFiles).err()?;
    let error = error.to_string();
    let first = error.lines().next().unwrap_or_default();
    Some(format!("no rule can say it: {first}"))
}

/// In a comment, which ends with its line.
fn seen(text: &str) -> String {
    Printable::from(text).to_string()
}

/// A path of another language as ours has it: `~` and the variables in `known`, and what is relative from `$PWD`. What may be absent
/// ends in `?`. `None`: it has variables that nobody knows here.
pub fn path(text: &str, known: &[(&str, &str)], is_optional: bool) -> Option<String> {
    let mut path = text
        .trim_end_matches("/**")
        .trim_end_matches("/*")
        .to_owned();
    if path.is_empty() {
        path = "/".to_owned();
    }
    let home = ["~/", "$HOME/", "${HOME}/"];
    if path == "~" || path == "$HOME" || path == "${HOME}" {
        path = "$HOME".to_owned();
    } else if let Some(rest) = home.iter().find_map(|home| path.strip_prefix(home)) {
        path = format!("$HOME/{rest}");
    } else if let Some((name, ours)) = known.iter().find(|(name, _)| {
        path.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }) {
        path = format!("{ours}{}", &path[name.len()..]);
    } else if path == "." {
        path = "$PWD".to_owned();
    } else if !path.starts_with('/') && !path.starts_with('$') {
        path = format!("$PWD/{}", path.trim_start_matches("./"));
    }
    let ours = ["$HOME", "$PWD", "$TMPDIR", "$USER", "$REPO", "$XDG_"];
    let rest = ours.iter().find_map(|name| path.strip_prefix(name));
    if rest.unwrap_or(&path).contains('$') {
        return None;
    }
    let is_pattern = path.contains(['*', '?', '[']);
    if is_optional && !is_pattern && path != "/" && path != "$PWD" && path != "$HOME" {
        path.push('?');
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_spelled_as_ours() {
        let spelled = |text| path(text, &[("$WORKDIR", "$PWD")], false);
        for (there, here) in [
            ("~/.ssh", "$HOME/.ssh"),
            ("~", "$HOME"),
            (".", "$PWD"),
            ("./src/", "$PWD/src/"),
            ("src/**", "$PWD/src"),
            ("/**", "/"),
            ("$WORKDIR/x", "$PWD/x"),
            ("${HOME}/x", "$HOME/x"),
            ("/a/*.key", "/a/*.key"),
        ] {
            assert_eq!(spelled(there).as_deref(), Some(here), "{there}");
        }
        assert_eq!(spelled("$WORKDIRS/x"), None);
        assert_eq!(path("/a", &[], true).as_deref(), Some("/a?"));
        assert_eq!(path("/a*", &[], true).as_deref(), Some("/a*"));
    }

    #[test]
    fn what_no_rule_can_say_is_a_comment_in_which_nothing_hides() {
        let mut draft = Draft::default();
        draft.path("deny", "deny a\nread = [\"/\"]", "/x/[");
        draft.path("read", "all", "/");
        let text = draft.toml("a test");
        assert!(text.contains("deny a\\nread"), "{text}");
        assert!(!text.contains("\nread = [\"/\"]"), "{text}");
        assert_eq!(draft.worst(), Weight::Weaker);
        assert!(Policy::parse("x", &text, &mut NoFiles).is_ok(), "{text}");
    }
}
