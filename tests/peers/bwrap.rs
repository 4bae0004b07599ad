//! bubblewrap: what is bound is there, and nothing else.

use super::harness::require;
use super::{Case, Wants, case, sandboxes, try_all};

const FILES: [Case; 13] = [
    case(
        "what is bound for reading is read",
        "bwrap $SYSTEM --ro-bind $HERE/ro $HERE/ro --unshare-net cat $HERE/ro/file",
        Wants::Prints("read only\n"),
    ),
    case(
        "and not written",
        "bwrap $SYSTEM --ro-bind $HERE/ro $HERE/ro --unshare-net sh -c 'echo x >$HERE/ro/new'",
        Wants::FailsWithout("ro/new"),
    ),
    case(
        "what is bound is written",
        "bwrap $SYSTEM --bind $HERE/rw $HERE/rw --unshare-all sh -c 'echo new >$HERE/rw/new'",
        Wants::Leaves("rw/new", "new\n"),
    ),
    case(
        "and executed",
        "bwrap $SYSTEM --bind $HERE/rw $HERE/rw --unshare-all $HERE/rw/tool",
        Wants::Prints("ran rw\n"),
    ),
    case(
        "what is not bound is not there",
        "bwrap $SYSTEM --ro-bind $HERE/ro $HERE/ro --unshare-net cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "also where a link leads to it",
        "bwrap $SYSTEM --ro-bind $HERE/ro $HERE/ro --unshare-net cat $HERE/ro/way-out",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "what is hidden inside what is bound is not read",
        "bwrap $SYSTEM --bind $HERE $HERE --tmpfs $HERE/secret --unshare-net sh -c 'cat $HERE/ro/file; cat $HERE/secret/key'",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "nothing is left of a file that is made where everything is read-only",
        "bwrap --ro-bind / / --tmpfs /tmp --unshare-net touch $HERE/ro/new",
        Wants::FailsWithout("ro/new"),
    ),
    case(
        "everything is bound",
        "bwrap --bind / / --tmpfs /tmp cat file",
        Wants::Prints("where it starts\n"),
    ),
    case(
        "a source that is not there is an error that names it",
        "bwrap --bind / / --bind /source-enoent /dest true",
        Wants::FailsSaying("/source-enoent"),
    ),
    case(
        "unless it need not be",
        "bwrap $SYSTEM --ro-bind-try /source-enoent /dest --ro-bind $HERE/ro $HERE/ro --unshare-net cat $HERE/ro/file",
        Wants::Prints("read only\n"),
    ),
    case(
        "plain devices are there",
        "bwrap $SYSTEM --dev /dev --unshare-all sh -c 'head -c 8 /dev/urandom >/dev/null && head -c 3 /dev/zero | wc -c'",
        Wants::Prints("3\n"),
    ),
    case(
        "only where they are asked for",
        "bwrap $SYSTEM --unshare-all head -c 3 /dev/zero",
        Wants::FailsSilent("\0"),
    ),
];

const PROCESSES: [Case; 8] = [
    case(
        "a namespace of processes of its own changes nothing for what runs",
        "bwrap --bind / / --tmpfs /tmp --unshare-pid --proc /proc true",
        Wants::Exits(0),
    ),
    case(
        "nor one of the network and of devices",
        "bwrap --bind / / --unshare-user-try --unshare-net --proc /proc --dev /dev true",
        Wants::Exits(0),
    ),
    case(
        "no capability is left",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --unshare-net $PROBE caps | grep -o 'effective=0 permitted=0 inheritable=0'",
        Wants::Prints("effective=0 permitted=0 inheritable=0\n"),
    ),
    case(
        "no namespace of users is made inside",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --unshare-all --disable-userns $PROBE unshare newuser",
        Wants::Prints("errno EPERM\n"),
    ),
    case(
        "a network that is cut off is not reached",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --unshare-net $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
    case(
        "one that is shared is",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --unshare-all --share-net $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("ok\n"),
    ),
    case(
        "nobody types into the terminal",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --new-session --unshare-all $PROBE ioctl 0 TIOCSTI",
        Wants::Prints("errno EPERM\n"),
    ),
    case(
        "the exit status is that of the command",
        "bwrap $SYSTEM --unshare-all -- sh -c 'exit 42'",
        Wants::Exits(42),
    ),
];

const COMMANDS: [Case; 7] = [
    case(
        "the flags end at two dashes",
        "bwrap $SYSTEM --unshare-all -- sh -c 'echo hello'",
        Wants::Prints("hello\n"),
    ),
    case(
        "behind them even an odd name is a program's",
        "bwrap $SYSTEM --ro-bind $HERE/bin $HERE/bin --setenv PATH $HERE/bin:/usr/bin:/bin --unshare-all -- --oddly-named",
        Wants::Prints("odd\n"),
    ),
    case(
        "and a flag is none",
        "bwrap --bind / / -- --dev-bind /dev /dev sh -c 'echo should not have run'",
        Wants::FailsSilent("should not have run"),
    ),
    case(
        "variables are cleared",
        "bwrap $SYSTEM --clearenv --unshare-all sh -c 'echo \"<$GIVEN$HOME>\"'",
        Wants::Prints("<>\n"),
    ),
    case(
        "and set",
        "bwrap $SYSTEM --clearenv --setenv OWN value --unshare-all sh -c 'echo \"<$OWN>\"'",
        Wants::Prints("<value>\n"),
    ),
    case(
        "it starts where it is told to",
        "bwrap $SYSTEM --ro-bind $HERE/deep $HERE/deep --chdir $HERE/deep/a --unshare-all cat b/file",
        Wants::Prints("deep\n"),
    ),
    case(
        "its input and output are those of whoever starts it",
        "echo given | bwrap $SYSTEM --unshare-all cat",
        Wants::Prints("given\n"),
    ),
];

#[test]
fn files_are_as_bubblewrap_binds_them() {
    require!(sandboxes());
    try_all("bwrap", &FILES);
}

#[test]
fn processes_and_commands_are_as_bubblewrap_has_them() {
    require!(sandboxes());
    try_all("bwrap", &PROCESSES);
    try_all("bwrap", &COMMANDS);
}
