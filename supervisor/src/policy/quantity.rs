//! Times, sizes and addresses, as policies write them.

use std::net::IpAddr;
use std::time::Duration;

use super::rules::Destination;

/// `10m`, `1h30m`, `500ms`.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "a time is a number and a unit: 500ms, 30s, 10m, 1h30m, 2d";
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(WRONG)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = tail.split_at(letters.unwrap_or(tail.len()));
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(WRONG),
        };
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        let part = number.checked_mul(millis).ok_or(WRONG)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or(WRONG)?;
        rest = tail;
    }
    if total.is_zero() {
        return Err(WRONG);
    }
    Ok(total)
}

/// `2GiB`, `500MB`, `4096`.
pub fn size(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "a size is a number and a unit: 4096, 64KiB, 512MiB, 2GiB, 1TB";
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(WRONG),
    };
    let number: u64 = number.parse().map_err(|_| WRONG)?;
    number.checked_mul(factor).ok_or(WRONG)
}

/// What is wrong with an address rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Nothing after the address.
    #[error(
        "a rule names an address and a port, such as `127.0.0.1:5432`, `*:443`, `[::1]:80` or `10.0.0.0/8:*`"
    )]
    Form,
    /// The port is not one.
    #[error("a port is a number from 1 to 65535, or `*`")]
    Port,
    /// Names are resolved by the child, and an answer can change.
    #[error("host names cannot be enforced yet (later)")]
    Name,
    /// The network has bits set behind its length, or too long a length.
    #[error("this is not a network: bits are set behind the length")]
    Network,
}

/// `127.0.0.1:5432`, `[::1]:443`, `10.0.0.0/8:*`, `[fd00::/8]:22`, `*:443`. A port of `*` is `None`.
pub fn endpoint(text: &str) -> Result<(Destination, Option<u16>), BadEndpoint> {
    let (host, port) = text.rsplit_once(':').ok_or(BadEndpoint::Form)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !is_bracketed) {
        return Err(BadEndpoint::Form);
    }
    let port = match port {
        "*" => None,
        port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(
            port.parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(BadEndpoint::Port)?,
        ),
        _ => return Err(BadEndpoint::Port),
    };
    if host == "*" {
        return Ok((Destination::Anywhere, port));
    }
    let host = if is_bracketed {
        &host[1..host.len() - 1]
    } else {
        host
    };
    let (address, length) = match host.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (host, None),
    };
    let address: IpAddr = address.parse().map_err(|_| match length {
        Some(_) => BadEndpoint::Form,
        None => BadEndpoint::Name,
    })?;
    let address = address.to_canonical();
    if address.is_ipv6() != is_bracketed {
        return Err(BadEndpoint::Form);
    }
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().map_err(|_| BadEndpoint::Network)?,
        None => width,
    };
    if length > width || !is_network(address, length) {
        return Err(BadEndpoint::Network);
    }
    Ok((Destination::Network(address, length), port))
}

/// Whether no bit is set behind the length.
fn is_network(address: IpAddr, length: u8) -> bool {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    let behind = u32::from(width - length);
    let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
    bits & !mask == 0
}
