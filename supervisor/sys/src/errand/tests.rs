//! Errands, from outside.

use super::*;
use std::os::unix::net::{UnixListener, UnixStream};

fn located(path: &std::path::Path) -> OwnedFd {
    use nix::fcntl::{OFlag, open};
    open(
        path,
        OFlag::O_PATH | OFlag::O_NOFOLLOW,
        nix::sys::stat::Mode::empty(),
    )
    .unwrap()
}

fn stream() -> OwnedFd {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap()
}

fn wait(errand: &Errand) -> Result<(), Errno> {
    let mut fds = [PollFd::new(errand.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).unwrap();
    errand.answer().expect("it has ended")
}

fn place(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("sys-errand-{}-{name}", std::process::id()))
}

#[test]
fn the_peer_sees_a_process_that_is_not_the_supervisor() {
    let path = place("peer");
    let listener = UnixListener::bind(&path).unwrap();
    let socket = stream();
    let errand = Errand::start(
        socket.try_clone().unwrap(),
        Act::ConnectTo(located(&path)),
        &[],
    )
    .unwrap();
    assert_eq!(wait(&errand), Ok(()));
    drop(errand);
    let (accepted, _) = listener.accept().unwrap();
    let peer = nix::sys::socket::getsockopt(&accepted, nix::sys::socket::sockopt::PeerCredentials)
        .unwrap();
    assert_ne!(peer.pid(), std::process::id() as i32);
    use std::io::{Read, Write};
    UnixStream::from(socket).write_all(b"hello").unwrap();
    let mut text = String::new();
    (&accepted).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn nobody_listening_is_said() {
    let path = place("nobody");
    drop(UnixListener::bind(&path).unwrap());
    let errand = Errand::start(stream(), Act::ConnectTo(located(&path)), &[]).unwrap();
    assert_eq!(wait(&errand), Err(Errno::ECONNREFUSED));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_connect_that_waits_can_be_ended() {
    let path = place("full");
    let listener = UnixListener::bind(&path).unwrap();
    // One place in the backlog, and it is taken.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let first = Errand::start(stream(), Act::ConnectTo(located(&path)), &[]).unwrap();
    assert_eq!(wait(&first), Ok(()));
    let second = Errand::start(stream(), Act::ConnectTo(located(&path)), &[]).unwrap();
    let pid = pid_of(&second);
    // Until it sleeps in connect(2), it has not come to where it would wait.
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .contains(") S ")
    {
        std::thread::yield_now();
    }
    assert_eq!(second.answer(), None);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    drop(second);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    std::fs::remove_file(path).unwrap();
}

/// A ruleset that lets nothing be executed.
fn ruleset() -> Option<OwnedFd> {
    const EXECUTE: u64 = 1;
    // SAFETY: the kernel reads 8 bytes, the first field of its attribute, from a live word; a success is a new descriptor.
    unsafe {
        let result = libc::syscall(libc::SYS_landlock_create_ruleset, &EXECUTE, 8, 0);
        Errno::result(result)
            .ok()
            .map(|fd| OwnedFd::from_raw_fd(fd as c_int))
    }
}

#[test]
fn it_connects_from_within_the_rulesets_it_is_given() {
    let path = place("ruleset");
    let _listener = UnixListener::bind(&path).unwrap();
    let Some(ruleset) = ruleset() else {
        assert_eq!(
            crate::landlock::abi(),
            0,
            "there is Landlock, but no ruleset"
        );
        return;
    };
    let inside = Errand::start(
        stream(),
        Act::ConnectTo(located(&path)),
        &[ruleset.as_fd(), ruleset.as_fd()],
    );
    assert_eq!(wait(&inside.unwrap()), Ok(()));
    // What is no ruleset stops it: it never connects from without.
    let none = located(&path);
    let outside = Errand::start(stream(), Act::ConnectTo(located(&path)), &[none.as_fd()]).unwrap();
    assert_eq!(wait(&outside), Err(Errno::EBADF));
    std::fs::remove_file(path).unwrap();
}

fn maker() -> Maker {
    Maker {
        umask: 0o077,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    }
}

fn bind(name: &str, directory: &std::path::Path, maker: Maker) -> (OwnedFd, Result<(), Errno>) {
    let socket = stream();
    let name = std::ffi::CString::new(name).unwrap();
    let act = Act::Bind {
        name: &name,
        directory: located(directory),
        maker,
    };
    let errand = Errand::start(socket.try_clone().unwrap(), act, &[]).unwrap();
    let answer = wait(&errand);
    (socket, answer)
}

#[test]
fn a_name_is_bound_as_it_is_spelled_where_it_begins_and_under_the_makers_umask() {
    use std::os::unix::fs::PermissionsExt;
    let directory = place("bind");
    std::fs::create_dir(&directory).unwrap();
    let absolute = directory.join("absolute");
    for name in ["relative", "./dotted", absolute.to_str().unwrap()] {
        let (socket, answer) = bind(name, &directory, maker());
        assert_eq!(answer, Ok(()), "{name}");
        let listener = UnixListener::from(socket);
        let address = listener.local_addr().unwrap();
        assert_eq!(address.as_pathname(), Some(std::path::Path::new(name)));
        let mode = directory.join(name).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
    }
    assert_eq!(
        bind("relative", &directory, maker()).1,
        Err(Errno::EADDRINUSE)
    );
    let long = "x".repeat(109);
    assert_eq!(bind(&long, &directory, maker()).1, Err(Errno::EINVAL));
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn nobody_makes_files_as_somebody_that_it_cannot_be() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = place("maker");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    let uid = maker().uid + 1;
    let (_, answer) = bind("socket", &directory, Maker { uid, ..maker() });
    let owner = directory.join("socket").metadata().map(|it| it.uid()).ok();
    match nix::unistd::geteuid().is_root() {
        true => assert_eq!((answer, owner), (Ok(()), Some(uid))),
        false => assert_eq!((answer, owner), (Err(Errno::EPERM), None)),
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn who_listens_is_not_the_supervisor() {
    let path = place("listen");
    let (socket, bound) = bind(path.to_str().unwrap(), &std::env::temp_dir(), maker());
    bound.unwrap();
    let errand = Errand::start(socket.try_clone().unwrap(), Act::Listen(3), &[]).unwrap();
    assert_eq!(wait(&errand), Ok(()));
    let stream = UnixStream::connect(&path).unwrap();
    let peer = nix::sys::socket::sockopt::PeerCredentials;
    let peer = nix::sys::socket::getsockopt(&stream, peer).unwrap();
    assert_ne!(peer.pid(), std::process::id() as i32);
    assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_handshake_that_is_given_up_goes_on_without_anybody() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = || {
        let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
        let family = nix::sys::socket::AddressFamily::Inet;
        let kind = nix::sys::socket::SockType::Stream;
        nix::sys::socket::socket(family, kind, flags, None).unwrap()
    };
    let first = Errand::start(tcp(), Act::Connect(address), &[]).unwrap();
    assert_eq!(wait(&first), Ok(()));
    // The queue is full now: what is sent is not answered.
    let second = Errand::start(tcp(), Act::Connect(address), &[]).unwrap();
    let pid = pid_of(&second);
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .contains(") S ")
    {
        std::thread::yield_now();
    }
    let (socket, answer) = second.give_up();
    assert_eq!(answer, None);
    let socket = socket.expect("it went at once");
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&socket, flags).unwrap();
    assert_eq!(inet::connect(socket.as_fd(), address), Err(Errno::EALREADY));
}

/// A FIFO of that name, held but not opened.
fn fifo(name: &str) -> (std::path::PathBuf, OwnedFd) {
    let path = place(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fd = located(&path);
    (path, fd)
}

/// How many descriptors of this process lead to that file.
fn descriptors_of(path: &std::path::Path) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = entries.map(|entry| std::fs::read_link(entry.unwrap().path()));
    links
        .filter(|link| link.as_deref().is_ok_and(|link| link == path))
        .count()
}

fn until_it_sleeps(errand: &Errand) {
    let stat = format!("/proc/{}/stat", pid_of(errand));
    while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
        std::thread::yield_now();
    }
}

#[test]
fn an_open_waits_for_the_other_end_and_gives_what_it_opened() {
    use std::io::{Read, Write};
    let (path, fd) = fifo("both");
    let reading = Errand::start(fd, Act::Open(OFlag::O_RDONLY), &[]).unwrap();
    until_it_sleeps(&reading);
    let mut writer = std::fs::File::options().write(true).open(&path).unwrap();
    assert_eq!(wait(&reading), Ok(()));
    let mut reader = std::fs::File::from(reading.give_up_open().unwrap());
    writer.write_all(b"hello").unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn an_open_that_is_given_up_leaves_no_end_behind() {
    let (path, fd) = fifo("given-up");
    let writing = || {
        std::fs::File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
    };
    use std::os::unix::fs::OpenOptionsExt;
    let reading = Errand::start(fd, Act::Open(OFlag::O_RDONLY), &[]).unwrap();
    until_it_sleeps(&reading);
    assert_eq!(reading.answer(), None);
    assert_eq!(reading.give_up_open().err(), Some(Errno::EINTR));
    // Nobody reads.
    let error = writing().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
    assert_eq!(descriptors_of(&path), 0);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn an_open_that_is_given_up_at_any_moment_has_met_who_met_it() {
    use std::os::unix::fs::OpenOptionsExt;
    let (path, fd) = fifo("moments");
    let (mut met, mut given_up) = (0, 0);
    for round in 0..2000u32 {
        let writing = Errand::start(fd.try_clone().unwrap(), Act::Open(OFlag::O_WRONLY), &[]);
        let writing = writing.unwrap();
        for _ in 0..round % 50 * 20 {
            std::hint::spin_loop();
        }
        let options = || {
            let mut options = std::fs::File::options();
            options.custom_flags(libc::O_NONBLOCK);
            options
        };
        let reader = (round % 2 == 0).then(|| options().read(true).open(&path).unwrap());
        match writing.give_up_open() {
            Ok(end) => {
                assert!(reader.is_some(), "it met nobody");
                met += 1;
                drop(end);
            }
            Err(errno) => {
                assert_eq!(errno, Errno::EINTR);
                given_up += 1;
            }
        }
        drop(reader);
        // Neither end is left, in this process or in another. (What other tests fork has copies until it executes.)
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let error = loop {
            match options().write(true).open(&path) {
                Err(error) => break error,
                Ok(_) => assert!(std::time::Instant::now() < end, "an end is left"),
            }
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO));
        assert_eq!(descriptors_of(&path), 1, "the one that names it");
    }
    assert!(met > 0 && given_up > 0, "{met} met, {given_up} given up");
    std::fs::remove_file(path).unwrap();
}

fn pid_of(errand: &Errand) -> i32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", errand.as_fd().as_raw_fd()))
        .unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.unwrap().trim().parse().unwrap()
}
