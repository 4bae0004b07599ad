//! `supervise`: run a program in a sandbox.
#![forbid(unsafe_code)]

fn main() {
    println!("{}", env!("CARGO_PKG_VERSION"));
}
