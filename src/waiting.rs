//! Says to whoever sits at a terminal that something takes longer than a second, and for how long it has.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long nothing is said, and how often it is said anew.
const BEAT: Duration = Duration::from_secs(1);

/// Something that is waited for. What was said of it is gone from the terminal when this is dropped.
#[derive(Debug)]
pub struct Waiting {
    /// Nothing is ever sent: its end is the end of the wait.
    over: Option<Sender<()>>,
    teller: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait for `what`. Nothing is said where standard error is no terminal.
    pub fn until(what: &'static str) -> Self {
        let (sender, receiver) = channel();
        let is_seen = std::io::stderr().is_terminal();
        let tell = move || {
            let mut seconds = 0;
            let mut said = String::new();
            while receiver.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                said = format!("supervise: waiting until {what}, {seconds} s");
                say(&format!("\r{said}"));
            }
            if !said.is_empty() {
                say(&format!("\r{}\r", " ".repeat(said.len())));
            }
        };
        // Without a thread for it nothing is said.
        let teller = is_seen.then(|| std::thread::Builder::new().spawn(tell).ok());
        Self {
            over: Some(sender),
            teller: teller.flatten(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(teller) = self.teller.take() {
            // One that panicked has nothing on the terminal that matters.
            let _ended = teller.join();
        }
    }
}

fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    // Whoever closed it does not want to know.
    let _unheard = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
