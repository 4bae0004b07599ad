//! What was received and not yet answered, in memory that outlives whoever received it.
//!
//! A notification is delivered once. If the process that received it dies, nobody is told of it again, and its caller waits for
//! ever. So the kernel writes it straight into a page that another process can hold too: receiving *is* writing it down, there is
//! no moment in between. A successor finds in it what was not answered ([`Journal::pending`]), and answers that.

use crate::seccomp::{Listener, Notification};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::mem::offset_of;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the supervisor writes beside a call for its successor: how far it came. What the words mean is the supervisor's to know.
/// All zeroes: it had done nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Note {
    /// How far it came. Written last.
    pub stage: u64,
    /// What is needed to go on from there.
    pub words: [u64; 5],
}

/// A call and the note beside it. Where the call's id is 0 nothing waits.
#[repr(C)]
struct Slot {
    call: libc::seccomp_notif,
    note: Note,
}

/// How many numbers can be left to a successor beside the calls.
pub const NUMBERS: usize = 1024;

/// Slots for notifications, and numbers behind them. Those that are not used are zero, which is what the kernel demands to find.
#[derive(Debug)]
pub struct Journal {
    file: OwnedFd,
    slots: NonNull<Slot>,
    count: u16,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The last one is used next: few pages are ever touched.
    free: Vec<u16>,
    /// By notification, the last one received last: that is mostly the one answered first.
    used: Vec<(u64, u16)>,
}

// SAFETY: the memory is mapped for as long as the journal lives, belongs to nobody else in this process, and is written only by
// who holds the lock.
unsafe impl Send for Journal {}
// SAFETY: as above.
unsafe impl Sync for Journal {}

impl Journal {
    /// Room for `count` notifications that wait at a time.
    ///
    /// # Errors
    /// The errno of `memfd_create(2)`, `ftruncate(2)` or `mmap(2)`.
    pub fn new(count: u16) -> Result<Self, Errno> {
        Self::of(Self::blank(count)?, count)
    }

    /// The memory of a journal in which nothing waits.
    ///
    /// # Errors
    /// The errno of `memfd_create(2)` or `ftruncate(2)`.
    pub fn blank(count: u16) -> Result<OwnedFd, Errno> {
        let never_executed = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
        let flags = MFdFlags::MFD_CLOEXEC | never_executed;
        let file = memfd_create(c"notifications", flags).or_else(|errno| match errno {
            // Before Linux 6.3.
            Errno::EINVAL => memfd_create(c"notifications", MFdFlags::MFD_CLOEXEC),
            errno => Err(errno),
        })?;
        let size = size_for(count);
        nix::unistd::ftruncate(&file, size as libc::off_t)?;
        Ok(file)
    }

    /// The journal that somebody else began, with what waits in it.
    ///
    /// # Errors
    /// The errno of `fstat(2)` or `mmap(2)`.
    pub fn inherited(file: OwnedFd) -> Result<Self, Errno> {
        let count = count_of(file.as_fd())?;
        let journal = Self::of(file, count)?;
        let mut state = journal.lock();
        for (slot, bytes) in touched(journal.as_file(), count)? {
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            // SAFETY: a slot of the mapping; all that can stand there, any bytes, is a valid Slot.
            let id = unsafe { journal.slot(slot).as_ref().call.id };
            if id == 0 {
                // Whoever was emptying it did not come to the end.
                journal.blank_slot(slot);
            } else {
                state.used.push((id, slot));
            }
        }
        let used: Vec<u16> = state.used.iter().map(|(_, slot)| *slot).collect();
        state.free.retain(|slot| !used.contains(slot));
        drop(state);
        Ok(journal)
    }

    /// Whether something waits in the journal that somebody else began.
    ///
    /// # Errors
    /// The errno of `fstat(2)`, `lseek(2)` or `pread(2)`.
    pub fn has_pending(file: BorrowedFd<'_>) -> Result<bool, Errno> {
        let slots = touched(file, count_of(file)?)?;
        let id = offset_of!(Slot, call) + offset_of!(libc::seccomp_notif, id);
        let mut ids = slots
            .iter()
            .map(|(_, bytes)| &bytes[id..id + size_of::<u64>()]);
        Ok(ids.any(|id| id.iter().any(|byte| *byte != 0)))
    }

    fn of(file: OwnedFd, count: u16) -> Result<Self, Errno> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let size = NonZero::new(size_for(count)).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel finds room, of a file that is that long.
        let memory = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(Self {
            file,
            slots: memory.cast(),
            count,
            state: Mutex::new(State {
                free: (0..count).rev().collect(),
                used: Vec::new(),
            }),
        })
    }

    /// The memory, for who is to hold it too.
    pub fn as_file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Takes the next call from `listener`, as [`Listener::receive`] does. Where no slot is free it is taken all the same, and is
    /// lost if this process dies before it answers.
    ///
    /// # Errors
    /// As for [`Listener::receive`].
    pub fn receive(&self, listener: &Listener) -> Result<Option<Notification>, Errno> {
        let Some(slot) = self.free_slot(listener) else {
            return listener.receive();
        };
        // A slot begins with its call.
        let call = self.slot(slot).cast();
        // SAFETY: a slot of the mapping that nobody else was given, valid for reads and writes; it is zero.
        let received = unsafe { listener.receive_into(call) };
        let mut state = self.lock();
        match &received {
            Ok(Some(notification)) => {
                state.used.push((notification.id, slot));
            }
            Ok(None) | Err(_) => state.free.push(slot),
        }
        received
    }

    /// The call was answered, or is gone.
    pub fn answered(&self, id: u64) {
        let mut state = self.lock();
        if let Some(at) = state.used.iter().rposition(|(used, _)| *used == id) {
            let (_, slot) = state.used.remove(at);
            self.clear(&mut state, slot);
        }
    }

    /// What was received and not answered, in no order. Some of it may be gone: [`Listener::is_valid`].
    pub fn pending(&self) -> Vec<Notification> {
        let state = self.lock();
        let slots = state.used.iter();
        // SAFETY: slots of the mapping, which nobody writes while the lock is held.
        let notification =
            |(_, slot): &(u64, u16)| unsafe { self.slot(*slot).as_ref().call }.into();
        slots.map(notification).collect()
    }

    /// Leaves a number to a successor, in place of what was left there. 0: nothing.
    ///
    /// # Errors
    /// `ENOSPC` behind the last place ([`NUMBERS`]); the errno of `pwrite(2)`.
    pub fn leave(&self, place: usize, number: u64) -> Result<(), Errno> {
        if place >= NUMBERS {
            return Err(Errno::ENOSPC);
        }
        let at = usize::from(self.count) * size_of::<Slot>() + place * size_of::<u64>();
        nix::sys::uio::pwrite(&self.file, &number.to_ne_bytes(), at as libc::off_t).map(drop)
    }

    /// The numbers that were left, and where.
    ///
    /// # Errors
    /// The errno of `pread(2)`.
    pub fn left(&self) -> Result<Vec<(usize, u64)>, Errno> {
        let mut bytes = vec![0; size_of::<[u64; NUMBERS]>()];
        let at = usize::from(self.count) * size_of::<Slot>();
        nix::sys::uio::pread(&self.file, &mut bytes, at as libc::off_t)?;
        let numbers = bytes.chunks_exact(size_of::<u64>()).map(|bytes| {
            let mut number = [0; size_of::<u64>()];
            number.copy_from_slice(bytes);
            u64::from_ne_bytes(number)
        });
        Ok(numbers
            .enumerate()
            .filter(|(_, number)| *number != 0)
            .collect())
    }

    /// A slot that nobody else gets. When there is none, those of calls that are gone are taken back.
    fn free_slot(&self, listener: &Listener) -> Option<u16> {
        let mut state = self.lock();
        if state.free.is_empty() {
            let is_gone = |(id, _): &mut (u64, u16)| !listener.is_valid(*id);
            let gone: Vec<(u64, u16)> = state.used.extract_if(.., is_gone).collect();
            for (_, slot) in gone {
                self.clear(&mut state, slot);
            }
        }
        state.free.pop()
    }

    fn clear(&self, state: &mut State, slot: u16) {
        self.blank_slot(slot);
        state.free.push(slot);
    }

    fn blank_slot(&self, slot: u16) {
        let slot = self.slot(slot).as_ptr();
        // SAFETY: a slot of the mapping, which nobody else writes: the lock is held, or the journal is being made. All zeroes is a
        // valid Slot. The id goes first: whoever finds the rest of it after us knows that nothing waits.
        unsafe {
            (&raw mut (*slot).call.id).write_volatile(0);
            std::sync::atomic::fence(Ordering::SeqCst);
            slot.write_bytes(0, 1);
        }
    }

    /// Writes a note beside a call that waits. Of a call that has no slot nothing is noted.
    pub fn set_note(&self, id: u64, note: Note) {
        let state = self.lock();
        let Some((_, slot)) = state.used.iter().rfind(|(used, _)| *used == id) else {
            return;
        };
        let slot = self.slot(*slot).as_ptr();
        // SAFETY: a slot of the mapping, which nobody else writes while the lock is held. Before the words are whole the stage says
        // that there are none.
        unsafe {
            (&raw mut (*slot).note.stage).write_volatile(0);
            std::sync::atomic::fence(Ordering::SeqCst);
            (&raw mut (*slot).note.words).write_volatile(note.words);
            std::sync::atomic::fence(Ordering::SeqCst);
            (&raw mut (*slot).note.stage).write_volatile(note.stage);
        }
    }

    /// The note beside a call.
    pub fn note(&self, id: u64) -> Note {
        let state = self.lock();
        let slot = state.used.iter().rfind(|(used, _)| *used == id);
        // SAFETY: a slot of the mapping, which nobody writes while the lock is held.
        slot.map_or_else(Note::default, |(_, slot)| unsafe {
            self.slot(*slot).as_ref().note
        })
    }

    fn slot(&self, number: u16) -> NonNull<Slot> {
        assert!(number < self.count, "a slot of this journal");
        // SAFETY: the mapping holds `count` slots, so the pointer stays inside it.
        unsafe { self.slots.add(usize::from(number)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under it can panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size_for(count: u16) -> usize {
    usize::from(count) * size_of::<Slot>() + size_of::<[u64; NUMBERS]>()
}

/// The slots of a journal.
fn count_of(file: BorrowedFd<'_>) -> Result<u16, Errno> {
    let size = nix::sys::stat::fstat(file)?.st_size as usize;
    let count = size.saturating_sub(size_of::<[u64; NUMBERS]>()) / size_of::<Slot>();
    count.try_into().map_err(|_| Errno::EINVAL)
}

/// The slots on pages that were ever written, and their bytes. The others are not even looked at: to look at a page makes it.
fn touched(file: BorrowedFd<'_>, count: u16) -> Result<Vec<(u16, Vec<u8>)>, Errno> {
    use nix::unistd::{Whence, lseek};
    let size = size_of::<Slot>() as libc::off_t;
    let mut slots = Vec::new();
    let mut at = 0;
    loop {
        let data = match lseek(file, at, Whence::SeekData) {
            Ok(data) => data,
            // Behind the last.
            Err(Errno::ENXIO) => return Ok(slots),
            Err(errno) => return Err(errno),
        };
        at = lseek(file, data, Whence::SeekHole)?;
        let first = data / size;
        let behind = (at / size).min(count.into());
        // Behind the slots are the numbers.
        let mut bytes = vec![0; usize::try_from((behind - first) * size).unwrap_or(0)];
        let had = nix::sys::uio::pread(file, &mut bytes, first * size)?;
        let whole = bytes[..had].chunks_exact(size_of::<Slot>());
        slots.extend((first as u16..).zip(whole.map(<[u8]>::to_vec)));
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let size = size_for(self.count);
        // SAFETY: the mapping is this journal's alone, and of that size.
        let unmapped = unsafe { nix::sys::mman::munmap(self.slots.cast(), size) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{
        Instruction, NEW_LISTENER, WAIT_KILLABLE_RECV, install, set_no_new_privs,
    };
    use std::ffi::c_long;
    use std::sync::mpsc::channel;

    /// A thread that makes a trapped call, which is served with its listener; what the call returned.
    fn trapped(serve: impl FnOnce(&Listener)) -> c_long {
        let instruction = |code: u32, jt, jf, k| Instruction {
            code: code as u16,
            jt,
            jf,
            k,
        };
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        let program = [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            instruction(equal, 0, 1, libc::SYS_getpriority as u32),
            instruction(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            instruction(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || {
            set_no_new_privs().unwrap();
            let listener = install(&program, NEW_LISTENER | WAIT_KILLABLE_RECV).unwrap();
            sender.send(listener.expect("it was asked for")).unwrap();
            // SAFETY: takes two numbers.
            unsafe { libc::syscall(libc::SYS_getpriority, 0, 7) }
        });
        serve(&receiver.recv().unwrap());
        thread.join().unwrap()
    }

    const NOTE: Note = Note {
        stage: 1,
        words: [2, 3, 5, 7, 11],
    };

    #[test]
    fn what_a_dead_process_received_is_answered_by_the_next() {
        let value = trapped(|listener| {
            let journal = Journal::new(4).unwrap();
            // SAFETY: the child uses memory that exists and a lock that nobody held, and ends without running anything else.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Child => {
                    if let Ok(Some(call)) = journal.receive(listener) {
                        journal.set_note(call.id, NOTE);
                    }
                    // SAFETY: ends the process at once.
                    unsafe { libc::_exit(0) }
                }
                nix::unistd::ForkResult::Parent { child } => {
                    nix::sys::wait::waitpid(child, None).unwrap();
                }
            }
            // Nobody is told of it again; the memory has it.
            assert_eq!(Journal::has_pending(journal.as_file()), Ok(true));
            let file = journal.as_file().try_clone_to_owned().unwrap();
            let successor = Journal::inherited(file).unwrap();
            let pending = successor.pending();
            assert_eq!(pending.len(), 1);
            assert_eq!(successor.note(pending[0].id), NOTE);
            assert_eq!(pending[0].args[1], 7);
            assert!(listener.is_valid(pending[0].id));
            assert_eq!(listener.respond_value(pending[0].id, 4711), Ok(true));
            successor.answered(pending[0].id);
            assert!(successor.pending().is_empty());
            assert_eq!(Journal::has_pending(journal.as_file()), Ok(false));
            assert_eq!(successor.note(pending[0].id), Note::default());
            let file = journal.as_file().try_clone_to_owned().unwrap();
            assert!(Journal::inherited(file).unwrap().pending().is_empty());
        });
        assert_eq!(value, 4711);
    }

    #[test]
    fn numbers_are_left_to_a_successor_and_taken_back() {
        let journal = Journal::new(3).unwrap();
        journal.leave(0, 7).unwrap();
        journal.leave(5, u64::MAX).unwrap();
        journal.leave(NUMBERS - 1, 1).unwrap();
        journal.leave(5, 0).unwrap();
        assert_eq!(journal.leave(NUMBERS, 1), Err(Errno::ENOSPC));
        let file = journal.as_file().try_clone_to_owned().unwrap();
        let successor = Journal::inherited(file).unwrap();
        assert_eq!(successor.left(), Ok(vec![(0, 7), (NUMBERS - 1, 1)]));
        assert_eq!(Journal::has_pending(journal.as_file()), Ok(false));
        assert!(successor.pending().is_empty());
    }

    #[test]
    fn slots_are_used_again_and_a_full_journal_loses_no_call() {
        let journal = Journal::new(1).unwrap();
        for round in 0..3 {
            let value = trapped(|listener| {
                let call = journal.receive(listener).unwrap().expect("a call waits");
                assert_eq!(journal.pending(), [call]);
                let other = trapped(|other| {
                    // The only slot is taken by a call that this listener does not know, and so takes for gone.
                    let call = journal.receive(other).unwrap().expect("a call waits");
                    other.respond_value(call.id, 1).unwrap();
                    journal.answered(call.id);
                });
                assert_eq!(other, 1);
                listener.respond_value(call.id, round).unwrap();
                journal.answered(call.id);
                assert!(journal.pending().is_empty());
            });
            assert_eq!(value, round);
        }
    }
}
