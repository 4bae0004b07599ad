//! What runs inside: this same program again, told what to do by its environment.

use child_shim::{Client, Doors, OpenOptions};
use protocol::{
    Access, Create, OpenFlags, OpenRequest, RequestedPath, SupervisorMessage, SupervisorResponse,
};
use socket::SupervisorSocket;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Without a role it is a test, and has nothing to do.
#[test]
fn role() {
    match std::env::var("ROLE").as_deref() {
        Ok("ask") => ask(),
        Ok("ask with all closed") => with_all_closed("ask"),
        Ok("leave an orphan that asks") => leave_an_orphan(),
        Ok("ask twice with one id") => ask_twice_with_one_id(),
        Ok("claim to be another") => claim_to_be_another(),
        Ok("stand in the way") => stand_in_the_way(),
        Ok("dawdle") => dawdle(),
        Ok("ask a thousand times") => ask_a_thousand_times(),
        Ok("ask while another is asked about") => ask_while_another_is_asked_about(),
        Ok("say where the door is") => say_where_the_door_is(),
        Ok("try a door") => try_a_door(),
        Ok("send garbage") => send_garbage(),
        Ok("knock and run away") => knock_and_run_away(),
        Ok("ask and never listen") => ask_and_never_listen(),
        Ok("open in every way") => open_in_every_way(),
        Ok(role) => panic!("no role {role}"),
        Err(_) => {}
    }
}

fn say(what: impl std::fmt::Display) {
    // On a line of its own: the test harness begins lines without ending them.
    println!("\nSAID {what}");
}

fn told(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")))
}

fn reading() -> OpenOptions {
    OpenOptions::new().read(true)
}

fn outcome(asked: Result<std::fs::File, child_shim::Error>) -> String {
    match asked {
        Ok(mut file) => {
            let mut content = String::new();
            file.read_to_string(&mut content).expect("read");
            content.trim_end().to_owned()
        }
        Err(error) => format!("{:?} {error}", error.errno()),
    }
}

fn ask() {
    let client = child_shim::connect().expect("a supervisor");
    say(outcome(client.open(told("FILE"), &reading())));
}

/// A descendant in a group of its own, with nothing open but the standard descriptors.
fn descendant(role: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    let script = "for fd in /proc/self/fd/*; do :; done; exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(crate::house::own());
    command
        .args(["--exact", "inside::role", "--nocapture"])
        .env("ROLE", role)
        .process_group(0);
    command
}

fn with_all_closed(role: &str) {
    let status = descendant(role).status().expect("started");
    assert!(status.success());
}

/// Its parent does not wait for it.
fn leave_an_orphan() {
    let out = std::fs::File::create("said").expect("our own directory");
    let mut child = descendant("ask").stdout(out).spawn().expect("started");
    child.wait().expect("waited");
    say(std::fs::read_to_string("said")
        .expect("written")
        .split("SAID ")
        .nth(1)
        .expect("said")
        .trim_end());
}

fn door() -> UnixStream {
    let number = std::env::var("SUPERVISE_FD")
        .expect("a door")
        .parse()
        .expect("a number");
    UnixStream::from(sys::fds::duplicate_number(number).expect("the door is open"))
}

fn patient(stream: UnixStream) -> SupervisorSocket {
    let mut socket = SupervisorSocket::inherited(stream);
    socket.set_read_timeout(Some(Duration::from_secs(60)));
    socket
}

fn open(id: u64, path: &Path) -> SupervisorMessage {
    SupervisorMessage::Open(OpenRequest {
        id,
        path: RequestedPath::new(path.as_os_str().as_bytes()).expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: OpenRequest::MODE,
        why: None,
    })
}

fn word(response: &SupervisorResponse) -> &'static str {
    match response {
        SupervisorResponse::Granted(_) => "granted",
        SupervisorResponse::Refused(refused) => refused.code.as_str(),
        SupervisorResponse::Welcome(_) | SupervisorResponse::Fd(_) => "something else",
    }
}

fn ask_twice_with_one_id() {
    let mut door = patient(door());
    for id in [1, 1, 2] {
        door.send_message(&open(id, &told("FILE"))).expect("sent");
        say(word(&door.recv_response().expect("an answer")));
    }
}

fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn claim_to_be_another() {
    let stream = door();
    let mut socket = patient(stream.try_clone().expect("a duplicate"));
    for field in ["pid", "uid", "session", "request_id"] {
        let text = format!(
            r#"{{"id":1,"kind":"open","path":{:?},"access":["read"],"{field}":1}}"#,
            told("FILE")
        );
        (&stream).write_all(&frame(&text)).expect("written");
        say(word(&socket.recv_response().expect("an answer")));
    }
}

/// A descendant has written half a frame, and lives.
fn stand_in_the_way() {
    let mut command = Command::new(crate::house::own());
    command
        .args(["--exact", "inside::role", "--nocapture"])
        .env("ROLE", "dawdle");
    let mut dawdler = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut byte = [0];
    let mut heard = String::new();
    let out = dawdler.stdout.as_mut().expect("a pipe");
    while !heard.contains("SAID written") {
        assert_eq!(out.read(&mut byte).expect("read"), 1, "{heard}");
        heard.push(byte[0].into());
    }
    ask();
    // And on the same connection, without the library.
    let mut door = patient(door());
    door.send_message(&open(77, &told("FILE"))).expect("sent");
    loop {
        let response = door.recv_response().expect("an answer");
        if response.id() == Some(77) {
            break say(word(&response));
        }
    }
    dawdler.kill().expect("killed");
    dawdler.wait().expect("waited");
}

fn dawdle() {
    (&door()).write_all(&[0, 0]).expect("written");
    say("written");
    std::thread::sleep(Duration::from_secs(600));
}

fn ask_a_thousand_times() {
    let client = child_shim::connect().expect("a supervisor");
    let mut outcomes = BTreeMap::new();
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..250)
                        .map(|_| outcome(client.open(told("FILE"), &reading())))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for one in askers
            .into_iter()
            .flat_map(|asker| asker.join().expect("a thread"))
        {
            *outcomes.entry(one).or_insert(0) += 1;
        }
    });
    for (outcome, count) in outcomes {
        say(format_args!("{count} {outcome}"));
    }
}

/// Until the approver is let go, which this does at the end, nobody else waits.
fn ask_while_another_is_asked_about() {
    let client = child_shim::connect().expect("a supervisor");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| outcome(client.open(told("ASKED"), &reading())));
        while !told("QUESTION").exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        for _ in 0..20 {
            assert!(client.open(told("FILE"), &reading()).is_ok());
        }
        // Also over the connection that the question came by, and by a new one.
        let doors = Doors::from_environment();
        assert!(
            Client::new(doors)
                .and_then(|client| client.open(told("FILE"), &reading()))
                .is_ok()
        );
        assert!(!slow.is_finished());
        std::fs::write("go", "").expect("our own directory");
        say(slow.join().expect("the thread"));
    });
}

fn say_where_the_door_is() {
    let door = told("SUPERVISE_SOCKET");
    std::fs::write("part", door.as_os_str().as_bytes()).expect("our own directory");
    std::fs::rename("part", "door").expect("our own directory");
    std::thread::sleep(Duration::from_secs(600));
}

fn try_a_door() {
    match UnixStream::connect(told("DOOR")) {
        Ok(stream) => {
            let mut socket = patient(stream);
            let answer = socket
                .send_message(&open(1, &told("FILE")))
                .and_then(|()| socket.recv_response());
            say(answer.map_or_else(
                |error| format!("{error:?}"),
                |response| word(&response).to_owned(),
            ));
        }
        Err(error) => say(error.kind()),
    }
}

/// Ends its own connection, and asks again by name.
fn send_garbage() {
    let stream = door();
    (&stream)
        .write_all(&frame("{\"kind\":\"open\""))
        .expect("written");
    let mut socket = patient(stream.try_clone().expect("a duplicate"));
    say(word(&socket.recv_response().expect("an answer")));
    (&stream).write_all(&[0xff; 64]).expect("written");
    say(word(&socket.recv_response().expect("an answer")));
    let closed = socket.recv_response().expect_err("the end");
    say(format_args!("{closed:?}"));
    ask();
}

/// Each flag, and what it did.
fn open_in_every_way() {
    use std::io::Seek;
    let client = child_shim::connect().expect("a supervisor");
    let directory = told("FILE");
    let file = directory.join("made");
    let write = || OpenOptions::new().write(true);
    let try_it = |name: &str, path: &Path, options: OpenOptions| {
        let opened = client.open(path, &options);
        say(format_args!(
            "{name} {}",
            opened
                .as_ref()
                .map_or_else(|error| format!("{:?}", error.errno()), |_| "ok".to_owned())
        ));
        opened.ok()
    };
    try_it("absent", &file, write());
    let made = try_it("new", &file, write().create_new(true).mode(0o640));
    made.expect("made")
        .write_all(b"0123456789")
        .expect("written");
    try_it("new again", &file, write().create_new(true));
    let mut end = try_it("append", &file, OpenOptions::new().append(true)).expect("opened");
    end.rewind().expect("rewound");
    end.write_all(b"ab").expect("written");
    let mut both = try_it(
        "both",
        &file,
        OpenOptions::new().read(true).write(true).create(true),
    )
    .expect("opened");
    let mut content = String::new();
    both.read_to_string(&mut content).expect("read");
    say(format_args!("content {content}"));
    try_it("truncate", &file, write().truncate(true));
    say(format_args!(
        "length {}",
        both.metadata().expect("metadata").len()
    ));
    try_it(
        "directory",
        &directory.join("directory"),
        reading().directory(true),
    );
    try_it("file as directory", &file, reading().directory(true));
    std::os::unix::fs::symlink(&file, "link").expect("our own directory");
    let link = std::env::current_dir().expect("a directory").join("link");
    try_it("nofollow", &link, reading().nofollow(true));
    try_it("follow", &link, reading());
}

/// More connections than a session serves, some of them held, and then an honest request.
fn knock_and_run_away() {
    let name = told("SUPERVISE_SOCKET");
    let mut held = Vec::new();
    for number in 0..1000 {
        let stream = UnixStream::connect(&name).expect("connected");
        if number % 3 == 0 {
            held.push(stream);
        }
    }
    ask();
    drop(held);
    // There is room again.
    let by_name =
        || Client::new(Doors::default().with_named(&name))?.open(told("FILE"), &reading());
    let mut asked = by_name();
    while asked.is_err() {
        // Until the last of them was seen to be gone.
        std::thread::sleep(Duration::from_millis(5));
        asked = by_name();
    }
    say(outcome(asked));
}

/// Asks until nothing more is taken, and reads no answer.
fn ask_and_never_listen() {
    let stream = UnixStream::connect(told("SUPERVISE_SOCKET")).expect("connected");
    stream.set_nonblocking(true).expect("non-blocking");
    let mut id = 0;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut full_since = None;
    // Full for a while: the supervisor has stopped to read.
    while full_since
        .is_none_or(|since: std::time::Instant| since.elapsed() < Duration::from_millis(100))
    {
        assert!(std::time::Instant::now() < deadline, "there is no bound");
        let mut bytes = Vec::new();
        open(id, &told("FILE")).encode(&mut bytes).expect("a frame");
        match (&stream).write(&bytes) {
            Ok(length) => {
                assert_eq!(length, bytes.len(), "a frame stays in one piece");
                id += 1;
                full_since = None;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                full_since.get_or_insert_with(std::time::Instant::now);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    ask();
}
