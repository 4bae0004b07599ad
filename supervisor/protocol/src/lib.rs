//! The wall: frames and messages between a sandboxed program and its supervisor. No I/O.
#![forbid(unsafe_code)]
