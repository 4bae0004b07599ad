//! The ways to the supervisor, as they were when the program began.

use std::os::fd::{AsFd, RawFd};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use child_shim::{Client, Doors, Error};
use nix::unistd::getpid;

/// How often is looked whether the inherited connection is free.
const LOOK: Duration = Duration::from_millis(1);

/// Set before the program begins, and never outside a sandbox.
static FOUND: OnceLock<Found> = OnceLock::new();

/// What the environment named. A program may change that later, from any thread.
pub(crate) struct Found {
    named: Option<PathBuf>,
    inherited: Option<Inherited>,
}

/// The inherited connection: its number, and what had that number when the program began.
struct Inherited {
    number: RawFd,
    file: (u64, u64),
}

pub(crate) fn found() -> Option<&'static Found> {
    FOUND.get()
}

/// Before the program begins there is one thread, and nobody else who changes the environment.
extern "C" fn look() {
    // Without doors the program runs as it would without us.
    let _found = std::panic::catch_unwind(|| {
        // SAFETY: it reads what the kernel gave this process when it was started.
        let has_more_rights = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
        // Such a program does not do what its caller's environment says. The loader brings us there only where an administrator
        // wants us everywhere.
        if has_more_rights {
            return;
        }
        if std::env::var_os("SUPERVISE").is_some_and(|inside| inside == "1") {
            FOUND.get_or_init(Found::in_environment);
        }
    });
}

// SAFETY: the loader calls what stands in this section, with arguments that a C function may leave
// aside, once, after the libraries that this one needs were set up.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = look;

impl Found {
    fn in_environment() -> Self {
        let named = std::env::var_os("SUPERVISE_SOCKET").filter(|name| !name.is_empty());
        let number = std::env::var("SUPERVISE_FD")
            .ok()
            .and_then(|number| number.parse().ok());
        Self {
            named: named.map(PathBuf::from),
            inherited: number.and_then(|number| {
                let file = file(Doors::inherited_connection(number)?)?;
                Some(Inherited { number, file })
            }),
        }
    }

    /// Asks over a connection of our own, or else over the inherited one when its turn has come.
    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(named) = &self.named
            && let Ok(client) = Client::new(Doors::default().with_named(named))
        {
            return question(client);
        }
        let inherited = self.inherited.as_ref().ok_or(Error::NoDoor)?;
        let _turn = Turn::take();
        let connection = Doors::inherited_connection(inherited.number).ok_or(Error::NoDoor)?;
        if file(&connection) != Some(inherited.file) {
            return Err(Error::NoDoor);
        }
        question(Client::new(Doors::default().with_inherited(connection))?)
    }
}

/// What is open there, as its device and inode.
fn file(fd: impl AsFd) -> Option<(u64, u64)> {
    let stat = nix::sys::stat::fstat(fd).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// The turn of one thread of this process on the inherited connection. (Between processes there is
/// a record lock, which does not tell threads apart.)
struct Turn;

/// The process that has it. After a fork that may be a process whose thread is not here.
static HELD_BY: AtomicI32 = AtomicI32::new(0);

impl Turn {
    fn take() -> Self {
        let own = getpid().as_raw();
        loop {
            let holder = HELD_BY.load(Ordering::Acquire);
            let is_free = holder != own;
            if is_free
                && HELD_BY
                    .compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Self;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HELD_BY.store(0, Ordering::Release);
    }
}
