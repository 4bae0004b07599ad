//! What of it the kernel is told, and what is left to the supervisor.

use super::{Memory, allows, compile, compile_in, error, natively};
use crate::policy::{Access, Mechanism, PortRules, Subject, Verdict};
use std::path::Path;

#[test]
fn a_right_that_is_not_denied_stays_native() {
    let ruleset =
        compile("[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD\"]\ndeny_write = [\"$PWD/.git/hooks\"]");
    let whole = Subject::named(Path::new("/repo/.git/hooks/x"));
    for right in [Access::READ, Access::EXEC] {
        let verdict = ruleset.decide(&whole, right);
        assert!(
            matches!(verdict, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock)
        );
    }
    assert!(!ruleset.decide(&whole, Access::WRITE).is_allowed());
    let writable = natively(&ruleset, Access::WRITE);
    assert!(
        writable.contains(&"/repo/.git/config".to_owned()),
        "{writable:?}"
    );
    assert!(
        !writable
            .iter()
            .any(|path| path == "/repo" || path == "/repo/.git"),
        "{writable:?}"
    );
}

#[test]
fn a_pattern_leaves_its_tree_to_the_supervisor_and_no_more() {
    let text = "[fs]\nread = [\"$PWD\", \"/usr\"]\ndeny = [\"$PWD/src/**/*.pem\"]";
    let ruleset = compile(text);
    assert!(!allows(&ruleset, "/repo/src/a/b/c.pem", Access::READ));
    assert!(!allows(&ruleset, "/repo/src/c.pem/inside", Access::READ));
    let granted = natively(&ruleset, Access::READ);
    assert!(
        !granted.iter().any(|path| path.starts_with("/repo/src")),
        "{granted:?}"
    );
    assert!(granted.contains(&"/repo/out".to_owned()), "{granted:?}");
    assert!(granted.contains(&"/usr".to_owned()), "{granted:?}");
    let verdict = ruleset.decide(
        &Subject::named(Path::new("/repo/src/main.rs")),
        Access::READ,
    );
    assert!(matches!(verdict, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Broker));
    assert!(
        ruleset.warnings()[0]
            .message
            .contains("the supervisor's to give, at each open")
    );
}

#[test]
fn a_pattern_of_one_directory_is_left_out_by_listing_it() {
    let ruleset = compile("[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/*.txt\"]");
    let granted = natively(&ruleset, Access::READ);
    assert_eq!(
        granted,
        ["/repo/.git", "/repo/out", "/repo/secret", "/repo/src"]
    );
}

#[test]
fn under_a_denied_pattern_the_kernel_executes_and_does_not_read() {
    let ruleset = compile("[fs]\nexec = [\"$PWD\"]\ndeny = [\"$PWD/**/.env\", \"$PWD/secret\"]");
    assert!(ruleset.brokered().closed);
    let reading = natively(&ruleset, Access::READ);
    assert!(
        !reading.iter().any(|path| path.starts_with("/repo")),
        "{reading:?}"
    );
    // What is denied by its name is left out even so.
    assert_eq!(
        natively(&ruleset, Access::EXEC),
        ["/repo/.git", "/repo/notes.txt", "/repo/out", "/repo/src"]
    );
    let verdict = |path, right| ruleset.decide(&Subject::named(Path::new(path)), right);
    let by = |path, right| match verdict(path, right) {
        Verdict::Allow(allowed) => Some(allowed.mechanism),
        _ => None,
    };
    assert_eq!(
        by("/repo/out/main", Access::EXEC),
        Some(Mechanism::Landlock)
    );
    assert_eq!(by("/repo/out/main", Access::READ), Some(Mechanism::Broker));
    for right in [Access::READ, Access::EXEC] {
        assert_eq!(by("/repo/out/.env", right), None);
        assert_eq!(by("/repo/secret/key", right), None);
    }
}

#[test]
fn a_pattern_that_is_only_not_written_leaves_reading_and_executing_to_the_kernel() {
    let ruleset = compile(
        "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD\"]\ndeny_write = [\"$PWD/**/.git/hooks\"]",
    );
    for right in [Access::READ, Access::EXEC] {
        assert!(natively(&ruleset, right).contains(&"/repo".to_owned()));
    }
    assert!(
        !natively(&ruleset, Access::WRITE)
            .iter()
            .any(|path| path.starts_with("/repo"))
    );
    let brokered = ruleset.brokered();
    assert!(brokered.write && !brokered.read && !brokered.closed);
}

#[test]
fn too_much_to_list_is_no_reason_to_execute_what_is_denied_by_its_name() {
    let files: Vec<String> = (0..5000).map(|file| format!("/many/{file}")).collect();
    let mut files: Vec<&str> = files.iter().map(String::as_str).collect();
    files.push("/many/key");
    let world = Memory::new(&files);
    let compile = |denied: &str| {
        let text = format!("[fs]\nexec = [\"/many\"]\ndeny = [\"{denied}\"]");
        compile_in(&world, &[&text])
    };
    let error = compile("/many/key").expect_err("it cannot be left out");
    assert!(error.to_string().contains("too much to be listed"));
    let ruleset = compile("/many/k*").expect("a match could be executed");
    assert!(ruleset.brokered().closed);
    assert_eq!(natively(&ruleset, Access::EXEC), ["/many"]);
    assert!(!natively(&ruleset, Access::READ).contains(&"/many".to_owned()));
}

#[test]
fn what_asks_matches_or_is_requested_is_the_supervisors_and_what_is_absent_waits() {
    let armed = |text: &str| {
        let brokered = compile(text).brokered();
        assert!(!brokered.closed, "{text}");
        (brokered.read, brokered.write)
    };
    let nothing = (false, false);
    assert_eq!(
        armed("[fs]\nread = [\"$PWD\", \"/absent?\"]\nwrite = [\"$PWD/out/absent?\"]"),
        nothing
    );
    assert_eq!(armed("[fs]\nask_read = [\"$PWD\"]"), (true, false));
    assert_eq!(armed("[fs]\nwrite = [\"$PWD/*.txt\"]"), (true, true));
    let request = "[[request]]\npath = \"$PWD/out\"\naccess = [\"read\"]\ndecision = \"allow\"";
    assert_eq!(armed(request), (true, false));
    // What the kernel gives anyway is not asked for.
    assert_eq!(
        armed(&format!("[fs]\nread = [\"$PWD\"]\n{request}")),
        nothing
    );
}

#[test]
fn what_cannot_be_enforced_yet_is_an_error() {
    for (text, says) in [
        (
            "[net]\nconnect = [\"example.org:443\"]",
            "host names cannot be enforced yet (later)",
        ),
        ("[net]\nconnect = [\"localhost:80\"]", "127.0.0.1:80"),
        ("[net]\nbind = [\"localhost:80\"]", "127.0.0.1:80"),
        (
            "[fs]\nask_exec = [\"$PWD\"]",
            "cannot be enforced yet (later)",
        ),
        ("[fs]\nexec = [\"$PWD/*.sh\"]", "knows no patterns"),
        (
            "[[request]]\npath = \"/x\"\naccess = [\"exec\"]\ndecision = \"allow\"",
            "on the child's behalf",
        ),
    ] {
        let found = error(text);
        assert!(found.contains(says), "{text}: {found}");
    }
    assert_eq!(
        compile("[net]\nbind = [\"*:8080\"]").tcp_bind(),
        &PortRules::Ports([8080].into())
    );
}
