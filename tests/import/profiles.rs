//! sandbox-runtime, nono, firejail and systemd.

use super::*;

const SRT: &str = r#"{
    "network": {
        "allowedDomains": ["registry.example", "*.cdn.example"],
        "deniedDomains": ["ads.example"],
        "allowUnixSockets": ["~/agent.sock"],
        "allowLocalBinding": true
    },
    "filesystem": {
        "denyRead": ["~/.keys"],
        "allowRead": ["~/.keys/public"],
        "allowWrite": [".", "/var/tmp/cache"],
        "denyWrite": ["settings.local", "certs/*.pem"]
    },
    "ignoreViolations": { "*": ["/usr/bin"] }
}"#;

#[test]
fn settings_of_sandbox_runtime_keep_what_they_deny() {
    let scene = Scene::new();
    let made = scene.file("srt", SRT).expect(NARROWER);
    let answer = |question, name: &str| {
        let object = scene.workspace.join(name).display().to_string();
        scene.answer(&made, question, &object)
    };
    assert_eq!(answer("read", "x"), "allow");
    assert_eq!(answer("write", "x"), "allow");
    assert_eq!(answer("read", ".keys/secret"), "deny");
    assert_eq!(answer("write", "settings.local"), "deny");
    assert_eq!(answer("read", "settings.local"), "allow");
    assert_eq!(answer("write", "certs/a.pem"), "deny");
    assert_eq!(answer("write", "sub/.git/hooks/pre-commit"), "deny");
    assert_eq!(answer("write", ".bashrc"), "deny");
    assert_eq!(scene.answer(&made, "write", "/etc/x"), "deny");
    assert_eq!(scene.answer(&made, "connect", "10.0.0.1:443"), "deny");
    made.has("#   allowedDomains registry.example:")
        .has("#   allowedDomains *.cdn.example:")
        .has("#   allowRead ~/.keys/public: a denial always wins")
        .has("#   deniedDomains:")
        .has("#   ignoreViolations:")
        .has("\"$HOME/agent.sock?\",  # allowUnixSockets")
        .has("loopback = \"own\"");
}

#[test]
fn a_setting_that_is_not_known_is_taken_for_a_restriction() {
    let scene = Scene::new();
    for text in [
        r#"{ "novelty": true }"#,
        r#"{ "filesystem": { "novelty": true } }"#,
        r#"{ "network": { "novelty": true } }"#,
    ] {
        scene
            .file("srt", text)
            .expect(WEAKER)
            .has("#   novelty: not known");
    }
    scene
        .file("nono", r#"{ "novelty": 1, "network": { "block": true } }"#)
        .expect(WEAKER);
    scene
        .file("firejail", "novelty on\nnet none\n")
        .expect(WEAKER);
    scene
        .file("systemd", "[Service]\nNovelty=1\n")
        .expect(WEAKER);
}

const NONO: &str = r#"{
    "meta": { "name": "tests", "version": "1" },
    "filesystem": {
        "allow": ["$WORKDIR/out"],
        "read": ["~/.gitconfig", "$SECRETS/x"],
        "deny": ["$WORKDIR/out/keys"],
        "unix_socket": ["/run/db.sock"]
    },
    "network": { "block": false, "allow_domain": ["api.example"], "open_port": [3000], "listen_port": [8080] },
    "workdir": { "access": "read" },
    "environment": { "allow_vars": ["CI"], "set_vars": { "MODE": "test" } }
}"#;

#[test]
fn a_profile_of_nono_that_lists_hosts_does_not_open_the_network() {
    let scene = Scene::new();
    let made = scene.file("nono", NONO).expect(WEAKER);
    let answer = |question, name: &str| {
        let object = scene.workspace.join(name).display().to_string();
        scene.answer(&made, question, &object)
    };
    assert_eq!(answer("write", "x"), "deny");
    assert_eq!(answer("read", "x"), "allow");
    made.has("\"$PWD/out?\",  # allow $WORKDIR/out")
        .has("\"$PWD/out/keys\",  # deny $WORKDIR/out/keys")
        .has("#   read $SECRETS/x: a variable")
        .has("#   allow_domain [\"api.example\"]:")
        .has("\"CI\",  # allow_vars CI")
        .has("set = { \"MODE\" = \"test\" }")
        .lacks("*:*");
    assert_eq!(scene.answer(&made, "connect", "127.0.0.1:3000"), "allow");
    assert_eq!(scene.answer(&made, "connect", "10.0.0.1:443"), "deny");
    assert_eq!(scene.answer(&made, "bind", "127.0.0.1:8080"), "allow");
}

const FIREJAIL: &str = "\
# A viewer.
include disable-common.inc
noblacklist ${HOME}/.config/viewer
blacklist ${HOME}/.keys
read-only ${HOME}/Downloads/kept
whitelist ${DOWNLOADS}
private-dev
private-tmp
private-etc fonts,ssl
net none
caps.drop all
nonewprivs
seccomp
rlimit-nproc 100
rlimit-as 1073741824
timeout 01:30:00
env LANG=C
dbus-user none
";

#[test]
fn of_a_place_of_which_a_profile_lists_something_nothing_else_is_there() {
    let scene = Scene::new();
    let made = scene.file("firejail", "whitelist /etc/ssl\nnet none\n");
    let made = made.expect(NARROWER);
    assert_eq!(scene.answer(&made, "read", "/etc/ssl/openssl.cnf"), "allow");
    assert_eq!(scene.answer(&made, "write", "/etc/ssl/openssl.cnf"), "deny");
    assert_eq!(scene.answer(&made, "read", "/etc/crontab"), "deny");
    assert_eq!(scene.answer(&made, "read", "/opt/x"), "allow");
}

#[test]
fn a_profile_of_firejail_grants_what_it_lists_of_the_home_directory() {
    let scene = Scene::new();
    scene.workspace.make_dir("Downloads/kept");
    let made = scene.file("firejail", FIREJAIL).expect(WEAKER);
    let answer = |question, name: &str| {
        let object = scene.workspace.join(name).display().to_string();
        scene.answer(&made, question, &object)
    };
    assert_eq!(answer("write", "Downloads/x"), "allow");
    assert_eq!(answer("write", "Downloads/kept/x"), "deny");
    assert_eq!(answer("read", "Downloads/kept/x"), "allow");
    assert_eq!(answer("read", ".keys/x"), "deny");
    assert_eq!(answer("read", "other"), "deny");
    assert_eq!(scene.answer(&made, "read", "/etc/shadow"), "deny");
    assert_eq!(scene.answer(&made, "connect", "10.0.0.1:443"), "deny");
    made.has("#   include disable-common.inc:")
        .has("\"/etc/fonts?\",  # private-etc fonts,ssl")
        .has("processes = 100")
        .has("memory = \"1073741824B\"")
        .has("wall = \"01h30m00s\"")
        .has("set = { \"LANG\" = \"C\" }");
    for line in FIREJAIL.lines().skip(1) {
        let word = line.split(' ').next().unwrap_or_default();
        assert!(
            made.text.contains(word) || ["timeout", "rlimit-as", "env", "net"].contains(&word),
            "{line} was dropped:\n{}",
            made.text
        );
    }
}

const UNIT: &str = "\
[Unit]
Description=A worker

[Service]
ExecStart=/usr/bin/worker --serve \\
    --port 8080
DynamicUser=yes
ProtectSystem=strict
PrivateTmp=yes
NoNewPrivileges=yes
ReadWritePaths=/nowhere
ReadWritePaths=
ReadWritePaths=-/var/lib/worker
InaccessiblePaths=-/etc/ssl/private
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
IPAddressDeny=any
IPAddressAllow=localhost 10.0.0.0/8
SystemCallFilter=@system-service
MemoryMax=512M
TasksMax=64
LimitNOFILE=1024:4096
RuntimeMaxSec=1h
Environment=MODE=fast \"LEVEL=2\"

[Install]
WantedBy=multi-user.target
";

#[test]
fn a_unit_of_systemd_keeps_its_paths_addresses_and_limits() {
    let scene = Scene::new();
    let made = scene.file("systemd", UNIT).expect(WEAKER);
    assert_eq!(scene.answer(&made, "read", "/etc/ssl/private/x"), "deny");
    assert_eq!(scene.answer(&made, "read", "/etc/hosts"), "allow");
    assert_eq!(scene.answer(&made, "write", "/etc/hosts"), "deny");
    assert_eq!(scene.answer(&made, "connect", "10.1.2.3:443"), "allow");
    assert_eq!(scene.answer(&made, "connect", "127.0.0.1:443"), "allow");
    assert_eq!(scene.answer(&made, "connect", "192.168.1.1:443"), "deny");
    made.has("\"/var/lib/worker?\",")
        .has("#   DynamicUser=yes:")
        .has("#   SystemCallFilter=@system-service:")
        .has("#   MemoryMax=512M:")
        .has("memory = \"512MiB\"")
        .has("open_files = 4096")
        .has("processes = 64")
        .has("wall = \"1h\"")
        .has("set = { \"LEVEL\" = \"2\", \"MODE\" = \"fast\" }")
        .lacks("/nowhere")
        .lacks("multi-user");
}

#[test]
fn a_unit_without_a_network_gets_none_and_one_without_a_word_about_it_all() {
    let scene = Scene::new();
    for line in [
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "RestrictAddressFamilies=none",
    ] {
        let text = format!("[Service]\nProtectSystem=strict\nPrivateTmp=yes\n{line}\n");
        let made = scene.file("systemd", &text).expect(NARROWER);
        assert_eq!(
            scene.answer(&made, "connect", "10.0.0.1:443"),
            "deny",
            "{line}"
        );
    }
    let made = scene.file("systemd", "[Service]\nProtectSystem=strict\n");
    made.has("udp = \"any\"").has("tmp = \"shared\"");
}
