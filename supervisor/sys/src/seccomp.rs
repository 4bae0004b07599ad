//! seccomp filters with a listener (seccomp_unotify(2)): a trapped call waits in the kernel until somebody answers for it.
//!
//! `SECCOMP_ADDFD_FLAG_SEND` is not offered: interrupted, it makes the trapped call return 0 with no descriptor behind it.
//! A descriptor is put into the child first, the answer sent second.

use nix::errno::Errno;
use std::ffi::{c_long, c_uint, c_ulong};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

/// One instruction of a filter, as the kernel takes it (`struct sock_filter`).
pub type Instruction = libc::sock_filter;

/// Install the filter and return a descriptor for its notifications.
pub const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
/// While a notification is being served, only signals that kill interrupt the trapped call.
pub const WAIT_KILLABLE_RECV: u32 = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (linux/seccomp.h, 6.6): the woken side runs on this processor at once.
const SYNC_WAKE_UP: c_ulong = 1;

/// `ERESTARTSYS` (linux/errno.h): never seen by programs.
const ERESTARTSYS: i32 = 512;

/// The architecture that trapped calls of this build's own kind carry (`AUDIT_ARCH_*`, linux/audit.h).
#[cfg(target_arch = "x86_64")]
pub const NATIVE_ARCH: u32 = 0xc000_003e;
/// The architecture that trapped calls of this build's own kind carry (`AUDIT_ARCH_*`, linux/audit.h).
#[cfg(target_arch = "aarch64")]
pub const NATIVE_ARCH: u32 = 0xc000_00b7;

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// What answers are addressed to. Valid until the call was answered or its thread is gone.
    pub id: u64,
    /// The *thread* that made the call, in our process namespace. A number, not an identity: [`Listener::is_valid`] after
    /// everything that was found out by it.
    pub thread: i32,
    /// The number of the call.
    pub number: i64,
    /// Which architecture's number it is.
    pub arch: u32,
    /// Its arguments: whole registers, of which the kernel may look at the low half only.
    pub args: [u64; 6],
}

impl From<libc::seccomp_notif> for Notification {
    fn from(raw: libc::seccomp_notif) -> Self {
        Self {
            id: raw.id,
            thread: raw.pid as i32,
            number: i64::from(raw.data.nr),
            arch: raw.data.arch,
            args: raw.data.args,
        }
    }
}

/// The descriptor on which trapped calls arrive and through which they are answered. Readable when one waits; one reader.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Takes the next call. `None`: it was gone again (its thread was interrupted or killed), which is normal, or nobody is
    /// left who could make one. **Blocks** when none waits, whatever `O_NONBLOCK` says: poll first.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_RECV`, but for `ENOENT` and `EINTR`.
    pub fn receive(&self) -> Result<Option<Notification>, Errno> {
        // SAFETY: all zeroes is a valid seccomp_notif, and what the kernel demands to find there.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: it is live, zero, and nobody else's.
        unsafe { self.receive_into(NonNull::from(&mut raw)) }
    }

    /// The same, into a place that may be shared with other processes.
    ///
    /// # Safety
    /// `place` must be valid for reads and writes, and nobody else in this process may use it meanwhile.
    ///
    /// # Errors
    /// As for [`Listener::receive`]; `EINVAL` when the place is not zero.
    pub(crate) unsafe fn receive_into(
        &self,
        place: NonNull<libc::seccomp_notif>,
    ) -> Result<Option<Notification>, Errno> {
        // SAFETY: the kernel writes one seccomp_notif, whose size is part of the request's number, to where the caller says.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                place.as_ptr(),
            )
        };
        match Errno::result(result) {
            // SAFETY: the caller's promise; the kernel has just written it.
            Ok(_) => Ok(Some(unsafe { place.read() }.into())),
            Err(Errno::ENOENT | Errno::EINTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the call still waits, and so its thread still is the one that made it.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64 from a live one.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _,
                &raw const id,
            )
        };
        result == 0
    }

    /// The call returns `value`. `false`: it was gone or has its answer, which is normal.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_SEND`, but for `ENOENT` and `EINPROGRESS`.
    pub fn respond_value(&self, id: u64, value: i64) -> Result<bool, Errno> {
        self.respond(id, value, 0, 0)
    }

    /// The call fails with `errno`. `false`: it was gone or has its answer, which is normal.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_SEND`, but for `ENOENT` and `EINPROGRESS`.
    pub fn respond_errno(&self, id: u64, errno: Errno) -> Result<bool, Errno> {
        self.respond(id, 0, -(errno as i32), 0)
    }

    /// The call was interrupted by a signal that waits for its thread: it fails with `EINTR` or is made again, as the kernel does
    /// it for that signal (`ERESTARTSYS`). Only for a thread that has one, which is not blocked: any other would see an errno
    /// that does not exist. `false`: it was gone or has its answer, which is normal.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_SEND`, but for `ENOENT` and `EINPROGRESS`.
    pub fn respond_restart(&self, id: u64) -> Result<bool, Errno> {
        self.respond(id, 0, -ERESTARTSYS, 0)
    }

    /// The kernel performs the call, with what the child's registers **and memory** hold *then*. Only for calls that point to
    /// no memory, or that something else confines as exactly. `false`: it was gone or has its answer, which is normal.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_SEND`, but for `ENOENT` and `EINPROGRESS`.
    pub fn respond_continue(&self, id: u64) -> Result<bool, Errno> {
        self.respond(id, 0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32)
    }

    fn respond(&self, id: u64, val: i64, error: i32, flags: u32) -> Result<bool, Errno> {
        let response = libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        };
        loop {
            // SAFETY: the kernel reads one seccomp_notif_resp from a live one.
            let result = unsafe {
                libc::ioctl(
                    self.0.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_SEND as _,
                    &raw const response,
                )
            };
            return match Errno::result(result) {
                Ok(_) => Ok(true),
                // Of two answers the first holds; its thread may not have fetched it yet.
                Err(Errno::ENOENT | Errno::EINPROGRESS) => Ok(false),
                Err(Errno::EINTR) => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Puts a duplicate of `fd` into the child, at the number `at` (closing what is there) or at the lowest free one, and
    /// returns that number. The call goes on waiting.
    ///
    /// # Errors
    /// The errno of `SECCOMP_IOCTL_NOTIF_ADDFD`: `ENOENT` when the call is gone, `EMFILE` when the child's table is full,
    /// `EBADF` for an `O_PATH` descriptor.
    pub fn add_fd(
        &self,
        id: u64,
        fd: BorrowedFd<'_>,
        close_on_exec: bool,
        at: Option<RawFd>,
    ) -> Result<RawFd, Errno> {
        let request = libc::seccomp_notif_addfd {
            id,
            flags: at.map_or(0, |_| libc::SECCOMP_ADDFD_FLAG_SETFD as u32),
            srcfd: fd.as_raw_fd() as u32,
            newfd: at.unwrap_or(0) as u32,
            newfd_flags: if close_on_exec {
                libc::O_CLOEXEC as u32
            } else {
                0
            },
        };
        loop {
            // SAFETY: the kernel reads one seccomp_notif_addfd from a live one; `fd` is open for as long as it is borrowed.
            let result = unsafe {
                libc::ioctl(
                    self.0.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_ADDFD as _,
                    &raw const request,
                )
            };
            match Errno::result(result) {
                Err(Errno::EINTR) => continue,
                other => return other,
            }
        }
    }

    /// Asks the kernel to run whoever is woken by this listener on the waker's own processor: several times faster than a
    /// wake-up across processors.
    ///
    /// # Errors
    /// `EINVAL` before Linux 6.6. The flag goes by value; by pointer, as the header's macro has it, is `EINVAL` too.
    pub fn set_sync_wake_up(&self) -> Result<(), Errno> {
        // SAFETY: this request takes its argument by value and touches no memory of ours.
        let result = unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _,
                SYNC_WAKE_UP,
            )
        };
        Errno::result(result).map(drop)
    }
}

/// What the running kernel can do for a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Calls can be trapped for another process to answer, with structures of the sizes that we know.
    pub notifications: bool,
    /// [`WAIT_KILLABLE_RECV`] (5.19).
    pub wait_killable: bool,
}

/// Asks the running kernel what it can do; installs nothing.
pub fn features() -> Features {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    let mut sizes = libc::seccomp_notif_sizes {
        seccomp_notif: 0,
        seccomp_notif_resp: 0,
        seccomp_data: 0,
    };
    // SAFETY: this operation reads one u32 from a live one.
    let available = unsafe {
        seccomp(
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            (&raw const action).cast_mut().cast(),
        )
    }
    .is_ok();
    // SAFETY: this operation writes one seccomp_notif_sizes to a live one.
    let sized = unsafe { seccomp(libc::SECCOMP_GET_NOTIF_SIZES, 0, (&raw mut sizes).cast()) }
        .is_ok()
        && usize::from(sizes.seccomp_notif) == size_of::<libc::seccomp_notif>()
        && usize::from(sizes.seccomp_notif_resp) == size_of::<libc::seccomp_notif_resp>();
    // SAFETY: flags are looked at first (EINVAL for an unknown one), the program next: a null one is EFAULT, nothing is
    // installed.
    let flags = unsafe {
        seccomp(
            libc::SECCOMP_SET_MODE_FILTER,
            NEW_LISTENER | WAIT_KILLABLE_RECV,
            std::ptr::null_mut(),
        )
    };
    Features {
        notifications: available && sized,
        wait_killable: flags == Err(Errno::EFAULT),
    }
}

/// Installs a filter on the calling **thread**, for good; with [`NEW_LISTENER`] in `flags` its listener is returned. The
/// thread needs `no_new_privs` ([`set_no_new_privs`]).
///
/// # Errors
/// The errno of `seccomp(2)`: `EBUSY` when a listener is already in force above.
pub fn install(filter: &[Instruction], flags: u32) -> Result<Option<Listener>, Errno> {
    let program = libc::sock_fprog {
        len: filter.len().try_into().map_err(|_| Errno::E2BIG)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` live instructions, which the kernel only reads and copies.
    let result = unsafe {
        seccomp(
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            (&raw const program).cast_mut().cast(),
        )
    }?;
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER a success is the number of a new descriptor, which nobody else knows of.
    Ok(Some(Listener(unsafe {
        OwnedFd::from_raw_fd(result as RawFd)
    })))
}

/// The calling thread and what it starts can never gain rights by executing a file (PR_SET_NO_NEW_PRIVS(2const)).
///
/// # Errors
/// The errno of `prctl(2)`.
pub fn set_no_new_privs() -> Result<(), Errno> {
    // SAFETY: takes four numbers and changes nothing in memory.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// # Safety
/// `argument` must be what `operation` reads or writes.
unsafe fn seccomp(
    operation: c_uint,
    flags: u32,
    argument: *mut std::ffi::c_void,
) -> Result<c_long, Errno> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, argument) };
    Errno::result(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

    /// Traps one call and lets everything else pass.
    fn trapping(number: c_long) -> [Instruction; 4] {
        let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        [
            instruction(LOAD, 0, 0, 0),
            instruction(EQUAL, 0, 1, number as u32),
            instruction(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]
    }

    /// A thread that installs the filter, hands its listener over and makes the call; what the call returned.
    fn trapped(serve: impl FnOnce(&Listener)) -> Result<c_long, Errno> {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            set_no_new_privs().unwrap();
            let listener = install(&trapping(libc::SYS_getpriority), NEW_LISTENER)
                .unwrap()
                .expect("a listener was asked for");
            sender.send(listener).unwrap();
            // SAFETY: takes two numbers.
            Errno::result(unsafe { libc::syscall(libc::SYS_getpriority, 0, 7) })
        });
        let listener = receiver.recv().unwrap();
        serve(&listener);
        thread.join().unwrap()
    }

    #[test]
    fn a_trapped_call_gets_the_value_or_the_errno_or_the_kernel() {
        let value = trapped(|listener| {
            let call = listener.receive().unwrap().expect("a call waits");
            assert_eq!(call.number, libc::SYS_getpriority);
            assert_eq!(call.arch, NATIVE_ARCH);
            assert_eq!(call.args[1], 7);
            assert!(listener.is_valid(call.id));
            assert_eq!(listener.respond_value(call.id, 4711), Ok(true));
            assert!(!listener.is_valid(call.id));
            // Whether or not the thread has fetched the first answer by now.
            assert_eq!(listener.respond_value(call.id, 4712), Ok(false));
        });
        assert_eq!(value, Ok(4711));
        let errno = trapped(|listener| {
            let call = listener.receive().unwrap().expect("a call waits");
            assert_eq!(listener.respond_errno(call.id, Errno::EROFS), Ok(true));
        });
        assert_eq!(errno, Err(Errno::EROFS));
        let kernel = trapped(|listener| {
            let call = listener.receive().unwrap().expect("a call waits");
            assert_eq!(listener.respond_continue(call.id), Ok(true));
        });
        // The process number 7 has a priority, or there is no such process.
        assert!(matches!(kernel, Ok(1..=40) | Err(Errno::ESRCH)));
    }

    #[test]
    fn a_descriptor_arrives_where_it_was_asked_for() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let parked = nix::unistd::dup(&reader).unwrap();
        let at = parked.as_raw_fd();
        let value = trapped(|listener| {
            let call = listener.receive().unwrap().expect("a call waits");
            let free = listener
                .add_fd(call.id, writer.as_fd(), true, None)
                .unwrap();
            assert!(free > 2);
            // SAFETY: the number was just made for us: this thread and the child share one table here.
            drop(unsafe { OwnedFd::from_raw_fd(free) });
            assert_eq!(
                listener.add_fd(call.id, writer.as_fd(), true, Some(at)),
                Ok(at)
            );
            listener.respond_value(call.id, 1).unwrap();
        });
        assert_eq!(value, Ok(1));
        nix::unistd::write(&parked, b"x").expect("the writing end stands at that number now");
    }

    #[test]
    fn synchronous_wake_up_is_taken_by_value() {
        let value = trapped(|listener| {
            assert_eq!(listener.set_sync_wake_up(), Ok(()));
            let call = listener.receive().unwrap().expect("a call waits");
            listener.respond_value(call.id, 2).unwrap();
        });
        assert_eq!(value, Ok(2));
    }

    #[test]
    fn this_kernel_has_what_a_listener_needs() {
        assert_eq!(
            features(),
            Features {
                notifications: true,
                wait_killable: true
            }
        );
    }
}
