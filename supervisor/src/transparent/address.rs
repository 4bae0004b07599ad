//! Socket addresses as a child spells them: short, long, mapped, unspecified.

use super::failure::Failure;
use super::registers::Registers;
use nix::errno::Errno;
use std::ffi::CString;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The size of `struct sockaddr_storage`: the kernel takes no longer one.
const LONGEST: i32 = 128;
/// Where `sun_path` begins, and how long it is.
const SUN_PATH: usize = 2;
const SUN_PATH_LENGTH: usize = 108;
/// `struct sockaddr_in`; `struct sockaddr_in6` as it was before scopes, which the kernel still takes.
const INET_LENGTH: usize = 16;
const INET6_LENGTH: usize = 24;

/// The bytes of an address. What it means depends on the socket that it is used with, so it is asked for by family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(Vec<u8>);

/// A Unix socket's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UnixName {
    /// A file.
    Path(CString),
    /// A name that is no file, known in a whole network namespace.
    Abstract,
}

impl Address {
    /// Copies the address that the register `at` points to.
    pub fn read(r: &Registers, at: usize, length: i32) -> Result<Self, Failure> {
        if !(0..=LONGEST).contains(&length) {
            return Err(Errno::EINVAL.into());
        }
        r.bytes(r.pointer(at), length as usize).map(Self)
    }

    /// The family; `None` for an address that is too short to have one.
    pub fn family(&self) -> Option<i32> {
        let bytes = self.0.first_chunk::<2>()?;
        Some(i32::from(u16::from_ne_bytes(*bytes)))
    }

    /// Whether it is a family and nothing else: a Unix socket that is bound to it is named by the kernel.
    pub fn is_nameless(&self) -> bool {
        self.0.len() == SUN_PATH && self.family() == Some(libc::AF_UNIX)
    }

    /// The same bytes with that family.
    pub fn of_family(&self, family: i32) -> Self {
        let mut bytes = self.0.clone();
        for (to, from) in bytes.iter_mut().zip((family as u16).to_ne_bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    /// What it names for a Unix socket.
    pub fn unix(&self) -> Result<UnixName, Errno> {
        if self.0.len() <= SUN_PATH
            || self.0.len() > SUN_PATH + SUN_PATH_LENGTH
            || self.family() != Some(libc::AF_UNIX)
        {
            return Err(Errno::EINVAL);
        }
        let path = &self.0[SUN_PATH..];
        match path.iter().position(|byte| *byte == 0) {
            Some(0) => Ok(UnixName::Abstract),
            end => {
                let path = &path[..end.unwrap_or(path.len())];
                CString::new(path)
                    .map(UnixName::Path)
                    .map_err(|_| Errno::EINVAL)
            }
        }
    }

    /// What it names for a socket of `domain`, `AF_INET` or `AF_INET6`. What is performed is made from this value again, so that
    /// nothing travels along that was not decided on: no flow label, no scope but where an address means nothing without one.
    pub fn inet(&self, domain: i32) -> Result<SocketAddr, Errno> {
        let family = self.family().ok_or(Errno::EINVAL)?;
        let length = if domain == libc::AF_INET6 {
            INET6_LENGTH
        } else {
            INET_LENGTH
        };
        if self.0.len() < length {
            return Err(Errno::EINVAL);
        }
        if family != domain {
            return Err(Errno::EAFNOSUPPORT);
        }
        let port = u16::from_be_bytes([self.0[2], self.0[3]]);
        if domain == libc::AF_INET {
            let octets: [u8; 4] = self.0[4..8].try_into().expect("4 bytes");
            return Ok(SocketAddrV4::new(octets.into(), port).into());
        }
        let octets: [u8; 16] = self.0[8..24].try_into().expect("16 bytes");
        let ip = Ipv6Addr::from(octets);
        let scope = match self.0.get(24..28) {
            Some(bytes) if is_link_local(ip) => {
                u32::from_ne_bytes(bytes.try_into().expect("4 bytes"))
            }
            _ => 0,
        };
        Ok(SocketAddrV6::new(ip, port, 0, scope).into())
    }
}

/// An address that is one only together with a link: unicast fe80::/10, or multicast of that scope.
fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local() || (ip.is_multicast() && ip.octets()[1] & 0xf == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(family: i32, rest: &[u8]) -> Address {
        Address([&(family as u16).to_ne_bytes(), rest].concat())
    }

    #[test]
    fn unix_names_are_told_apart_as_the_kernel_does() {
        let name = |rest: &[u8]| address(libc::AF_UNIX, rest).unix();
        let path = |text: &str| Ok(UnixName::Path(CString::new(text).unwrap()));
        assert_eq!(name(b"/a\0"), path("/a"));
        assert_eq!(name(b"/a\0/b"), path("/a"));
        assert_eq!(name(b"/a"), path("/a"));
        assert_eq!(name(&[b'x'; 108]), path(&"x".repeat(108)));
        assert_eq!(name(&[b'x'; 109]), Err(Errno::EINVAL));
        assert_eq!(name(b"\0host"), Ok(UnixName::Abstract));
        assert_eq!(name(b""), Err(Errno::EINVAL));
        assert_eq!(Address(vec![1]).unix(), Err(Errno::EINVAL));
        assert_eq!(address(libc::AF_INET, b"/a").unix(), Err(Errno::EINVAL));
    }

    #[test]
    fn short_and_foreign_addresses_get_the_errno_of_the_kernel() {
        let v4 = address(
            libc::AF_INET,
            &[0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(v4.inet(libc::AF_INET), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(v4.inet(libc::AF_INET6), Err(Errno::EINVAL));
        let short = address(libc::AF_INET, &[0, 80, 127, 0, 0, 1]);
        assert_eq!(short.inet(libc::AF_INET), Err(Errno::EINVAL));
        let foreign = address(libc::AF_UNIX, &[0; 26]);
        assert_eq!(foreign.inet(libc::AF_INET), Err(Errno::EAFNOSUPPORT));
        assert_eq!(foreign.inet(libc::AF_INET6), Err(Errno::EAFNOSUPPORT));
    }

    #[test]
    fn scopes_and_flow_labels_travel_only_where_they_mean_something() {
        let v6 = |ip: &str, scope: &[u8]| {
            let ip: Ipv6Addr = ip.parse().unwrap();
            let head = [0u8, 80, 9, 9, 9, 9];
            address(
                libc::AF_INET6,
                &[&head, ip.octets().as_slice(), scope].concat(),
            )
            .inet(libc::AF_INET6)
        };
        let made = |ip: &str, scope| {
            Ok(SocketAddr::from(SocketAddrV6::new(
                ip.parse().unwrap(),
                80,
                0,
                scope,
            )))
        };
        let scope = 3u32.to_ne_bytes();
        assert_eq!(v6("fe80::1", &scope), made("fe80::1", 3));
        assert_eq!(v6("fe80::1", &[]), made("fe80::1", 0));
        assert_eq!(v6("::1", &scope), made("::1", 0));
        assert_eq!(v6("::ffff:127.0.0.1", &scope), made("::ffff:127.0.0.1", 0));
    }
}
