//! Asking the supervisor over its socket: as the protocol says, and as it forbids.

use crate::arguments::{Arguments, misused};
use crate::files::{errno, escaped, owned};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        // `ask ID PATH RIGHTS…`: over the descriptor that was inherited.
        "ask" => {
            let frame = open_frame(arguments);
            inherited().and_then(|door| ask(&door, &frame))
        }
        // `ask-hold NUMBER PATH RIGHTS…`: what is granted stays open, with this number.
        "ask-hold" => ask_hold(arguments),
        // As `ask` over a connection made by name.
        "ask-named" => {
            let frame = open_frame(arguments);
            connect().and_then(|door| ask(&door, &frame))
        }
        // `ask-many PATH COUNT`: how many of the requests were granted.
        "ask-many" => ask_many(arguments),
        // `ask-at-once PATH COUNT FILE`: that many requests, each over a connection of its own, before any answer is read; FILE is made
        // in between.
        "ask-at-once" => ask_at_once(arguments),
        // `tell TEXT`: one frame with any text, and what is answered.
        "tell" => {
            let frame = frame(&arguments.text());
            connect().and_then(|door| send(&door, &frame).and_then(|()| heard(&door)))
        }
        // `tell-twice TEXT`: on one connection.
        "tell-twice" => {
            let frame = frame(&arguments.text());
            connect().and_then(|door| {
                send(&door, &frame)?;
                let first = heard(&door)?;
                send(&door, &frame)?;
                heard(&door).map(|second| format!("{first} {second}"))
            })
        }
        // `tell-bytes HEX`: what stands for a frame, and what is answered.
        "tell-bytes" => {
            let bytes = bytes(&arguments.text());
            connect().and_then(|door| send(&door, &bytes).and_then(|()| heard(&door)))
        }
        // `half HEX`: the beginning of a frame, and the connection is kept.
        "half" => {
            let bytes = bytes(&arguments.text());
            connect().and_then(|door| {
                send(&door, &bytes)?;
                std::mem::forget(door);
                Ok(String::new())
            })
        }
        // The same on the descriptor that was inherited.
        "half-inherited" => {
            let bytes = bytes(&arguments.text());
            inherited().and_then(|door| done(send(&door, &bytes)))
        }
        // `connections COUNT`: how many can be made and kept.
        "connections" => {
            let count = arguments.number();
            for made in 0..count {
                match connect() {
                    Ok(door) => std::mem::forget(door),
                    Err(error) => return Some(Ok(format!("{made} then {error:?}"))),
                }
            }
            Ok(count.to_string())
        }
        "close-all" => done(call!(libc::SYS_close_range, 3, u32::MAX, 0)),
        "undumpable" => done(call!(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 0, 0, 0, 0)),
        _ => return None,
    })
}

fn inherited() -> Result<OwnedFd, Errno> {
    let number = std::env::var("SUPERVISE_FD")
        .ok()
        .and_then(|text| text.parse::<i32>().ok());
    let number = number.ok_or(Errno::ENOENT)?;
    owned(call!(libc::SYS_dup, number))
}

fn connect() -> Result<OwnedFd, Errno> {
    let path = std::env::var_os("SUPERVISE_SOCKET").ok_or(Errno::ENOENT)?;
    let path = CString::new(path.into_vec()).map_err(|_| Errno::EINVAL)?;
    let mut address = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    address.extend(path.to_bytes_with_nul());
    let socket = owned(call!(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0))?;
    call!(
        libc::SYS_connect,
        socket.as_raw_fd(),
        address.as_ptr(),
        address.len()
    )?;
    Ok(socket)
}

fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap_or_else(|_| misused("a frame is short"));
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).unwrap_or_else(|_| misused("hex is ASCII"));
        u8::from_str_radix(text, 16).unwrap_or_else(|_| misused("bytes are given as hex"))
    };
    digits.chunks(2).map(byte).collect()
}

fn send(door: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    let mut file = File::from(door.try_clone().map_err(errno)?);
    file.write_all(bytes).map_err(errno)
}

/// One answer's text, and the descriptor that came with it.
fn answer(door: &OwnedFd) -> Result<Option<(serde_json::Value, Option<OwnedFd>)>, Errno> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut length = [0u8; 4];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 8]);
    let (count, fd) = {
        let mut into = [IoSliceMut::new(&mut length)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_WAITALL;
        let message = recvmsg::<()>(door.as_raw_fd(), &mut into, Some(&mut control), flags)?;
        let mut fds = message.cmsgs()?.filter_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        (message.bytes, fds.next())
    };
    let fd = fd.map(|fd| owned(Ok(fd.into()))).transpose()?;
    if count == 0 {
        return Ok(None);
    }
    let mut text = vec![0; u32::from_be_bytes(length) as usize];
    let mut file = File::from(door.try_clone().map_err(errno)?);
    file.read_exact(&mut text).map_err(errno)?;
    let text = serde_json::from_slice(&text).map_err(|_| Errno::EBADMSG)?;
    Ok(Some((text, fd)))
}

/// The code of a refusal, or what was granted, or that the connection is over.
fn heard(door: &OwnedFd) -> Answer {
    let heard = match answer(door) {
        Ok(heard) => heard,
        Err(Errno::ECONNRESET) => None,
        Err(error) => return Err(error),
    };
    let Some((text, fd)) = heard else {
        return Ok("closed".to_owned());
    };
    let word = |name: &str| text[name].as_str().unwrap_or_default().to_owned();
    match fd {
        None if word("decision") == "refused" => Ok(format!("refused:{}", word("code"))),
        None => Ok(word("decision")),
        Some(fd) => {
            let mut content = Vec::new();
            // What was granted for writing only cannot be read.
            match File::from(fd).take(4096).read_to_end(&mut content) {
                Ok(_) => Ok(format!("granted:{}", escaped(&content))),
                Err(_) => Ok("granted".to_owned()),
            }
        }
    }
}

fn request(id: i64, path: &str, rights: &[CString]) -> String {
    let rights: Vec<&str> = rights
        .iter()
        .filter_map(|word| word.to_str().ok())
        .collect();
    let (create, access): (Vec<&str>, Vec<&str>) = rights
        .iter()
        .partition(|word| ["yes", "new"].contains(*word));
    let mut request = serde_json::json!({"id": id, "kind": "open", "path": path, "access": access});
    if let Some(create) = create.first() {
        request["create"] = (*create).into();
    }
    request.to_string()
}

fn open_frame(arguments: &mut Arguments) -> Vec<u8> {
    let (id, path, rights) = (arguments.number(), arguments.text(), arguments.rest());
    frame(&request(id, &path, &rights))
}

fn ask(door: &OwnedFd, frame: &[u8]) -> Answer {
    send(door, frame)?;
    heard(door)
}

fn ask_hold(arguments: &mut Arguments) -> Answer {
    let (number, path, rights) = (arguments.number(), arguments.text(), arguments.rest());
    let door = inherited()?;
    send(&door, &frame(&request(2_000_000 + number, &path, &rights)))?;
    match answer(&door)? {
        Some((_, Some(fd))) => done(call!(libc::SYS_dup3, fd.as_raw_fd(), number, 0)),
        Some((text, None)) => Ok(format!("refused:{}", text["code"])),
        None => Ok("closed".to_owned()),
    }
}

fn ask_many(arguments: &mut Arguments) -> Answer {
    let (path, count) = (arguments.text(), arguments.number());
    let door = inherited()?;
    let mut granted = 0;
    for id in 0..count {
        let read = CString::new("read").map_err(|_| Errno::EINVAL)?;
        send(&door, &frame(&request(1_000_000 + id, &path, &[read])))?;
        granted += i64::from(heard(&door)?.starts_with("granted"));
    }
    Ok(granted.to_string())
}

/// What came of each, and how often.
fn ask_at_once(arguments: &mut Arguments) -> Answer {
    let (path, count, sent) = (arguments.text(), arguments.number(), arguments.text());
    let read = CString::new("read").map_err(|_| Errno::EINVAL)?;
    let asked: Vec<Result<OwnedFd, Errno>> = (0..count)
        .map(|id| {
            let door = connect()?;
            let frame = frame(&request(id, &path, std::slice::from_ref(&read)));
            send(&door, &frame).map(|()| door)
        })
        .collect();
    File::create(sent).map_err(errno)?;
    let mut tally = std::collections::BTreeMap::<String, u32>::new();
    for door in asked {
        let outcome = door.and_then(|door| heard(&door));
        let word = outcome.unwrap_or_else(|errno| format!("{errno:?}"));
        *tally.entry(word).or_default() += 1;
    }
    let words = tally.iter().map(|(word, count)| format!("{word}={count}"));
    Ok(words.collect::<Vec<_>>().join(" "))
}
