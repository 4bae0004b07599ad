//! Classic BPF as seccomp runs it, from its documentation: what the emitted programs are held against.

use libc::{seccomp_data, sock_filter};

/// Runs a program. Anything that the kernel would not have accepted is a panic.
pub fn run(program: &[sock_filter], data: &seccomp_data) -> u32 {
    let mut accumulator = 0u32;
    let mut at = 0;
    loop {
        let instruction = program[at];
        at += 1;
        let code = u32::from(instruction.code);
        let k = instruction.k;
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        const ALWAYS: u32 = libc::BPF_JMP | libc::BPF_JA;
        const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const GREATER: u32 = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
        const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
        const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
        let holds = match code {
            LOAD => {
                accumulator = word(data, k);
                continue;
            }
            AND => {
                accumulator &= k;
                continue;
            }
            RETURN => return k,
            ALWAYS => {
                at += k as usize;
                continue;
            }
            EQUAL => accumulator == k,
            GREATER => accumulator > k,
            AT_LEAST => accumulator >= k,
            ANY_BIT => accumulator & k != 0,
            other => panic!("an instruction that seccomp does not know: {other:#x}"),
        };
        at += usize::from(if holds {
            instruction.jt
        } else {
            instruction.jf
        });
    }
}

/// The word at an offset of `struct seccomp_data` on a little-endian machine.
fn word(data: &seccomp_data, offset: u32) -> u32 {
    match offset {
        0 => data.nr as u32,
        4 => data.arch,
        8 => data.instruction_pointer as u32,
        12 => (data.instruction_pointer >> 32) as u32,
        16..64 if offset.is_multiple_of(8) => data.args[(offset as usize - 16) / 8] as u32,
        20..64 if offset % 8 == 4 => (data.args[(offset as usize - 20) / 8] >> 32) as u32,
        other => panic!("a load that the kernel refuses: {other}"),
    }
}
