//! The terminal while all of it is ours: raw, on the screen that terminals have for that, and as it was afterwards, whatever ends us.
//!
//! Whatever the text, a character that is not ASCII moves nothing but itself: how far a terminal goes on after it is not relied on.

use nix::errno::Errno;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::dup;
use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::Cell;
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

/// The other screen, no cursor, nothing that goes on in the next line, and marks around what is pasted.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[0m\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal as it is to be again, while it is not.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    terminal: File,
    attributes: Termios,
}

/// Gives the terminal back, if it is ours. For every end there is: that of the screen, and a panic of whichever thread.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Before {
        mut terminal,
        attributes,
    }) = before
    {
        // One that has hung up needs nothing.
        let _left = terminal.write_all(LEAVE.as_bytes());
        let _set = tcsetattr(&terminal, SetArg::TCSAFLUSH, &attributes);
    }
}

/// Has the terminal given back before a panic is told: on the other screen nobody would read of it.
pub fn restore_when_it_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        usual(panic);
    }));
}

/// Why there is no screen.
pub fn refusal() -> Option<String> {
    let is_there = io::stdin().is_terminal() && io::stdout().is_terminal();
    let is_able = std::env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb");
    let why = match (is_there, is_able) {
        (true, true) => return None,
        (false, _) => "standard input and output are no terminal",
        (true, false) => "TERM says that the terminal has no screen",
    };
    Some(format!(
        "{why}: `supervise status`, `supervise questions` and `supervise events` say the same line by line, and `supervise approve NUMBER` answers"
    ))
}

/// The terminal, ours until this is dropped.
#[derive(Debug)]
pub struct Screen {
    out: File,
    /// What is not written yet.
    unsent: String,
    position: Option<Position>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The errno of what is done to it; it is then as it was.
    pub fn enter(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let mut out = File::from(dup(terminal)?);
        let attributes = tcgetattr(&out)?;
        let mut raw = attributes.clone();
        cfmakeraw(&mut raw);
        let before = Before {
            terminal: File::from(dup(terminal)?),
            attributes,
        };
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        // What was typed before was not typed at this.
        let entered = tcsetattr(&out, SetArg::TCSAFLUSH, &raw).map_err(io::Error::from);
        if let Err(error) = entered.and_then(|()| out.write_all(ENTER.as_bytes())) {
            restore();
            return Err(error);
        }
        Ok(Self {
            out,
            unsent: String::new(),
            position: None,
        })
    }

    /// Whether it still is: a panic elsewhere gave it back.
    pub fn is_ours() -> bool {
        BEFORE
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn add(&mut self, what: std::fmt::Arguments<'_>) {
        // A text takes everything.
        let _infallible = self.unsent.write_fmt(what);
    }

    fn style(&mut self, cell: &Cell) {
        self.unsent.push_str("\x1b[0");
        let modifiers = [
            (Modifier::BOLD, ";1"),
            (Modifier::DIM, ";2"),
            (Modifier::UNDERLINED, ";4"),
            (Modifier::REVERSED, ";7"),
        ];
        for (modifier, code) in modifiers {
            if cell.modifier.contains(modifier) {
                self.unsent.push_str(code);
            }
        }
        if let Some(colour) = number(cell.fg) {
            self.add(format_args!(";{}", 30 + colour));
        }
        self.unsent.push('m');
    }
}

/// The colours that are used here.
fn number(colour: Color) -> Option<u8> {
    match colour {
        Color::Red => Some(1),
        Color::Green => Some(2),
        Color::Yellow => Some(3),
        Color::Cyan => Some(6),
        _ => None,
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

impl Backend for Screen {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut last: Option<&Cell> = None;
        for (x, y, cell) in content {
            let position = Position { x, y };
            if self.position != Some(position) {
                self.set_cursor_position(position)?;
            }
            if last.is_none_or(|last| (last.fg, last.modifier) != (cell.fg, cell.modifier)) {
                self.style(cell);
                last = Some(cell);
            }
            let symbol = cell.symbol();
            self.unsent.push_str(symbol);
            let is_plain = symbol.len() == 1;
            self.position = is_plain.then(|| Position { x: x + 1, y });
        }
        self.unsent.push_str("\x1b[0m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.unsent.push_str("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.unsent.push_str("\x1b[?25h");
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(self.position.unwrap_or_default())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let position = position.into();
        let (row, column) = (position.y + 1, position.x + 1);
        self.add(format_args!("\x1b[{row};{column}H"));
        self.position = Some(position);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.clear_region(ClearType::All)
    }

    fn clear_region(&mut self, clear_type: ClearType) -> io::Result<()> {
        self.unsent.push_str(match clear_type {
            ClearType::All => "\x1b[0m\x1b[2J",
            ClearType::AfterCursor => "\x1b[0J",
            ClearType::BeforeCursor => "\x1b[1J",
            ClearType::CurrentLine => "\x1b[2K",
            ClearType::UntilNewLine => "\x1b[0K",
        });
        Ok(())
    }

    fn size(&self) -> io::Result<Size> {
        let size = terminal_size::terminal_size_of(&self.out);
        // That of a terminal that does not know its own.
        Ok(size.map_or(Size::new(80, 24), |(width, height)| {
            Size::new(width.0, height.0)
        }))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.unsent);
        let mut rest = unsent.as_bytes();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares it has made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for_room(self.out.as_fd())?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn wait_for_room(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    match poll(
        &mut [PollFd::new(terminal, PollFlags::POLLOUT)],
        PollTimeout::NONE,
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;
    use ratatui_core::buffer::Buffer;
    use ratatui_core::layout::Rect;
    use ratatui_core::style::Style;
    use std::io::Read;

    /// What is written to a terminal by now, of which somebody says that it is all.
    fn written(master: &mut File, slave: &impl AsFd) -> String {
        const END: char = '\u{4}';
        let mut slave = File::from(dup(slave).expect("a descriptor"));
        write!(slave, "{END}").expect("it is written");
        let (mut text, mut bytes) = (String::new(), [0; 256]);
        while !text.ends_with(END) {
            let count = master.read(&mut bytes).expect("there is more");
            text.push_str(std::str::from_utf8(&bytes[..count]).expect("text"));
        }
        text.pop();
        text
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        let pty = openpty(None, None).expect("a terminal");
        let mut master = File::from(pty.master);
        let is_raw = || {
            let now = tcgetattr(&pty.slave).expect("a terminal");
            !now.local_flags.contains(LocalFlags::ICANON)
        };
        let mut screen = Screen::enter(pty.slave.as_fd()).expect("it is one");
        assert!(is_raw() && Screen::is_ours());
        let mut buffer = Buffer::empty(Rect::new(0, 0, 9, 2));
        buffer.set_string(0, 0, "ab日c", Style::new());
        buffer.set_string(0, 1, "d", Style::new().fg(Color::Red));
        let cells = [(0, 0), (1, 0), (2, 0), (4, 0), (0, 1)];
        let cells = cells.map(|(x, y)| (x, y, &buffer[(x, y)]));
        screen.draw(cells.into_iter()).expect("it is one");
        screen.flush().expect("it is one");
        // Behind a character of which terminals differ in how wide it is, the place is said again.
        let drawn = "\x1b[1;1H\x1b[0mab日\x1b[1;5Hc\x1b[2;1H\x1b[0;31md\x1b[0m";
        assert_eq!(written(&mut master, &pty.slave), format!("{ENTER}{drawn}"));
        restore_when_it_panics();
        let panicked = std::thread::spawn(|| panic!("this is how it is tested")).join();
        assert!(panicked.is_err());
        assert!(!is_raw() && !Screen::is_ours());
        assert_eq!(written(&mut master, &pty.slave), LEAVE);
        // Once is enough.
        drop(screen);
        assert_eq!(written(&mut master, &pty.slave), "");
    }
}
