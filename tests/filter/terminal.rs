//! Terminals: what would act for the user, or against everybody else on it.

use crate::filtered::filtered;
use crate::harness::built::probe;
use crate::harness::require;
use crate::harness::run::start;
use crate::{let_through, raw, refused, strictest};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::os::fd::AsFd;
use std::process::Command;
use supervisor::sandbox::filter::{FilterSpec, program};

fn request(number: u64) -> String {
    raw(libc::SYS_ioctl, &format!("-1 {number:#x} 0"))
}

const REFUSED: [(&str, u64); 14] = [
    ("TIOCSTI", 0x5412),
    ("TIOCLINUX", 0x541c),
    ("TIOCSETD", 0x5423),
    ("TIOCCONS", 0x541d),
    ("TIOCSSERIAL", 0x541f),
    ("TIOCVHANGUP", 0x5437),
    ("TIOCEXCL", 0x540c),
    ("KDSETMODE", 0x4b3a),
    ("KDSKBENT", 0x4b47),
    ("KDSKBSENT", 0x4b49),
    ("PIO_FONT", 0x4b61),
    ("VT_SETMODE", 0x5602),
    ("VT_ACTIVATE", 0x5606),
    ("VT_LOCKSWITCH", 0x560b),
];

/// What the probe says when it types into a terminal that is its standard input, and whether somebody outside can read it there.
fn typing(spec: Option<&FilterSpec>) -> (String, bool) {
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut modes = tcgetattr(&terminal.slave).expect("a terminal has modes");
    // Each character can be read as it comes.
    cfmakeraw(&mut modes);
    tcsetattr(&terminal.slave, SetArg::TCSANOW, &modes).expect("modes can be set");
    let mut command = Command::new(probe());
    let stdin = terminal.slave.try_clone().expect("a descriptor");
    command.args(["ioctl", "0", "TIOCSTI"]).stdin(stdin);
    if let Some(spec) = spec {
        filtered(&mut command, &program(spec));
    }
    let ran = start(&mut command).wait();
    let mut ends = [PollFd::new(terminal.slave.as_fd(), PollFlags::POLLIN)];
    let readable = poll(&mut ends, PollTimeout::ZERO).expect("a terminal can be polled");
    (ran.stdout.trim_end().to_owned(), readable > 0)
}

#[test]
fn nothing_is_typed_into_the_terminal_that_is_shared() {
    assert_eq!(
        typing(Some(&strictest())),
        ("errno EPERM".to_owned(), false)
    );
    require!(match typing(None) {
        (_, true) => Ok(()),
        (said, false) => Err(format!(
            "nothing can be typed here without the filter either: {said}"
        )),
    });
}

#[test]
fn nothing_types_for_the_user() {
    let acts: Vec<String> = REFUSED.iter().map(|(_, number)| request(*number)).collect();
    refused(&strictest(), "EPERM", &acts);
}

#[test]
fn the_upper_half_of_a_request_hides_nothing() {
    for garbage in [1u64 << 32, 1 << 63, 0xdead_beef << 32, 0xffff_ffff << 32] {
        let acts: Vec<String> = REFUSED
            .iter()
            .map(|(_, number)| request(number | garbage))
            .collect();
        refused(&strictest(), "EPERM", &acts);
    }
}

#[test]
fn job_control_and_terminals_of_ones_own_work() {
    let numbers = [
        0x5401,      // TCGETS
        0x5402,      // TCSETS
        0x5404,      // TCSETSF
        0x540e,      // TIOCSCTTY
        0x540f,      // TIOCGPGRP
        0x5410,      // TIOCSPGRP
        0x5413,      // TIOCGWINSZ
        0x5414,      // TIOCSWINSZ
        0x5422,      // TIOCNOTTY
        0x4004_5431, // TIOCSPTLCK
        0x8004_5430, // TIOCGPTN
        0x5441,      // TIOCGPTPEER
    ];
    let_through(&strictest(), &numbers.map(request));
}
