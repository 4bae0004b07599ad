//! What unmodified programs preload to have the files asked for that the sandbox refuses them.
//!
//! `supervise` has them do so where no listener can be had, or where the policy says `[broker] transparent = "preload"`. It looks
//! for this library beside itself and in `../lib/supervise`; `supervise doctor` says whether it found it.
//!
//! What comes in are the calls of a program that knows nothing of us: the `open` and the `fopen`
//! families. Each goes to the C library first. Only what that refuses with `EACCES` or `EPERM` is
//! asked for, and only inside a sandbox; when that brings nothing, the program gets what the C
//! library said. So what the sandbox permits costs nothing, and this library can only ever add.
//!
//! Nothing is kept between two calls: programs close descriptors they do not know, and soon have
//! others with those numbers. Each question has a connection of its own, which is closed when the
//! call returns.
//!
//! Where no listener can be had there is no name to connect to either: then all processes take turns on the connection that they
//! inherited, and one that closed it asks no more.
//!
//! Not seen are calls that the C library makes inside itself (`opendir`, `freopen`, `posix_spawn`), those of
//! static programs, and those that are made by number. Programs of another C library cannot load it at all.
#![cfg(target_os = "linux")]

mod ask;
mod calls;
mod doors;
mod path;
mod real;
mod stream;
