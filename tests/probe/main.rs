//! The hostile child of every test: each act is one thing a program may try, and is answered by one line.
//!
//! `probe ACT ARGUMENTS… [-- ACT ARGUMENTS…]…` performs the acts in order and prints for each `ok`, `ok VALUE` or
//! `errno NAME`. It goes on after a failure and exits with 0, unless it was used wrongly (64) or an act says otherwise. Paths
//! are bytes, numbers decimal or `0x…`, flags words with commas between them.

mod alarms;
mod arguments;
mod asking;
mod doomed;
mod entries;
mod files;
#[cfg(target_arch = "x86_64")]
mod legacy;
mod links;
mod metadata;
mod names;
mod passing;
mod processes;
mod races;
mod random;
mod sharing;
mod sockets;
mod steady;
mod system;
mod trapped;

use arguments::Arguments;
use nix::errno::Errno;
use std::ffi::OsString;
use std::io::Write;

/// What the kernel said to an act.
type Answer = Result<String, Errno>;

/// A system call by its number, without the C library's opinion.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {{
        // SAFETY: every pointer given to an act is to memory that outlives the call and is as large as the call wants; what the
        // call changes belongs to this process, which exists to be changed.
        nix::errno::Errno::result(unsafe {
            libc::syscall($number as libc::c_long $(, $argument as usize)*)
        })
    }};
}
pub(crate) use call;

/// A room of acts: `None` when it does not know the name.
type Room = fn(&str, &mut Arguments) -> Option<Answer>;

const ROOMS: &[Room] = &[
    #[cfg(target_arch = "x86_64")]
    legacy::act,
    files::act,
    links::act,
    metadata::act,
    sockets::act,
    processes::act,
    system::act,
    races::act,
    random::act,
    trapped::act,
    names::act,
    alarms::act,
    entries::act,
    asking::act,
    doomed::act,
    passing::act,
    sharing::act,
    steady::act,
];

fn main() {
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    for words in given.split(|word| word == "--") {
        let mut arguments = Arguments::new(words);
        let name = arguments.text();
        let answer = ROOMS.iter().find_map(|room| room(&name, &mut arguments));
        let Some(answer) = answer else {
            arguments::misused(&format!("there is no act `{name}`"));
        };
        arguments.end();
        say(&answer);
    }
}

fn say(answer: &Answer) {
    let line = match answer {
        Ok(value) if value.is_empty() => "ok\n".to_owned(),
        Ok(value) => format!("ok {value}\n"),
        Err(errno) => format!("errno {errno:?}\n"),
    };
    let mut out = std::io::stdout().lock();
    // A test that closed our standard output wants no answer.
    let _unheard = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// The answer of an act that yields nothing but success.
fn done<T>(result: Result<T, Errno>) -> Answer {
    result.map(|_| String::new())
}
