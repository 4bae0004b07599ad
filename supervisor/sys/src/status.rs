//! What the kernel says of a task in `/proc/PID/status` (proc_pid_status(5)). It lies in memory: reading it never waits.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

/// More than there is in most of them.
const PIECE: usize = 4096;

/// A task, as it was when it was looked at. What a field that this kernel does not have would say is not known.
#[derive(Debug, Clone)]
pub struct Status(String);

impl Status {
    /// Of a process or a thread, by its number.
    ///
    /// # Errors
    /// The errno of opening or reading it: `ENOENT` or `ESRCH` when there is no such task.
    pub fn of(task: i32) -> Result<Self, Errno> {
        Self::read(&task.to_string())
    }

    /// Of the calling thread.
    ///
    /// # Errors
    /// As for [`Status::of`].
    pub fn own() -> Result<Self, Errno> {
        Self::read("thread-self")
    }

    fn read(task: &str) -> Result<Self, Errno> {
        let path = format!("/proc/{task}/status");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(AT_FDCWD, path.as_str(), flags, Mode::empty())?;
        // Its length is told by nothing but its end. It is read in one piece, as a rule: a dozen small ones take as long as the
        // kernel takes to write it.
        let mut text = Vec::new();
        let mut piece = [0; PIECE];
        loop {
            match nix::unistd::read(&file, &mut piece) {
                Ok(0) => break,
                Ok(length) => text.extend(&piece[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        // The name of the program can be any bytes.
        Ok(Self(String::from_utf8_lossy(&text).into_owned()))
    }

    fn field(&self, name: &str) -> Option<&str> {
        // The name of the program stands on the first line, with a line break in it escaped.
        let line = self.0.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            (own == name).then_some(value)
        })?;
        Some(line.trim())
    }

    fn number(&self, name: &str, radix: u32) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, radix).ok()
    }

    /// The process that it belongs to.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        self.number("Tgid", 10)?.try_into().ok()
    }

    /// The parent of that process, as the kernel has it now.
    #[must_use]
    pub fn parent(&self) -> Option<i32> {
        self.number("PPid", 10)?.try_into().ok()
    }

    /// How many threads that process has.
    #[must_use]
    pub fn threads(&self) -> Option<u64> {
        self.number("Threads", 10)
    }

    /// Its umask.
    #[must_use]
    pub fn umask(&self) -> Option<u32> {
        self.number("Umask", 8)?.try_into().ok()
    }

    /// The user that file systems see.
    #[must_use]
    pub fn file_user(&self) -> Option<u32> {
        self.file_id("Uid")
    }

    /// The group that file systems see.
    #[must_use]
    pub fn file_group(&self) -> Option<u32> {
        self.file_id("Gid")
    }

    /// The last of four.
    fn file_id(&self, name: &str) -> Option<u32> {
        self.field(name)?.split_whitespace().nth(3)?.parse().ok()
    }

    /// The signals that it blocks, signal 1 in the lowest bit; so are those below.
    #[must_use]
    pub fn blocked(&self) -> Option<u64> {
        self.number("SigBlk", 16)
    }

    /// The signals that wait for this thread alone.
    #[must_use]
    pub fn pending(&self) -> Option<u64> {
        self.number("SigPnd", 16)
    }

    /// The signals that wait for any thread of its process.
    #[must_use]
    pub fn shared_pending(&self) -> Option<u64> {
        self.number("ShdPnd", 16)
    }

    /// The capabilities that it can use now.
    #[must_use]
    pub fn capabilities(&self) -> Option<u64> {
        self.number("CapEff", 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Command, Stdio};

    #[test]
    fn fields_are_found_by_their_whole_names_and_never_in_the_programs() {
        let status = Status("Name:\tUmask:\t7\nUmask:\t0022\nShdPnd:\t00000000000000a0\n".into());
        assert_eq!(status.umask(), Some(0o022));
        assert_eq!(status.field("mask"), None);
        assert_eq!(status.shared_pending(), Some(0xa0));
        assert_eq!((status.file_user(), status.process()), (None, None));
        assert_eq!(Status("Umask:\t7\n".into()).umask(), None);
    }

    #[test]
    fn a_thread_knows_its_process() {
        let own = std::process::id().try_into().ok();
        let of_another = || std::thread::spawn(|| Status::own().unwrap());
        let status = of_another().join().unwrap();
        assert_eq!(status.process(), own);
        assert!(status.threads() >= Some(2));
        let parent = std::os::unix::process::parent_id();
        assert_eq!(status.parent(), Some(parent as i32));
        let by_number = Status::of(nix::unistd::gettid().as_raw()).unwrap();
        assert_eq!(by_number.process(), own);
        let user = nix::unistd::geteuid().as_raw();
        let group = nix::unistd::getegid().as_raw();
        assert_eq!(status.file_user(), Some(user));
        assert_eq!(status.file_group(), Some(group));
        assert!(status.capabilities().is_some() && status.blocked().is_some());
    }

    #[test]
    fn a_task_that_is_gone_is_not_there() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        assert_eq!(Status::of(pid).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn an_umask_is_what_was_set() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "umask 027; echo; read end"]);
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0];
        child.stdout.take().unwrap().read_exact(&mut said).unwrap();
        let status = Status::of(child.id().try_into().unwrap()).unwrap();
        assert_eq!(status.umask(), Some(0o027));
        // The end of what it reads ends it.
        child.wait().unwrap();
    }
}
