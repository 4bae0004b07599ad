//! Each call, as the C library would have done it.

use crate::harness::{feature, require};
use crate::{GIVEN, Preloaded, python};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn every_function_opens_what_is_given() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "import ctypes
c = ctypes.CDLL(None, use_errno=True)
for name in 'fopen', 'fopen64': getattr(c, name).restype = ctypes.c_void_p
path = os.fsencode(given + 'a')
O_CREAT, O_WRONLY, O_RDWR = os.O_CREAT, os.O_WRONLY, os.O_RDWR
def text(fd):
    ctypes.set_errno(77)
    return os.read(fd, 100).decode().strip() if fd >= 0 else os.strerror(ctypes.get_errno())
for name in 'open', 'open64', '__open_2', '__open64_2':
    print(name, text(getattr(c, name)(path, 0)))
for name in 'openat', 'openat64', '__openat_2', '__openat64_2':
    print(name, text(getattr(c, name)(-100, path, 0)))
for name in 'creat', 'creat64':
    fd = getattr(c, name)(os.fsencode(given + name), 0o666)
    print(name, os.write(fd, b'made'))
for name in 'fopen', 'fopen64':
    stream = getattr(c, name)(path, b're')
    print(name, text(c.fileno(ctypes.c_void_p(stream))))
    print(c.fclose(ctypes.c_void_p(stream)))",
    );
    let mut expected = Vec::new();
    for name in ["open", "open64", "__open_2", "__open64_2"] {
        expected.push(format!("{name} {GIVEN}"));
    }
    for name in ["openat", "openat64", "__openat_2", "__openat64_2"] {
        expected.push(format!("{name} {GIVEN}"));
    }
    expected.extend(["creat 4", "creat64 4"].map(str::to_owned));
    for name in ["fopen", "fopen64"] {
        expected.extend([format!("{name} {GIVEN}"), "0".to_owned()]);
    }
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(sandbox.reads("creat64"), "made");
}

#[test]
fn a_path_is_seen_from_the_directory_it_is_given_with() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    sandbox.house.workspace.write("given/directory/b", "b\n");
    sandbox
        .house
        .workspace
        .write("given/directory/é\u{1}", "odd\n");
    let said = sandbox.python(
        "directory = os.open(given + 'directory', os.O_RDONLY | os.O_DIRECTORY)
def text(*a, **k): return os.read(os.open(*a, **k), 100).decode().strip()
print(text('b', os.O_RDONLY, dir_fd=directory))
print(text('../a', os.O_RDONLY, dir_fd=directory))
print(text('é\\x01', os.O_RDONLY, dir_fd=directory))
os.chdir(given + 'directory')
print(text('../directory//./b', os.O_RDONLY))
os.chdir(directory)
print(text('b', os.O_RDONLY))",
    );
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        ["b", GIVEN, "odd", "b", "b"]
    );
}

#[test]
fn a_granted_file_is_as_it_was_asked_for() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "import ctypes, fcntl
c = ctypes.CDLL(None, use_errno=True)
path = os.fsencode(given + 'a')
ctypes.set_errno(77)
kept = c.open(path, 0)
print('errno', ctypes.get_errno())
closed = c.open(path, os.O_CLOEXEC)
print([fcntl.fcntl(fd, fcntl.F_GETFD) for fd in (kept, closed)])
os.close(kept)
print(c.open(path, 0) == kept)
os.close(0)
print(c.open(path, os.O_CLOEXEC), fcntl.fcntl(0, fcntl.F_GETFD))
os.umask(0o027)
os.close(os.open(given + 'made', os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o7666))
appending = os.open(given + 'made', os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
flags = fcntl.fcntl(appending, fcntl.F_GETFL)
print(bool(flags & os.O_APPEND), bool(flags & os.O_NONBLOCK), flags & os.O_ACCMODE)",
    );
    let expected = ["errno 77", "[0, 1]", "True", "0 1", "True True 1"];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let mode = std::fs::metadata(sandbox.given("made"))
        .expect("made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640, "{mode:o}");
}

#[test]
fn what_cannot_be_asked_for_is_refused_as_ever() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "import ctypes
c = ctypes.CDLL(None, use_errno=True)
def errno(name, *a):
    ctypes.set_errno(0)
    return os.strerror(ctypes.get_errno()) if getattr(c, name)(*a) in (-1, None) else 'opened'
path = os.fsencode(given + 'a')
print(errno('open', path, os.O_RDONLY | os.O_DIRECT))
print(errno('open', os.fsencode(given), os.O_TMPFILE | os.O_WRONLY, 0o600))
print(errno('open', path, os.O_RDONLY | os.O_TRUNC))
print(errno('open', None, 0))
print(errno('openat', 999, b'a', 0))
c.fopen.restype = ctypes.c_void_p
print(errno('fopen', path, b'q'))
print(errno('open', os.fsencode(given + 'denied'), 0))
gone = 'gone'
os.mkdir(gone)
directory = os.open(gone, os.O_RDONLY)
os.rmdir(gone)
print(errno('openat', directory, b'a', 0))",
    );
    let refused = crate::REFUSED;
    let expected = [
        refused,
        refused,
        refused,
        "Bad address",
        "Bad file descriptor",
        "Invalid argument",
        refused,
        "No such file or directory",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(sandbox.reads("a").trim_end(), GIVEN);
    assert_eq!(sandbox.questions(), 1, "only the last can be asked for");
}
