//! What the kernel is asked for, seen from outside: nobody is signalled by a number, and what is read by one is confirmed by a pidfd.

use crate::harness::require;
use crate::harness::run::run;
use crate::worker::Worker;
use std::process::Command;
use std::time::Duration;

const NAME: &str = "traces::no_signal_and_no_read_rests_on_a_number_alone";

fn tracing() -> Result<(), String> {
    match Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .output()
    {
        Ok(output) if output.status.success() => Ok(()),
        other => Err(format!("strace: {other:?}")),
    }
}

#[test]
fn no_signal_and_no_read_rests_on_a_number_alone() {
    if std::env::var_os("SUPERVISE_TEST_INSIDE").is_some() {
        let mut worker = Worker::start("serve");
        // By number, which is the lowest rung there is.
        worker.process.pidfs_handle = None;
        worker.process.pidfs_inode = None;
        println!("worker {}", worker.process.pid);
        let (asked, killed) = (worker.probe().unwrap(), worker.probe().unwrap());
        asked.connect().unwrap();
        killed.force_kill().unwrap();
        asked.shutdown(Duration::from_secs(5)).unwrap();
        // The test itself knows its child by number, as long as it has not collected it.
        worker.child.wait().unwrap();
        return;
    }
    require!(tracing());
    let own = std::env::current_exe().expect("a test knows its own file");
    let calls = "trace=openat,open,readlink,poll,ppoll,kill,tkill,tgkill,rt_sigqueueinfo,pidfd_open,pidfd_send_signal";
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", calls]).arg(own);
    command.args(["--exact", NAME, "--nocapture"]);
    let ran = run(command.env("SUPERVISE_TEST_INSIDE", "1"));
    assert!(
        ran.stdout.contains("1 passed"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    let pid: i32 = ran
        .stdout
        .lines()
        .find_map(|line| line.split_once("worker ")?.1.trim().parse().ok())
        .unwrap();
    let own_lines: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| !line.starts_with(&format!("[pid {pid:5}]")))
        .filter(|line| !line.starts_with(&format!("[pid  {pid}]")))
        .collect();
    let told = own_lines
        .iter()
        .filter(|line| line.contains("pidfd_send_signal("))
        .count();
    assert!(told >= 2, "both were told through the pidfd: {told}");
    for line in &own_lines {
        for call in ["kill(", "tkill(", "tgkill(", "rt_sigqueueinfo("] {
            assert!(!line.contains(&format!("{call}{pid}")), "{line}");
        }
    }
    // What is opened by the number, and then below that: each time the process is looked at before anything else is.
    let opened = format!("\"/proc/{pid}\"");
    let mut below = Vec::new();
    let mut looked = 0;
    for (at, line) in own_lines.iter().enumerate() {
        let number = line.rsplit_once("= ").map_or("", |(_, number)| number);
        let is_directory = line.contains(&opened);
        if is_directory {
            assert!(line.contains("O_PATH"), "only where to look: {line}");
            below.push(format!("openat({number}, "));
        } else if line.contains(&opened[..opened.len() - 1]) {
            panic!("read by a number: {line}");
        }
        if !is_directory && !below.iter().any(|opens| line.contains(opens)) {
            continue;
        }
        looked += 1;
        let next = own_lines[at + 1];
        assert!(next.contains("poll("), "{line}\nand then: {next}");
    }
    assert!(looked >= 10, "{looked} times");
}
