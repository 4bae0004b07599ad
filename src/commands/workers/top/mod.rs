//! `supervise top` and `supervise approve --tui`: all that lives, what it asks for, and what happens, on a screen that stays.
//!
//! In: what daemons and runs tell over their control sockets (`link`), and keys (`keys`). Out: a screen (`view`), and answers. What is
//! known is in `model`, what keys do to it in `acts`. Nothing here decides what may be answered: whoever asks does, and holds us to
//! its rule. What is shown is what is answered: a yes is taken only for a question that is on the screen as a whole, and has been
//! for a moment.

mod acts;
mod keys;
mod link;
mod model;
mod offers;
mod rate;
mod screen;
#[cfg(test)]
mod tests;
mod text;
mod view;

use super::client::Which;
use acts::Act;
use keys::Keyboard;
use link::Links;
use model::{Id, Model};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::read;
use protocol::control::ControlRequest;
use ratatui_core::terminal::Terminal;
use screen::Screen;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use view::{Moment, Theme};

pub use model::Mode;

/// How often times are shown anew, and somebody new is looked for.
const BEAT: Duration = Duration::from_secs(1);

/// For so long what is told waits until it is drawn: how much happens is a child's choice.
const FRAME: Duration = Duration::from_millis(40);

/// Signals that are read rather than suffered.
const SIGNALS: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// Shows the screen until somebody has seen enough.
pub fn top(mode: Mode, which: &Which) -> Result<ExitCode, String> {
    if let Some(why) = screen::refusal() {
        return Err(why);
    }
    let home = crate::places::home().map_err(|error| error.to_string())?;
    let failed = |what: &str, errno: Errno| format!("{what}: {}", errno.desc());
    let signals: SigSet = SIGNALS.into_iter().collect();
    // Before there are threads, which then have them blocked, too.
    let blocked = signals.thread_block();
    blocked.map_err(|errno| failed("signals", errno))?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let descriptor = SignalFd::with_flags(&signals, flags);
    let mut desk = Desk {
        model: Model::new(mode, home),
        keyboard: Keyboard::default(),
        signals: descriptor.map_err(|errno| failed("signals", errno))?,
        links: Links::new(which.clone()).map_err(|errno| failed("eventfd", errno))?,
        theme: Theme::of_environment(),
    };
    desk.links.seek()?;
    screen::restore_when_it_panics();
    loop {
        match desk.attend()? {
            Ended::Quit => return Ok(ExitCode::SUCCESS),
            Ended::By(signal) => {
                // As it ends whoever does nothing about it.
                raise(signal)
                    .and_then(|()| SigSet::from(signal).thread_unblock())
                    .map_err(|errno| failed("signals", errno))?;
            }
            // Until somebody has us go on.
            Ended::Stopped => raise(Signal::SIGSTOP).map_err(|errno| failed("signals", errno))?,
        }
    }
}

/// Why the screen was left.
enum Ended {
    Quit,
    Stopped,
    By(Signal),
}

/// What everything is done with.
struct Desk {
    model: Model,
    keyboard: Keyboard,
    signals: SignalFd,
    links: Links,
    theme: Theme,
}

impl Desk {
    /// Has the terminal, until it is given back.
    fn attend(&mut self) -> Result<Ended, String> {
        let failed = |error: std::io::Error| format!("the terminal: {error}");
        let screen = Screen::enter(std::io::stdout().as_fd()).map_err(failed)?;
        let mut terminal = Terminal::new(screen).map_err(failed)?;
        let mut beat = Instant::now() + BEAT;
        loop {
            if !Screen::is_ours() {
                return Err("a part of it failed, and it was given up".to_owned());
            }
            while let Some(news) = self.links.next() {
                self.model.take(news, Instant::now());
            }
            let moment = moment();
            let mut seen = None;
            let (model, theme) = (&self.model, self.theme);
            let drawn = terminal.draw(|frame| {
                seen = view::draw(frame.buffer_mut(), model, moment, theme);
            });
            drawn.map_err(failed)?;
            self.model.see(seen, Instant::now());
            let Some(act) = self.wait(&mut beat)? else {
                continue;
            };
            match act {
                Woken::Ended(ended) => return Ok(ended),
                Woken::Redraw => terminal.clear().map_err(failed)?,
            }
        }
    }

    /// Waits for something to do, and does it.
    fn wait(&mut self, beat: &mut Instant) -> Result<Option<Woken>, String> {
        let stdin = std::io::stdin();
        let keys = stdin.as_fd();
        // Keys at once, the rest when it has lasted.
        let mut ready = ready(&[keys, self.signals.as_fd()], FRAME)?;
        if !ready.iter().any(|is_ready| *is_ready) {
            if let Some(key) = self.keyboard.decided() {
                return Ok(self.press(key));
            }
            let left = beat.saturating_duration_since(Instant::now());
            ready = self::ready(&[keys, self.signals.as_fd(), self.links.as_fd()], left)?;
        }
        if Instant::now() >= *beat {
            *beat = Instant::now() + BEAT;
            self.links.seek()?;
        }
        if ready[1]
            && let Some(woken) = self.signalled()?
        {
            return Ok(Some(woken));
        }
        if !ready[0] {
            return Ok(None);
        }
        let mut bytes = [0; 1024];
        let count = match read(keys, &mut bytes) {
            Ok(0) => return Ok(Some(Woken::Ended(Ended::Quit))),
            Ok(count) => count,
            Err(Errno::EINTR | Errno::EAGAIN) => 0,
            Err(errno) => return Err(format!("the terminal: {}", errno.desc())),
        };
        for key in self.keyboard.keys(&bytes[..count]) {
            if let Some(woken) = self.press(key) {
                return Ok(Some(woken));
            }
        }
        Ok(None)
    }

    fn signalled(&mut self) -> Result<Option<Woken>, String> {
        let failed = |errno: Errno| format!("signals: {}", errno.desc());
        let mut woken = None;
        while let Some(info) = self.signals.read_signal().map_err(failed)? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number).map_err(failed)? {
                Signal::SIGWINCH => {}
                Signal::SIGTSTP => woken = Some(Woken::Ended(Ended::Stopped)),
                signal => return Ok(Some(Woken::Ended(Ended::By(signal)))),
            }
        }
        Ok(woken)
    }

    fn press(&mut self, key: keys::Key) -> Option<Woken> {
        let now = Instant::now();
        match self.model.press(key, now)? {
            Act::Quit => Some(Woken::Ended(Ended::Quit)),
            Act::Suspend => Some(Woken::Ended(Ended::Stopped)),
            Act::Redraw => Some(Woken::Redraw),
            Act::Answer(id, request) => {
                self.answer(id, request, now);
                None
            }
        }
    }

    fn answer(&mut self, id: Id, request: ControlRequest, now: Instant) {
        if !self.links.answer(id.peer.clone(), id.number, request) {
            let why = Err("there is no thread for it".to_owned());
            let told = link::Told::Answered(id.number, why);
            self.model.take(
                link::News {
                    peer: id.peer,
                    told,
                },
                now,
            );
        }
    }
}

/// What a wait ended with.
enum Woken {
    Ended(Ended),
    Redraw,
}

fn moment() -> Moment {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Moment {
        at: Instant::now(),
        unix_ms: u64::try_from(unix.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Which of them there is something at, after this time at most.
fn ready(descriptors: &[BorrowedFd<'_>], longest: Duration) -> Result<Vec<bool>, String> {
    let flags = PollFlags::POLLIN;
    let polled = descriptors.iter().map(|fd| PollFd::new(*fd, flags));
    let mut polled: Vec<PollFd<'_>> = polled.collect();
    let longest = PollTimeout::try_from(longest).unwrap_or(PollTimeout::ZERO);
    match poll(&mut polled, longest) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(format!("poll: {}", errno.desc())),
    }
    Ok(polled.iter().map(|fd| fd.any() == Some(true)).collect())
}
