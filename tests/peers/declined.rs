//! What of theirs is not to be had here: what becomes of it, and why. The book has the same list.

use super::harness::built::tree;
use super::harness::require;
use super::{Case, LANGUAGES, Scene, Wants, case, sandboxes};

/// A flag of theirs that does something else here, or nothing.
struct Declined {
    /// In the book's words.
    what: &'static str,
    why: &'static str,
    case: Case,
}

const fn declined(
    what: &'static str,
    why: &'static str,
    line: &'static str,
    wants: Wants,
) -> Declined {
    Declined {
        what,
        why,
        case: case(what, line, wants),
    }
}

const ALL: [Declined; 22] = [
    declined(
        "starting in a directory that no flag lists (all)",
        "a command starts where its policy lets it read; start it elsewhere, or list it",
        "cd $HERE/secret && landrun $SYSTEM --ro $HERE/ro -- cat $HERE/ro/file 2>&1; landrun --rox /usr -- true",
        Wants::FailsSaying("outside the policy"),
    ),
    declined(
        "`..` in a path (all)",
        "what it means depends on what links lead to; name the directory itself",
        "nono run $SYSTEM --read $HERE/deep/../ro -- cat $HERE/ro/file",
        Wants::FailsSaying("depends on what links lead to"),
    ),
    declined(
        "landrun `--add-exec`, `--ldd`",
        "a policy does not depend on the command; list its directory, and that of its libraries, under `exec`",
        "landrun --add-exec $SYSTEM --ro $HERE/x -- $HERE/x/tool",
        Wants::FailsSilent("ran"),
    ),
    declined(
        "landrun `--rox /`, bwrap `--bind / /`",
        "`/` would hold devices and other processes, too: the directories in it are listed instead, and of homes only your own",
        "landrun --rox / -- ls /",
        Wants::FailsSaying("ermission denied"),
    ),
    declined(
        "landrun `--unrestricted-scoped`",
        "nobody outside is signalled or reached over an abstract socket",
        "landrun $SYSTEM --rox $PROBE --unrestricted-scoped -- $PROBE kill $$ 0 | grep EPERM >&2; false",
        Wants::FailsSaying("EPERM"),
    ),
    declined(
        "bwrap `--bind A B`",
        "names stay what they are: nothing is made or put in another place",
        "bwrap $SYSTEM --bind $HERE/rw /tmp/here --unshare-net cat /tmp/here/file",
        Wants::FailsSilent("writable"),
    ),
    declined(
        "bwrap `--dir`, `--file`, `--bind-data`, `--symlink`, `--chmod`, `--perms`, `--size`, `--overlay`, `--remount-ro`",
        "the same: there is no second view of the file system",
        "bwrap $SYSTEM --dir /tmp/hello/world --symlink file $HERE/start/link --unshare-net sh -c 'test -d /tmp/hello || test -L link'",
        Wants::FailsWithout("start/link"),
    ),
    declined(
        "bwrap `--tmpfs A` around something that is bound",
        "a denial always wins, also over what is granted inside: it would restrict less, and is not run",
        "bwrap $SYSTEM --bind $HERE $HERE --tmpfs $HERE/deep --bind $HERE/deep/a $HERE/deep/a --unshare-net true",
        Wants::FailsSaying("a denial always wins"),
    ),
    declined(
        "bwrap `--as-pid-1`, `--uid`, `--gid`, `--hostname`, sandlock `--name`",
        "there are no namespaces: numbers and names are those of the machine",
        "bwrap $SYSTEM --as-pid-1 --unshare-pid --uid 4242 sh -c 'test $$ = 1 || test \"$(id -u)\" = 4242'",
        Wants::Exits(1),
    ),
    declined(
        "bwrap `--args FD`, `--seccomp FD`, `--add-seccomp-fd FD`",
        "flags stand on the command line, and filters are ours: what a further one would refuse is not known, so it is not run",
        "bwrap $SYSTEM --unshare-net --seccomp 9 true",
        Wants::FailsSaying("a filter of your own cannot be added"),
    ),
    declined(
        "bwrap `--cap-add` of what the caller lacks, nested sandboxes that make namespaces",
        "no capability is made, and no namespace inside",
        "bwrap $SYSTEM --ro-bind $PROBE $PROBE --unshare-net $PROBE unshare newuser | grep EPERM >&2; false",
        Wants::FailsSaying("EPERM"),
    ),
    declined(
        "bwrap `--unsetenv` without `--clearenv`",
        "only harmless variables are passed, and that one might be among them: it is not run",
        "bwrap $SYSTEM --unshare-net --unsetenv HOME true",
        Wants::FailsSaying("pass only the variables that are needed"),
    ),
    declined(
        "sandlock `--workdir`, `--dry-run`, `--max-disk`, `--on-exit`",
        "there are no copies to be thrown away: what is written is written, so it is not run",
        "sandlock run $SYSTEM --workdir $HERE/rw -- sh -c 'echo x >new'",
        Wants::FailsSaying("what is written is written"),
    ),
    declined(
        "sandlock `--max-memory`",
        "`memory` is of each process here, of all together there; so it is run only with `--even-weaker`",
        "sandlock run $SYSTEM -m 64M -- true",
        Wants::FailsSaying("of all processes together there"),
    ),
    declined(
        "sandlock `--cpu`, `--cpu-cores`, `--num-cpus`, firejail `--cpu`",
        "there is no such limit: it is not run",
        "sandlock run $SYSTEM --cpu 25 -- true",
        Wants::FailsSaying("there is no such limit"),
    ),
    declined(
        "sandlock `--time-start`, `--random-seed`, `--no-randomize-memory`, `--deterministic-dirs`",
        "time, chance and the layout of memory are what they are",
        "sandlock run $SYSTEM --time-start 2000-06-15T00:00:00Z -- sh -c 'test \"$(date +%Y)\" = 2000'",
        Wants::Exits(1),
    ),
    declined(
        "sandlock `--net-deny`, `--net-deny-bind`",
        "addresses are allowed, never denied: nothing is reached but what is listed",
        "sandlock run $SYSTEM -r $PROBE --net-deny 10.0.0.0/8 -- $PROBE connect-tcp 127.0.0.1:$PORT | grep errno >&2; false",
        Wants::FailsSaying("EAFNOSUPPORT"),
    ),
    declined(
        "sandlock `--net-allow HOST:PORT`, `--http-allow`, `--credential`, sandbox-runtime's and nono's domains",
        "rules are about addresses, not names; there is no proxy, and no look into what is said",
        "sandlock run $SYSTEM -r $PROBE --net-allow localhost:$PORT -- $PROBE connect-tcp 127.0.0.1:$PORT | grep errno >&2; false",
        Wants::FailsSaying("EAFNOSUPPORT"),
    ),
    declined(
        "sandlock `--chroot`, `--image`, `--profile`",
        "what the other flags mean stands in another place, which is not read",
        "sandlock run $SYSTEM --chroot $HERE -- true",
        Wants::FailsSaying("in a place that is not read here"),
    ),
    declined(
        "firejail `--private-bin`, `--noexec`",
        "the system's programs can be executed, and what is granted around: it is not run",
        "cd /usr && firejail --net=none --private-bin=sh true",
        Wants::FailsSaying("the system's programs can be executed"),
    ),
    declined(
        "firejail `--net=IF`, `--ip`, `--dns`, `--hostname`",
        "there is no network of its own: it is not run",
        "cd /usr && firejail --net=eth0 true",
        Wants::FailsSaying("there is no network of its own"),
    ),
    declined(
        "nono `--write`",
        "what may be written may be read, so it is run only with `--even-weaker`",
        "nono run $SYSTEM --write $HERE/rw -- true",
        Wants::FailsSaying("what may be written may be read here"),
    ),
];

#[test]
fn what_is_declined_becomes_what_is_said() {
    require!(sandboxes());
    let mut complaints = Vec::new();
    for declined in &ALL {
        let scene = Scene::new();
        let line = declined.case.line;
        let language = LANGUAGES
            .into_iter()
            .find(|one| line.contains(&format!("{} ", one.name)));
        let ran = scene.run(language.expect("it is one of them"), line);
        if let Some(complaint) = scene.complaint(&declined.case.wants, &ran) {
            complaints.push(format!("{}: {complaint}\n$ {line}\n{ran}", declined.what));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_book_has_the_same_list() {
    let path = tree().join("docs/src/elsewhere.md");
    let book = std::fs::read_to_string(path).expect("it is there");
    let rows: Vec<String> = ALL
        .iter()
        .map(|one| format!("| {} | {} |\n", one.what, one.why))
        .collect();
    let table = rows.concat();
    assert!(book.contains(&table), "this is not in the book:\n{table}");
}
