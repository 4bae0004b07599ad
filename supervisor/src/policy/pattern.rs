//! Shapes of paths: a tree, or a pattern with `* ? [`. Matched by components, at access time.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Which paths a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// A path and all below it.
    Tree(PathBuf),
    /// A pattern below a literal directory.
    Glob(Glob),
}

/// A pattern: a literal directory, then components of which at least one has a wildcard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob {
    prefix: PathBuf,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    /// One component, with wildcards or without.
    One(Vec<Token>),
    /// `**`: any number of components, none included.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Token {
    Byte(u8),
    /// `?`
    AnyByte,
    /// `*`
    AnyBytes,
    /// `[a-z]`, `[!a-z]`
    Class {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

/// How a denial of a shape bears on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The path itself, or a directory above it, is meant: so is all below it.
    Covers,
    /// Something below the path may be meant, and listing directories leads to it.
    Below,
    /// Something at any depth below the path may be meant.
    Anywhere,
    /// Neither the path nor anything below it is meant.
    Apart,
}

/// Which names below a path a shape means. Where two paths have the same remainder, the same names below them are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remainder<'s> {
    /// None.
    Nothing,
    /// All.
    All,
    /// Those that go on with this path, and then as a pattern does in some of its steps.
    Below(&'s Path, Live),
}

/// Which steps of a pattern the next component of a path may meet; the one behind the last says that the pattern is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live(u128);

impl Live {
    const NONE: Self = Self(0);
    /// How many steps a pattern may have.
    const STEPS: usize = 127;

    fn has(self, step: usize) -> bool {
        self.0 & (1 << step) != 0
    }

    fn add(&mut self, step: usize) {
        self.0 |= 1 << step;
    }
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// A class is not closed.
    #[error("`[` without its `]`")]
    OpenClass,
    /// Two stars mean something only as a whole component.
    #[error("`**` must stand alone between slashes")]
    Stars,
    /// It goes deeper than any tree.
    #[error("more than {} names in one pattern", Live::STEPS)]
    TooDeep,
}

impl Shape {
    /// The literal directory or path that the shape starts at.
    #[must_use]
    pub fn anchor(&self) -> &Path {
        match self {
            Self::Tree(path) => path,
            Self::Glob(glob) => &glob.prefix,
        }
    }

    /// The same shape, anchored elsewhere.
    #[must_use]
    pub fn anchored(&self, anchor: PathBuf) -> Self {
        match self {
            Self::Tree(_) => Self::Tree(anchor),
            Self::Glob(glob) => Self::Glob(Glob {
                prefix: anchor,
                steps: glob.steps.clone(),
            }),
        }
    }

    /// Whether an allowing rule of this shape is about the path: a tree reaches all below it, a pattern
    /// exactly what it matches.
    #[must_use]
    pub fn grants(&self, path: &Path) -> bool {
        match self {
            Self::Tree(tree) => is_below(path, tree),
            Self::Glob(glob) => glob.matches(path),
        }
    }

    /// Which names below the path are meant.
    #[must_use]
    pub fn remainder(&self, path: &Path) -> Remainder<'_> {
        let anchor = self.anchor();
        if is_below(path, anchor) {
            return match self {
                Self::Tree(_) => Remainder::All,
                Self::Glob(glob) => glob.remainder(path),
            };
        }
        match anchor.strip_prefix(path) {
            Ok(rest) => Remainder::Below(rest, Live::NONE),
            Err(_) => Remainder::Nothing,
        }
    }

    /// Whether the path's own name is on the way to what is meant: were it no directory, or one that stands elsewhere, the names
    /// below it would mean something else. `matched`: also where a wildcard is all that the name meets.
    #[must_use]
    pub fn leads_through(&self, path: &Path, matched: bool) -> bool {
        match self {
            Self::Tree(tree) => tree.as_os_str() != path.as_os_str() && is_below(tree, path),
            Self::Glob(glob) => is_below(&glob.prefix, path) || glob.leads_through(path, matched),
        }
    }

    /// How a denial of this shape bears on the path.
    #[must_use]
    pub fn relation(&self, path: &Path) -> Relation {
        match self {
            Self::Tree(tree) if is_below(path, tree) => Relation::Covers,
            Self::Tree(tree) if is_below(tree, path) => Relation::Below,
            Self::Tree(_) => Relation::Apart,
            Self::Glob(glob) => glob.relation(path),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(path) => write!(f, "{}", path.display()),
            Self::Glob(glob) => write!(f, "{glob}"),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = self.prefix.as_os_str().as_bytes().to_owned();
        let mut steps = self.steps.as_slice();
        // As it was written: a final `**` was made two steps.
        if let [before @ .., Step::One(tokens), Step::Any] = steps
            && tokens[..] == [Token::AnyBytes]
        {
            steps = before;
        }
        for step in steps {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            match step {
                Step::Any => path.extend(b"**"),
                Step::One(tokens) => tokens.iter().for_each(|token| token.write(&mut path)),
            }
        }
        if steps.len() < self.steps.len() {
            path.extend(b"/**");
        }
        write!(f, "{}", String::from_utf8_lossy(&path))
    }
}

/// Whether a path is a directory's or lies below it. Both are canonical, so that bytes can be compared and components need
/// not be taken apart.
#[must_use]
pub fn is_below(path: &Path, directory: &Path) -> bool {
    below(path, directory).is_some()
}

/// What a path goes on with below a directory, if it is the directory's or lies below it.
fn below<'p>(path: &'p Path, directory: &Path) -> Option<&'p [u8]> {
    let (path, directory) = (
        path.as_os_str().as_bytes(),
        directory.as_os_str().as_bytes(),
    );
    // Every decision compares a path with dozens of directories, most of which one byte tells from those that it is below.
    let last = directory.len().checked_sub(1);
    if last.is_some_and(|last| path.get(last) != directory.get(last)) {
        return None;
    }
    match path.strip_prefix(directory)? {
        b"" => Some(b""),
        [b'/', rest @ ..] => Some(rest),
        rest if directory == b"/" => Some(rest),
        _ => None,
    }
}

/// The names in what is left of a path.
fn names(rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    rest.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
}

/// Whether a path is absolute and has no empty component, no `.` and no `..`.
#[must_use]
pub fn is_canonical(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    bytes == b"/"
        || bytes
            .strip_prefix(b"/")
            .is_some_and(|rest| rest.split(|byte| *byte == b'/').all(plain))
}

/// Whether text has a character that makes it a pattern.
#[must_use]
pub fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

impl Glob {
    /// A pattern below `prefix`. `components` stand between slashes; with each byte, whether it means itself
    /// even where it looks like a wildcard.
    ///
    /// # Errors
    /// When a component cannot be read as a pattern.
    pub fn new<'a>(
        prefix: PathBuf,
        components: impl Iterator<Item = &'a [(u8, bool)]>,
    ) -> Result<Self, BadPattern> {
        let mut steps = Vec::new();
        for component in components {
            steps.push(step(component)?);
        }
        // A final `**` means what is below, not the directory itself.
        if steps.last() == Some(&Step::Any) {
            steps.insert(steps.len() - 1, Step::One(vec![Token::AnyBytes]));
        }
        if steps.len() > Live::STEPS {
            return Err(BadPattern::TooDeep);
        }
        Ok(Self { prefix, steps })
    }

    /// Whether exactly this path matches.
    fn matches(&self, path: &Path) -> bool {
        let Some(rest) = below(path, &self.prefix) else {
            return false;
        };
        let live = names(rest).fold(self.start(), |live, name| self.advance(live, name));
        self.is_matched(live)
    }

    fn relation(&self, path: &Path) -> Relation {
        if path.as_os_str() != self.prefix.as_os_str() && is_below(&self.prefix, path) {
            return Relation::Below;
        }
        let Some(live) = self.follow(path) else {
            return Relation::Covers;
        };
        let mut met = self.met(live).peekable();
        if met.peek().is_none() {
            Relation::Apart
        } else if met.any(|(_, step)| *step == Step::Any) {
            Relation::Anywhere
        } else {
            Relation::Below
        }
    }

    fn remainder(&self, path: &Path) -> Remainder<'_> {
        match self.follow(path) {
            None => Remainder::All,
            Some(Live::NONE) => Remainder::Nothing,
            Some(live) => Remainder::Below(Path::new(""), live),
        }
    }

    fn leads_through(&self, path: &Path, matched: bool) -> bool {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return false;
        };
        let Some(live) = self.follow(parent) else {
            return false;
        };
        self.met(live).any(|(_, step)| match step {
            Step::One(tokens) => {
                let is_spelled = || tokens.iter().all(|token| matches!(token, Token::Byte(_)));
                name_matches(tokens, name.as_bytes()) && (matched || is_spelled())
            }
            Step::Any => false,
        })
    }

    /// The steps that the next component after the path may meet; `None`: the path is meant, or one above it. A path that is
    /// not below the literal directory meets none.
    fn follow(&self, path: &Path) -> Option<Live> {
        let Some(rest) = below(path, &self.prefix) else {
            return Some(Live::NONE);
        };
        let mut live = self.start();
        for name in names(rest) {
            live = self.advance(live, name);
            if self.is_matched(live) {
                return None;
            }
            if live == Live::NONE {
                break;
            }
        }
        Some(live)
    }

    fn is_matched(&self, live: Live) -> bool {
        live.has(self.steps.len())
    }

    /// The steps that are live, with their numbers.
    fn met(&self, live: Live) -> impl Iterator<Item = (usize, &Step)> {
        let steps = self.steps.iter().enumerate();
        steps.filter(move |(at, _)| live.has(*at))
    }

    /// The steps that the next component may meet.
    fn start(&self) -> Live {
        let mut live = Live::NONE;
        live.add(0);
        self.skip_any(live)
    }

    fn advance(&self, live: Live, name: &[u8]) -> Live {
        let mut next = Live::NONE;
        for (at, step) in self.met(live) {
            match step {
                Step::One(tokens) if name_matches(tokens, name) => next.add(at + 1),
                Step::One(_) => {}
                Step::Any => next.add(at),
            }
        }
        self.skip_any(next)
    }

    /// `**` may stand for no component at all.
    fn skip_any(&self, mut live: Live) -> Live {
        for (at, step) in self.steps.iter().enumerate() {
            if live.has(at) && *step == Step::Any {
                live.add(at + 1);
            }
        }
        live
    }
}

fn step(component: &[(u8, bool)]) -> Result<Step, BadPattern> {
    const STAR: (u8, bool) = (b'*', false);
    if component == [STAR, STAR] {
        return Ok(Step::Any);
    }
    let mut tokens = Vec::new();
    let mut rest = component;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        tokens.push(match first {
            (b'*', false) if tail.first() == Some(&STAR) => return Err(BadPattern::Stars),
            (b'*', false) => Token::AnyBytes,
            (b'?', false) => Token::AnyByte,
            (b'[', false) => {
                let (class, tail) = class(tail)?;
                rest = tail;
                class
            }
            (byte, _) => Token::Byte(*byte),
        });
    }
    Ok(Step::One(tokens))
}

type Parsed<'t> = (Token, &'t [(u8, bool)]);

/// A class, behind its `[`.
fn class(text: &[(u8, bool)]) -> Result<Parsed<'_>, BadPattern> {
    let negated = matches!(text.first(), Some((b'!' | b'^', false)));
    let text = &text[usize::from(negated)..];
    // A `]` that comes first is a member.
    let end = text
        .iter()
        .skip(1)
        .position(|glyph| *glyph == (b']', false))
        .ok_or(BadPattern::OpenClass)?
        + 1;
    let (members, tail) = (&text[..end], &text[end + 1..]);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < members.len() {
        let low = members[at].0;
        if at + 2 < members.len() && members[at + 1] == (b'-', false) {
            ranges.push((low, members[at + 2].0));
            at += 3;
        } else {
            ranges.push((low, low));
            at += 1;
        }
    }
    Ok((Token::Class { negated, ranges }, tail))
}

/// Matches one name. Linear in pattern × name: only the last `*` is ever tried again.
fn name_matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut token, mut byte) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while byte < name.len() {
        match tokens.get(token) {
            Some(Token::AnyBytes) => {
                star = Some((token, byte));
                token += 1;
                continue;
            }
            Some(one) if one.matches(name[byte]) => {
                token += 1;
                byte += 1;
                continue;
            }
            _ => {}
        }
        let Some((at, taken)) = star else {
            return false;
        };
        star = Some((at, taken + 1));
        token = at + 1;
        byte = taken + 1;
    }
    tokens[token..].iter().all(|rest| *rest == Token::AnyBytes)
}

impl Token {
    fn write(&self, text: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => text.push(*byte),
            Self::AnyByte => text.push(b'?'),
            Self::AnyBytes => text.push(b'*'),
            Self::Class { negated, ranges } => {
                text.extend(if *negated { &b"[!"[..] } else { b"[" });
                for (low, high) in ranges {
                    if low == high {
                        text.push(*low);
                    } else {
                        text.extend([*low, b'-', *high]);
                    }
                }
                text.push(b']');
            }
        }
    }

    fn matches(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::AnyByte => true,
            Self::AnyBytes => false,
            Self::Class { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&byte))
                    != *negated
            }
        }
    }
}
