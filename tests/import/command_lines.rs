//! landrun and bubblewrap, and firejail without a profile.

use super::*;
use crate::harness::{feature, require};

const LANDRUN: &str = "--rox /usr --rox=/lib --ro /etc/hosts,/etc/passwd --rw ./out --bind-tcp 8080 --connect-tcp 443,5432 \
                       --env PATH --env MODE=fast --log-level debug ./out/server --rw /";

#[test]
fn what_landrun_lists_is_allowed_and_nothing_else() {
    let scene = Scene::new();
    scene.workspace.make_dir("out");
    let made = scene.flags("landrun", LANDRUN).expect(NARROWER);
    let answer = |question, object: &str| scene.answer(&made, question, object);
    let out = scene.workspace.join("out/x").display().to_string();
    assert_eq!(answer("exec", "/usr/bin/env"), "allow");
    assert_eq!(answer("read", "/etc/hosts"), "allow");
    assert_eq!(answer("exec", "/etc/hosts"), "deny");
    assert_eq!(answer("write", &out), "allow");
    assert_eq!(answer("exec", &out), "deny");
    // Behind the command stand its own arguments; what the preset base has is not listed.
    assert_eq!(answer("write", "/etc/x"), "deny");
    assert_eq!(answer("read", "/etc/group"), "deny");
    assert_eq!(answer("connect", "10.0.0.1:443"), "allow");
    assert_eq!(answer("connect", "10.0.0.1:80"), "deny");
    assert_eq!(answer("bind", "127.0.0.1:8080"), "allow");
    made.has("set = { \"MODE\" = \"fast\" }");
}

#[test]
fn a_script_is_read_for_the_line_that_starts_it() {
    let scene = Scene::new();
    scene.workspace.make_dir("a b");
    let text =
        "#!/bin/sh\n# --rw /\nexec landrun --rox /usr \\\n    --rw 'a b' -- make --ro /etc\n";
    let made = scene.file("landrun", text).expect(NARROWER);
    made.has("\"$PWD/a b\",  # --rw a b").lacks("/etc");
}

#[test]
fn what_cannot_be_said_stands_in_the_policy() {
    let scene = Scene::new();
    let flags = "--best-effort --ldd --unrestricted-network --ro /$SECRET --ro /a* --novelty make";
    let made = scene.flags("landrun", flags).expect(WEAKER);
    for line in [
        "#   --best-effort:",
        "#   --ldd:",
        "#   --ro /$SECRET:",
        "#   --ro /a*:",
        "#   --novelty: not known",
        "\"*:*\",  # --unrestricted-network",
        "udp = \"any\"",
    ] {
        made.has(line);
    }
}

const BWRAP: &str = "--ro-bind /usr /usr --symlink usr/lib /lib --proc /proc --dev /dev --tmpfs /tmp --bind . . \
                     --ro-bind-try /nowhere /nowhere --tmpfs ./secret --unshare-all --die-with-parent --new-session \
                     --setenv A b make";

#[test]
fn what_bubblewrap_binds_is_granted_where_it_lies() {
    let scene = Scene::new();
    scene.workspace.make_dir("secret");
    // Beside a denial the kernel is told what is there.
    scene.workspace.write("tool", "");
    let made = scene.flags("bwrap", BWRAP).expect(NARROWER);
    let answer = |question, object: &str| scene.answer(&made, question, object);
    let below = |name: &str| scene.workspace.join(name).display().to_string();
    assert_eq!(answer("write", &below("x")), "allow");
    assert_eq!(answer("exec", &below("tool")), "allow");
    assert_eq!(answer("read", &below("secret/x")), "deny");
    assert_eq!(answer("exec", "/usr/bin/env"), "allow");
    assert_eq!(answer("write", "/usr/x"), "deny");
    assert_eq!(answer("write", "/dev/null"), "allow");
    assert_eq!(answer("read", "/etc/passwd"), "deny");
    assert_eq!(answer("connect", "10.0.0.1:443"), "deny");
    made.has("#   --symlink usr/lib /lib:")
        .has("\"/nowhere?\",  # --ro-bind-try")
        .has("set = { \"A\" = \"b\" }");
}

#[test]
fn where_all_of_it_has_an_equivalent_nothing_is_said() {
    let scene = Scene::new();
    let flags = "--ro-bind /usr /usr --unshare-all --clearenv --die-with-parent --cap-drop ALL ls";
    let made = scene.flags("bwrap", flags).expect(SAME);
    assert_eq!(made.ran.stderr, "", "{}", made.ran);
    made.has("#   --cap-drop: all are dropped")
        .has("\"/usr\",")
        .lacks("WEAKER");
}

#[test]
fn a_policy_from_bubblewrap_runs_a_program() {
    require!(feature::landlock(6));
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = Scene::new();
    let inner = scene.workspace.make_dir("inner");
    let flags = "--ro-bind /usr /usr --ro-bind-try /lib64 /lib64 --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache \
                 --dev /dev --bind . . --unshare-net true";
    let made = scene.flags("bwrap", flags).expect(NARROWER);
    scene.workspace.write("policy.toml", &made.text);
    let script = "echo made >x && cat x; cat ../policy.toml";
    let mut command = scene.command(&["-p", "../policy.toml", "--", "sh", "-c", script]);
    let ran = run(command.current_dir(&inner).env("PWD", &inner));
    assert_eq!(ran.stdout, "made\n", "{ran}");
    assert!(inner.join("x").exists());
}

#[test]
fn a_network_that_is_shared_is_opened_and_what_hides_too_much_is_weaker() {
    let scene = Scene::new();
    scene
        .flags("bwrap", "--ro-bind /usr /usr --clearenv ls")
        .expect(NARROWER)
        .has("udp = \"any\"");
    let made = scene.flags(
        "bwrap",
        "--bind / / --tmpfs /home --bind /home/u/p /home/u/p --unshare-net ls",
    );
    made.expect(WEAKER)
        .has("#   --tmpfs /home: a denial always wins")
        .has("#   --bind / /: `/` would hold");
    scene
        .flags("bwrap", "--seccomp 9 --unshare-net ls")
        .expect(WEAKER);
    // What has an unknown number of operands cannot be read over.
    scene
        .flags("bwrap", "--novelty --ro-bind /usr /usr ls")
        .expect(125);
    scene.flags("bwrap", "--args 9 ls").expect(125);
}

#[test]
fn flags_of_firejail_are_lines_of_a_profile() {
    let scene = Scene::new();
    let flags = "--net=none --private --blacklist=/srv/secret --rlimit-nproc=50 ls";
    let made = scene.flags("firejail", flags).expect(NARROWER);
    made.has("\"/srv/secret\",  # blacklist")
        .has("processes = 50")
        .lacks("\"$HOME\"");
    assert_eq!(scene.answer(&made, "read", "/srv/secret/x"), "deny");
}

const SANDLOCK: &str = "run -r /usr --fs-write=./out --fs-deny ./out/secret --net-allow 10.0.0.1:80,443 --net-allow-bind 8080-8082 \
                        --max-open-files 64 -t 30 --clean-env --env MODE=fast --name box -- make -r /etc";

#[test]
fn what_sandlock_lists_is_allowed_and_nothing_else() {
    let scene = Scene::new();
    scene.workspace.make_dir("out");
    // Beside a denial the kernel is told what is there.
    scene.workspace.write("out/tool", "");
    let made = scene.flags("sandlock", SANDLOCK).expect(NARROWER);
    let answer = |question, object: &str| scene.answer(&made, question, object);
    let below = |name: &str| scene.workspace.join(name).display().to_string();
    assert_eq!(answer("exec", "/usr/bin/env"), "allow");
    assert_eq!(answer("write", &below("out/x")), "allow");
    assert_eq!(answer("exec", &below("out/tool")), "allow");
    assert_eq!(answer("read", &below("out/secret")), "deny");
    assert_eq!(answer("read", "/etc/group"), "deny");
    for (port, is_listed) in [("80", "allow"), ("443", "allow"), ("22", "deny")] {
        assert_eq!(answer("connect", &format!("10.0.0.1:{port}")), is_listed);
        assert_eq!(answer("connect", &format!("10.0.0.2:{port}")), "deny");
    }
    assert_eq!(answer("bind", "127.0.0.1:8081"), "allow");
    assert_eq!(answer("bind", "127.0.0.1:8083"), "deny");
    made.has("open_files = 64")
        .has("wall = \"30s\"")
        // Said or not, there are so many at most.
        .has("processes = 64")
        .has("set = { \"MODE\" = \"fast\" }")
        .has("#   --name box: names stay");
}

#[test]
fn what_sandlock_restricts_and_nothing_here_does_is_weaker() {
    let scene = Scene::new();
    for flags in [
        "run -r /usr -m 512M -- ls",
        "run -r /usr --workdir . -- ls",
        "run -r /usr --cpu 50 -- ls",
        "run -r /usr --fs-deny /usr/*x/$y -- ls",
    ] {
        scene.flags("sandlock", flags).expect(WEAKER);
    }
    // What says what the other flags mean, or has an unknown number of operands, cannot be read over.
    for flags in [
        "run --chroot /x -r /usr -- ls",
        "run -p build -- ls",
        "run --novelty -- ls",
    ] {
        scene.flags("sandlock", flags).expect(125);
    }
    let made = scene.flags("sandlock", "run -r /usr --net-allow-bind 1000-9000 -- ls");
    made.expect(NARROWER).lacks("bind = ");
}

#[test]
fn flags_of_nono_are_lines_of_a_profile() {
    let scene = Scene::new();
    scene.workspace.make_dir("work");
    let made = scene.flags(
        "nono",
        "run --block-net --allow work --read /usr -- ls --read /etc",
    );
    let work = scene.workspace.join("work/x").display().to_string();
    assert_eq!(scene.answer(&made, "write", &work), "allow");
    assert_eq!(scene.answer(&made, "write", "/usr/x"), "deny");
    assert_eq!(scene.answer(&made, "read", "/etc/hostname"), "deny");
    assert_eq!(scene.answer(&made, "connect", "10.0.0.1:443"), "deny");
    let made = scene.flags("nono", "run --allow work -- ls");
    assert_eq!(scene.answer(&made, "connect", "10.0.0.1:443"), "allow");
    scene.flags("nono", "run --novelty -- ls").expect(125);
}

#[test]
fn landrun_may_pass_over_what_is_missing_and_name_sockets() {
    let scene = Scene::new();
    let flags = "--rox /usr --ro /nowhere --unix /run/db.sock --ignore-missing ls";
    let made = scene.flags("landrun", flags).expect(NARROWER);
    made.has("\"/nowhere?\",  # --ro /nowhere")
        .has("\"/run/db.sock?\",  # --unix /run/db.sock");
}

#[test]
fn where_nothing_is_there_unlisted_devices_and_facts_are_listed() {
    let scene = Scene::new();
    for flags in ["--rox /usr --rw /dev --ro /proc ls", "--rox / --rw / ls"] {
        let made = scene.flags("landrun", flags).expect(NARROWER);
        assert_eq!(
            scene.answer(&made, "write", "/dev/null"),
            "allow",
            "{flags}"
        );
        assert_eq!(
            scene.answer(&made, "read", "/proc/meminfo"),
            "allow",
            "{flags}"
        );
        assert_eq!(scene.answer(&made, "read", "/dev/kmsg"), "deny", "{flags}");
    }
}

#[test]
fn what_is_written_to_a_file_is_followed_by_how_it_is_used() {
    let scene = Scene::new();
    let said = |output: &str, from: &str, flags: &[&str]| {
        let start = ["import", "--from", from, "-o", output, "--"];
        let words = start.iter().chain(flags).copied().collect::<Vec<_>>();
        run(&mut scene.command(&words)).stdout
    };
    let flags = [
        "--ro-bind",
        "/usr",
        "/usr",
        "--chdir",
        "/usr/bin",
        "sh",
        "-c",
        "it's",
    ];
    assert_eq!(
        said("made.toml", "bwrap", &flags),
        "supervise -p ./made.toml --chdir /usr/bin -- sh -c 'it'\\''s'\n"
    );
    assert_eq!(
        said(
            "./other.toml",
            "landrun",
            &["--rox", "/usr", "--", "--oddly-named"]
        ),
        "supervise -p ./other.toml -- --oddly-named\n"
    );
    assert_eq!(said("third.toml", "landrun", &["--rox", "/usr"]), "");
}
