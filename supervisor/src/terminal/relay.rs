//! Between the command's terminal and the caller's: bytes both ways, sizes, and who has the caller's foreground.

use super::filter::Filter;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, isatty, read, tcgetpgrp, write};
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::terminal::Borrowed;

/// What comes out of the command's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// What is harmless to the caller's.
    Filtered,
    /// Everything, so that the command can do to the caller's terminal what writing to it does.
    PassedThrough,
}

/// Who has the keyboard of the caller's terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyboard {
    /// The command, while its job is in the foreground.
    Command,
    /// Whoever reads what the command writes, such as a pager: its standard output is a pipe.
    Reader,
}

/// Why there is no terminal for the command.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a terminal for the command: {what}: {errno}")]
pub struct TerminalError {
    what: &'static str,
    errno: Errno,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> TerminalError {
    move |errno| TerminalError { what, errno }
}

/// How much is read at a time, and so the most that waits to be written.
const PIECE: usize = 8192;
/// How many pieces are taken at once after the end: more than a terminal holds.
const PIECES: usize = 64;
/// How often one in the background looks whether it still is. A shell that brings a running job to the foreground tells it nothing.
const LOOK: Duration = Duration::from_millis(250);

/// Where the caller's terminal stands to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Another job has the foreground; it is looked at again then.
    Background(Instant),
    Foreground,
    /// A question of ours stands on it.
    Aside,
    /// It has hung up.
    Gone,
}

/// The two terminals, and what is on its way.
#[derive(Debug)]
pub struct Relay {
    outer: Arc<Borrowed>,
    /// The command's, from outside. `None` once it was hung up.
    master: Option<OwnedFd>,
    /// Its inside, held open so that a command that closes its own for a while has not hung up.
    slave: Option<OwnedFd>,
    filter: Option<Filter>,
    keyboard: Keyboard,
    place: Place,
    to_screen: Vec<u8>,
    to_command: Vec<u8>,
}

impl Relay {
    /// Makes a terminal for a command of this process, whose caller's signals of terminals it takes. `None`: the caller has none, so
    /// that there is nothing to keep the command from.
    ///
    /// # Errors
    /// [`TerminalError`]
    pub fn open(output: Output) -> Result<Option<Self>, TerminalError> {
        let Some(outer) = outer().map_err(failed("open the caller's"))? else {
            return Ok(None);
        };
        // In the background, to write is allowed then, and to read is refused; nobody is stopped.
        sys::signals::block(&[libc::SIGTTIN, libc::SIGTTOU]).map_err(failed("block signals"))?;
        let (master, slave) = sys::terminal::pair().map_err(failed("a new one"))?;
        // In the background the caller's is as somebody else wants it just now, a shell that reads a line for one.
        if stands_in_front(outer.as_fd()) == Ok(true) {
            sys::terminal::copy_modes(outer.as_fd(), slave.as_fd()).map_err(failed("its modes"))?;
        }
        let size = sys::terminal::window(outer.as_fd()).map_err(failed("its size"))?;
        sys::terminal::set_window(slave.as_fd(), size).map_err(failed("its size"))?;
        Ok(Some(Self {
            outer: Arc::new(Borrowed::new(outer)),
            master: Some(master),
            slave: Some(slave),
            filter: (output == Output::Filtered).then(Filter::new),
            keyboard: keyboard(),
            place: Place::Background(Instant::now()),
            to_screen: Vec::new(),
            to_command: Vec::new(),
        }))
    }

    /// The command's end, for who prepares its start.
    ///
    /// # Errors
    /// The errno of duplicating it.
    pub fn inside(&self) -> Result<OwnedFd, Errno> {
        let slave = self.slave.as_ref().ok_or(Errno::EIO)?;
        sys::fds::duplicate_from(slave.as_fd(), 3)
    }

    /// What stands in the place of standard input, output and error: of those that are terminals, the command's own. Where somebody
    /// else has the keyboard, nothing is read.
    ///
    /// # Errors
    /// The errno of duplicating it, or of opening `/dev/null`.
    pub fn streams(&self) -> Result<[Option<OwnedFd>; 3], Errno> {
        let own = |fd: BorrowedFd<'_>| match isatty(fd) {
            Ok(true) => self.inside().map(Some),
            Ok(false) | Err(_) => Ok(None),
        };
        let input = match (own(stdin().as_fd())?, self.keyboard) {
            (Some(_), Keyboard::Reader) => {
                let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
                Some(open("/dev/null", flags, Mode::empty())?)
            }
            (input, _) => input,
        };
        Ok([input, own(stdout().as_fd())?, own(stderr().as_fd())?])
    }

    /// The caller's terminal, for who puts it right when this process is killed.
    pub fn outer(&self) -> Arc<Borrowed> {
        Arc::clone(&self.outer)
    }

    /// Who has the keyboard.
    pub fn keyboard(&self) -> Keyboard {
        self.keyboard
    }

    /// What is waited for, of up to two descriptors. One of which nothing is wanted is not polled: it would say that it hung up,
    /// again and again.
    pub fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> + Clone {
        let mut outer = PollFlags::empty();
        let mut inner = PollFlags::empty();
        if !matches!(self.place, Place::Aside | Place::Gone) {
            outer.set(PollFlags::POLLOUT, !self.to_screen.is_empty());
            inner.set(PollFlags::POLLIN, self.to_screen.is_empty());
        }
        if self.place == Place::Foreground && self.keyboard == Keyboard::Command {
            outer.set(PollFlags::POLLIN, self.to_command.is_empty());
        }
        inner.set(PollFlags::POLLOUT, !self.to_command.is_empty());
        let outer = Some((self.outer.as_fd(), outer));
        let inner = self.master.as_ref().map(|fd| (fd.as_fd(), inner));
        let wanted = |(_, what): &(BorrowedFd<'_>, PollFlags)| !what.is_empty();
        outer.into_iter().chain(inner).filter(wanted)
    }

    /// Takes what there is and passes it on, a piece at most each way: others wait too.
    pub fn move_on(&mut self) {
        if self.place == Place::Aside {
            return;
        }
        self.write_to_screen();
        if self.to_screen.is_empty() {
            self.read_from_command();
        }
        if self.place == Place::Foreground
            && self.keyboard == Keyboard::Command
            && self.to_command.is_empty()
        {
            self.read_keys();
        }
        self.write_to_command();
    }

    /// When to [`Relay::look`] again without any news.
    pub fn deadline(&self) -> Option<Instant> {
        match self.place {
            Place::Background(again) => Some(again),
            Place::Foreground | Place::Aside | Place::Gone => None,
        }
    }

    /// Looks who has the foreground of the caller's terminal, and how large that is. In the foreground it is raw from here on.
    pub fn look(&mut self) {
        if matches!(self.place, Place::Aside | Place::Gone) {
            return;
        }
        match stands_in_front(self.outer.as_fd()) {
            Ok(true) => self.place = Place::Foreground,
            Ok(false) => {
                // Whoever has the foreground has set it up as they want it.
                self.outer.forget();
                self.place = Place::Background(Instant::now() + LOOK);
                return;
            }
            Err(_) => return self.hang_up(),
        }
        if self.keyboard == Keyboard::Command && self.outer.make_raw().is_err() {
            return self.hang_up();
        }
        self.take_size();
    }

    /// Passes the size of the caller's terminal on.
    pub fn take_size(&self) {
        // One that has hung up has none; that is found out elsewhere.
        if let (Some(master), Ok(size)) = (&self.master, sys::terminal::window(self.outer.as_fd()))
        {
            let _same = sys::terminal::set_window(master.as_fd(), size);
        }
    }

    /// Has whoever fills the command's screen draw it again: a size of other pixels, and then the right one, are two changes that its
    /// foreground is told of.
    pub fn redraw(&self) {
        if let (Some(master), Ok([rows, columns, width, height])) =
            (&self.master, sys::terminal::window(self.outer.as_fd()))
        {
            let other = [rows, columns, width ^ 1, height];
            let _told = sys::terminal::set_window(master.as_fd(), other);
        }
        self.take_size();
    }

    /// Steps aside for a question of ours, or back. Says whether it stepped back: what stands on the screen is not all the
    /// command's then.
    pub fn step_aside(&mut self, is_asked: bool) -> bool {
        match (self.place, is_asked) {
            (Place::Gone, _) => false,
            (Place::Aside, false) => {
                self.place = Place::Background(Instant::now());
                self.look();
                true
            }
            (Place::Foreground | Place::Background(_), true) => {
                // What was typed before the question has been discarded; what was typed since is the answer to it.
                let _gone = self.outer.restore();
                self.place = Place::Aside;
                false
            }
            _ => false,
        }
    }

    /// Puts the caller's terminal back as it was. [`Relay::look`] takes it again.
    pub fn give_back(&self) {
        let is_here = self.outer.is_raw();
        // A terminal that has hung up is as nobody wants it any more.
        let _gone = self.outer.restore();
        if is_here {
            // What was answered to the command, or typed to it, is nobody else's input.
            let _gone = tcflush(&*self.outer, FlushArg::TCIFLUSH);
        }
    }

    /// Sends a signal of the keyboard to whoever has the foreground of the command's terminal.
    pub fn signal_foreground(&self, signal: i32) {
        if let Some(master) = &self.master {
            // Nobody is there, or it is none that keys send.
            let _nobody = sys::terminal::signal_foreground(master.as_fd(), signal);
        }
    }

    /// Passes on what is left after the end of the command. `false`: the caller's terminal takes no more now.
    pub fn drain(&mut self) -> bool {
        self.slave = None;
        for _ in 0..PIECES {
            self.write_to_screen();
            if !self.to_screen.is_empty() {
                return false;
            }
            if !self.read_from_command() {
                break;
            }
        }
        true
    }

    /// Puts the caller's terminal right, and ends.
    pub fn end(mut self) {
        if let Some(filter) = &mut self.filter
            && self.place != Place::Gone
        {
            let undone = filter.end();
            self.to_screen.extend_from_slice(&undone);
            self.write_to_screen();
        }
        // The rest is done where it is dropped.
    }

    fn read_from_command(&mut self) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        let mut piece = [0; PIECE];
        match read(master, &mut piece) {
            Ok(0) => false,
            Ok(count) => {
                match &mut self.filter {
                    Some(filter) => filter.pass(&piece[..count], &mut self.to_screen),
                    None => self.to_screen.extend_from_slice(&piece[..count]),
                }
                self.write_to_screen();
                true
            }
            // Nothing now (EAGAIN), or nobody is left there (EIO).
            Err(_) => false,
        }
    }

    fn write_to_screen(&mut self) {
        while !self.to_screen.is_empty() && self.place != Place::Gone {
            match write(&*self.outer, &self.to_screen) {
                Ok(count) => drop(self.to_screen.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.hang_up(),
            }
        }
    }

    fn read_keys(&mut self) {
        let mut piece = [0; PIECE];
        match read(&*self.outer, &mut piece) {
            Ok(count @ 1..) => self.to_command.extend_from_slice(&piece[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // In the background by now, or it has hung up; or somebody has given it lines again, and one has ended with nothing in it.
            Ok(_) | Err(_) => self.look(),
        }
    }

    fn write_to_command(&mut self) {
        let Some(master) = &self.master else {
            self.to_command.clear();
            return;
        };
        while !self.to_command.is_empty() {
            match write(master, &self.to_command) {
                Ok(count) => drop(self.to_command.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => self.to_command.clear(),
            }
        }
    }

    /// The caller's terminal is gone, and so is the command's.
    fn hang_up(&mut self) {
        self.place = Place::Gone;
        self.to_screen.clear();
        self.to_command.clear();
        self.slave = None;
        self.master = None;
    }
}

/// Whether what is typed there is ours to read. A terminal that does not control this process has no jobs; one that has hung up
/// has nothing.
fn stands_in_front(of: BorrowedFd<'_>) -> Result<bool, Errno> {
    match tcgetpgrp(of) {
        Ok(group) => Ok(group == getpgrp()),
        Err(Errno::ENOTTY) => Ok(true),
        Err(errno) => Err(errno),
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.place != Place::Gone {
            self.give_back();
        }
    }
}

/// The caller's terminal, opened for us alone so that not to wait is no matter of anybody else's: the one that is among the standard
/// streams, or else the one that controls this process.
fn outer() -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let stream = streams.into_iter().find(|fd| isatty(fd) == Ok(true));
    let controls = |fd: &BorrowedFd<'_>| sys::terminal::foreground(*fd).is_some();
    match stream {
        Some(fd) if !controls(&fd) => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            open(path.as_str(), flags, Mode::empty()).map(Some)
        }
        Some(_) => open("/dev/tty", flags, Mode::empty()).map(Some),
        // ENXIO: there is none.
        None => Ok(open("/dev/tty", flags, Mode::empty()).ok()),
    }
}

fn keyboard() -> Keyboard {
    let kind =
        fstat(stdout()).map(|status| SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT);
    match kind {
        Ok(SFlag::S_IFIFO | SFlag::S_IFSOCK) => Keyboard::Reader,
        _ => Keyboard::Command,
    }
}
