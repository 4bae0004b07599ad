//! What a container runtime's default filter does to a container without extra privileges, as Docker's default profile has it
//! (`profiles/seccomp/default.json` of moby): an allow-list, everything else EPERM.
//!
//! Where it differs from the original: 32-bit calls end the process, since the compiler used here knows one architecture a
//! program; and calls newer than the list are EPERM, as older runtimes had it, where newer ones say ENOSYS.

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// The newest call that the list speaks of: removexattrat.
const LAST: c_long = 466;

/// Calls up to [`LAST`] that are not in the list, or there only for containers with a capability that is not given by default.
const ABSENT: &[c_long] = &[
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_pivot_root,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_init_module,
    libc::SYS_delete_module,
    libc::SYS_quotactl,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_clock_settime,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_get_mempolicy,
    libc::SYS_kexec_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_migrate_pages,
    libc::SYS_unshare,
    libc::SYS_move_pages,
    libc::SYS_perf_event_open,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    libc::SYS_kcmp,
    libc::SYS_finit_module,
    libc::SYS_kexec_file_load,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl_fd,
    libc::SYS_set_mempolicy_home_node,
    // statmount, listmount, lsm_get_self_attr, lsm_set_self_attr, lsm_list_modules
    457,
    458,
    459,
    460,
    461,
];

/// The same, of calls that only one architecture has.
#[cfg(target_arch = "x86_64")]
const ABSENT_HERE: &[c_long] = &[
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_getpmsg,
    libc::SYS_putpmsg,
    libc::SYS_afs_syscall,
    libc::SYS_tuxcall,
    libc::SYS_security,
    libc::SYS_vserver,
    // create_module, get_kernel_syms, query_module
    174,
    177,
    178,
];
#[cfg(not(target_arch = "x86_64"))]
const ABSENT_HERE: &[c_long] = &[];

/// The flags of clone(2) that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// What personality(2) may be asked for: Linux, Linux with 32 bits, both with an old version number, nothing.
const PERSONALITIES: [u64; 5] = [0, 8, 0x20000, 0x20008, 0xffff_ffff];

const AF_VSOCK: u64 = 40;

/// The programs, in the order of their installation.
pub fn programs() -> [BpfProgram; 2] {
    let mut allowed: BTreeMap<c_long, Vec<SeccompRule>> = (0..=LAST)
        .filter(|number| !ABSENT.contains(number) && !ABSENT_HERE.contains(number))
        .map(|number| (number, Vec::new()))
        .collect();
    let argument = |operator, value| {
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, value);
        SeccompRule::new(vec![condition.expect("the first argument")]).expect("one condition")
    };
    allowed.insert(
        libc::SYS_clone,
        vec![argument(SeccompCmpOp::MaskedEq(NAMESPACES), 0)],
    );
    allowed.insert(libc::SYS_socket, vec![argument(SeccompCmpOp::Ne, AF_VSOCK)]);
    let personalities = PERSONALITIES.map(|value| argument(SeccompCmpOp::Eq, value));
    allowed.insert(libc::SYS_personality, personalities.to_vec());
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    [
        compiled(
            allowed,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
        ),
        // Of two errors the one of the filter that was installed last counts.
        compiled(
            absent,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
        ),
    ]
}

fn compiled(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    then: SeccompAction,
) -> BpfProgram {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .expect("an architecture that seccompiler knows");
    let filter =
        SeccompFilter::new(rules, otherwise, then, arch).expect("rules of one condition or none");
    filter.try_into().expect("shorter than 4096 instructions")
}
