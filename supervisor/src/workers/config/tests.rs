//! What a pool file may say, and what it is told otherwise.

use super::*;
use crate::policy::PolicyError;

fn read(text: &str) -> Result<PoolFile, PolicyError> {
    PoolFile::parse("workers.toml", text.to_owned(), Path::new("/etc/pool"))
}

fn error(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

#[test]
fn a_pool_file_says_everything_about_its_workers() {
    let file = read(
        r#"
        version = 1
        [daemon]
        control_group = "ops"
        state = "kept"
        [[worker]]
        name = "index"
        command = ["/usr/bin/index", "--at", "$WORKER_DIR"]
        policy = ["build", "narrow.toml"]
        count = 2
        env = { NAME = "$WORKER_ID" }
        idle_timeout = 0
        restart = "always"
        restart_burst = 5
        restart_window = "1m"
        backoff = "100ms"
        on_supervisor_exit = "survive"
        recycle_after_jobs = 100
        recycle_after_bytes = "1MiB"
        speaks = "nothing"
        log_size = "64KiB"
        log_count = 2
        exe_check = "prefer"
        "#,
    )
    .unwrap();
    assert_eq!(file.daemon.control_group.as_deref(), Some("ops"));
    assert_eq!(
        file.daemon.state.as_deref(),
        Some(Path::new("/etc/pool/kept"))
    );
    let kind = file.kind("index").unwrap();
    assert_eq!(kind.ids().collect::<Vec<_>>(), ["index-1", "index-2"]);
    assert_eq!(kind.policy, ["build", "/etc/pool/narrow.toml"]);
    assert_eq!(kind.idle_timeout, None);
    assert_eq!(kind.restart.when, RestartWhen::Always);
    assert_eq!(
        (kind.restart.burst, kind.restart.window),
        (5, Duration::from_secs(60))
    );
    assert_eq!(kind.on_supervisor_exit, OnSupervisorExit::Survive);
    assert_eq!(
        (kind.recycle.jobs, kind.recycle.bytes),
        (Some(100), Some(1 << 20))
    );
    assert_eq!(
        (kind.speaks, kind.exe_check),
        (Speaks::Nothing, ExeCheck::Prefer)
    );
    assert_eq!((kind.log.size, kind.log.count), (64 << 10, 2));
}

#[test]
fn what_is_not_said_is_the_careful_choice() {
    let file = read("version = 1\n[[worker]]\nname = \"a\"\ncommand = [\"b\"]\n").unwrap();
    let kind = &file.kinds[0];
    assert_eq!(kind.on_supervisor_exit, OnSupervisorExit::Kill);
    assert_eq!(kind.exe_check, ExeCheck::Require);
    assert_eq!(kind.restart, Restart::USUAL);
    assert_eq!((kind.restart.burst, kind.restart.window.as_secs()), (3, 30));
    assert_eq!(kind.idle_timeout, Some(Duration::from_secs(1800)));
    assert!(kind.policy.is_empty());
}

#[test]
fn an_unknown_key_is_an_error_with_its_line_its_column_and_a_word_that_may_have_been_meant() {
    let text = error("version = 1\n[[worker]]\nname = \"a\"\n  comand = [\"x\"]\n");
    assert!(text.contains("workers.toml:4:3"), "{text}");
    assert!(
        text.contains("unknown key `comand` in [[worker]]"),
        "{text}"
    );
    assert!(text.contains("did you mean `command`?"), "{text}");
    assert!(error("version = 1\ndeamon = 1").contains("did you mean `daemon`?"));
    assert!(error("version = 1\n[daemon]\nport = 1").contains("unknown key `port` in [daemon]"));
}

#[test]
fn what_cannot_be_kept_is_refused_where_it_stands() {
    let worker = |rest: &str| {
        error(&format!(
            "version = 1\n[[worker]]\nname = \"a\"\ncommand = [\"x\"]\n{rest}\n"
        ))
    };
    for (rest, what) in [
        ("count = 0", "a number from 1 to 10000"),
        ("count = -1", "out of range"),
        (
            "restart = \"sometimes\"",
            "allowed here: always, on-failure, never",
        ),
        ("log_size = 10", "at least 4096"),
        ("recycle_after_jobs = 0", "at least 1"),
        ("env = { \"A=B\" = \"c\" }", "cannot name a variable"),
        ("idle_timeout = 5", "expected a string"),
        (
            "[[worker]]\nname = \"a\"\ncommand = [\"y\"]",
            "another kind of worker named `a`",
        ),
        ("[[worker]]\nname = \"b\"", "no `command`"),
        ("[[worker]]\ncommand = [\"b\"]", "no `name`"),
    ] {
        let text = worker(rest);
        assert!(text.contains(what), "{rest}: {text}");
        assert!(text.contains("workers.toml:"), "{rest}: {text}");
    }
    for name in ["", "A", "1a", "a_b", "a/b", "a-1", "a-", &"a".repeat(33)] {
        let text = format!("version = 1\n[[worker]]\nname = {name:?}\ncommand = [\"x\"]\n");
        assert!(error(&text).contains("name"), "{name}");
    }
    assert!(error("").contains("version"));
    assert!(error("version = 2").contains("version 2 of the pool file is not known"));
}

#[test]
fn only_the_workers_own_variables_are_replaced() {
    let variables = Variables {
        id: "a-1",
        directory: Path::new("/w/a-1"),
    };
    for (text, expanded) in [
        ("$WORKER_ID", "a-1"),
        ("${WORKER_DIR}/x:$WORKER_DIR", "/w/a-1/x:/w/a-1"),
        (
            "$WORKER_IDS $x $$ ${WORKER_ID",
            "$WORKER_IDS $x $$ ${WORKER_ID",
        ),
        ("$", "$"),
        ("é$WORKER_IDé", "éa-1é"),
    ] {
        assert_eq!(variables.expand(text), expanded, "{text}");
    }
}

#[test]
fn waits_double_up_to_the_longest() {
    let waits: Vec<u64> = (1..=7).map(|n| Restart::USUAL.wait(n).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(Restart::USUAL.wait(u32::MAX), Restart::USUAL.backoff_most);
}
