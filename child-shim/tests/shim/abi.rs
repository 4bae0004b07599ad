//! The header and the libraries, as a C and as a C++ program finds them.

use std::path::Path;
use std::process::Command;

use crate::child::with_doors;
use crate::harness::run::run;
use crate::harness::{Workspace, built, feature, require};
use crate::server::Supervisor;

/// How a program is linked with the library.
#[derive(Clone, Copy)]
pub enum Link {
    Static,
    Shared,
}

/// Compiles and links a program of this package, all warnings being errors.
pub fn compile(compiler: &[&str], source: &str, link: Link, to: &Path) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [program, arguments @ ..] = compiler else {
        panic!("a compiler")
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
        .arg(to);
    command
        .arg("-I")
        .arg(package.join("c/include"))
        .arg(package.join(source));
    let libraries = built::c_libraries();
    match link {
        // A language that was named for the source is not that of the library.
        Link::Static => command
            .args(["-x", "none"])
            .arg(libraries.join("libsupervise.a"))
            .args(["-lpthread", "-ldl", "-lm"]),
        Link::Shared => command
            .arg("-L")
            .arg(&libraries)
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .args(["-x", "none", "-lsupervise"]),
    };
    let ran = run(&mut command);
    assert!(ran.status.success(), "{ran}");
}

fn keeps_its_promises(compiler: &[&str], link: Link) {
    let supervisor = Supervisor::start();
    let workspace = Workspace::new();
    let program = workspace.join("abi");
    compile(compiler, "tests/programs/abi.c", link, &program);
    let path = supervisor.file("a", "hello");
    for doors in [
        &["SUPERVISE_FD", "SUPERVISE_SOCKET"][..],
        &["SUPERVISE_FD"],
        &["SUPERVISE_SOCKET"],
    ] {
        let mut command = Command::new(&program);
        with_doors(
            command.arg(&path).args(["hello", "/etc/shadow"]),
            &supervisor,
        );
        for missing in ["SUPERVISE_FD", "SUPERVISE_SOCKET"]
            .iter()
            .filter(|door| !doors.contains(door))
        {
            command.env_remove(missing);
        }
        let output = command.output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "with {doors:?}: {said}");
        assert_eq!(output.stdout, b"all kept\n");
    }
}

#[test]
fn a_c_program_links_statically() {
    require!(feature::program("cc"));
    keeps_its_promises(&["cc", "-std=c99", "-D_GNU_SOURCE"], Link::Static);
}

#[test]
fn a_c_program_links_with_the_shared_library() {
    require!(feature::program("cc"));
    keeps_its_promises(&["cc", "-std=c99", "-D_GNU_SOURCE"], Link::Shared);
}

#[test]
fn a_cpp_program_links() {
    require!(feature::program("c++"));
    keeps_its_promises(&["c++", "-std=c++17", "-x", "c++"], Link::Static);
}

#[test]
fn outside_a_sandbox_opening_is_opening() {
    require!(feature::program("cc"));
    let workspace = Workspace::new();
    let program = workspace.join("outside");
    let source = workspace.write("outside.c", concat!(
        "#include \"supervise.h\"\n#include <errno.h>\n",
        "int main(void) { return !(supervise_available() == 0 && supervise_open(\"/dev/null\", O_RDWR, 0) >= 0\n",
        "    && supervise_request(\"/dev/null\", O_RDWR, 0, 0) == -1 && errno == EACCES); }\n",
    ));
    compile(
        &["cc", "-std=c99"],
        source.to_str().expect("text"),
        Link::Static,
        &program,
    );
    let mut command = Command::new(&program);
    let ran = run(command
        .env_remove("SUPERVISE_FD")
        .env_remove("SUPERVISE_SOCKET"));
    assert!(ran.status.success(), "{ran}");
}
