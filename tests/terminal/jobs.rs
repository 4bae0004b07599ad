//! Keys, jobs and sizes.

use super::desk::{Desk, INTERRUPT, STOP};
use super::harness::process::{eventually_gone, state, until_it_waits_in};
use super::harness::run::eventually;
use super::harness::{feature, require};
use super::{Scene, is_raw, modes, supervisor_of};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::Termios;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use std::process::Command;

#[test]
fn a_shell_inside_has_jobs_of_its_own() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    let before = modes(&desk);
    desk.types("\"$S\" --pty -- bash --norc --noprofile --noediting -i\n");
    desk.types("echo in''side=$$\n");
    let inner: i32 = desk.sees("inside=").parse().expect("a pid");
    desk.types("sleep 1000 & echo started=$''!\n");
    desk.types("jobs\n");
    desk.sees("Running");
    desk.types("fg\n");
    desk.sees("sleep 1000");
    // The one in the foreground stops, and neither the shell around it nor the supervisor.
    for _ in 0..2 {
        runs_in_front_of(inner);
        desk.types(STOP);
        desk.sees("Stopped");
        eventually("the shell has the foreground", || {
            group_in_front_of(inner) == inner
        });
        assert!(is_raw(&desk));
        desk.types("fg\n");
        desk.sees("sleep 1000");
    }
    runs_in_front_of(inner);
    desk.types(INTERRUPT);
    eventually("the shell has the foreground", || {
        group_in_front_of(inner) == inner
    });
    desk.types("echo job''=$?.\n");
    assert!(desk.sees("job=").starts_with("130."), "{}", desk.screen);
    desk.types("exit 7\n");
    is_the_shells(&desk, &before);
    desk.types("echo stat''us=$?.\n");
    assert!(desk.sees("status=").starts_with("7."), "{}", desk.screen);
}

/// Waits until the shell has the terminal again. What is typed before that is the command's, or nobody's.
#[track_caller]
fn is_the_shells(desk: &Desk, before: &Termios) {
    eventually("the terminal is the shell's", || {
        desk.foreground() == desk.shell_pid() && modes(desk) == *before
    });
}

/// Waits until another job than the shell has the foreground, and runs, and the shell waits for it: one that is about to be continued
/// would not mind a stop, a shell that does not wait yet would not say so, and what a shell has just cloned ignores its keys as the
/// shell does, until it has had its first turn.
#[track_caller]
fn runs_in_front_of(shell: i32) {
    eventually("the job has the foreground", || {
        let group = group_in_front_of(shell);
        group != shell
            && state(group).is_some_and(|state| state != 'T')
            && !ignores(group, Signal::SIGTSTP)
    });
    until_it_waits_in(shell, &[libc::SYS_wait4, libc::SYS_waitid]);
}

/// Whether the process ignores that signal (proc_pid_status(5)). One that is gone ignores all.
fn ignores(pid: i32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_none_or(|set| set & (1 << (signal as i32 - 1)) != 0)
}

/// The process group in the foreground of the terminal that controls that process (proc_pid_stat(5)).
fn group_in_front_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let group = fields.split(' ').nth(5).expect("a group");
    group.parse().expect("a number")
}

#[test]
fn the_stop_key_stops_the_job_and_the_terminal_is_the_shells_meanwhile() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    let before = modes(&desk);
    desk.types("\"$S\" --pty -- sh -c 'echo p\"\"id=$$; exec sleep 1000'\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    let supervisor = supervisor_of(command);
    let are = |wanted: &[char]| {
        [command, supervisor]
            .iter()
            .all(|pid| state(*pid).is_some_and(|state| wanted.contains(&state)))
    };
    for _ in 0..3 {
        eventually("the terminal is raw", || is_raw(&desk));
        runs_in_front_of(desk.shell_pid());
        desk.types(STOP);
        desk.sees("Stopped");
        eventually("both were stopped", || are(&['T']));
        is_the_shells(&desk, &before);
        desk.types("echo sh''ell=here\n");
        desk.sees("shell=here");
        desk.types("fg\n");
        eventually("both went on", || are(&['R', 'S', 'D']));
    }
    eventually("the terminal is raw", || is_raw(&desk));
    desk.types(INTERRUPT);
    eventually_gone(&[command, supervisor]);
    is_the_shells(&desk, &before);
    desk.types("echo stat''us=$?.\n");
    assert!(desk.sees("status=").starts_with("130."), "{}", desk.screen);
    assert_eq!(modes(&desk), before);
}

#[test]
fn a_job_goes_on_in_the_background_and_comes_back() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    let before = modes(&desk);
    desk.types(
        "\"$S\" --pty -- sh -c 'echo p\"\"id=$$; read a; echo got=$a; read b; echo got=$b'\n",
    );
    desk.sees("pid=");
    eventually("the terminal is raw", || is_raw(&desk));
    runs_in_front_of(desk.shell_pid());
    desk.types(STOP);
    desk.sees("Stopped");
    desk.types("bg\n");
    desk.types("echo sh''ell=here\n");
    desk.sees("shell=here");
    is_the_shells(&desk, &before);
    desk.types("fg\n");
    // The shell tells a job nothing that runs already.
    eventually("the terminal is raw", || is_raw(&desk));
    desk.types("one\n");
    desk.sees("got=one");
    desk.types("two\n");
    desk.sees("got=two");
    is_the_shells(&desk, &before);
    desk.types("echo stat''us=$?.\n");
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    assert_eq!(modes(&desk), before);
}

#[test]
fn all_of_a_job_stops_and_goes_on() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    desk.types("\"$S\" --pty -- sh -c 'sleep 1000 & echo p\"\"ids=$$,$!; wait'\n");
    let pids = desk.sees("pids=");
    let pids: Vec<i32> = pids.split(',').flat_map(str::parse).collect();
    assert_eq!(pids.len(), 2);
    let are = |wanted: &[char]| {
        let is = |pid: &i32| state(*pid).is_some_and(|state| wanted.contains(&state));
        pids.iter().all(is)
    };
    eventually("the terminal is raw", || is_raw(&desk));
    runs_in_front_of(desk.shell_pid());
    desk.types(STOP);
    desk.sees("Stopped");
    eventually("both were stopped", || are(&['T']));
    desk.types("fg\n");
    eventually("both went on", || are(&['R', 'S', 'D']));
}

#[test]
fn it_begins_with_the_modes_of_the_callers_unless_that_is_somebody_elses() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    let mut said = |how: &str, name: &str| {
        let run = format!("\"$S\" --pty -- sh -c 'stty -a >began; mv began {name}'");
        desk.types(&format!("stty quit ^G; {}\n", how.replace("RUN", &run)));
        eventually("it says its modes", || {
            scene.workspace.join(name).exists() && desk.foreground() == desk.shell_pid()
        });
        std::fs::read_to_string(scene.workspace.join(name)).expect("it was written")
    };
    let in_front = said("RUN", "front");
    assert!(in_front.contains("quit = ^G"), "{in_front}");
    // As when a shell reads a line meanwhile.
    let behind = said("stty -icanon -echo; RUN &", "behind");
    assert!(behind.contains(" icanon"), "{behind}");
    assert!(behind.contains(" echo "), "{behind}");
}

#[test]
fn a_job_in_the_background_ends_with_the_callers_terminal() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    desk.types("\"$S\" --pty -- sh -c 'echo p\"\"id=$$; exec cat' & disown -a\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    let supervisor = supervisor_of(command);
    // Nobody tells it, and nothing is there to be read.
    let null = std::fs::File::open("/dev/null").expect("it is there");
    drop(std::mem::replace(&mut desk.keyboard, null));
    eventually_gone(&[command, supervisor]);
}

#[test]
fn a_signal_from_outside_stops_and_continues_the_job_too() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    let before = modes(&desk);
    desk.types("\"$S\" --pty -- sh -c 'echo p\"\"id=$$; exec sleep 1000'\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    let supervisor = supervisor_of(command);
    eventually("the terminal is raw", || is_raw(&desk));
    runs_in_front_of(desk.shell_pid());
    kill(Pid::from_raw(supervisor), Signal::SIGTSTP).expect("it lives");
    desk.sees("Stopped");
    is_the_shells(&desk, &before);
    desk.types("kill -9 %1; wait; echo stat''us=gone\n");
    desk.sees("status=gone");
    eventually_gone(&[command, supervisor]);
}

#[test]
fn without_anybody_who_could_continue_it_the_stop_key_stops_nothing() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut command = Command::new("env");
    command
        .args(["--default-signal"])
        .arg(super::harness::built::supervise());
    command.args(["--pty", "--", "bash", "-c"]);
    command.arg("echo rea''dy=$$; read -r word; echo got=$word; read -r word; echo got=$word");
    let mut desk = Desk::new(scene.at_home(&mut command));
    desk.sees("ready=");
    eventually("the terminal is raw", || is_raw(&desk));
    desk.types(STOP);
    desk.types("one\n");
    desk.sees("got=one");
    desk.types(STOP);
    desk.types("two\n");
    desk.sees("got=two");
}

fn resize(desk: &Desk, rows: u16, columns: u16) {
    let size = [rows, columns, 0, 0];
    sys::terminal::set_window(desk.keyboard.as_fd(), size).expect("a size");
}

#[test]
fn the_size_is_the_callers_from_the_beginning_and_follows_it() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = scene.shell();
    resize(&desk, 33, 77);
    scene.workspace.write(
        "size.sh",
        "trap 'echo signal''led=.' WINCH\nlast=`stty size`\necho first=$last\n\
         while :; do now=`stty size`; [ \"$now\" = \"$last\" ] || echo \"now=$now.\"; last=$now; sleep 0.05; done\n",
    );
    desk.types("\"$S\" --pty -- sh ./size.sh\n");
    assert_eq!(desk.sees("first="), "33 77");
    eventually("the terminal is raw", || is_raw(&desk));
    // Shells may lose the second of two signals, and no size.
    for (rows, columns) in [(20, 60), (50, 132)] {
        resize(&desk, rows, columns);
        eventually("the size was passed on", || {
            desk.look();
            let told = desk.screen.contains("signalled=.");
            told && desk.screen.contains(&format!("now={rows} {columns}."))
        });
    }
}
