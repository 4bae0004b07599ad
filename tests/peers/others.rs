//! firejail and nono, where the system's programs are there without being listed.

use super::harness::require;
use super::{Case, Wants, case, sandboxes, try_all};

const FIREJAIL: [Case; 7] = [
    case(
        "what is denied is not read",
        "cd /usr && firejail --net=none --read-write=$HERE/home --blacklist=$HERE/home/file cat $HERE/home/file",
        Wants::FailsSilent("at home"),
    ),
    case(
        "what is read-only inside what is written is read and not written",
        "cd /usr && firejail --net=none --read-write=$HERE/rw --read-only=$HERE/rw/file \
         sh -c 'cat $HERE/rw/file >$HERE/rw/new && ! echo x >$HERE/rw/file'",
        Wants::Leaves("rw/new", "writable\n"),
    ),
    case(
        "what is not listed outside of the home directory is not read",
        "cd /usr && firejail --net=none --whitelist=$HERE/home cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "the system is not written",
        "cd /usr && firejail --net=none touch /usr/new-here",
        Wants::FailsWithout("/usr/new-here"),
    ),
    case(
        "a variable is set",
        "cd /usr && firejail --net=none --env=OWN=value sh -c 'echo \"<$OWN>\"'",
        Wants::Prints("<value>\n"),
    ),
    case(
        "files do not grow beyond a limit",
        "cd /usr && firejail --net=none --read-write=$HERE/rw --rlimit-fsize=1024 \
         sh -c 'head -c 4096 /dev/zero >$HERE/rw/large'; wc -c <$HERE/rw/large",
        Wants::Prints("1024\n"),
    ),
    case(
        "the exit status is that of the command",
        "cd /usr && firejail --quiet --net=none sh -c 'exit 7'",
        Wants::Exits(7),
    ),
];

const NONO: [Case; 12] = [
    case(
        "a file in a directory that is allowed is read",
        "nono run $SYSTEM --allow $HERE/rw -- cat $HERE/rw/file",
        Wants::Prints("writable\n"),
    ),
    case(
        "also deep below it",
        "nono run $SYSTEM --allow $HERE/deep -- cat $HERE/deep/a/b/file",
        Wants::Prints("deep\n"),
    ),
    case(
        "and written",
        "nono run $SYSTEM --allow $HERE/rw -- sh -c 'echo new >$HERE/rw/new'",
        Wants::Leaves("rw/new", "new\n"),
    ),
    case(
        "what may be read is not written",
        "nono run $SYSTEM --read $HERE/ro -- sh -c 'cat $HERE/ro/file; echo x >$HERE/ro/new'",
        Wants::FailsWithout("ro/new"),
    ),
    case(
        "what is not listed is not read",
        "nono run $SYSTEM --allow $HERE/rw -- cat $HERE/secret/key",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "several directories are",
        "nono run $SYSTEM --allow $HERE/rw --read $HERE/ro -- cat $HERE/rw/file $HERE/ro/file",
        Wants::Prints("writable\nread only\n"),
    ),
    case(
        "one of them inside another",
        "nono run $SYSTEM --allow $HERE/deep --allow $HERE/deep/a -- cat $HERE/deep/a/b/file",
        Wants::Prints("deep\n"),
    ),
    case(
        "a link to what is allowed is followed",
        "ln -s ro $HERE/way && nono run $SYSTEM --read $HERE/ro -- cat $HERE/way/file $HERE/ro/way-in",
        Wants::Prints("read only\nread only\n"),
    ),
    case(
        "one that leads out is not",
        "nono run $SYSTEM --read $HERE/ro -- cat $HERE/ro/way-out",
        Wants::FailsSilent("a secret"),
    ),
    case(
        "names may have blanks",
        "nono run $SYSTEM --read '$HERE/with blank' -- cat '$HERE/with blank/in it/file'",
        Wants::Prints("blanks\n"),
    ),
    case(
        "a directory that is not there is passed over",
        "nono run $SYSTEM --allow /nonexistent/path -- echo should run",
        Wants::Prints("should run\n"),
    ),
    case(
        "a network that is blocked is not reached",
        "nono run $SYSTEM --block-net --read $PROBE -- $PROBE connect-tcp 127.0.0.1:$PORT",
        Wants::Prints("errno EAFNOSUPPORT\n"),
    ),
];

#[test]
fn files_and_limits_are_as_firejail_has_them() {
    require!(sandboxes());
    try_all("firejail", &FIREJAIL);
}

#[test]
fn files_and_network_are_as_nono_has_them() {
    require!(sandboxes());
    try_all("nono", &NONO);
}
