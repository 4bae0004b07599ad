//! What the service manager is told, where there is one (sd_notify(3)), and what it gave this process.
//!
//! Every message is one packet, and none waits: what there is no room for is said later, or is no longer true then. Nothing that
//! the manager could answer is waited for either, for it answers nothing.

use super::store::{Returned, sort};
use super::{KeeperError, Said, failed};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use nix::time::{ClockId, clock_gettime};
use std::ffi::{OsStr, OsString};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// The variables that are for this process alone.
pub(super) const VARIABLES: [&str; 8] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "FDSTORE",
];

/// In which state the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Serving,
    Reloading,
    Stopping,
}

/// A manager that cannot be reached is left alone for so long.
const REST: Duration = Duration::from_secs(1);
/// How much longer an end may take of which the daemon says that it is at it, and how often that is said.
const EXTENSION: Duration = Duration::from_secs(20);
const EXTENDED_EVERY: Duration = Duration::from_secs(5);

/// This process as a service.
#[derive(Debug)]
pub(super) struct Service {
    address: UnixAddr,
    socket: Option<OwnedFd>,
    rests_until: Option<Instant>,
    watchdog: Option<Duration>,
    /// How many descriptors it stores for us.
    pub room: usize,
    told: Option<Phase>,
    told_status: String,
    /// When the daemon is to be asked again whether it is there.
    ask_at: Instant,
}

/// What there is where no manager says how many it stores (before systemd 254): as many as it takes, which it does not tell.
const UNTOLD: usize = usize::MAX;

impl Service {
    /// What the environment says; `None`: there is no manager.
    pub fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>, KeeperError> {
        let Some(text) = variable("NOTIFY_SOCKET").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let address = address(&text).ok_or_else(|| KeeperError::Address(text.clone()))?;
        let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
        let own = u64::from(std::process::id());
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0);
        let is_ours = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(own);
        let room = match variable("FDSTORE") {
            None => UNTOLD,
            Some(_) => number("FDSTORE").map_or(0, |most| usize::try_from(most).unwrap_or(UNTOLD)),
        };
        Ok(Some(Self {
            address,
            socket: None,
            rests_until: None,
            watchdog: watchdog.filter(|_| is_ours).map(Duration::from_micros),
            room,
            told: None,
            told_status: String::new(),
            ask_at: Instant::now(),
        }))
    }

    /// Tells the phase and a line for people, if the manager does not know them. `false`: there was no room for it.
    pub fn tell(&mut self, phase: Phase, status: &str) -> bool {
        if self.told == Some(phase) && self.told_status == status {
            return true;
        }
        let mut text = format!("STATUS={status}");
        if self.told != Some(phase) {
            text.push_str(match phase {
                Phase::Starting => "",
                Phase::Serving => "\nREADY=1",
                Phase::Reloading => "\nRELOADING=1\nMONOTONIC_USEC=",
                Phase::Stopping => "\nSTOPPING=1",
            });
        }
        if text.ends_with('=') {
            text.push_str(&monotonic_usec().to_string());
        }
        let is_said = self.say(&text, None) == Said::Yes;
        if is_said {
            self.told = Some(phase);
            status.clone_into(&mut self.told_status);
        }
        is_said
    }

    /// Has a descriptor stored under a name, or without one what is stored under it dropped.
    pub fn store(&mut self, name: &str, fd: Option<BorrowedFd<'_>>) -> Said {
        let text = match fd {
            // One that is at its end is ours to notice, and is stored for that.
            Some(_) => format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"),
            None => format!("FDSTOREREMOVE=1\nFDNAME={name}"),
        };
        self.say(&text, fd)
    }

    /// When the daemon is to be asked whether it is there; `None`: nobody wants to know.
    pub fn ask_at(&self, phase: Phase) -> Option<Instant> {
        self.every(phase).map(|_| self.ask_at)
    }

    fn every(&self, phase: Phase) -> Option<Duration> {
        // Twice in time, even if one of them is late.
        let watched = self.watchdog.map(|interval| interval / 4);
        match phase {
            Phase::Stopping => Some(watched.map_or(EXTENDED_EVERY, |at| at.min(EXTENDED_EVERY))),
            _ => watched,
        }
    }

    /// It was asked.
    pub fn asked(&mut self, phase: Phase, now: Instant) {
        self.ask_at = now + self.every(phase).unwrap_or(EXTENDED_EVERY);
    }

    /// Its loop has answered: all goes on.
    pub fn alive(&mut self, phase: Phase) {
        let mut text = match self.watchdog {
            Some(_) => "WATCHDOG=1".to_owned(),
            None => String::new(),
        };
        if phase == Phase::Stopping {
            text.push_str(&format!("\nEXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
        }
        // One that is lost is said again in time.
        let _said = self.say(text.trim_start(), None);
    }

    /// What to wait for when there was no room: a socket, or only time.
    pub fn wait(&self) -> (Option<BorrowedFd<'_>>, Instant) {
        match self.rests_until {
            Some(until) => (None, until),
            None => (self.socket.as_ref().map(AsFd::as_fd), Instant::now() + REST),
        }
    }

    fn say(&mut self, text: &str, fd: Option<BorrowedFd<'_>>) -> Said {
        if text.is_empty() {
            return Said::Yes;
        }
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Said::Full;
        }
        self.rests_until = None;
        let mut sent = self.send(text, fd);
        // A manager that was executed anew listens on another socket of the same name.
        if matches!(
            sent,
            Err(Errno::ECONNREFUSED | Errno::ENOTCONN | Errno::ECONNRESET | Errno::EPIPE)
        ) {
            self.socket = None;
            sent = self.send(text, fd);
        }
        match sent {
            Ok(()) => Said::Yes,
            Err(Errno::EAGAIN | Errno::EINTR) => Said::Full,
            Err(_) => {
                self.socket = None;
                self.rests_until = Some(Instant::now() + REST);
                Said::Gone
            }
        }
    }

    fn send(&mut self, text: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect()?,
        };
        let numbers: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let rights = if numbers.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let parts = [IoSlice::new(text.as_bytes())];
        let sent = sendmsg::<UnixAddr>(socket.as_raw_fd(), &parts, rights, flags, None);
        self.socket = Some(socket);
        sent.map(drop)
    }

    /// Connected, so that the kernel says when there is room.
    fn connect(&self) -> Result<OwnedFd, Errno> {
        let kind = SockType::Datagram;
        let socket = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &self.address)?;
        Ok(socket)
    }
}

fn address(text: &OsStr) -> Option<UnixAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => UnixAddr::new_abstract(name).ok(),
        [b'/', ..] => UnixAddr::new(text).ok(),
        _ => None,
    }
}

fn monotonic_usec() -> u128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| Duration::from(now).as_micros())
}

/// Takes what the manager handed to this process, if it did, and closes what else was left open.
pub(super) fn take_handed(
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Returned, KeeperError> {
    let text = |name: &str| variable(name)?.into_string().ok();
    let is_ours = text("LISTEN_PID").as_deref() == Some(&*std::process::id().to_string());
    let count = text("LISTEN_FDS").and_then(|count| count.parse().ok());
    let count = count.filter(|_| is_ours).unwrap_or(0);
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned);
    let fds = sys::handed::take(count).map_err(failed("take over descriptors"))?;
    sys::handed::close_rest().map_err(failed("close the descriptors of others"))?;
    // One without a name is nothing of ours.
    let handed = names.zip(fds).filter_map(|(name, fd)| Some((name, fd?)));
    Ok(sort(handed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::os::unix::net::UnixDatagram;

    fn service(more: &[(&str, &str)], at: &str) -> Result<Option<Service>, KeeperError> {
        let mut all: HashMap<String, OsString> = HashMap::new();
        all.insert("NOTIFY_SOCKET".to_owned(), at.into());
        all.extend(more.iter().map(|(k, v)| ((*k).to_owned(), v.into())));
        Service::find(&|name| all.get(name).cloned())
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn without_a_manager_there_is_none_and_one_that_cannot_be_is_an_error() {
        assert!(Service::find(&|_| None).unwrap().is_none());
        for strange in ["relative", "vsock:2:9999", "@"] {
            let error = service(&[], strange).unwrap_err().to_string();
            assert!(error.contains(strange), "{error}");
        }
        let own = std::process::id().to_string();
        let watched = |pid: &str| {
            let all = [("WATCHDOG_USEC", "4000000"), ("WATCHDOG_PID", pid)];
            service(&all, "/x").unwrap().unwrap().watchdog
        };
        assert_eq!(watched(&own), Some(Duration::from_secs(4)));
        assert_eq!(watched("1"), None, "that is for somebody else");
        let room = |most: &str| service(&[("FDSTORE", most)], "/x").unwrap().unwrap().room;
        assert_eq!((room("7"), room("much")), (7, 0));
    }

    #[test]
    fn each_thing_is_said_once_and_what_is_new_is_said() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let all = [("WATCHDOG_USEC", "4000000")];
        let mut service = service(&all, path.to_str().unwrap()).unwrap().unwrap();
        assert!(service.tell(Phase::Serving, "two"));
        assert!(service.tell(Phase::Serving, "two"));
        assert_eq!(heard(&socket), "STATUS=two\nREADY=1");
        assert!(service.tell(Phase::Reloading, "two"));
        let text = heard(&socket);
        let usec = text.strip_prefix("STATUS=two\nRELOADING=1\nMONOTONIC_USEC=");
        let usec: u128 = usec.unwrap().parse().unwrap();
        assert!(usec > 0 && usec <= monotonic_usec());
        service.tell(Phase::Serving, "three");
        assert_eq!(heard(&socket), "STATUS=three\nREADY=1");
        service.alive(Phase::Serving);
        assert_eq!(heard(&socket), "WATCHDOG=1");
        service.tell(Phase::Stopping, "three");
        assert_eq!(heard(&socket), "STATUS=three\nSTOPPING=1");
        service.alive(Phase::Stopping);
        assert_eq!(heard(&socket), "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=20000000");
        service.store("name", None);
        assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=name");
        let file = std::fs::File::open("/dev/null").unwrap();
        service.store("name", Some(file.as_fd()));
        assert_eq!(heard(&socket), "FDSTORE=1\nFDPOLL=0\nFDNAME=name");
        assert!(socket.recv(&mut [0]).is_err(), "that was all");
    }

    #[test]
    fn a_manager_that_is_busy_is_told_later_and_one_that_is_gone_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut service = service(&[], path.to_str().unwrap()).unwrap().unwrap();
        let mut said = 0;
        while service.store("name", None) == Said::Yes {
            said += 1;
            assert!(said < 100_000, "a queue has an end");
        }
        assert_eq!(service.store("name", None), Said::Full);
        heard(&socket);
        assert_eq!(service.store("name", None), Said::Yes);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(service.store("name", None), Said::Gone);
        assert_eq!(service.store("name", None), Said::Full, "for a while");
        assert!(service.wait().0.is_none());
        // There is one again: a new one.
        service.rests_until = None;
        let socket = UnixDatagram::bind(&path).unwrap();
        assert!(service.tell(Phase::Serving, ""));
        assert_eq!(heard(&socket), "STATUS=\nREADY=1");
    }

    #[test]
    fn a_name_that_is_no_file_is_reached_too() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        let name = format!("supervise-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let mut service = service(&[], &format!("@{name}")).unwrap().unwrap();
        assert!(service.tell(Phase::Serving, "x"));
        assert_eq!(heard(&socket), "STATUS=x\nREADY=1");
    }

    #[test]
    fn what_is_handed_to_somebody_else_is_not_taken() {
        let all = [("LISTEN_PID", "1"), ("LISTEN_FDS", "1")];
        let variable = |name: &str| {
            let found = all.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let returned = take_handed(&variable).unwrap();
        assert_eq!((returned.sets.len(), returned.torn.len()), (0, 0));
    }
}
