//! The machine's switch.

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `AUDIT_GET`, `AUDIT_SET`, `AUDIT_STATUS_ENABLED`, and the flags of netlink: a request, to be acknowledged.
const GET: u16 = 1000;
const SET: u16 = 1001;
const ENABLED: u32 = 1;
const ASKED: u16 = 5;
const HEADER: usize = 16;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Auditing is enabled as long as this lives.
#[derive(Debug)]
pub struct Auditing {
    was_off: bool,
    _alone: MutexGuard<'static, ()>,
}

impl Auditing {
    /// Enables it if it is not and may be; else says why not.
    pub fn enabled() -> Result<Self, String> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let state = is_enabled().map_err(|errno| format!("the kernel's audit: {errno}"))?;
        if !state {
            if std::env::var_os("SUPERVISE_MAY_AUDIT").is_none_or(|value| value != "1") {
                return Err(
                    "auditing is not enabled, and SUPERVISE_MAY_AUDIT=1 does not say that it may be"
                        .to_owned(),
                );
            }
            set(1).map_err(|errno| format!("auditing cannot be enabled: {errno}"))?;
        }
        Ok(Self {
            was_off: !state,
            _alone: alone,
        })
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        if self.was_off {
            set(0).expect("it was turned on the same way");
        }
    }
}

fn is_enabled() -> nix::Result<bool> {
    let answer = ask(GET, &[])?;
    let enabled = answer.get(HEADER + 4..HEADER + 8);
    Ok(enabled.is_some_and(|word| word != [0; 4]))
}

fn set(enabled: u32) -> nix::Result<()> {
    let mut status = [0; 40];
    status[..4].copy_from_slice(&ENABLED.to_ne_bytes());
    status[4..8].copy_from_slice(&enabled.to_ne_bytes());
    ask(SET, &status).map(drop)
}

/// Asks, and returns the answer of that kind, or the kernel's acknowledgement of what has none.
fn ask(kind: u16, payload: &[u8]) -> nix::Result<Vec<u8>> {
    let socket: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkAudit,
    )?;
    let mut message = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(ASKED.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = vec![0; 16 * 1024];
    loop {
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let word = |at: usize| i32::from_ne_bytes(answer[at..at + 4].try_into().expect("four"));
        match word(4) as u16 {
            // NLMSG_ERROR, which acknowledges too.
            2 if word(HEADER) != 0 => return Err(nix::Error::from_raw(-word(HEADER))),
            2 if kind == SET => return Ok(answer[..length].to_vec()),
            answered if answered == kind => return Ok(answer[..length].to_vec()),
            _ => {}
        }
    }
}
