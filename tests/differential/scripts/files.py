"""What the standard library does with files: os, pathlib, shutil, tarfile, sqlite3, tempfile and others."""

import errno, filecmp, glob, json, mmap, os, pathlib, shutil, sqlite3, stat, subprocess, tarfile, tempfile, threading, zipfile
from pathlib import Path


def attempt(name, act):
    """Prints what something yields, or how it fails."""
    try:
        print(name, act())
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno), error.filename, error.filename2)
    except (shutil.Error, tarfile.TarError, sqlite3.Error) as error:
        print(name, type(error).__name__)


def flags(fd):
    return oct(os.get_inheritable(fd) << 1 | os.get_blocking(fd))


def opens():
    Path("file").write_text("text")
    for name in ("file", "absent", ".", "file/x", "", "link", "loop", "dangling", "to-dir", "to-dir/inside"):
        for mode in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_DIRECTORY", "O_NOFOLLOW", "O_TRUNC", "O_PATH", "O_APPEND"):
            value = {"O_CREAT": os.O_CREAT | os.O_WRONLY, "O_EXCL": os.O_CREAT | os.O_EXCL | os.O_RDWR}.get(mode, getattr(os, mode))
            def act():
                fd = os.open(name, value, 0o666)
                try:
                    return oct(stat.S_IFMT(os.fstat(fd).st_mode)), flags(fd), os.fstat(fd).st_size
                finally:
                    os.close(fd)
            attempt(f"open {name!r} {mode}", act)
            Path("file").write_text("text")
            for made in ("absent", "nothing"):
                Path(made).unlink(missing_ok=True)


def entries():
    for name, act in {
        "mkdir": lambda: os.mkdir("dir"),
        "mkdir twice": lambda: os.mkdir("dir"),
        "makedirs": lambda: os.makedirs("dir/a/b/c", exist_ok=True),
        "rename": lambda: os.rename("dir/a", "dir/z"),
        "rename into itself": lambda: os.rename("dir", "dir/z/dir"),
        "rename over a full directory": lambda: os.rename("dir/z/b", "dir"),
        "rename absent": lambda: os.rename("absent", "x"),
        "replace": lambda: os.replace("file", "moved"),
        "link": lambda: os.link("moved", "dir/hard"),
        "link a directory": lambda: os.link("dir", "hard"),
        "symlink": lambda: os.symlink("../moved", "dir/soft"),
        "symlink twice": lambda: os.symlink("../moved", "dir/soft"),
        "link a link": lambda: os.link("dir/soft", "dir/soft-too", follow_symlinks=False),
        "readlink": lambda: os.readlink("dir/soft"),
        "chmod": lambda: os.chmod("moved", 0o604),
        "chmod a link": lambda: os.chmod("dir/soft", 0o606),
        "utime": lambda: os.utime("moved", ns=(10**18, 10**18 + 7)),
        "utime of a link": lambda: os.utime("dir/soft", (1, 2), follow_symlinks=False),
        "truncate": lambda: os.truncate("moved", 2),
        "truncate a directory": lambda: os.truncate("dir", 2),
        "mkfifo": lambda: os.mkfifo("fifo", 0o600),
        "mknod": lambda: os.mknod("regular", 0o640 | stat.S_IFREG),
        "setxattr": lambda: os.setxattr("moved", "user.a", b"b"),
        "listxattr": lambda: os.listxattr("moved"),
        "removexattr": lambda: os.removexattr("moved", "user.a"),
        "access": lambda: [os.access("moved", mode) for mode in (os.R_OK, os.W_OK, os.X_OK)],
        "rmdir full": lambda: os.rmdir("dir"),
        "rmdir file": lambda: os.rmdir("moved"),
        "unlink dir": lambda: os.unlink("dir"),
        "removedirs": lambda: os.removedirs("dir/z/b/c"),
        "unlink": lambda: os.unlink("regular"),
        "long": lambda: os.mkdir("x" * 256),
        "longer": lambda: os.stat("x/" * 2100),
        "chdir": lambda: os.chdir("dir"),
        "relative": lambda: sorted(os.listdir(".")),
        "chdir back": lambda: os.chdir(".."),
        "chown": lambda: os.chown("moved", os.getuid(), -1),
        "sendfile": lambda: send("moved", "sent"),
    }.items():
        attempt(name, act)
    print(sorted((entry.name, entry.is_dir(), entry.is_symlink()) for entry in os.scandir("dir")))
    print([(where, sorted(below), sorted(names)) for where, below, names in os.walk("dir")])
    at = os.open("dir", os.O_RDONLY)
    attempt("mkdir at", lambda: os.mkdir("at", dir_fd=at))
    attempt("rename at", lambda: os.rename("at", "at-too", src_dir_fd=at, dst_dir_fd=at))
    attempt("symlink at", lambda: os.symlink("at-too", "to", dir_fd=at))
    attempt("open at", lambda: os.close(os.open("../moved", os.O_RDONLY, dir_fd=at)))
    attempt("unlink at", lambda: os.unlink("to", dir_fd=at))
    attempt("chmod at", lambda: os.chmod("at-too", 0o711, dir_fd=at))
    attempt("fchdir", lambda: os.fchdir(at))
    attempt("rmdir at", lambda: os.rmdir("at-too"))
    os.chdir("..")
    os.close(at)


def send(one, other):
    with open(one, "rb") as source, open(other, "wb") as target:
        return os.sendfile(target.fileno(), source.fileno(), 0, 100)


def paths():
    place = Path("paths")
    (place / "one/two").mkdir(parents=True)
    (place / "one/file.txt").write_bytes(b"\x00\xff")
    (place / "one/two/\udcff odd").touch(mode=0o600)
    (place / "to").symlink_to("one", target_is_directory=True)
    print(sorted(str(path).encode("utf-8", "surrogateescape") for path in place.rglob("*")))
    print(sorted(glob.glob("paths/**/*.txt", recursive=True)), (place / "to/two/../file.txt").resolve().relative_to(Path.cwd()))
    attempt("samefile", lambda: (place / "to/file.txt").samefile(place / "one/file.txt"))
    attempt("expanduser", lambda: (place / "one").rename(place / "three"))
    attempt("broken", lambda: (place / "to/file.txt").read_bytes())
    attempt("touch", lambda: (place / "three/file.txt").touch(exist_ok=False))
    attempt("hardlink", lambda: (place / "hard").hardlink_to(place / "three/file.txt"))


def trees():
    attempt("copytree", lambda: shutil.copytree("paths", "copied", symlinks=True))
    attempt("copytree again", lambda: shutil.copytree("paths", "copied", symlinks=True))
    attempt("move", lambda: shutil.move("copied/three", "copied/four"))
    attempt("copy2", lambda: shutil.copy2("moved", "copied/kept"))
    attempt("copyfile", lambda: shutil.copyfile("fifo", "x"))
    attempt("archive", lambda: os.path.basename(shutil.make_archive("packed", "gztar", "copied")))
    attempt("unpack", lambda: shutil.unpack_archive("packed.tar.gz", "unpacked"))
    print(filecmp.dircmp("copied", "unpacked").diff_files, sorted(os.listdir("unpacked")))
    with tarfile.open("own.tar", "w") as tar:
        tar.add("paths")
    with tarfile.open("own.tar") as tar:
        print(sorted((member.type, oct(member.mode)) for member in tar))
        tar.extractall("extracted")
    with zipfile.ZipFile("own.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", "c" * 1000)
    zipfile.ZipFile("own.zip").extractall("unzipped")
    attempt("rmtree", lambda: shutil.rmtree("unpacked"))
    attempt("rmtree of a link", lambda: shutil.rmtree("paths/to"))
    for name in ("packed.tar.gz", "own.tar", "own.zip"):
        os.unlink(name)
    shutil.rmtree("extracted")


def database():
    for mode in ("delete", "wal", "truncate", "persist"):
        with sqlite3.connect("data.db", timeout=5) as base:
            print(base.execute(f"pragma journal_mode={mode}").fetchone())
            base.execute("create table if not exists t (n integer primary key, v text)")
            base.executemany("insert into t (v) values (?)", [(mode * 50,)] * 300)
            print(base.execute("select count(*), max(n) from t").fetchone())
            other = sqlite3.connect("data.db", timeout=0)
            attempt("locked", lambda: other.execute("insert into t (v) values ('x')"))
            other.close()
        base.execute("vacuum")
        print(base.execute("pragma integrity_check").fetchone())
        base.close()
    attempt("nowhere", lambda: sqlite3.connect("absent/data.db"))
    attempt("read only", lambda: sqlite3.connect("file:data.db?mode=ro", uri=True).execute("delete from t"))
    os.unlink("data.db")
    for name in glob.glob("data.db-*"):
        os.unlink(name)


def others():
    with tempfile.TemporaryDirectory(dir=".") as name, tempfile.TemporaryFile(dir=name) as unnamed:
        unnamed.write(b"x" * 100)
        print(os.fstat(unnamed.fileno()).st_nlink, Path(f"/proc/self/fd/{unnamed.fileno()}").exists())
        named = tempfile.NamedTemporaryFile(dir=name, delete=False)
        with open(f"/proc/self/fd/{named.fileno()}", "wb") as again:
            again.write(b"again")
        print(named.read(), Path(named.name).stat().st_size)
    with open("mapped", "w+b") as file:
        file.truncate(8192)
        with mmap.mmap(file.fileno(), 8192) as memory:
            memory[4096:4100] = b"text"
    print(Path("mapped").read_bytes()[4096:4100])
    counts = []
    def work(number):
        for step in range(40):
            path = Path(f"thread-{number}")
            path.write_text(str(step))
            path.rename(f"thread-{number}-{step % 2}")
        counts.append(number)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    print(sorted(counts), sorted(glob.glob("thread-*")))
    reader = threading.Thread(target=lambda: print("through", Path("fifo").read_text()))
    reader.start()
    Path("fifo").write_text("text")
    reader.join()
    print(json.loads(subprocess.check_output(["/usr/bin/python3", "-c", "import json, os; print(json.dumps(sorted(os.listdir('copied'))))"])))
    with open("/proc/self/status") as status:
        print(status.readline().split()[0])
    print(os.path.realpath("/proc/self") == f"/proc/{os.getpid()}", os.readlink("/proc/self/cwd") == os.getcwd(), len(os.listdir("/proc/self/fd")) > 2)
    attempt("shadow", lambda: open("/etc/shadow-absent"))
    os.umask(0o077)
    Path("private").touch()
    os.umask(0)
    os.mkdir("public")
    print(oct(Path("private").stat().st_mode), oct(Path("public").stat().st_mode))


os.umask(0o022)
os.mkdir("dir-there")
Path("dir-there/inside").write_text("inside")
for target, link in (("file", "link"), ("loop", "loop"), ("nothing", "dangling"), ("dir-there", "to-dir")):
    os.symlink(target, link)
for part in (opens, entries, paths, trees, database, others):
    print("#", part.__name__)
    part()
