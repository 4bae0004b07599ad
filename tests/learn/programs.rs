//! Real programs: each goes through under what was learned from it.

use super::harness::{feature, require};
use super::house::House;
use std::fs;
use std::path::Path;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for entry in fs::read_dir(from).expect("it can be listed") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        match entry.file_type().expect("a kind").is_dir() {
            true if name == "target" => {}
            true => copy(&entry.path(), &to.join(name)),
            false => drop(fs::copy(entry.path(), to.join(name)).expect("it can be copied")),
        }
    }
}

#[test]
fn a_build_with_cargo() {
    require!(feature::listener());
    require!(feature::program("cargo"));
    let house = House::new(|work| {
        let hello = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/hello");
        copy(&hello, work);
    });
    let build = ["cargo", "build", "--offline"];
    let text = house.learns(&[], &build);
    assert!(house.work().join("target/debug/hello").is_file());
    assert!(text.contains("make = [\n    \"$PWD/target\""), "{text}");
    // What it is made from is not changed.
    let ran = house.under(&["/bin/sh", "-c", "echo x >>src/main.rs"]);
    assert_ne!(ran.code(), 0, "{text}\n{ran}");
}

#[test]
fn a_repository_with_git() {
    require!(feature::listener());
    require!(feature::program("git"));
    let house = House::new(|work| {
        fs::create_dir(work.join("repository")).expect("a directory");
        fs::write(work.join("repository/file"), "content\n").expect("a file");
    });
    let script = "cd repository && git init -q . && git add file \
                  && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one && git log --oneline && git status --short";
    house.learns(&[], &["/bin/sh", "-c", script]);
    assert!(house.work().join("repository/.git/HEAD").is_file());
}

const INSTALLS: &str = r#"
import json, os, shutil, sys, tempfile, zipfile, py_compile
with zipfile.ZipFile("wheels/thing.whl") as wheel:
    staging = tempfile.mkdtemp(prefix="install-")
    wheel.extractall(staging)
os.makedirs("site/lib", exist_ok=True)
for name in os.listdir(staging):
    shutil.copyfile(os.path.join(staging, name), os.path.join("site/lib", name))
shutil.rmtree(staging)
py_compile.compile("site/lib/thing.py")
# One that no digit is in could as well be somebody's choice, and is learned as it is.
while True:
    handle, name = tempfile.mkstemp(dir=".", prefix="record")
    if any(character.isdigit() for character in name): break
    os.close(handle)
    os.remove(name)
os.write(handle, json.dumps({"thing": 1}).encode()); os.close(handle)
os.replace(name, "installed.json")
sys.path.insert(0, "site/lib")
import thing
assert thing.answer() == 42
print(open("installed.json").read())
"#;

#[test]
fn a_program_in_python_that_installs_another() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let house = House::new(|work| {
        fs::create_dir(work.join("wheels")).expect("a directory");
        fs::write(work.join("install.py"), INSTALLS).expect("a script");
        // A zip of one stored file, made by hand.
        let make = "import zipfile\nwith zipfile.ZipFile('wheels/thing.whl', 'w') as z: z.writestr('thing.py', 'def answer(): return 42\\n')";
        let made = std::process::Command::new("python3")
            .current_dir(work)
            .args(["-c", make])
            .status();
        assert!(made.expect("python runs").success());
    });
    let text = house.learns(&[], &["python3", "install.py"]);
    assert!(text.contains("\"$PWD/record"), "{text}");
    assert!(text.contains("path = \"$PWD/installed.json?\""), "{text}");
    assert!(text.contains("make = [\n    \"$PWD/site\""), "{text}");
}

const SERVES: &str = r#"
import http.server, os, sys, threading, urllib.request
os.chdir("public")
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        with open("../access.log", "a") as log: log.write("a request\n")
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
page = urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/index.html").read()
assert page == b"hello\n", page
server.shutdown()
"#;

#[test]
fn a_small_web_server() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    require!(feature::program("python3"));
    let house = House::new(|work| {
        fs::create_dir(work.join("public")).expect("a directory");
        fs::write(work.join("public/index.html"), "hello\n").expect("a page");
        fs::write(work.join("serve.py"), SERVES).expect("a script");
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port().to_string();
    drop(free);
    let text = house.learns(&[], &["python3", "serve.py", &port]);
    assert!(text.contains(&format!("\"127.0.0.1:{port}\"")), "{text}");
    assert!(text.contains("loopback = \"own\""), "{text}");
    // No other server of this machine is reached, and nobody elsewhere reaches this one.
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = server.local_addr().expect("an address").port();
    for act in [
        format!("connect((\"127.0.0.1\", {other}))"),
        "bind((\"0.0.0.0\", 0))".to_owned(),
    ] {
        let script = format!("import socket; socket.socket().{act}");
        let ran = house.under(&["python3", "-c", &script]);
        assert_ne!(ran.code(), 0, "{text}\n{ran}");
        assert!(
            ran.stderr.contains("PermissionError"),
            "{act}\n{text}\n{ran}"
        );
    }
}

const PACKS: &str = r#"
const fs = require("fs"), path = require("path"), child = require("child_process");
const lib = require("./lib/a.js");
fs.mkdirSync("dist", { recursive: true });
fs.writeFileSync("dist/bundle.js", lib.text + fs.readFileSync("lib/b.js"));
fs.writeFileSync("manifest.json.tmp12345", "{}");
fs.renameSync("manifest.json.tmp12345", "manifest.json");
console.log(child.execFileSync("/bin/echo", ["packed"]).toString());
"#;

#[test]
fn a_script_for_node_that_packs() {
    require!(feature::listener());
    require!(feature::program("node"));
    let house = House::new(|work| {
        fs::create_dir(work.join("lib")).expect("a directory");
        fs::write(work.join("lib/a.js"), "exports.text = 'a';").expect("a file");
        fs::write(work.join("lib/b.js"), "b").expect("a file");
        fs::write(work.join("pack.js"), PACKS).expect("a script");
    });
    let text = house.learns(&[], &["node", "pack.js"]);
    assert!(text.contains("path = \"$PWD/manifest.json?\""), "{text}");
}
