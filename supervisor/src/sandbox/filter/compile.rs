//! From rows to a classic BPF program (seccomp(2), and `Documentation/networking/filter.rst` in the kernel).
//!
//! A binary search over ranges of numbers, because the kernel, to know which numbers need no filter at all, follows the program
//! once for each number when it is installed: that is most of what a filter costs a launch.
//!
//! Jumps in BPF lead forward only. So the program is built from its end: where a jump leads is there before the jump is, and
//! its distance is known. A label is the distance of an instruction from the end.

use super::calls::{Arch, LAST_REVIEWED, REVIEWED};
use super::rule::{Action, Row, Test, Width};
use libc::sock_filter;
use nix::errno::Errno;
use std::mem::offset_of;

/// Compiles `rows` for `arch`.
pub fn compile(arch: Arch, rows: &[Row]) -> Vec<sock_filter> {
    let mut program = Backwards::default();
    // The last instruction of a program must be a return.
    program.answer(Action::Allow);
    let mut ranges: Vec<Range> = Vec::new();
    for (number, rule) in (0..).zip(rules(arch, rows)) {
        if ranges.last().is_none_or(|last| last.rule != rule) {
            ranges.push(Range {
                first: number,
                rule,
            });
        }
    }
    let mut chains = Vec::new();
    let known = program.search(&ranges, LAST_REVIEWED + 1, rows, &mut chains);
    let unknown = program.answer(Action::Refuse(Errno::ENOSYS));
    let search = program.jump(libc::BPF_JGT, LAST_REVIEWED, unknown, known);
    let killed = program.answer(Action::Kill);
    let number = program.load(offset_of!(libc::seccomp_data, nr), search);
    let checked = program.jump(libc::BPF_JEQ, arch.audit(), number, killed);
    program.load(offset_of!(libc::seccomp_data, arch), checked);
    program.instructions.reverse();
    program.instructions
}

/// What is to be done with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// The same for all arguments.
    Answer(Action),
    /// The first of these rows whose tests hold, else it is allowed.
    Rows(Vec<usize>),
}

/// Numbers from `first` to the first of the next range.
struct Range {
    first: u32,
    rule: Rule,
}

/// The rule of each number up to the last that was reviewed.
fn rules(arch: Arch, rows: &[Row]) -> Vec<Rule> {
    let unknown = Rule::Answer(Action::Refuse(Errno::ENOSYS));
    let mut rules = vec![unknown; LAST_REVIEWED as usize + 1];
    for number in REVIEWED.iter().filter_map(|call| call.number(arch)) {
        rules[number as usize] = Rule::Answer(Action::Allow);
    }
    for (index, row) in rows.iter().enumerate() {
        for number in row.calls.iter().filter_map(|call| call.number(arch)) {
            let rule = &mut rules[number as usize];
            match rule {
                Rule::Rows(chain) => chain.push(index),
                Rule::Answer(Action::Allow) if row.when.is_empty() => {
                    *rule = Rule::Answer(row.then)
                }
                Rule::Answer(Action::Allow) => *rule = Rule::Rows(vec![index]),
                Rule::Answer(_) => {}
            }
        }
    }
    rules
}

/// The distance of an instruction from the end of the program.
type Label = usize;

/// A program, its last instruction first.
#[derive(Default)]
struct Backwards {
    instructions: Vec<sock_filter>,
    answers: Vec<(Action, Label)>,
}

/// The farthest that a conditional jump leads.
const REACH: usize = u8::MAX as usize;

impl Backwards {
    fn push(&mut self, code: u32, k: u32, jt: usize, jf: usize) -> Label {
        self.instructions.push(sock_filter {
            code: code as u16,
            jt: jt as u8,
            jf: jf as u8,
            k,
        });
        self.instructions.len() - 1
    }

    /// How many instructions a jump that is pushed next has to skip to get to `label`.
    fn distance(&self, label: Label) -> usize {
        self.instructions.len() - 1 - label
    }

    /// Pushes a jump to `label` if it is further off than `reach`.
    fn bring_near(&mut self, label: Label, reach: usize) -> Label {
        match self.distance(label) {
            distance if distance > reach => {
                self.push(libc::BPF_JMP | libc::BPF_JA, distance as u32, 0, 0)
            }
            _ => label,
        }
    }

    /// A return. One far away is repeated, which costs what the jump to it would.
    fn answer(&mut self, action: Action) -> Label {
        match self
            .answers
            .iter()
            .rev()
            .find(|(known, _)| *known == action)
        {
            Some((_, label)) if self.distance(*label) < REACH => *label,
            _ => {
                let label = self.push(libc::BPF_RET | libc::BPF_K, action.value(), 0, 0);
                self.answers.push((action, label));
                label
            }
        }
    }

    /// Compares the accumulator with `k` and goes to `yes` or `no`.
    fn jump(&mut self, comparison: u32, k: u32, yes: Label, no: Label) -> Label {
        // Bringing `no` near pushes `yes` one further off.
        let yes = self.bring_near(yes, REACH - 1);
        let no = self.bring_near(no, REACH);
        self.push(
            libc::BPF_JMP | comparison | libc::BPF_K,
            k,
            self.distance(yes),
            self.distance(no),
        )
    }

    /// Loads a word of `struct seccomp_data` and goes to `next`.
    fn load(&mut self, offset: usize, next: Label) -> Label {
        self.bring_near(next, 0);
        self.push(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            offset as u32,
            0,
            0,
        )
    }

    /// Loads a half of an argument, compares its masked bits with `value` and goes to `yes` or `no`.
    fn compare(&mut self, offset: usize, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        let mut label = self.jump(libc::BPF_JEQ, value, yes, no);
        if mask != u32::MAX {
            label = self.push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0);
        }
        self.load(offset, label)
    }

    /// Goes to `yes` if the test holds, else to `no`.
    fn test(&mut self, test: &Test, yes: Label, no: Label) -> Label {
        let (found, mut missed) = if test.among { (yes, no) } else { (no, yes) };
        let low = offset_of!(libc::seccomp_data, args) + usize::from(test.arg) * size_of::<u64>();
        let high = low + size_of::<u32>();
        match (test.width, test.values) {
            (Width::Low32, [rest @ .., last]) => {
                // Loaded and masked once: the comparisons leave the accumulator as it is.
                missed = self.jump(libc::BPF_JEQ, last.value as u32, found, missed);
                for value in rest.iter().rev() {
                    missed = self.jump(libc::BPF_JEQ, value.value as u32, found, missed);
                }
                if test.mask as u32 != u32::MAX {
                    missed = self.push(
                        libc::BPF_ALU | libc::BPF_AND | libc::BPF_K,
                        test.mask as u32,
                        0,
                        0,
                    );
                }
                self.load(low, missed)
            }
            (Width::Full64, values) => {
                for value in values.iter().rev() {
                    let halves = |whole: u64| (whole as u32, (whole >> 32) as u32);
                    let ((low_mask, high_mask), (low_value, high_value)) =
                        (halves(test.mask), halves(value.value));
                    let upper = self.compare(high, high_mask, high_value, found, missed);
                    missed = self.compare(low, low_mask, low_value, upper, missed);
                }
                missed
            }
            (Width::Low32, []) => missed,
        }
    }

    /// Goes to the answer of the first of the rows that applies.
    fn chain(&mut self, chain: &[usize], rows: &[Row]) -> Label {
        let mut next = self.answer(Action::Allow);
        for row in chain.iter().rev().map(|index| &rows[*index]) {
            let mut label = self.answer(row.then);
            for test in row.when.iter().rev() {
                label = self.test(test, label, next);
            }
            next = label;
        }
        next
    }

    /// Goes to what a rule says.
    fn rule<'r>(
        &mut self,
        rule: &'r Rule,
        rows: &[Row],
        chains: &mut Vec<(&'r [usize], Label)>,
    ) -> Label {
        let chain = match rule {
            Rule::Answer(action) => return self.answer(*action),
            Rule::Rows(chain) => chain,
        };
        if let Some((_, label)) = chains.iter().find(|(known, _)| known == chain) {
            return *label;
        }
        let label = self.chain(chain, rows);
        chains.push((chain, label));
        label
    }

    /// Finds the range, all of them below `end`, that the number in the accumulator lies in. `chains` are those already laid
    /// out: calls share them.
    fn search<'r>(
        &mut self,
        ranges: &'r [Range],
        end: u32,
        rows: &[Row],
        chains: &mut Vec<(&'r [usize], Label)>,
    ) -> Label {
        match ranges {
            [] => self.answer(Action::Kill),
            [range] => self.rule(&range.rule, rows, chains),
            _ => {
                if let Some((common, others)) = exceptions(ranges, end) {
                    let mut next = self.rule(common, rows, chains);
                    for (number, rule) in others {
                        let yes = self.rule(rule, rows, chains);
                        next = self.jump(libc::BPF_JEQ, number, yes, next);
                    }
                    return next;
                }
                let (below, above) = ranges.split_at(halfway(ranges, end));
                let first = above[0].first;
                let yes = self.search(above, end, rows, chains);
                let no = self.search(below, first, rows, chains);
                self.jump(libc::BPF_JGE, first, yes, no)
            }
        }
    }
}

/// Where to split so that both parts have as many numbers, not ranges: what is asked often is each number, once.
fn halfway(ranges: &[Range], end: u32) -> usize {
    let middle = ranges[0].first.midpoint(end);
    let distance = |at: &usize| ranges[*at].first.abs_diff(middle);
    (1..ranges.len()).min_by_key(distance).unwrap_or(0)
}

/// The ranges as one rule with a few numbers that are exceptions, if they are that: then one comparison for each is enough.
fn exceptions(ranges: &[Range], end: u32) -> Option<(&Rule, Vec<(u32, &Rule)>)> {
    const FEW: usize = 3;
    if ranges.len() > 2 * FEW + 1 {
        return None;
    }
    let ends = ranges[1..].iter().map(|range| range.first).chain([end]);
    let spans: Vec<(&Range, u32)> = ranges.iter().zip(ends).collect();
    ranges.iter().find_map(|candidate| {
        let others = spans
            .iter()
            .filter(|(range, _)| range.rule != candidate.rule);
        let single = others.clone().all(|(range, end)| range.first + 1 == *end);
        let few = others.clone().count() <= FEW;
        let numbers = others.map(|(range, _)| (range.first, &range.rule));
        (single && few).then(|| (&candidate.rule, numbers.collect()))
    })
}
