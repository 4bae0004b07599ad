//! The face of `child_shim` for C: `include/supervise.h`. Pointers come from C, and nothing else here is unsafe.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use child_shim::{OpenOptions, connect};

/// Whether there is a supervisor to ask: 1, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn supervise_available() -> c_int {
    c_int::from(connect().is_ok())
}

/// As `open(2)`; where that gives `EACCES`, the supervisor is asked.
///
/// # Safety
/// `path` is null or points to a string that ends in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn supervise_open(
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
) -> c_int {
    // SAFETY: the caller's promise is `given`'s.
    let Some(path) = (unsafe { given(path) }) else {
        return failed(Errno::EFAULT);
    };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let opened = match native(path, flags, mode) {
        // What cannot be asked for stays refused.
        Err(Errno::EACCES) => OpenOptions::from_c(flags, mode)
            .map_err(|_| Errno::EACCES)
            .and_then(|options| asked(path, &options)),
        opened => opened,
    };
    answered(opened, flags)
}

/// Asks the supervisor, whatever the kernel would say. `why` may be null.
///
/// # Safety
/// `path` and `why` are each null or point to a string that ends in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn supervise_request(
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
    why: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise is `given`'s, for both.
    let (path, why) = unsafe { (given(path), given(why)) };
    let Some(path) = path else {
        return failed(Errno::EFAULT);
    };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let opened = OpenOptions::from_c(flags, mode)
        .map_err(|error| error.errno())
        .and_then(|options| match why {
            Some(why) => asked(path, &options.why(why.to_string_lossy())),
            None => asked(path, &options),
        });
    answered(opened, flags)
}

fn asked(path: &Path, options: &OpenOptions) -> nix::Result<OwnedFd> {
    let asked = connect().and_then(|client| client.open(path, options));
    asked.map(OwnedFd::from).map_err(|error| error.errno())
}

/// The string at a pointer that may be null.
///
/// # Safety
/// The pointer is null, or points to a string that ends in NUL and outlives the result.
unsafe fn given<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: it is not null, so by the caller's promise it points to a string that ends in NUL.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The very call that the program would have made.
fn native(path: &Path, flags: c_int, mode: libc::mode_t) -> nix::Result<OwnedFd> {
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    let flags = OFlag::from_bits_retain(flags | libc::O_CLOEXEC);
    nix::fcntl::open(path, flags, Mode::from_bits_retain(mode))
}

/// Gives the descriptor away, open across exec unless it was asked to be closed.
fn answered(opened: nix::Result<OwnedFd>, flags: c_int) -> c_int {
    let kept = opened.and_then(|fd| {
        if flags & libc::O_CLOEXEC == 0 {
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(fd)
    });
    match kept {
        Ok(fd) => fd.into_raw_fd(),
        Err(errno) => failed(errno),
    }
}

fn failed(errno: Errno) -> c_int {
    errno.set();
    -1
}

/// The face of a worker.
#[cfg(target_os = "linux")]
mod serving {
    use std::ffi::{CString, c_void};

    use super::*;
    use child_shim::worker::{Ending, Job, Outcome, ProbeError, Step, Value, Worker, WorkerError};

    /// `supervise_job`: a job, what C sees of it, and what it replied.
    pub struct CJob {
        job: Job,
        sid: CString,
        text: CString,
        reply: Value,
    }

    /// `supervise_work`.
    type Work = unsafe extern "C" fn(*mut CJob, *mut c_void) -> c_int;

    /// What does the jobs, and what it wants to be given each time.
    struct Given {
        work: Work,
        data: *mut c_void,
    }

    // SAFETY: whoever called `supervise_serve` promised that `work` may be called with `data` on another thread.
    unsafe impl Send for Given {}

    /// `enum supervise_outcome`.
    const DONE: c_int = 0;
    const WAIT: c_int = 1;

    impl Given {
        fn work(&self, job: Job) -> Outcome {
            let (Step::Run(what) | Step::Continue(what)) = &job.step;
            // A zero byte is escaped in JSON, and a name has none.
            let sid = CString::new(job.sid.clone()).unwrap_or_default();
            let text = CString::new(what.to_string()).unwrap_or_default();
            let mut job = CJob {
                job,
                sid,
                text,
                reply: Value::Null,
            };
            // SAFETY: by the promise to `supervise_serve` this may be called with that pointer; the job lives until it returns.
            let outcome = unsafe { (self.work)(&raw mut job, self.data) };
            match (outcome, job.reply) {
                (DONE, reply) => Outcome::Done(reply),
                (WAIT, reply) => Outcome::Wait(reply),
                (_, Value::String(why)) => Outcome::Failed(why),
                (_, reply) => Outcome::Failed(reply.to_string()),
            }
        }
    }

    /// Does jobs until there is a reason to end, and says which.
    ///
    /// # Safety
    /// `work` may be called with `data` on another thread, as long as the process lives.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_serve(work: Option<Work>, data: *mut c_void) -> c_int {
        let Some(work) = work else {
            return failed(Errno::EFAULT);
        };
        let given = Given { work, data };
        let served =
            Worker::inherited().and_then(|worker| worker.serve(move |job| given.work(job)));
        match served {
            Ok(Ending::Shutdown) => 0,
            Ok(Ending::Idle) => 1,
            Ok(Ending::Terminated) => 2,
            Err(WorkerError::NotAWorker) => failed(Errno::EBADF),
            Err(
                WorkerError::Io { errno, .. } | WorkerError::Probe(ProbeError::Io { errno, .. }),
            ) => failed(errno),
            Err(WorkerError::Probe(_)) => failed(Errno::EPROTO),
        }
    }

    /// The session's name.
    ///
    /// # Safety
    /// `job` is what `work` was called with, and the call lasts.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_job_session(job: *const CJob) -> *const c_char {
        // SAFETY: by the caller's promise it is a live job.
        unsafe { &*job }.sid.as_ptr()
    }

    /// What is to be done, or the input that was given, as JSON.
    ///
    /// # Safety
    /// As [`supervise_job_session`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_job_text(job: *const CJob) -> *const c_char {
        // SAFETY: by the caller's promise it is a live job.
        unsafe { &*job }.text.as_ptr()
    }

    /// Whether the session waited for this.
    ///
    /// # Safety
    /// As [`supervise_job_session`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_job_continues(job: *const CJob) -> c_int {
        // SAFETY: by the caller's promise it is a live job.
        let job = unsafe { &*job };
        c_int::from(matches!(job.job.step, Step::Continue(_)))
    }

    /// Whether the job shall stop.
    ///
    /// # Safety
    /// As [`supervise_job_session`].
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_job_is_cancelled(job: *const CJob) -> c_int {
        // SAFETY: by the caller's promise it is a live job.
        c_int::from(unsafe { &*job }.job.is_cancelled())
    }

    /// Says what the job came to, as JSON.
    ///
    /// # Safety
    /// As [`supervise_job_session`], and nobody else uses the job meanwhile; `json` is null or points to a string that ends in NUL.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn supervise_job_reply(job: *mut CJob, json: *const c_char) -> c_int {
        // SAFETY: by the caller's promise it is a live job that nobody else uses, and the text is one that `given` takes.
        let (job, text) = unsafe { (&mut *job, given(json)) };
        let Some(text) = text else {
            return failed(Errno::EFAULT);
        };
        match text.to_string_lossy().parse() {
            Ok(reply) => {
                job.reply = reply;
                0
            }
            Err(_) => failed(Errno::EINVAL),
        }
    }
}
