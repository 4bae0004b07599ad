//! The system call filter: from values to a BPF program.
//!
//! In goes a [`FilterSpec`]; out comes the program that `seccomp(2)` installs, and the same as text. Nothing here touches the kernel.
//!
//! `table` says what is refused, in the words of `rule`, of the calls of `calls`; `compile` lays that out as a binary search.
//! A program ends a process of another architecture, answers ENOSYS to numbers that were not reviewed (x32 among them), then does
//! what the table says, and allows the rest: it is a list of what is dangerous among calls that were all read, one by one.
//! Families, types and protocols of sockets, and requests to file systems, are the other way round: a list of what may be.
//!
//! What a filter cannot see, it cannot decide: memory, paths, what a descriptor is. Such calls are Landlock's, or the supervisor's
//! by notification. Known to stay open: `TIOCSPGRP` and terminal modes, which job control needs (the launcher restores
//! them); advisory locks on readable files; names, sizes and times of files.
//!
//! After the filter the launch itself still calls `close_range`, `dup2`, `dup3`, `rt_sigaction`, `rt_sigprocmask`,
//! `execve`, `execveat`, `write`, `exit` and `exit_group`: no spec refuses or notifies these.

mod calls;
mod compile;
mod listing;
mod rule;
mod spec;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use calls::{Arch, LAST_REVIEWED};
pub use spec::{AnonymousFiles, Answer, Answers, Facility, FilterSpec, Ptrace, Signals, Socket};

/// The program for `spec`, as `seccomp(2)` takes it.
pub fn program(spec: &FilterSpec) -> Vec<libc::sock_filter> {
    compile::compile(spec.arch, &table::table(spec))
}

/// The name of a call of this architecture, as the kernel's audit numbers both.
pub fn call_name(arch: u32, number: u32) -> Option<String> {
    let ours = Arch::OURS;
    let mut known = calls::REVIEWED.iter();
    let known = known.find(|call| arch == ours.audit() && call.number(ours) == Some(number));
    known.map(calls::Call::name)
}

/// The same as text, a line per rule and a line with its reason.
pub fn listing(spec: &FilterSpec) -> String {
    let rows = table::table(spec);
    listing::Listing {
        arch: spec.arch,
        rows: &rows,
    }
    .to_string()
}
