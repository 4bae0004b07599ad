//! Names, flags and numbers of which some make sense.

use super::Chance;

/// Names that mean something inside, beside what may be used, and nowhere. `W` and `O` stand for the two directories.
const NAMES: [&str; 52] = [
    "sub",
    "sub/mine",
    "sub/deep",
    "sub/deep/mine",
    "sub/one",
    "sub/two",
    "sub/deep/three",
    "sub/.env",
    "sub/deep/.env",
    "sub/link",
    "sub/sock",
    "out",
    "out/file",
    "in",
    "in/key",
    "up",
    "up/outside/file",
    "secret",
    "secret/key",
    "secret/deep",
    "secret/deep/er",
    "secret/new",
    ".git",
    ".git/hooks",
    ".git/hooks/pre-commit",
    ".git/hooks/new",
    ".git/new",
    "sub/../secret/key",
    "sub/deep/../../.git/hooks/new",
    "W/sub/mine",
    "W/secret/key",
    "W/sub/../../outside/file",
    "O",
    "O/file",
    "O/new",
    "O/dir",
    "O/dir/file",
    "O/sock",
    "O/given",
    "O/given/file",
    "O/given/new",
    "/proc/self/root/O/file",
    "/proc/self/cwd/secret/key",
    "/proc/self/environ",
    "/proc/self/fd",
    "/proc/1/environ",
    "O/named",
    "/proc/self/comm",
    "",
    ".",
    "..",
    "/",
];

/// Names of things to be made anew from time to time: with what.
pub const MADE: [(&str, Option<&str>); 7] = [
    ("sub/mine", None),
    ("sub/one", None),
    ("sub/deep/mine", None),
    ("out", Some("O/file")),
    ("in", Some("secret")),
    ("up", Some("..")),
    ("sub/link", Some("../secret/key")),
];

/// Sets of flags that belong together, and bits that do not.
const OPEN_FLAGS: [i32; 12] = [
    libc::O_RDONLY,
    libc::O_RDONLY,
    libc::O_WRONLY,
    libc::O_RDWR,
    libc::O_RDWR | libc::O_CREAT,
    libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL,
    libc::O_RDWR | libc::O_TRUNC,
    libc::O_PATH,
    libc::O_PATH | libc::O_NOFOLLOW,
    libc::O_DIRECTORY,
    libc::O_TMPFILE | libc::O_RDWR,
    libc::O_ACCMODE,
];

const AT_FLAGS: [i32; 8] = [
    0,
    0,
    libc::AT_SYMLINK_NOFOLLOW,
    libc::AT_EMPTY_PATH,
    libc::AT_SYMLINK_FOLLOW,
    libc::AT_REMOVEDIR,
    libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW,
    -1,
];

const ATTRIBUTES: [&str; 6] = [
    "user.a",
    "user.b",
    "trusted.a",
    "security.capability",
    "system.posix_acl_access",
    "tmpfs",
];

/// Of files, of terminals, of descriptors, of notifications.
const REQUESTS: [u64; 16] = [
    0x4008_6602,
    0x8008_6601,
    0x401c_5820,
    0x801c_581f,
    0x4080_6685,
    0x4030_5839,
    0x4004_9409,
    0x4020_940d,
    0xc018_9436,
    0x5401,
    0x5412,
    0x541c,
    0x5421,
    0x5452,
    0xc050_2100,
    0xc018_2101,
];

const MODES: [u32; 9] = [
    0o000,
    0o644,
    0o777,
    0o4755,
    0o2777,
    libc::S_IFREG | 0o600,
    libc::S_IFIFO | 0o600,
    libc::S_IFSOCK | 0o600,
    libc::S_IFCHR | 0o666,
];

/// Nothing between what a test may use up and what nobody has.
const SIZES: [u64; 12] = [0, 1, 2, 7, 24, 64, 255, 4095, 4096, 8192, 1 << 47, u64::MAX];

pub fn in_place(name: &str, [work, outside]: [&str; 2]) -> String {
    let put = |name: &str, sign: &str, path: &str| match name.split_once(sign) {
        // Of a word that is longer it is only a letter.
        Some((before, after)) if after.is_empty() || after.starts_with('/') => {
            let before = before.strip_suffix('/').filter(|_| path.starts_with('/'));
            format!("{}{path}{after}", before.unwrap_or_default())
        }
        _ => name.to_owned(),
    };
    put(&put(name, "W", work), "O", outside)
}

impl Chance {
    pub fn name(&mut self, directories: [&str; 2]) -> String {
        // Often one of what may be used.
        let name = match self.one_in(3) {
            true => self.pick(&NAMES[..10]),
            false => self.pick(&NAMES),
        };
        let mut name = in_place(name, directories);
        match self.below(40) {
            0 => name += "/",
            1 => name += "/.",
            2 => name += "/..",
            3 => name.insert_str(0, "./"),
            4 => name = "a/".repeat(2100),
            5 => name = "a".repeat(300),
            _ => {}
        }
        name
    }

    pub fn attribute(&mut self) -> &'static str {
        self.pick(&ATTRIBUTES)
    }

    pub fn open_flags(&mut self) -> u64 {
        let mut flags = self.pick(&OPEN_FLAGS);
        if self.one_in(3) {
            flags |= 1 << self.below(24);
        }
        // An open that waits for the other end of a FIFO waits for its alarm.
        if self.one_in(2) {
            flags |= libc::O_NONBLOCK;
        }
        flags as u64
    }

    pub fn at_flags(&mut self) -> u64 {
        self.pick(&AT_FLAGS) as u64
    }

    pub fn mode(&mut self) -> u64 {
        u64::from(self.pick(&MODES))
    }

    pub fn size(&mut self) -> u64 {
        self.pick(&SIZES)
    }

    pub fn request(&mut self) -> u64 {
        match self.one_in(4) {
            true => self.next() & 0xffff_ffff,
            false => self.pick(&REQUESTS),
        }
    }

    pub fn small(&mut self) -> u64 {
        match self.below(8) {
            0 => u64::MAX,
            1 => 1 << self.below(13),
            _ => self.below(12) as u64,
        }
    }

    pub fn length(&mut self) -> u64 {
        self.pick(&[24, 24, 110, 110, 16, 3, 0, 4096])
    }

    pub fn owner(&mut self) -> u64 {
        self.pick(&[0, 1, 65534, u64::from(u32::MAX), 1000])
    }
}
