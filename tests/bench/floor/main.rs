//! The floors: the smallest programs that make the system calls which must be made. What the real ones take on top of these is ours
//! to explain.
//!
//! `floor launch PLAN COMMAND…` confines and runs a command as the plan says. `floor grants FILE` hands out a file over a socket, as
//! often as it is told to on its standard input. `floor HOW FILE PROCESSES` answers trapped opens of that file
//! by so many processes (`continued`, `looked`, `injected`, `located`), `floor opens FILE PROCESSES` makes such opens, trapped by whom they may be.
//!
//! `floor echo THERE BACK` has so many bytes answered by so many, as often as it is told to. `floor job TEXT` says it. `floor idle` waits,
//! and `floor gaps FILE NOTES` opens the file without end and notes when it had to wait.

mod calls;
mod echo;
mod grants;
mod kept;
mod launch;
mod opens;
mod plan;

use std::ffi::OsString;
use std::process::ExitCode;

/// A system call that must succeed for the floor to mean anything.
macro_rules! must {
    ($number:expr $(, $argument:expr)* $(,)?) => {{
        // SAFETY: the pointers given are to memory of the size that the call wants, which outlives it; what the call changes is this
        // process, which has no other purpose.
        let result = unsafe { libc::syscall($number as libc::c_long $(, $argument as usize)*) };
        if result < 0 {
            let error = std::io::Error::last_os_error();
            panic!("{}: {error}", stringify!($number));
        }
        result
    }};
}
pub(crate) use must;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.first().and_then(|word| word.to_str()) {
        Some("launch") => launch::launch(&words[1], &words[2..]),
        Some("grants") => grants::serve_and_ask(&words[1]),
        Some("continued") => calls::serve(calls::Answer::Continued, &words[1], &words[2]),
        Some("looked") => calls::serve(calls::Answer::Looked, &words[1], &words[2]),
        Some("injected") => calls::serve(calls::Answer::Injected, &words[1], &words[2]),
        Some("located") => calls::serve(calls::Answer::Located, &words[1], &words[2]),
        Some("opens") => opens::open_as_told(&words[1], &words[2]),
        Some("refused") => opens::be_refused_as_told(&words[1], &words[2]),
        Some("echo") => echo::serve_and_ask(&words[1], &words[2]),
        Some("job") => {
            println!("{}", words[1].display());
            ExitCode::SUCCESS
        }
        Some("idle") => kept::idle(),
        Some("gaps") => kept::open_and_note(&words[1], &words[2], &words[3]),
        _ => ExitCode::from(64),
    }
}
