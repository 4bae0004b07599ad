//! The transparent door: calls of programs that know nothing of us, trapped by the filter and answered here.
//!
//! ```text
//! notification → claim (arguments copied once) → locate (as that thread sees it) → decide → record → perform → answer
//! ```
//!
//! In: a [`Listener`](sys::seccomp::Listener), the [`Law`], a [`Recorder`]. Out: answers, and [`Channel`]s to members of the
//! session that connected to its socket. Calls are received into memory that outlives this process ([`sys::journal`]), so that what
//! was not answered can be found. The trapped calls are those that Landlock does not cover, or of which it could not be told all:
//!
//! - **Opens**, where the kernel could not be told all that may be read or written: what Landlock grants is left to it; what only
//!   the rules allow is opened here, on the located object or in the located directory, with the child's flags and umask, and the
//!   descriptor put into the child, then the call answered; what a rule asks about, counts or ends some day goes to the broker, as
//!   if it had been asked for over the socket. In a closed session no open is left to the kernel. Refusals are recorded, and what
//!   the broker grants.
//! - **Metadata** (mode, owner, times, attributes; by path and by descriptor): allowed where the law lets the child write the
//!   located object, done by us on that object. What a rule asks about, counts or ends some day goes to the broker; the object is held
//!   meanwhile. An object without a name (unlinked, a pipe, a memfd) can be changed through a
//!   descriptor that is open for writing: whoever holds that was granted the object, and there is no path to judge. A file
//!   that is there is never made set-user-ID or set-group-ID (`EPERM`): the child could not use it, but others could be made
//!   to. (With which mode a file is *created* is not seen here.) Refusals are recorded; what is allowed at once is not: it changes
//!   nothing outside the trees that the start record says are writable, and a `tar x` would fill the record.
//! - **Names** (made, removed, moved, linked; files cut by name), where the kernel could not be told all that may be written: the
//!   directory is located, the name in it judged by what has it, and the call made with that directory and that name, under the
//!   child's umask. A name is never followed by these calls. What a rule asks about, counts or ends some day goes to the broker,
//!   with both names where there are two, and is done if they still mean what was shown then. Directories are made and names are moved by nobody else, one after the
//!   other, so none is put where a file was judged; the rest is left to the kernel where the whole directory is its to judge.
//! - **connect**: on the child's own socket, duplicated, to an address that was copied once. To a socket file: located,
//!   decided, connected by an [`Errand`](sys::errand::Errand). TCP: by address and port. Abstract names: refused. To
//!   the session's own socket, which is no file: the child's descriptor is replaced by one end of a fresh pair.
//! - **bind**: likewise. A socket file that Landlock lets the child make is made by an errand inside the session's rulesets, under
//!   the very name that the child spelled, because that is what the socket says from then on that it is called. One that Landlock
//!   was not told of is made in the directory that was located, by its last name, and that is then what the socket says. TCP: by address and port. Abstract names,
//!   which a whole machine shares, are taken by nobody. Where a rule asks, counts or ends some day, as with other names.
//! - **Loopback of one's own**: a connect to a port on which the session listens, when who listens can be told to be the session.
//! - **listen**, where ports are limited: not on a socket that it would give a port; on a Unix socket by an errand, whose
//!   credentials those see who connect. **inotify**: on what may be read.
//! - **New tasks**, where a limit is set: counted, then left to the kernel. Refusals in a row are recorded once.
//! - **Priority, scheduling, limits by number**: of the caller itself left to the kernel, of anybody else refused.
//! - **Landlock domains of its own**, where opens or changes are trapped: noted, then left to the kernel. What a caller is refused
//!   there we cannot ask: from then on nothing is opened or changed on its behalf, nor on that of its descendants, and the kernel
//!   decides what both domains allow. So a sandbox within the session holds.
//!
//! Continued are the last three, for what was decided on is in registers, which nobody can change behind our back; and opens that
//! Landlock grants, since it decides about them once more. Most of those are left to it by their spelling, without being located.
//!
//! What never happens here: a path resolved twice, memory of the child read twice, an answer that lets the kernel read it
//! again, a wait. What might wait (a file server, a TCP handshake, a full backlog) is done by others, in bounded numbers:
//! connects wait for a place, holding nothing but their arguments, and what fits nowhere is refused. Signals interrupt what waits,
//! as they would without us. The thread that serves holds exactly the child's capabilities and signals are blocked in it, so
//! permissions are the kernel's to judge, and its errno is the answer.

mod address;
mod again;
mod binds;
mod calls;
mod connects;
mod deeds;
mod door;
mod elsewhere;
mod ends;
mod failure;
mod law;
mod listens;
mod locate;
mod native;
mod objection;
mod open;
mod own;
mod parents;
mod record;
mod registers;
mod signals;
mod target;
mod tasks;
mod thread;
mod walk;

pub use calls::{Class, numbers};
pub(crate) use door::JOURNAL;
pub use door::{Channel, Door, DoorError, Facts, Served, Watched};
pub use law::Law;
pub use record::Recorder;
