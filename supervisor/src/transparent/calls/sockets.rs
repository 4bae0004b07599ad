//! Calls on sockets.

use super::Class::{Bind, Connect, Listen};
use super::{Call, Wish, call};
use crate::transparent::address::Address;

pub(super) static TABLE: &[Call] = &[
    call(libc::SYS_connect, "connect", Connect, |r| {
        Ok(Wish::Connect {
            socket: r.int(0),
            address: Address::read(r, 1, r.int(2))?,
        })
    }),
    call(libc::SYS_bind, "bind", Bind, |r| {
        Ok(Wish::Bind {
            socket: r.int(0),
            address: Address::read(r, 1, r.int(2))?,
        })
    }),
    call(libc::SYS_listen, "listen", Listen, |r| {
        Ok(Wish::Listen(r.int(0), r.int(1)))
    }),
];
