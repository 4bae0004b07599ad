//! The thread that takes what is in the pipes, and the queue to the one that writes it.

use super::{Source, Troubles, Work, note};
use crate::workers::poller::{Interest, Poller, Ready, Token};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// So much of one stream waits to be written, at most ...
const MOST_OF_ONE: usize = 1 << 20;
/// ... and so much of all.
const MOST_OF_ALL: usize = 32 << 20;

/// What is read of one pipe before the others are looked at.
const TURN: usize = 64 * 1024;

/// The token of the bell; pipes have others.
const BELL: Token = Token(0);

/// What waits to be written: how much of each stream.
#[derive(Debug, Default)]
struct Amounts {
    all: usize,
    each: BTreeMap<Source, usize>,
}

/// How much waits, for both threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<Amounts>>);

impl Held {
    /// Whether so much more may wait; then it does.
    fn admit(&self, source: &Source, count: usize) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = held.each.get(source).copied().unwrap_or(0);
        if of_one + count > MOST_OF_ONE || held.all + count > MOST_OF_ALL {
            return false;
        }
        held.all += count;
        held.each.insert(source.clone(), of_one + count);
        true
    }

    /// So much waits no more.
    pub fn release(&self, source: &Source, count: usize) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(count);
        if let Some(of_one) = held.each.get_mut(source) {
            *of_one = of_one.saturating_sub(count);
            if *of_one == 0 {
                held.each.remove(source);
            }
        }
    }
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: Sender<Work>,
    held: Held,
    troubles: Troubles,
}

impl Queue {
    pub fn new(sender: Sender<Work>, troubles: Troubles) -> Self {
        Self {
            sender,
            held: Held::default(),
            troubles,
        }
    }

    pub fn held(&self) -> Held {
        self.held.clone()
    }

    pub fn put(&self, work: Work) {
        // Who writes ends last.
        let _ended = self.sender.send(work);
    }

    /// What came through a pipe, if there is room for it.
    fn bytes(&self, source: &Source, bytes: &[u8]) {
        if self.held.admit(source, bytes.len()) {
            return self.put(Work::Bytes(source.clone(), bytes.to_vec()));
        }
        let count = bytes.len() as u64;
        note(&self.troubles, &source.worker, count, None);
        self.put(Work::Dropped(source.clone(), count));
    }
}

/// For the thread that drains.
enum Order {
    Add(Source, OwnedFd),
    /// Everything that is there is taken, and then somebody is told.
    Turn(Sender<()>),
}

/// The thread that takes what is in the pipes. When it is dropped it takes what is there, and ends.
#[derive(Debug)]
pub(super) struct Drain {
    orders: Option<Sender<Order>>,
    bell: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    pub fn begin(queue: Queue) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = Arc::new(EventFd::from_flags(flags)?);
        let poller = Poller::new()?;
        poller.add(bell.as_fd(), BELL, Interest::READ)?;
        let (orders, received) = channel();
        let rung = Arc::clone(&bell);
        let thread = std::thread::Builder::new().name("log drain".to_owned());
        let thread = thread.spawn(move || {
            let mut pipes = Pipes {
                poller,
                queue,
                open: BTreeMap::new(),
                next: BELL.0 + 1,
                buffer: vec![0; TURN],
            };
            pipes.serve(&received, &rung);
        })?;
        Ok(Self {
            orders: Some(orders),
            bell,
            thread: Some(thread),
        })
    }

    pub fn add(&self, source: Source, pipe: OwnedFd) -> Result<(), Errno> {
        self.order(Order::Add(source, pipe));
        Ok(())
    }

    /// Returns when all that was in the pipes was taken.
    pub fn turn(&self) {
        let (done, is_done) = channel();
        self.order(Order::Turn(done));
        // Who cannot answer has ended.
        let _ended = is_done.recv();
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Who drains ends when this is dropped, and not before.
            let _ended = orders.send(order);
        }
        self.ring();
    }

    fn ring(&self) {
        // A counter that is full is set already.
        let _set = self.bell.write(1);
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.ring();
        if let Some(thread) = self.thread.take() {
            // One that panicked has taken what it could.
            let _panicked = thread.join();
        }
    }
}

struct Pipes {
    poller: Poller,
    queue: Queue,
    open: BTreeMap<u64, (Source, OwnedFd)>,
    next: u64,
    buffer: Vec<u8>,
}

impl Pipes {
    fn serve(&mut self, orders: &Receiver<Order>, bell: &EventFd) {
        use std::sync::mpsc::TryRecvError;
        let mut ready: Vec<Ready> = Vec::new();
        loop {
            // Not to be had for want of memory alone: then it is tried again.
            if self.poller.wait(None, &mut ready).is_err() {
                std::thread::yield_now();
                continue;
            }
            for one in std::mem::take(&mut ready) {
                if one.token != BELL {
                    self.take(one.token.0);
                }
            }
            // EAGAIN: it was not rung.
            let _reset = bell.read();
            loop {
                match orders.try_recv() {
                    Ok(Order::Add(source, pipe)) => self.add(source, pipe),
                    Ok(Order::Turn(done)) => {
                        self.take_all();
                        // Who asked may be gone.
                        let _gone = done.send(());
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.take_all(),
                }
            }
        }
    }

    fn add(&mut self, source: Source, pipe: OwnedFd) {
        let key = self.next;
        self.next += 1;
        match self.poller.add(pipe.as_fd(), Token(key), Interest::READ) {
            Ok(()) => {
                self.open.insert(key, (source, pipe));
            }
            Err(errno) => note(
                &self.queue.troubles,
                &source.worker,
                0,
                Some(format!("its output cannot be watched: {errno}")),
            ),
        }
    }

    fn take_all(&mut self) {
        let keys: Vec<u64> = self.open.keys().copied().collect();
        for key in keys {
            // More than a pipe can hold: who writes for ever is not waited for.
            for _ in 0..32 {
                if !self.take(key) {
                    break;
                }
            }
        }
    }

    /// Takes some of what is in a pipe. Whether more may be there.
    fn take(&mut self, key: u64) -> bool {
        let Some((source, pipe)) = self.open.get(&key) else {
            return false;
        };
        match nix::unistd::read(pipe, &mut self.buffer) {
            Ok(0) => {}
            Ok(count) => {
                self.queue.bytes(source, &self.buffer[..count]);
                return count == self.buffer.len();
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            Err(_) => {}
        }
        if let Some((_, pipe)) = self.open.remove(&key) {
            self.poller.remove(pipe.as_fd());
        }
        false
    }
}
