//! The emitted programs, held against the table read directly and against another compiler's programs.

mod interpreter;
mod reference;

use super::calls::{Arch, Call, LAST_REVIEWED, REVIEWED};
use super::compile::compile;
use super::rule::{Action, Row, Test, Width};
use super::spec::*;
use super::table::table;
use super::{calls, listing, program};
use libc::{seccomp_data, sock_filter};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::path::Path;

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];
const SOCKETS: [Socket; 4] = [
    Socket::Tcp,
    Socket::Udp,
    Socket::UnixStream,
    Socket::NetlinkRoute,
];

fn answers(all: Answer) -> Answers {
    Answers {
        metadata: all,
        connect: all,
        bind: all,
        listen: all,
        processes: all,
        others: all,
        watches: all,
        reads: all,
        writes: all,
        domains: all,
    }
}

/// Nothing that can be left out is in it.
fn loosest(arch: Arch) -> FilterSpec {
    FilterSpec {
        arch,
        sockets: SOCKETS.to_vec(),
        answers: answers(Answer::Allow),
        ptrace: Ptrace::OwnDomain,
        anonymous_files: AnonymousFiles::Any,
        signals: Signals::Scoped,
        allow: vec![
            Facility::Keyrings,
            Facility::SysvIpc,
            Facility::MessageQueues,
            Facility::PerfEvents,
            Facility::Userfaultfd,
        ],
    }
}

/// As a session with a listener and a network has it.
fn session(arch: Arch) -> FilterSpec {
    FilterSpec {
        sockets: vec![Socket::Tcp, Socket::UnixStream],
        answers: Answers {
            listen: Answer::Refuse,
            watches: Answer::Allow,
            reads: Answer::Allow,
            ..answers(Answer::Notify)
        },
        signals: Signals::Scoped,
        ..FilterSpec::strictest(arch)
    }
}

/// Every choice of the spec is met in both (or all) of its values, alone and with the others.
fn specs(arch: Arch) -> Vec<FilterSpec> {
    let strictest = FilterSpec::strictest(arch);
    let mut specs = vec![strictest.clone(), loosest(arch), session(arch)];
    specs.push(FilterSpec {
        answers: answers(Answer::Notify),
        ..strictest.clone()
    });
    specs.push(FilterSpec {
        answers: Answers {
            reads: Answer::Notify,
            ..strictest.answers
        },
        ..strictest.clone()
    });
    specs.push(FilterSpec {
        answers: answers(Answer::Refuse),
        ..loosest(arch)
    });
    specs.push(FilterSpec {
        ptrace: Ptrace::OwnDomain,
        ..strictest.clone()
    });
    specs.push(FilterSpec {
        anonymous_files: AnonymousFiles::Any,
        ..strictest.clone()
    });
    specs.push(FilterSpec {
        signals: Signals::Scoped,
        ..strictest.clone()
    });
    for kind in SOCKETS {
        specs.push(FilterSpec {
            sockets: vec![kind],
            ..strictest.clone()
        });
    }
    for facility in loosest(arch).allow {
        specs.push(FilterSpec {
            allow: vec![facility],
            ..strictest.clone()
        });
    }
    specs
}

/// The table's own meaning, read row by row.
fn meaning(arch: Arch, rows: &[Row], data: &seccomp_data) -> Action {
    if data.arch != arch.audit() {
        return Action::Kill;
    }
    let number = data.nr as u32;
    let Some(call) = REVIEWED
        .iter()
        .find(|call| call.number(arch) == Some(number))
    else {
        return Action::Refuse(Errno::ENOSYS);
    };
    rows.iter()
        .find(|row| row.calls.contains(call) && row.when.iter().all(|test| holds(test, data)))
        .map_or(Action::Allow, |row| row.then)
}

fn holds(test: &Test, data: &seccomp_data) -> bool {
    let argument = data.args[usize::from(test.arg)];
    let seen = match test.width {
        Width::Low32 => argument & u64::from(u32::MAX),
        Width::Full64 => argument,
    };
    test.values
        .iter()
        .any(|value| seen & test.mask == value.value)
        == test.among
}

fn data(arch: Arch, number: u32, args: [u64; 6]) -> seccomp_data {
    seccomp_data {
        nr: number as i32,
        arch: arch.audit(),
        instruction_pointer: 0x7f00_1234_5678,
        args,
    }
}

/// Arguments of every class that `rows` tell apart, each also with bits that must not matter and bits that must.
fn arguments(rows: &[&Row]) -> Vec<[u64; 6]> {
    let mut classes: [BTreeSet<u64>; 6] = Default::default();
    for test in rows.iter().flat_map(|row| row.when) {
        let class = &mut classes[usize::from(test.arg)];
        class.extend([0, 1, u64::from(u32::MAX), u64::MAX, 1 << 31, 1 << 32]);
        for value in test.values.iter().map(|value| value.value) {
            let outside = !test.mask & u64::from(u32::MAX);
            class.extend([
                value,
                value.wrapping_add(1),
                value.wrapping_sub(1),
                value | outside,
                value | 1 << 32,
                value | 0xdead_beef_0000_0000,
                value | 0xffff_ffff_0000_0000,
            ]);
        }
        if test.mask.count_ones() <= 16 {
            class.extend(
                (0..64)
                    .map(|bit| 1u64 << bit)
                    .filter(|bit| test.mask & bit != 0),
            );
        }
    }
    let mut all = vec![[0x5555_5555_5555_5555u64; 6]];
    for (index, class) in classes
        .iter()
        .enumerate()
        .filter(|(_, class)| !class.is_empty())
    {
        all = all
            .iter()
            .flat_map(|args| {
                class.iter().map(move |value| {
                    let mut args = *args;
                    args[index] = *value;
                    args
                })
            })
            .collect();
    }
    all
}

/// The rows about a number.
fn about(arch: Arch, rows: &[Row], number: u32) -> Vec<&Row> {
    rows.iter()
        .filter(|row| {
            row.calls
                .iter()
                .any(|call| call.number(arch) == Some(number))
        })
        .collect()
}

/// Numbers in and around everything that is numbered.
fn numbers() -> impl Iterator<Item = u32> {
    const X32: u32 = 0x4000_0000;
    (0..=1023)
        .chain((0..=1023).map(|number| X32 | number))
        .chain([X32 - 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX])
        .chain((1..=512).map(|number: u32| number.wrapping_neg()))
}

#[test]
fn the_program_is_the_table_for_every_number_and_class_of_arguments() {
    for arch in ARCHES {
        for spec in specs(arch) {
            let rows = table(&spec);
            let program = program(&spec);
            for number in numbers() {
                for args in arguments(&about(arch, &rows, number)) {
                    let data = data(arch, number, args);
                    assert_eq!(
                        interpreter::run(&program, &data),
                        meaning(arch, &rows, &data).value(),
                        "{} number {number:#x} with {args:x?} under {spec:?}",
                        arch.name()
                    );
                }
            }
        }
    }
}

#[test]
fn every_row_is_what_another_compiler_makes_of_it() {
    for arch in ARCHES {
        for row in table(&FilterSpec::strictest(arch))
            .into_iter()
            .chain(table(&loosest(arch)))
            .chain(table(&session(arch)))
        {
            for call in row.calls {
                let Some(number) = call.number(arch) else {
                    continue;
                };
                // What an allowed call is told apart by is another answer.
                let row = Row {
                    then: Action::Refuse(Errno::EXDEV),
                    ..row
                };
                let ours = compile(arch, &[row]);
                let theirs = reference::compiled(arch, number, &row);
                for args in arguments(&[&row]) {
                    let data = data(arch, number, args);
                    assert_eq!(
                        interpreter::run(&ours, &data),
                        interpreter::run(&theirs, &data),
                        "{} {} with {args:x?}",
                        arch.name(),
                        call.name()
                    );
                }
            }
        }
    }
}

#[test]
fn another_architecture_ends_the_process_whatever_it_calls() {
    const EM_386: u32 = 3;
    const I386: u32 = EM_386 | 0x4000_0000;
    const ARM: u32 = libc::EM_ARM as u32 | 0x4000_0000;
    for arch in ARCHES {
        let program = program(&loosest(arch));
        let other = if arch == Arch::X86_64 {
            Arch::Aarch64
        } else {
            Arch::X86_64
        };
        for foreign in [I386, ARM, other.audit(), 0, u32::MAX] {
            for number in numbers() {
                let data = seccomp_data {
                    arch: foreign,
                    ..data(arch, number, [0; 6])
                };
                assert_eq!(
                    interpreter::run(&program, &data),
                    libc::SECCOMP_RET_KILL_PROCESS
                );
            }
        }
    }
}

#[test]
fn what_was_not_reviewed_is_not_there() {
    let absent = Action::Refuse(Errno::ENOSYS).value();
    for arch in ARCHES {
        let program = program(&loosest(arch));
        for number in numbers().filter(|number| *number > LAST_REVIEWED) {
            assert_eq!(
                interpreter::run(&program, &data(arch, number, [0; 6])),
                absent,
                "{number:#x}"
            );
        }
    }
}

#[test]
fn the_launch_goes_on_after_the_filter() {
    for arch in ARCHES {
        for spec in specs(arch) {
            let program = program(&spec);
            for call in [
                calls::CLOSE_RANGE,
                calls::DUP2,
                calls::DUP3,
                calls::CLOSE,
                calls::RT_SIGACTION,
                calls::RT_SIGPROCMASK,
                calls::EXECVE,
                calls::EXECVEAT,
                calls::WRITE,
                calls::EXIT,
                calls::EXIT_GROUP,
            ] {
                let Some(number) = call.number(arch) else {
                    continue;
                };
                for args in [[0; 6], [u64::MAX; 6]] {
                    let answer = interpreter::run(&program, &data(arch, number, args));
                    assert_eq!(
                        answer,
                        libc::SECCOMP_RET_ALLOW,
                        "{} under {spec:?}",
                        call.name()
                    );
                }
            }
        }
    }
}

#[test]
fn the_kernel_takes_programs_of_this_length_and_shape() {
    for arch in ARCHES {
        for spec in specs(arch) {
            let program = program(&spec);
            assert!(program.len() < 4096, "{}", program.len());
            let last = program
                .last()
                .map(|instruction| u32::from(instruction.code));
            assert_eq!(last, Some(libc::BPF_RET | libc::BPF_K));
        }
    }
}

#[test]
fn numbers_are_told_apart_in_few_steps() {
    for arch in ARCHES {
        let program = program(&session(arch));
        let longest = (0..=LAST_REVIEWED)
            .map(|number| steps(&program, &data(arch, number, [0; 6])))
            .max();
        assert!(longest <= Some(16), "{longest:?}");
    }
}

/// How many instructions run before the first argument is loaded or an answer is given.
fn steps(program: &[sock_filter], data: &seccomp_data) -> usize {
    let mut at = 0;
    for step in 1.. {
        let instruction = program[at];
        let code = u32::from(instruction.code);
        at += 1;
        if code == libc::BPF_RET | libc::BPF_K || (code & 7 == libc::BPF_LD && instruction.k >= 16)
        {
            return step;
        }
        let seen = if step <= 2 { data.arch } else { data.nr as u32 };
        at += match code & 0xf0 {
            _ if code & 7 != libc::BPF_JMP => 0,
            libc::BPF_JA => instruction.k as usize,
            libc::BPF_JEQ if seen == instruction.k => instruction.jt.into(),
            libc::BPF_JGT if seen > instruction.k => instruction.jt.into(),
            libc::BPF_JGE if seen >= instruction.k => instruction.jt.into(),
            _ => instruction.jf.into(),
        };
    }
    unreachable!("a program ends")
}

#[test]
fn a_spec_that_notifies_nothing_needs_no_listener_and_the_others_do() {
    for arch in ARCHES {
        for spec in specs(arch) {
            let notifies = table(&spec).iter().any(|row| row.then == Action::Notify);
            assert_eq!(spec.needs_listener(), notifies, "{spec:?}");
        }
    }
}

#[test]
fn every_reviewed_call_has_a_number_of_its_own() {
    for arch in ARCHES {
        let numbers: Vec<u32> = REVIEWED
            .iter()
            .filter_map(|call| call.number(arch))
            .collect();
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
        assert_eq!(numbers.iter().max(), Some(&LAST_REVIEWED));
    }
}

#[test]
fn opens_are_asked_about_as_far_as_a_rule_needs_it() {
    let asked = Action::Notify.value();
    for arch in ARCHES {
        let program = |reads, writes| {
            let mut spec = FilterSpec::strictest(arch);
            (spec.answers.reads, spec.answers.writes) = (reads, writes);
            program(&spec)
        };
        let programs = [
            program(Answer::Notify, Answer::Allow),
            program(Answer::Allow, Answer::Notify),
            program(Answer::Notify, Answer::Notify),
            program(Answer::Allow, Answer::Allow),
        ];
        let seen = |call: Call, args| {
            let number = call.number(arch)?;
            Some(programs.each_ref().map(|program| {
                let answer = interpreter::run(program, &data(arch, number, args));
                assert!(answer == asked || answer == libc::SECCOMP_RET_ALLOW);
                answer == asked
            }))
        };
        const PATH: u64 = libc::O_PATH as u64;
        for (flags, expected) in [
            (libc::O_RDONLY, [true, false, true, false]),
            (libc::O_RDONLY | libc::O_CLOEXEC, [true, false, true, false]),
            (libc::O_WRONLY, [true, true, true, false]),
            (libc::O_RDWR, [true, true, true, false]),
            (libc::O_CREAT, [true, true, true, false]),
            (libc::O_TRUNC, [true, true, true, false]),
            (libc::O_DIRECTORY, [true, false, true, false]),
            (libc::O_TMPFILE | libc::O_RDWR, [true, true, true, false]),
        ] {
            // The upper half of the register is not the kernel's to look at, and so not ours.
            for flags in [flags as u64, flags as u64 | 0xffff_ffff_0000_0000] {
                for (call, args) in [
                    (calls::OPEN, [0, flags, 0, 0, 0, 0]),
                    (calls::OPENAT, [0, 0, flags, 0, 0, 0]),
                ] {
                    assert!(seen(call, args).is_none_or(|seen| seen == expected));
                }
                let place = [0, 0, flags | PATH, 0, 0, 0];
                assert_eq!(seen(calls::OPENAT, place), Some([false; 4]));
            }
        }
        for (call, expected) in [
            (calls::OPENAT2, [true, true, true, false]),
            (calls::CREAT, [true, true, true, false]),
            (calls::TRUNCATE, [false, true, true, false]),
            (calls::FTRUNCATE, [false; 4]),
            (calls::MKDIRAT, [false, true, true, false]),
            (calls::RENAMEAT2, [false, true, true, false]),
            (calls::READLINKAT, [false; 4]),
        ] {
            assert!(seen(call, [0; 6]).is_none_or(|seen| seen == expected));
        }
        // What is refused whoever is asked stays refused.
        let mode = [0, 0, libc::O_CREAT as u64, 0o4755, 0, 0];
        for program in &programs {
            let number = calls::OPENAT.number(arch).expect("it has");
            let answer = interpreter::run(program, &data(arch, number, mode));
            assert_eq!(answer, Action::Refuse(Errno::EPERM).value());
        }
    }
}

/// The kernel's own numbers, as far as the headers of this machine go.
#[test]
fn numbers_are_the_kernels() {
    let headers = [
        (
            Arch::X86_64,
            "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
        ),
        (Arch::Aarch64, "/usr/include/asm-generic/unistd.h"),
    ];
    for (arch, header) in headers {
        let Ok(text) = std::fs::read_to_string(header) else {
            eprintln!(
                "SKIP no {header}: the numbers of {} are not compared with it",
                arch.name()
            );
            assert!(
                std::env::var_os("SUPERVISE_MUST_WORK").is_none(),
                "{header} must be there"
            );
            continue;
        };
        let compared = text
            .lines()
            .filter(|line| compare_with_header(arch, line))
            .count();
        assert!(compared > 250, "only {compared} numbers in {header}");
    }
}

/// Compares the line with ours if it gives a number; says whether it does.
fn compare_with_header(arch: Arch, line: &str) -> bool {
    let Some((name, number)) = line
        .strip_prefix("#define __NR_")
        .or_else(|| line.strip_prefix("#define __NR3264_"))
        .and_then(|definition| definition.split_once(' '))
    else {
        return false;
    };
    let Ok(number) = number.trim().parse::<u32>() else {
        return false;
    };
    let ours = REVIEWED
        .iter()
        .find(|call| call.number(arch) == Some(number))
        .map(Call::name);
    // The generic header also has ends of lists, calls of other architectures, and calls by their name on 32 bits.
    let known_otherwise = ["syscalls", "arch_specific_syscall", "sync_file_range2"].contains(&name)
        || arch == Arch::Aarch64 && (403..=423).contains(&number)
        || line.contains("NR3264");
    if !known_otherwise {
        assert_eq!(ours.as_deref(), Some(name), "{} {number}", arch.name());
    }
    true
}

#[test]
fn the_listing_is_the_one_that_was_read() {
    for arch in ARCHES {
        for (name, spec) in [
            ("strictest", FilterSpec::strictest(arch)),
            ("session", session(arch)),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
                "src/sandbox/filter/golden/{}-{name}.txt",
                arch.name()
            ));
            let listing = listing(&spec);
            if std::env::var_os("SUPERVISE_WRITE_GOLDEN").is_some() {
                std::fs::write(&path, &listing).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap();
            assert!(
                listing == golden,
                "the listing is not {}; if it is meant to differ: SUPERVISE_WRITE_GOLDEN=1 cargo test, and read the difference\n{listing}",
                path.display()
            );
        }
    }
}

#[test]
fn the_listing_names_every_row_that_the_architecture_has() {
    for arch in ARCHES {
        for spec in specs(arch) {
            let listing = listing(&spec);
            for row in table(&spec) {
                for call in row.calls {
                    if let Some(number) = call.number(arch) {
                        assert!(listing.contains(&format!("{}({number})", call.name())));
                        assert!(listing.contains(row.why));
                    }
                }
            }
        }
    }
}
