//! What seccomp can do on the running kernel.

use nix::errno::Errno;

/// Whether `seccomp(2)` knows all of these `SECCOMP_FILTER_FLAG_*`. Installs nothing: the program given is at no address.
pub fn knows_flags(flags: u32) -> bool {
    // SAFETY: a null program makes the kernel answer EFAULT once it has accepted the flags, EINVAL when it has not.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    Errno::result(result) == Err(Errno::EFAULT)
}
