//! Rows in the words of seccompiler, which lays them out its own way.

use super::super::calls::Arch;
use super::super::rule::{Action, Row, Test, Width};
use libc::sock_filter;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// A program that answers as `row` does for `number`, and allows everything else.
pub fn compiled(arch: Arch, number: u32, row: &Row) -> Vec<sock_filter> {
    let Action::Refuse(errno) = row.then else {
        panic!("only refusals are compared")
    };
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    // No rules: the number matches whatever its arguments.
    let rules = match row.when {
        [] => Vec::new(),
        tests => alternatives(tests)
            .into_iter()
            .map(|conditions| SeccompRule::new(conditions).unwrap())
            .collect(),
    };
    let filter = SeccompFilter::new(
        BTreeMap::from([(i64::from(number), rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno as u32),
        target,
    )
    .unwrap();
    BpfProgram::try_from(filter)
        .unwrap()
        .into_iter()
        .map(|instruction| sock_filter {
            code: instruction.code,
            jt: instruction.jt,
            jf: instruction.jf,
            k: instruction.k,
        })
        .collect()
}

/// The tests as alternatives of conditions that all hold: one value or one bit each.
fn alternatives(tests: &[Test]) -> Vec<Vec<SeccompCondition>> {
    let Some((test, rest)) = tests.split_first() else {
        return vec![Vec::new()];
    };
    let alternatives_of_test: Vec<Vec<SeccompCondition>> = if test.among {
        let equal = |bits, value| condition(test, SeccompCmpOp::MaskedEq(bits), value);
        test.values
            .iter()
            .map(|value| vec![equal(test.mask, value.value)])
            .collect()
    } else if test.mask != test.width.bits() {
        // Other than unset: some bit of the mask is set.
        assert!(
            test.values.iter().all(|value| value.value == 0),
            "only compared with unset"
        );
        let bits = (0..64)
            .map(|bit| 1u64 << bit)
            .filter(|bit| test.mask & bit != 0);
        bits.map(|bit| vec![condition(test, SeccompCmpOp::MaskedEq(bit), bit)])
            .collect()
    } else {
        vec![
            test.values
                .iter()
                .map(|value| condition(test, SeccompCmpOp::Ne, value.value))
                .collect(),
        ]
    };
    let rest = alternatives(rest);
    alternatives_of_test
        .iter()
        .flat_map(|first| {
            rest.iter()
                .map(|others| [first.as_slice(), others.as_slice()].concat())
        })
        .collect()
}

fn condition(test: &Test, operator: SeccompCmpOp, value: u64) -> SeccompCondition {
    let width = match test.width {
        Width::Low32 => SeccompCmpArgLen::Dword,
        Width::Full64 => SeccompCmpArgLen::Qword,
    };
    SeccompCondition::new(test.arg, width, operator, value).unwrap()
}
