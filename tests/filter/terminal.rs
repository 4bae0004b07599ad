//! Terminals: what would act for the user, or against everybody else on it.

use crate::{let_through, raw, refused, strictest};

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
