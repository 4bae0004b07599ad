//! Somebody else who gets the number of a task that is gone.

use nix::errno::Errno;
use std::ffi::CString;
use std::path::Path;

/// The probe's numbers for where the words of a call lie, and of its socket.
const PLACE: usize = 0x10_0000_0000;
const SOCKET: i32 = 100;

/// A task of the outside with this number, and with these words where the calls of the probe have theirs.
pub struct Successor(pub i32);

impl Successor {
    /// `words` in place, `directory` to work in, `socket` at the number of the probe's.
    pub fn take(number: i32, words: &[u8], directory: &Path, socket: i32) -> Result<Self, Errno> {
        let directory = CString::new(directory.to_str().expect("UTF-8")).expect("no zero byte");
        let mut request = [0u64; 11];
        request[4] = libc::SIGCHLD as u64;
        request[8] = &raw const number as u64;
        request[9] = 1;
        // SAFETY: the structure is a live `struct clone_args` of 88 bytes, and what it points to lives. The child makes system
        // calls only, on memory that it has copies of, and never returns.
        unsafe {
            match libc::syscall(libc::SYS_clone3, request.as_ptr(), 88) {
                0 => {
                    let place = libc::mmap(
                        PLACE as *mut _,
                        4096,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                        -1,
                        0,
                    );
                    // As readable as the task was: without capabilities that the supervisor lacks.
                    let none = [0u32; 6];
                    let is_there = place as usize == PLACE
                        && libc::syscall(
                            libc::SYS_capset,
                            [0x2008_0522u32, 0].as_ptr(),
                            none.as_ptr(),
                        ) == 0
                        && libc::chdir(directory.as_ptr()) == 0
                        && libc::dup2(socket, SOCKET) == SOCKET;
                    if !is_there {
                        libc::_exit(1);
                    }
                    std::ptr::copy_nonoverlapping(words.as_ptr(), place.cast(), words.len());
                    loop {
                        libc::pause();
                    }
                }
                pid => Errno::result(pid).map(|pid| Self(pid as i32)),
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0);
        // It may have failed to become what it should be: then the test did, too.
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
        let _reaped = nix::sys::wait::waitpid(pid, None);
    }
}

/// Whether a task can be given the number of one that is gone (CAP_CHECKPOINT_RESTORE).
pub fn numbers_can_be_given() -> Result<(), String> {
    let gone = std::process::Command::new("true").spawn();
    let mut gone = gone.map_err(|error| format!("true: {error}"))?;
    let number = gone.id() as i32;
    gone.wait().map_err(|error| format!("true: {error}"))?;
    match Successor::take(number, b"", Path::new("/"), 0) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(format!("tasks cannot be given numbers here: {errno}")),
    }
}
