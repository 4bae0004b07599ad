//! Real programs under the filter alone.

use crate::filtered::filtered;
use crate::harness::run::{Ran, run};
use crate::harness::{Workspace, feature, require};
use crate::strictest;
use std::process::Command;
use supervisor::sandbox::filter::{Answer, FilterSpec, program};

/// No network, and metadata as the kernel has it: without a listener nobody else could decide about it.
fn work() -> FilterSpec {
    let mut spec = strictest();
    spec.answers.metadata = Answer::Allow;
    spec
}

fn works_under(spec: &FilterSpec, workspace: &Workspace, words: &[&str]) -> Ran {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(workspace.path());
    command.env("HOME", workspace.path()).env("LC_ALL", "C");
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        // The directory may be somebody else's.
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
    ] {
        command.env(name, value);
    }
    run(filtered(&mut command, &program(spec))).expect_code(0)
}

#[test]
fn shells_and_small_tools_run_under_the_strictest() {
    let workspace = Workspace::new();
    let script = "mkdir d && echo a > d/b && ls d && (sleep 0 & wait) && cat d/b | tr a c && ulimit -n 64 && nice -n 1 true";
    let ran = works_under(&strictest(), &workspace, &["sh", "-c", script]);
    assert_eq!(ran.stdout, "b\nc\n");
}

#[test]
fn python_runs_threads_processes_and_files() {
    require!(feature::program("python3"));
    let workspace = Workspace::new();
    let script = "
import asyncio, multiprocessing, os, sqlite3, subprocess, tempfile, threading
thread = threading.Thread(target=print, args=('thread',), kwargs={'flush': True})
thread.start(); thread.join()
print(subprocess.run(['echo', 'process'], capture_output=True, text=True).stdout, end='')
with tempfile.NamedTemporaryFile(dir='.') as file:
    file.write(b'x')
base = sqlite3.connect('base'); base.execute('create table t (a)'); base.commit()
async def later():
    process = await asyncio.create_subprocess_exec('true')
    return await process.wait()
print(asyncio.run(later()))
if __name__ == '__main__':
    ends = multiprocessing.Pipe()
    process = multiprocessing.get_context('fork').Process(target=ends[1].send, args=('forked',))
    process.start(); print(ends[0].recv()); process.join()
os.sched_setaffinity(0, os.sched_getaffinity(0))
";
    let ran = works_under(&work(), &workspace, &["python3", "-c", script]);
    assert_eq!(ran.stdout, "thread\nprocess\n0\nforked\n", "{ran}");
}

#[test]
fn git_initialises_and_commits() {
    require!(feature::program("git"));
    let workspace = Workspace::new();
    workspace.write("file", "x");
    let script = "git init -q . && git add file && git -c user.name=a -c user.email=b commit -qm c && git log --oneline | wc -l && git clone -q . copy && git -C copy fsck --no-progress && git gc -q";
    let ran = works_under(&work(), &workspace, &["sh", "-c", script]);
    assert_eq!(ran.stdout.trim(), "1", "{ran}");
}

#[test]
fn node_runs_workers_and_processes() {
    require!(feature::program("node"));
    let workspace = Workspace::new();
    let script = "
const { Worker } = require('worker_threads');
const { execFileSync } = require('child_process');
require('fs').writeFileSync('file', 'x');
console.log(execFileSync('cat', ['file']).toString());
new Worker('require(\"worker_threads\").parentPort.postMessage(7)', { eval: true }).on('message', console.log);
";
    let ran = works_under(&work(), &workspace, &["node", "-e", script]);
    assert_eq!(ran.stdout, "x\n7\n", "{ran}");
}

#[test]
fn a_c_compiler_compiles_and_its_program_runs() {
    require!(feature::program("gcc"));
    let workspace = Workspace::new();
    workspace.write(
        "a.c",
        "#include <pthread.h>\n#include <stdio.h>\nstatic void *f(void *a) { return a; }\nint main(void) { pthread_t t; void *r; \
         if (pthread_create(&t, 0, f, \"ran\") || pthread_join(t, &r)) return 1; return puts(r) < 0; }\n",
    );
    let ran = works_under(
        &work(),
        &workspace,
        &["sh", "-c", "gcc -pthread -O1 -o a a.c && ./a"],
    );
    assert_eq!(ran.stdout, "ran\n", "{ran}");
}
