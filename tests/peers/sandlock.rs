//! sandlock: what is listed is allowed, calls that lead out are refused, and there are limits.

use super::harness::require;
use super::{Case, Wants, case, sandboxes, try_all};

const FILES: [Case; 14] = [
    case(
        "a program runs and is heard",
        "sandlock run $SYSTEM -r /etc -- echo test123",
        Wants::Prints("test123\n"),
    ),
    case(
        "the exit status is that of the command",
        "sandlock run $SYSTEM -- sh -c 'exit 42'",
        Wants::Exits(42),
    ),
    case(
        "what is listed is read",
        "sandlock run $SYSTEM -r $HERE/ro -- cat $HERE/ro/file",
        Wants::Prints("read only\n"),
    ),
    case(
        "what is not listed is not read",
        "sandlock run $SYSTEM -r $HERE/ro -- cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "what may be read is not written",
        "sandlock run $SYSTEM -r $HERE/ro -w $HERE/rw -- sh -c 'echo x >$HERE/ro/new'",
        Wants::FailsWithout("ro/new"),
    ),
    case(
        "what may be written is",
        "sandlock run $SYSTEM -w $HERE/rw -- sh -c 'echo new >$HERE/rw/new'",
        Wants::Leaves("rw/new", "new\n"),
    ),
    case(
        "what is denied inside it is not read",
        "sandlock run $SYSTEM -r $HERE --fs-deny $HERE/secret/key -- cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "nor executed",
        "sandlock run $SYSTEM -r $HERE --fs-deny $HERE/x/tool -- $HERE/x/tool",
        Wants::FailsSilent("ran"),
    ),
    case(
        "what lies beside it is",
        "sandlock run $SYSTEM -r $HERE --fs-deny $HERE/x/tool -- $HERE/x/other",
        Wants::Prints("ran other\n"),
    ),
    case(
        "a rule may be about a single file",
        "sandlock run $SYSTEM -r $HERE/ro/file -- cat $HERE/ro/file",
        Wants::Prints("read only\n"),
    ),
    case(
        "or a device",
        "sandlock run $SYSTEM -w /dev/null -- sh -c 'echo x >/dev/null'",
        Wants::Exits(0),
    ),
    case(
        "or a named pipe, for which nobody is waited",
        "mkfifo $HERE/pipe && sandlock run $SYSTEM -r $HERE/pipe -- true",
        Wants::Exits(0),
    ),
    case(
        "it starts where it is told to",
        "sandlock run $SYSTEM -r $HERE/deep --cwd $HERE/deep/a -- cat b/file",
        Wants::Prints("deep\n"),
    ),
    case(
        "a shell's line is run",
        "sandlock run $SYSTEM -e 'echo one; exit 3'",
        Wants::Exits(3),
    ),
];

const CALLS: [Case; 8] = [
    case(
        "nothing is mounted",
        "sandlock run $SYSTEM -r $PROBE -w $HERE/rw -- $PROBE bind-mount $HERE/rw $HERE/rw",
        Wants::Prints("errno EPERM\n"),
    ),
    case(
        "nobody outside is traced",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE ptrace-attach $$",
        Wants::Prints("errno EPERM\n"),
    ),
    case(
        "memory is laid out by chance",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE personality 0x40000",
        Wants::Prints("errno EPERM\n"),
    ),
    case(
        "there are no raw sockets",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE socket inet raw icmp",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
    case(
        "no datagrams",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE socket inet dgram default",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
    case(
        "unless they are asked for",
        "sandlock run $SYSTEM -r $PROBE --net-allow udp://*:* -- $PROBE socket inet dgram default",
        Wants::Prints("ok\n"),
    ),
    case(
        "no memory is shared by key",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE shmget 0 create",
        Wants::Prints("errno ENOSYS\n"),
    ),
    case(
        "nobody outside is signalled",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE kill $$ TERM",
        Wants::Prints("errno EPERM\n"),
    ),
];

const REST: [Case; 8] = [
    case(
        "nothing is connected to",
        "sandlock run $SYSTEM -r $PROBE -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
    case(
        "but to an address that is listed",
        "sandlock run $SYSTEM -r $PROBE --net-allow 127.0.0.1:$PORT -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("ok\n"),
    ),
    case(
        "and no other port of it",
        "sandlock run $SYSTEM -r $PROBE --net-allow 127.0.0.1:$PORT -- $PROBE connect-tcp 127.0.0.1:$OTHER",
        Wants::Prints("errno EACCES\n"),
    ),
    case(
        "nor anything else on that port",
        "sandlock run $SYSTEM -r $PROBE --net-allow 127.0.0.2:$PORT -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("errno EACCES\n"),
    ),
    case(
        "any address of a port",
        "sandlock run $SYSTEM -r $PROBE --net-allow :$PORT -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("ok\n"),
    ),
    case(
        "descriptors are counted, and the limit is not raised again",
        "sandlock run $SYSTEM --max-open-files 64 -- sh -c 'test \"$(ulimit -Hn)\" = 64 && ! (ulimit -n 4096) 2>/dev/null && echo kept'",
        Wants::Prints("kept\n"),
    ),
    case(
        "a variable is set in an environment that is clean",
        "sandlock run $SYSTEM --clean-env --env OWN=value -- sh -c 'echo \"<$GIVEN$OWN>\"'",
        Wants::Prints("<value>\n"),
    ),
    case(
        "its time is over at some point",
        "sandlock run $SYSTEM -t 1 -- sleep 300",
        Wants::Exits(124),
    ),
];

#[test]
fn files_are_as_sandlock_lists_them() {
    require!(sandboxes());
    try_all("sandlock", &FILES);
}

#[test]
fn calls_addresses_and_limits_are_as_sandlock_has_them() {
    require!(sandboxes());
    try_all("sandlock", &CALLS);
    try_all("sandlock", &REST);
}
