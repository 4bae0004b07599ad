//! Tasks that share tables and memory, code that is mapped and not executed, and frames that no signal left behind: the policy is of
//! the task, whatever it has in common with others.

use crate::harness::run::run;
use crate::harness::{feature, require, set_mode};
use crate::scene::{POLICY, Scene, assert_unchanged, refused_in};
use std::path::PathBuf;

#[test]
fn processes_that_share_everything_share_the_policy_too() {
    let scene = Scene::new();
    let before = scene.snapshot();
    for shared in ["vm", "vm,fs", "vm,files", "vm,fs,files"] {
        // What one of them may not the other may not, nor both together: where one is, what one holds.
        let acts = [
            (
                format!("in-a-sharer {shared} open {{W}}/secret/key"),
                "errno EACCES",
            ),
            (
                format!("in-a-sharer {shared} open {{O}}/file"),
                "errno EACCES",
            ),
            (
                format!("in-a-sharer {shared} chmod {{W}}/secret/key"),
                "errno EACCES",
            ),
            (
                format!("in-a-sharer {shared} chmod {{O}}/file"),
                "errno EACCES",
            ),
            (format!("in-a-sharer {shared} chdir {{W}}/secret"), "ok 0"),
            (
                "read key".to_owned(),
                if shared.contains("fs") {
                    "errno EACCES"
                } else {
                    "errno ENOENT"
                },
            ),
            ("chdir {W}".to_owned(), "ok"),
            (format!("in-a-sharer {shared} chdir {{O}}"), "ok 0"),
            (
                "fchmodat file 777".to_owned(),
                if shared.contains("fs") {
                    "errno EACCES"
                } else {
                    "errno ENOENT"
                },
            ),
            ("chdir {W}".to_owned(), "ok"),
        ];
        let words: Vec<&str> = acts.iter().map(|(act, _)| act.as_str()).collect();
        let performed = scene.perform(&words.join(" -- "));
        let answers = performed.answers();
        assert_eq!(answers.len(), acts.len(), "{}", performed.ran);
        for ((act, expected), answer) in acts.iter().zip(answers) {
            assert_eq!(answer, *expected, "{act}: {}", performed.ran);
        }
    }
    assert_unchanged(&before, &scene.snapshot());
    // They do share: what one opens the other reads, and what is allowed is done for both.
    let acts = "in-a-sharer vm,files open {W}/sub/mine -- in-a-sharer vm,fs chdir {W}/sub -- read mine -- in-a-sharer vm,fs chmod mine -- stat mine";
    let performed = scene.perform(acts);
    let answers = performed.answers();
    let opened = answers[0].strip_prefix("ok ").expect("a number");
    assert!(opened.parse::<i32>().is_ok(), "{}", performed.ran);
    assert_eq!(answers[1..4], ["ok 0", "ok mine", "ok 0"]);
    assert!(answers[4].contains("mode=100666"), "{}", performed.ran);
    let free = Scene::new();
    for act in ["open {W}/secret/key", "chmod {O}/file"] {
        let said = run(&mut free.unconfined(&format!("in-a-sharer vm,fs {act}")));
        assert!(said.stdout.starts_with("ok "), "{act}: {said}");
    }
}

#[test]
fn processes_that_share_memory_are_counted_like_others() {
    require!(feature::listener());
    let scene = Scene::under(&format!("{POLICY}[limits]\nprocesses = 1\n"));
    for shared in ["vm", "vm,fs,files"] {
        let performed = scene.perform(&format!("in-a-sharer {shared} chdir {{W}}"));
        assert_eq!(performed.answers(), ["errno EAGAIN"], "{shared}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_frame_that_no_signal_left_behind_changes_nothing_but_registers() {
    let scene = Scene::new();
    for path in ["{W}/secret/key", "{O}/file"] {
        let act = format!("forged-frame {path}");
        let performed = scene.perform(&act);
        assert_eq!(performed.answers(), ["errno EACCES"], "{act}");
        assert_eq!(run(&mut scene.unconfined(&act)).stdout, "ok\n", "{act}");
    }
    let performed = scene.perform("forged-frame {W}/sub/mine");
    assert_eq!(performed.answers(), ["ok"], "what is allowed still is");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_frame_of_the_old_abi_ends_the_program() {
    let outside = run(&mut Scene::new().unconfined("forged-mode"));
    require!(if outside.code() == 42 {
        Ok(())
    } else {
        Err(format!("programs of 32 bits are not run here: {outside}"))
    });
    let ran = Scene::new().perform("forged-mode").ran;
    assert_eq!(ran.code(), 128 + libc::SIGSYS, "{ran}");
}

/// A library that this test itself has loaded.
fn library() -> Result<PathBuf, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let path = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(5))
        .find(|path| path.contains("/libgcc_s.so"));
    path.map(PathBuf::from)
        .ok_or("this test has loaded no library that can be copied".to_owned())
}

#[test]
fn code_that_cannot_be_read_is_neither_mapped_nor_loaded() {
    let found = library();
    require!(found.clone().map(drop));
    let library = found.expect("as required");
    let prepare = |scene: &Scene| {
        for to in [
            scene.outside().join("plug-in.so"),
            scene.work().join("secret/plug-in.so"),
            scene.work().join("sub/plug-in.so"),
        ] {
            std::fs::copy(&library, &to).expect("a library can be copied");
            set_mode(&to, 0o755);
        }
    };
    let scene = Scene::new();
    prepare(&scene);
    let acts = [
        "map {O}/plug-in.so exec",
        "map {O}/plug-in.so read,exec",
        "map {W}/secret/plug-in.so exec",
        "load {O}/plug-in.so",
        "load {W}/secret/plug-in.so",
        "load {W}/sub/../secret/plug-in.so",
    ];
    refused_in(&scene, &prepare, "EACCES", &acts);
    // Of what can be read nobody is kept from making code: exec rules are not about that.
    let performed = scene.perform("map {W}/sub/plug-in.so exec -- load {W}/sub/plug-in.so");
    assert_eq!(performed.answers(), ["ok", "ok"], "{}", performed.ran);
}
