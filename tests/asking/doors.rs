//! The ways to the supervisor, from real programs.

use crate::harness::built::supervise;
use crate::harness::run::{eventually_reads, run};
use crate::harness::{feature, require};
use crate::house::{House, said};
use std::path::{Path, PathBuf};

const GIVEN: &str = "a file that is given";

fn package() -> PathBuf {
    crate::harness::built::tree().join("child-shim")
}

/// A program of the shell's, with every door, without the inherited one, and without the name.
fn in_every_way(house: &House, program: &str) {
    for way in [
        "",
        "exec 3>&-; ",
        "unset SUPERVISE_FD; ",
        "unset SUPERVISE_SOCKET; ",
    ] {
        let ran = run(house
            .supervise(&[])
            .args(["sh", "-c"])
            .arg(format!("{way}{program}")))
        .expect_code(0);
        assert_eq!(ran.stdout.trim_end(), GIVEN, "{way}: {ran}");
    }
}

#[test]
fn a_program_with_the_library_asks_over_each_door() {
    require!(feature::asking_by_name());
    let house = House::new();
    for role in ["ask", "ask with all closed", "leave an orphan that asks"] {
        let ran = run(&mut house.inside(role, &[("FILE", &house.path("given/a"))], &[]));
        assert_eq!(said(&ran), [GIVEN], "{role}: {ran}");
    }
}

#[test]
fn a_shell_asks_with_the_command_itself() {
    require!(feature::asking_by_name());
    let house = House::new();
    in_every_way(
        &house,
        &format!(
            "\"$SUPERVISE_EXE\" request {} --read",
            house.path("given/a").display()
        ),
    );
    let written = house.path("given/written");
    let script = format!(
        "echo by a shell | {} request {} --write",
        supervise().display(),
        written.display()
    );
    run(house.supervise(&[]).args(["sh", "-c", &script])).expect_code(0);
    assert_eq!(
        std::fs::read_to_string(&written).expect("written"),
        "by a shell\n"
    );
    let script = format!(
        "{} request {} --read -- wc -l",
        supervise().display(),
        written.display()
    );
    let ran = run(house.supervise(&[]).args(["sh", "-c", &script])).expect_code(0);
    assert_eq!(ran.stdout.trim(), "1");
}

#[test]
fn the_python_example_asks() {
    require!(feature::asking_by_name());
    require!(python());
    let house = House::new();
    let example = std::fs::read_to_string(package().join("examples/ask.py")).expect("the example");
    let example = house.workspace.write("work/ask.py", example);
    in_every_way(
        &house,
        &format!(
            "/usr/bin/python3 {} {}",
            example.display(),
            house.path("given/a").display()
        ),
    );
}

/// The system's own, which the policy can name.
pub fn python() -> Result<(), String> {
    match Path::new("/usr/bin/python3").exists() {
        true => Ok(()),
        false => Err("`/usr/bin/python3` is not installed".to_owned()),
    }
}

#[test]
fn the_c_example_asks() {
    require!(feature::listener());
    require!(feature::program("cc"));
    let library = crate::harness::built::c_libraries().join("libsupervise.a");
    let house = House::new();
    let program = house.workspace.join("ask");
    let mut compiler = std::process::Command::new("cc");
    compiler
        .arg("-I")
        .arg(package().join("c/include"))
        .arg(package().join("examples/ask.c"));
    compiler
        .arg(library)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program);
    run(&mut compiler).expect_code(0);
    let options = ["--exec", program.to_str().expect("text")];
    let ran = run(house
        .supervise(&options)
        .arg(&program)
        .arg(house.path("given/a")))
    .expect_code(0);
    assert_eq!(ran.stdout.trim_end(), GIVEN);
}

#[test]
fn another_sandbox_cannot_use_the_door() {
    require!(feature::asking_by_name());
    let (owner, other) = (House::new(), House::new());
    let _running = crate::harness::run::start(&mut owner.inside("say where the door is", &[], &[]));
    let door = PathBuf::from(eventually_reads(&owner.path("work/door")));
    let told = [("DOOR", door.as_path()), ("FILE", &owner.path("given/a"))];
    let ran = run(&mut other.inside("try a door", &told, &[]));
    let answer = said(&ran).join(" ");
    assert!(
        [
            "entity not found",
            "permission denied",
            "connection refused"
        ]
        .contains(&answer.as_str()),
        "{answer}"
    );
    // Nor can a program outside any sandbox.
    assert!(std::os::unix::net::UnixStream::connect(&door).is_err());
    assert!(owner.decisions().is_empty());
}
