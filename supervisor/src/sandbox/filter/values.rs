//! Argument values that the table speaks of: the kernel's, the same on both architectures.
//!
//! Not all are in the C library's headers, and where they are their types differ between libraries.

// clone(2), unshare(2)
pub const CLONE_FS: u32 = 0x200;
pub const CLONE_FILES: u32 = 0x400;
pub const CLONE_SIGHAND: u32 = 0x800;
pub const CLONE_VM: u32 = 0x100;
pub const CLONE_THREAD: u32 = 0x10000;
pub const CLONE_NEWNS: u32 = 0x20000;
pub const CLONE_SYSVSEM: u32 = 0x40000;
pub const CLONE_NEWCGROUP: u32 = 0x0200_0000;
pub const CLONE_NEWUTS: u32 = 0x0400_0000;
pub const CLONE_NEWIPC: u32 = 0x0800_0000;
pub const CLONE_NEWUSER: u32 = 0x1000_0000;
pub const CLONE_NEWPID: u32 = 0x2000_0000;
pub const CLONE_NEWNET: u32 = 0x4000_0000;

// socket(2), socketpair(2)
pub const AF_UNIX: u32 = 1;
pub const AF_INET: u32 = 2;
pub const AF_INET6: u32 = 10;
pub const AF_NETLINK: u32 = 16;
pub const SOCK_STREAM: u32 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const SOCK_RAW: u32 = 3;
pub const SOCK_SEQPACKET: u32 = 5;
/// The bits of a socket's type; above them are SOCK_NONBLOCK and SOCK_CLOEXEC (`SOCK_TYPE_MASK` in `linux/net.h`).
pub const SOCK_TYPE_MASK: u64 = 0xf;
pub const IPPROTO_IP: u32 = 0;
pub const IPPROTO_TCP: u32 = 6;
pub const IPPROTO_UDP: u32 = 17;
pub const NETLINK_ROUTE: u32 = 0;

// send(2), setsockopt(2), ip(7), ipv6(7), tcp(7), sctp(7)
pub const MSG_FASTOPEN: u32 = 0x2000_0000;
pub const SOL_SOCKET: u32 = 1;
pub const SO_BINDTODEVICE: u32 = 25;
pub const SO_MARK: u32 = 36;
pub const SO_BINDTOIFINDEX: u32 = 62;
pub const SOL_IP: u32 = 0;
pub const IP_OPTIONS: u32 = 4;
pub const SOL_TCP: u32 = 6;
pub const TCP_FASTOPEN_CONNECT: u32 = 30;
pub const TCP_ULP: u32 = 31;
pub const SOL_IPV6: u32 = 41;
pub const IPV6_2292RTHDR: u32 = 5;
pub const IPV6_2292PKTOPTIONS: u32 = 6;
pub const IPV6_RTHDRDSTOPTS: u32 = 55;
pub const IPV6_RTHDR: u32 = 57;
pub const SOL_SCTP: u32 = 132;

// ioctl_tty(2), ioctl_console(2)
pub const TIOCEXCL: u32 = 0x540c;
pub const TIOCSTI: u32 = 0x5412;
pub const TIOCLINUX: u32 = 0x541c;
pub const TIOCCONS: u32 = 0x541d;
pub const TIOCSSERIAL: u32 = 0x541f;
pub const TIOCSETD: u32 = 0x5423;
pub const TIOCVHANGUP: u32 = 0x5437;
/// Number 0 of the keyboard and console requests, without their last byte (`linux/kd.h`).
pub const KD_REQUESTS: u32 = 0x4b00;
/// Number 0 of the virtual terminal requests, without their last byte (`linux/vt.h`).
pub const VT_REQUESTS: u32 = 0x5600;

/// The bits of a request without its last byte, for requests that encode neither size nor direction.
pub const REQUEST_GROUP: u64 = 0xffff_ff00;
/// The bits of a request that say whose it is (`_IOC_TYPE` in `asm-generic/ioctl.h`).
pub const REQUEST_TYPE: u64 = 0xff00;
/// `SECCOMP_IOC_MAGIC`, as type of a request.
pub const SECCOMP_REQUESTS: u32 = (b'!' as u32) << 8;
/// ext4, fscrypt, fs-verity and the generic inode flags.
pub const EXT_REQUESTS: u32 = (b'f' as u32) << 8;
/// XFS and the generic inode attributes, freezing, trimming.
pub const XFS_REQUESTS: u32 = (b'X' as u32) << 8;
pub const BTRFS_REQUESTS: u32 = 0x9400;
pub const BCACHEFS_REQUESTS: u32 = 0xbc00;
pub const F2FS_REQUESTS: u32 = 0xf500;

// ioctl_ficlone(2), ioctl_fideduperange(2), FS_IOC_GETFLAGS(2const), linux/fs.h, linux/fiemap.h, linux/fsverity.h
pub const FICLONE: u32 = 0x4004_9409;
pub const FICLONERANGE: u32 = 0x4020_940d;
pub const FIDEDUPERANGE: u32 = 0xc018_9436;
pub const FS_IOC_GETFSLABEL: u32 = 0x8100_9431;
pub const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
pub const FS_IOC32_GETFLAGS: u32 = 0x8004_6601;
pub const FS_IOC_FIEMAP: u32 = 0xc020_660b;
pub const FS_IOC_MEASURE_VERITY: u32 = 0xc004_6686;
pub const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;
pub const FS_IOC_SETVERSION: u32 = 0x4008_7602;
pub const FS_IOC32_SETVERSION: u32 = 0x4004_7602;
/// `linux/msdos_fs.h`.
pub const FAT_IOCTL_SET_ATTRIBUTES: u32 = 0x4004_7211;
/// `fs/ocfs2/ocfs2_ioctl.h`: takes two paths.
pub const OCFS2_IOC_REFLINK: u32 = 0x4018_6f04;

// fcntl(2), and the same by ioctl
pub const F_SETOWN: u32 = 8;
pub const F_SETSIG: u32 = 10;
pub const F_SETOWN_EX: u32 = 15;
pub const F_SETLEASE: u32 = 1024;
pub const F_NOTIFY: u32 = 1026;
/// Linux 6.19.
pub const F_SETDELEG: u32 = 1040;
pub const FIOSETOWN: u32 = 0x8901;
pub const SIOCSPGRP: u32 = 0x8902;

// open(2), mknod(2), inode(7)
pub const O_ACCMODE: u32 = 3;
/// The access mode that is neither reading nor writing: a descriptor for ioctls.
pub const O_NEITHER: u32 = 3;
/// O_CREAT and the bit of O_TMPFILE that is its own: with either, open takes a mode.
pub const MAKES_A_FILE: u32 = 0o100 | 0o20_000_000;
/// The access mode, or O_CREAT, O_TRUNC or the bit of O_TMPFILE that is its own: with none of them open only reads.
pub const WRITES_OR_MAKES: u32 = O_ACCMODE | MAKES_A_FILE | 0o1000;
pub const O_PATH: u32 = 0o10_000_000;
/// Set-user-ID and set-group-ID.
pub const SET_ID: u32 = 0o6000;

// The rest, one manual page each.
pub const RENAME_WHITEOUT: u32 = 4;
pub const MFD_NOEXEC_SEAL: u32 = 8;
pub const PER_LINUX: u32 = 0;
/// The argument of personality(2) that only asks.
pub const PER_QUERY: u32 = 0xffff_ffff;
pub const PRIO_PROCESS: u32 = 0;
pub const IOPRIO_WHO_PROCESS: u32 = 1;
pub const PR_SET_MM: u32 = 35;
pub const PTRACE_SETOPTIONS: u32 = 0x4200;
pub const PTRACE_SEIZE: u32 = 0x4206;
pub const PTRACE_O_SUSPEND_SECCOMP: u32 = 1 << 21;
pub const RLIMIT_RTTIME: u32 = 15;
/// A process number that means the caller.
pub const SELF: u32 = 0;
/// A pointer to nothing.
pub const NULL: u32 = 0;
/// What a bit test compares with.
pub const UNSET: u32 = 0;

#[cfg(test)]
mod tests {
    macro_rules! as_in_the_library {
        ($($name:ident)*) => {
            #[test]
            fn values_are_the_librarys_where_it_has_them() {
                $(assert_eq!(super::$name, libc::$name as u32, stringify!($name));)*
            }
        };
    }

    as_in_the_library! {
        CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_VM CLONE_THREAD CLONE_NEWNS CLONE_SYSVSEM CLONE_NEWCGROUP CLONE_NEWUTS
        CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET
        AF_UNIX AF_INET AF_INET6 AF_NETLINK SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_SEQPACKET
        IPPROTO_IP IPPROTO_TCP IPPROTO_UDP NETLINK_ROUTE
        MSG_FASTOPEN SOL_SOCKET SO_BINDTODEVICE SO_MARK SO_BINDTOIFINDEX SOL_IP IP_OPTIONS SOL_TCP TCP_FASTOPEN_CONNECT
        TCP_ULP SOL_IPV6 IPV6_2292RTHDR IPV6_2292PKTOPTIONS IPV6_RTHDRDSTOPTS IPV6_RTHDR
        TIOCEXCL TIOCSTI TIOCLINUX TIOCCONS TIOCSSERIAL TIOCSETD TIOCVHANGUP
        FICLONE FICLONERANGE FS_IOC_GETFLAGS FS_IOC32_GETFLAGS FS_IOC_SETVERSION FS_IOC32_SETVERSION
        F_SETOWN F_SETLEASE F_NOTIFY MFD_NOEXEC_SEAL PRIO_PROCESS PR_SET_MM PTRACE_SETOPTIONS PTRACE_SEIZE
        PTRACE_O_SUSPEND_SECCOMP RLIMIT_RTTIME RENAME_WHITEOUT O_ACCMODE O_PATH
    }
}
