//! A file server that never answers: only who asked for its files waits.

use crate::harness::process::until_it_waits_in;
use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, probe};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system whose server is this test, which never reads a request.
struct Hung {
    server: Option<File>,
    at: PathBuf,
}

impl Hung {
    fn mount(at: &Path) -> Result<Self, String> {
        let server = File::options().read(true).write(true).open("/dev/fuse");
        let server = server.map_err(|error| format!("/dev/fuse: {error}"))?;
        // mount(8) finds it by its number.
        fcntl(&server, FcntlArg::F_SETFD(FdFlag::empty())).expect("it is open");
        let options = format!(
            "fd={},rootmode=40000,user_id={},group_id={}",
            server.as_raw_fd(),
            nix::unistd::geteuid(),
            nix::unistd::getegid()
        );
        let mut command = Command::new("mount");
        command
            .args(["-i", "-t", "fuse", "-o", &options, "hung"])
            .arg(at);
        let ran = run::run(&mut command);
        fcntl(&server, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
        match ran.code() {
            0 => Ok(Self {
                server: Some(server),
                at: at.to_owned(),
            }),
            _ => Err(format!("no FUSE here: {}", ran.stderr.trim())),
        }
    }

    /// Everything that waits fails from now on.
    fn give_up(&mut self) {
        self.server = None;
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.give_up();
        let ran = run::run(Command::new("umount").arg("-l").arg(&self.at));
        assert!(std::thread::panicking() || ran.code() == 0, "{ran}");
    }
}

#[test]
fn a_hanging_file_server_delays_only_who_uses_it() {
    require!(feature::listener());
    require!(feature::root());
    require!(feature::program("mount"));
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("inside/file", "x");
    let at = workspace.make_dir("inside/hung");
    let mounted = Hung::mount(&at);
    if let Err(reason) = &mounted {
        require!(Err::<(), _>(reason.clone()));
    }
    let mut hung = mounted.expect("it was mounted");
    let supervised = Supervised::new(Lists::writing(&inside));
    // One waits for the path, one for the change itself, one for a socket.
    let acts: [&[&str]; 3] = [
        &["fchmodat", "hung/below/file", "640"],
        &["fchmodat", "hung", "755"],
        &["connect-unix", "hung/socket"],
    ];
    let mut waiting: Vec<_> = acts
        .into_iter()
        .map(|act| {
            let mut command = probe(&inside, act);
            let waiting = supervised.inside(move || run::start(&mut command));
            let number = match act[0] {
                "connect-unix" => libc::SYS_connect,
                _ => libc::SYS_fchmodat,
            };
            until_it_waits_in(waiting.pid(), &[number]);
            waiting
        })
        .collect();
    for _ in 0..100 {
        let said = supervised.probe(
            &inside,
            &[
                "fchmodat",
                "file",
                "640",
                "--",
                "chmod-magic",
                "file",
                "600",
            ],
        );
        assert_eq!(said, ["ok", "ok"]);
    }
    for waiting in &mut waiting {
        let ended = waiting.child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "it did not wait: this proves nothing");
    }
    hung.give_up();
    for waiting in waiting {
        let said = waiting.wait();
        assert!(said.stdout.starts_with("errno E"), "{said}");
    }
}
