//! Who was connected to, and what was listened on.

use super::writes::push;
use super::{Key, Lesson, Line, Scene, Things};
use crate::advice::sensitive::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Learns what the network is used for.
pub(super) fn learn(things: &Things, scene: &Scene<'_>, lesson: &mut Lesson) {
    for path in &things.sockets {
        if scene.is_temporary(path) {
            continue;
        }
        match scene.secret(path) {
            Some(secret) => lesson
                .left_out
                .push((path.display().to_string(), format!("connects to {secret}"))),
            None => {
                let is_daemon =
                    crate::advice::sensitive::of(path, scene.home) == Some(Secret::Daemon);
                let key = if is_daemon {
                    Key::UnixUnconfined
                } else {
                    Key::Unix
                };
                push(lesson, scene, key, path, "connected to", "?");
            }
        }
    }
    let line = |key, text: String, why: &str| Line {
        key,
        text,
        why: why.to_owned(),
    };
    let ports: BTreeSet<u16> = things.own.iter().map(SocketAddr::port).collect();
    let mut elsewhere: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut is_own = false;
    for peer in &things.peers {
        let ip = peer.ip().to_canonical();
        if ip.is_loopback() && (ports.contains(&peer.port()) || ports.contains(&0)) {
            is_own = true;
        } else if is_near(ip) {
            let text = SocketAddr::new(ip, peer.port()).to_string();
            lesson.lines.push(line(Key::Connect, text, "connected to"));
        } else {
            elsewhere.entry(peer.port()).or_default().insert(ip);
        }
    }
    for (port, addresses) in elsewhere {
        let seen: Vec<String> = addresses.iter().take(3).map(IpAddr::to_string).collect();
        let why = format!(
            "connected to, at {}: names have other addresses another day",
            seen.join(", ")
        );
        lesson
            .lines
            .push(line(Key::Connect, format!("*:{port}"), &why));
    }
    if is_own {
        lesson.lines.push(line(
            Key::Loopback,
            "own".to_owned(),
            "connects to what it listens on itself",
        ));
    }
    for own in &things.own {
        let text = match (own.port(), own.ip()) {
            (0, IpAddr::V6(ip)) => format!("[{ip}]:*"),
            (0, ip) => format!("{ip}:*"),
            _ => own.to_string(),
        };
        let why = if own.port() == 0 {
            "listens on a port that the kernel chooses"
        } else {
            "listens"
        };
        lesson.lines.push(line(Key::Bind, text, why));
    }
    if let Some(first) = things.datagrams.first() {
        let why = format!("datagrams, such as to {first}; nothing finer can be said of them");
        lesson.lines.push(line(Key::Udp, "any".to_owned(), &why));
    }
}

/// Whether an address stays what it is: of this machine or of its own network.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
        }
    }
}
