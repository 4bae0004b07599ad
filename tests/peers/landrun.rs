//! landrun: what is listed is allowed, and nothing else.

use super::harness::require;
use super::{Case, Wants, case, sandboxes, try_all};

const FILES: [Case; 16] = [
    case(
        "a file below a listed directory is read",
        "landrun $SYSTEM --ro $HERE/ro -- cat $HERE/ro/file $HERE/ro/inside/file",
        Wants::Prints("read only\nread only, below\n"),
    ),
    case(
        "lists are divided by commas",
        "landrun $SYSTEM --ro $HERE/ro,$HERE/deep -- cat $HERE/deep/a/b/file",
        Wants::Prints("deep\n"),
    ),
    case(
        "what is not listed is not read",
        "landrun $SYSTEM --ro $HERE/ro -- cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "a link leads to what it names, not to where it lies",
        "landrun $SYSTEM --ro $HERE/ro -- cat $HERE/ro/way-out",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "what may be read is not written",
        "landrun $SYSTEM --ro $HERE/ro --rw $HERE/rw -- touch $HERE/ro/new",
        Wants::FailsWithout("ro/new"),
    ),
    case(
        "what may be written is",
        "landrun $SYSTEM --ro $HERE/ro --rw $HERE/rw -- sh -c 'echo new >$HERE/rw/new'",
        Wants::Leaves("rw/new", "new\n"),
    ),
    case(
        "a directory to write inside one to read",
        "landrun $SYSTEM --ro $HERE/ro --rw $HERE/ro/rw -- sh -c 'echo new >$HERE/ro/rw/new'",
        Wants::Leaves("ro/rw/new", "new\n"),
    ),
    case(
        "a single file to write inside a directory to read",
        "landrun $SYSTEM --ro $HERE/ro --rw $HERE/ro/file -- sh -c 'echo new >$HERE/ro/file; ! echo x >$HERE/ro/rw/file'",
        Wants::Leaves("ro/file", "new\n"),
    ),
    case(
        "everything, and a directory to write",
        "landrun --rox / --rw $HERE/rw --env PATH -- sh -c 'ls /usr | grep bin >$HERE/rw/out && grep -c \"^bin$\" $HERE/rw/out'",
        Wants::Prints("1\n"),
    ),
    case(
        "a path that is not there is an error that names it",
        "landrun $SYSTEM --ro /nonexistent/path -- ls",
        Wants::FailsSaying("/nonexistent/path"),
    ),
    case(
        "unless it may be missing",
        "landrun --ignore-missing $SYSTEM --ro /nonexistent/path,$HERE/ro -- cat $HERE/ro/file",
        Wants::Prints("read only\n"),
    ),
    case(
        "where nothing is listed nothing runs",
        "landrun -- ls /",
        Wants::FailsSaying("outside the policy"),
    ),
    case(
        "the whole file system",
        "landrun --unrestricted-filesystem -- cat file",
        Wants::Prints("where it starts\n"),
    ),
    case(
        "the flags end where the command begins",
        "landrun $SYSTEM --ro $HERE/ro cat --show-ends $HERE/ro/file",
        Wants::Prints("read only$\n"),
    ),
    case(
        "a system command finds who it runs as",
        "test \"$(landrun $SYSTEM --ro /etc -- id -u)\" = \"$(id -u)\" && echo same",
        Wants::Prints("same\n"),
    ),
    case(
        "the exit status is that of the command",
        "landrun $SYSTEM -- sh -c 'exit 42'",
        Wants::Exits(42),
    ),
];

const PROGRAMS: [Case; 6] = [
    case(
        "what is listed for it is executed",
        "landrun $SYSTEM --rox $HERE/x -- $HERE/x/tool",
        Wants::Prints("ran\n"),
    ),
    case(
        "also a single file",
        "landrun $SYSTEM --rox $HERE/x/tool -- $HERE/x/tool",
        Wants::Prints("ran\n"),
    ),
    case(
        "but not the one beside it",
        "landrun $SYSTEM --rox $HERE/x/tool -- $HERE/x/other",
        Wants::FailsSilent("ran other"),
    ),
    case(
        "what may be read is not executed",
        "landrun $SYSTEM --ro $HERE/ro -- $HERE/ro/tool",
        Wants::FailsSilent("ran ro"),
    ),
    case(
        "what may be written is not executed",
        "landrun $SYSTEM --rw $HERE/rw -- $HERE/rw/tool",
        Wants::FailsSilent("ran rw"),
    ),
    case(
        "unless it is said",
        "landrun $SYSTEM --rox $HERE/x --rwx $HERE/rw --env PATH -- sh -c '$HERE/x/tool >$HERE/rw/out && $HERE/rw/tool'",
        Wants::Prints("ran rw\n"),
    ),
];

const ENVIRONMENT: [Case; 3] = [
    case(
        "variables are not passed on",
        "landrun $SYSTEM -- sh -c 'echo \"<$GIVEN>\"'",
        Wants::Prints("<>\n"),
    ),
    case(
        "those that are named are",
        "landrun $SYSTEM --env GIVEN --env PATH -- sh -c 'echo \"<$GIVEN>\"'",
        Wants::Prints("<a value>\n"),
    ),
    case(
        "or set",
        "landrun $SYSTEM --env OWN=custom_value -- sh -c 'echo \"<$OWN>\"'",
        Wants::Prints("<custom_value>\n"),
    ),
];

const NETWORK: [Case; 4] = [
    case(
        "nothing is connected to",
        "landrun $SYSTEM --rox $PROBE -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
    case(
        "but to a port that is listed",
        "landrun $SYSTEM --rox $PROBE --connect-tcp $PORT -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("ok\n"),
    ),
    case(
        "and no other",
        "landrun $SYSTEM --rox $PROBE --connect-tcp $PORT -- $PROBE connect-tcp 127.0.0.1:$OTHER",
        Wants::Prints("errno EACCES\n"),
    ),
    case(
        "the whole network",
        "landrun $SYSTEM --rox $PROBE --unrestricted-network -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("ok\n"),
    ),
];

#[test]
fn files_are_as_landrun_lists_them() {
    require!(sandboxes());
    try_all("landrun", &FILES);
}

#[test]
fn programs_environment_and_network_are_as_landrun_lists_them() {
    require!(sandboxes());
    try_all("landrun", &PROGRAMS);
    try_all("landrun", &ENVIRONMENT);
    try_all("landrun", &NETWORK);
}
