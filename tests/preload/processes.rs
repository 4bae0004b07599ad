//! Processes and threads that share, or lose, the ways to the supervisor.

use crate::harness::{feature, require};
use crate::{GIVEN, Preloaded, python};

/// With every way, without the inherited one, and without the name.
const WAYS: [&str; 3] = ["", "exec 3>&-; ", "unset SUPERVISE_SOCKET; "];

#[test]
fn forked_children_ask_over_each_way() {
    require!(feature::asking_by_name());
    require!(python());
    let sandbox = Preloaded::new();
    sandbox.house.workspace.write(
        "work/fork.py",
        "import os, sys
path = sys.argv[1]
def ask(times):
    for _ in range(times): assert open(path).read()
ask(1)
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        ask(25)
        os._exit(0)
    children.append(child)
ask(25)
print([os.waitpid(child, 0)[1] for child in children])",
    );
    for way in WAYS {
        let ran = sandbox.shell(&format!(
            "{way}/usr/bin/python3 fork.py {}",
            sandbox.given("a")
        ));
        assert_eq!(ran.lines(), ["[0, 0, 0, 0]"], "{way}");
    }
}

#[test]
fn threads_ask_at_once_and_fork_meanwhile() {
    require!(feature::asking_by_name());
    require!(python());
    let sandbox = Preloaded::new();
    sandbox.house.workspace.write(
        "work/threads.py",
        "import os, sys, threading, warnings
warnings.simplefilter('ignore')
path = sys.argv[1]
read = []
def ask():
    for _ in range(25): read.append(os.read(os.open(path, os.O_RDONLY), 7))
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
statuses = set()
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if os.read(os.open(path, os.O_RDONLY), 7) == b'a file ' else 1)
    statuses.add(os.waitpid(child, 0)[1])
for thread in threads: thread.join()
print(statuses, len(read), set(read))",
    );
    for way in WAYS {
        let ran = sandbox.shell(&format!(
            "{way}/usr/bin/python3 threads.py {}",
            sandbox.given("a")
        ));
        assert_eq!(ran.lines(), ["{0} 100 {b'a file '}"], "{way}");
    }
}

#[test]
fn a_program_that_has_closed_everything_asks_by_name() {
    require!(feature::asking_by_name());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "open(given + 'a').close()
os.closerange(3, 1000)
print(open(given + 'a').read(), end='')",
    );
    assert_eq!(said, GIVEN);
}

/// What has the number of the inherited connection now is the program's own.
#[test]
fn nothing_is_written_to_what_a_program_has_opened_instead() {
    require!(feature::listener());
    require!(python());
    let sandbox = Preloaded::new();
    sandbox.house.workspace.write(
        "work/reuse.py",
        "import os, socket, sys
number = int(os.environ['SUPERVISE_FD'])
open(sys.argv[1]).close()
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    # Made by another process, as the real one was.
    os.dup2(theirs.fileno(), number)
    try: open(sys.argv[1]); os._exit(1)
    except PermissionError: os._exit(0)
print(os.waitpid(child, 0)[1])
theirs.close()
print(ours.recv(100))",
    );
    let ran = sandbox.shell(&format!(
        "unset SUPERVISE_SOCKET; /usr/bin/python3 reuse.py {}",
        sandbox.given("a")
    ));
    assert_eq!(ran.lines(), ["0", "b''"]);
}

#[test]
fn a_program_that_is_started_by_another_asks() {
    require!(feature::asking_by_name());
    require!(python());
    let sandbox = Preloaded::new();
    let said = sandbox.python(
        "import subprocess
for close in True, False:
    print(subprocess.run(['cat', given + 'a'], close_fds=close, capture_output=True).stdout)",
    );
    let line = format!("b'{GIVEN}\\n'");
    assert_eq!(said.lines().collect::<Vec<_>>(), [&line, &line]);
}
