//! The worker's side of the probe: it shows whoever connects that it is the worker that was started here, and has it shown in turn
//! that who connects may use it.

use std::io::{BufRead, Read as _, Write};
use std::os::fd::{AsFd as _, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use protocol::probe::{
    Code, Commission, Confirm, Error, MAX_LINE, Nonce, Probe, Proof, Ready, Side,
};

/// Why nothing was proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// This process was not started as a worker: `SUPERVISE_WORKER_SECRET_FD` names nothing that it could read.
    #[error("this process was not started as a worker")]
    NoCommission,
    /// What it was told at its start makes no sense.
    #[error("the commission of this worker cannot be used: {0}")]
    Commission(Error),
    /// A line is not the one that had to come. Nothing is answered to it.
    #[error("{0}")]
    Line(Error),
    /// Who connected does not know the secret. It gets no answer.
    #[error("who connected did not prove that it knows this worker's secret")]
    Unproven,
    /// The connection ended before the probe did.
    #[error("the connection ended in the middle of a probe")]
    Closed,
    /// A system call failed.
    #[error("{operation}: {errno}")]
    Io {
        /// Which.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// What this worker was told when it was started. It is read from the descriptor that `SUPERVISE_WORKER_SECRET_FD` numbers, which is
/// then closed: whatever this process starts later has no secret.
///
/// # Errors
/// [`ProbeError::NoCommission`] where there is none; why it cannot be read.
pub fn commission() -> Result<Commission, ProbeError> {
    static READ: Mutex<Option<Commission>> = Mutex::new(None);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(commission) = &*read {
        return Ok(commission.clone());
    }
    let number = std::env::var("SUPERVISE_WORKER_SECRET_FD").ok();
    let number = number.and_then(|number| number.parse().ok());
    let commission = inherited(number.ok_or(ProbeError::NoCommission)?)?;
    Ok(read.insert(commission).clone())
}

/// Reads and closes the descriptor with that number. One that cannot be a commission, because this process or a library in it gave the
/// number to another file, is left alone.
fn inherited(number: RawFd) -> Result<Commission, ProbeError> {
    let fd = sys::fds::duplicate_number(number).map_err(|_| ProbeError::NoCommission)?;
    let mode = fstat(fd.as_fd()).map_err(io("fstat"))?.st_mode;
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG && kind != SFlag::S_IFIFO {
        return Err(ProbeError::NoCommission);
    }
    let mut line = Vec::new();
    let most = 2 * MAX_LINE as u64 + 1;
    std::fs::File::from(fd)
        .take(most)
        .read_to_end(&mut line)
        .map_err(failed("read"))?;
    let commission = Commission::decode(&line).map_err(ProbeError::Commission)?;
    nix::unistd::close(number).map_err(io("close"))?;
    Ok(commission)
}

/// A proof that was given, and what must come in return.
#[derive(Debug)]
pub struct Challenge {
    commission: Commission,
    client: Nonce,
    worker: Nonce,
    pidfs: u64,
}

impl Challenge {
    /// Answers a probe: the line to be sent, and what to do with the one that comes back. Does no I/O: for a worker that reads lines
    /// from many connections at once.
    ///
    /// # Errors
    /// [`ProbeError::Line`] when it is no probe; [`ProbeError::Io`] where there are no random numbers.
    pub fn new(commission: &Commission, line: &[u8]) -> Result<(Self, Vec<u8>), ProbeError> {
        let probe = Probe::decode(line).map_err(ProbeError::Line)?;
        let mut nonce = [0; 32];
        sys::random::fill(&mut nonce).map_err(io("getentropy"))?;
        let challenge = Self {
            commission: commission.clone(),
            client: probe.nonce,
            worker: Nonce::from(nonce),
            pidfs: own_inode(),
        };
        let proof = Proof {
            nonce: challenge.worker,
            service: commission.service.clone(),
            version: commission.version.clone(),
            instance: commission.instance,
            pidfs: challenge.pidfs,
            mac: challenge.code(),
        };
        Ok((challenge, proof.encode()))
    }

    fn code(&self) -> Code {
        let context = self
            .commission
            .context(self.client, self.worker, self.pidfs);
        self.commission.secret.mac(Side::Worker, &context)
    }

    /// Takes the line that answers the proof, and gives the one to be sent then. Afterwards the connection may be used for anything.
    ///
    /// # Errors
    /// [`ProbeError::Line`] and [`ProbeError::Unproven`]: the connection is to be closed, without a word.
    pub fn conclude(self, line: &[u8]) -> Result<Vec<u8>, ProbeError> {
        let confirm = Confirm::decode(line).map_err(ProbeError::Line)?;
        let context = self
            .commission
            .context(self.client, self.worker, self.pidfs);
        match self
            .commission
            .secret
            .verifies(Side::Client, &context, &confirm.mac)
        {
            true => Ok(Ready.encode()),
            false => Err(ProbeError::Unproven),
        }
    }
}

/// Answers a whole probe, of which `first` is the line that came first ([`Probe::begins`] tells). How long a read or a write may take
/// is for the caller to set on the socket beforehand. After an error the connection is to be closed.
///
/// # Errors
/// Why who connected may not use this worker.
pub fn answer(
    commission: &Commission,
    first: &[u8],
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<(), ProbeError> {
    let (challenge, proof) = Challenge::new(commission, first)?;
    send(output, &proof)?;
    let mut line = Vec::new();
    let most = MAX_LINE as u64 + 1;
    input
        .take(most)
        .read_until(b'\n', &mut line)
        .map_err(failed("read"))?;
    if !line.ends_with(b"\n") && line.len() <= MAX_LINE {
        return Err(ProbeError::Closed);
    }
    let ready = challenge.conclude(&line)?;
    send(output, &ready)
}

/// In one write, by this process: who reads it asks the kernel who sent each byte.
fn send(output: &mut impl Write, line: &[u8]) -> Result<(), ProbeError> {
    output.write_all(line).map_err(failed("write"))?;
    output.flush().map_err(failed("write"))
}

fn own_inode() -> u64 {
    #[cfg(target_os = "linux")]
    return sys::pidfs::own_inode();
    #[cfg(not(target_os = "linux"))]
    0
}

fn io(operation: &'static str) -> impl Fn(Errno) -> ProbeError {
    move |errno| ProbeError::Io { operation, errno }
}

fn failed(operation: &'static str) -> impl Fn(std::io::Error) -> ProbeError {
    move |error| ProbeError::Io {
        operation,
        errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::probe::{Instance, Secret};
    use std::io::BufReader;
    use std::os::unix::net::UnixStream;

    fn told() -> Commission {
        Commission {
            secret: Secret::from([7; 32]),
            instance: Instance::from([3; 16]),
            boot_id: "boot".to_owned(),
            endpoint: "/run/w".to_owned(),
            service: "builder".to_owned(),
            version: "1".to_owned(),
        }
    }

    fn probe() -> Probe {
        Probe::new(Nonce::from([1; 32]))
    }

    /// What a client that knows `secret` answers to a proof.
    fn confirmed(secret: &Secret, side: Side, proof: &[u8]) -> Vec<u8> {
        let proof = Proof::decode(proof).unwrap();
        let told = told();
        let context = told.context(probe().nonce, proof.nonce, proof.pidfs);
        let mac = secret.mac(side, &context);
        Confirm { mac }.encode()
    }

    #[test]
    fn who_knows_the_secret_is_let_in() {
        let (client, worker) = UnixStream::pair().unwrap();
        let serving = std::thread::spawn(move || {
            let mut input = BufReader::new(worker.try_clone().unwrap());
            let mut first = Vec::new();
            input.read_until(b'\n', &mut first).unwrap();
            assert!(Probe::begins(&first));
            answer(&told(), &first, &mut input, &mut &worker)
        });
        let mut input = BufReader::new(client.try_clone().unwrap());
        (&client).write_all(&probe().encode()).unwrap();
        let mut line = Vec::new();
        input.read_until(b'\n', &mut line).unwrap();
        let proof = Proof::decode(&line).unwrap();
        assert_eq!((&*proof.service, &*proof.version), ("builder", "1"));
        #[cfg(target_os = "linux")]
        assert_eq!(proof.pidfs, sys::pidfs::own_inode());
        let told = told();
        let context = told.context(probe().nonce, proof.nonce, proof.pidfs);
        assert!(told.secret.verifies(Side::Worker, &context, &proof.mac));
        let confirmation = confirmed(&told.secret, Side::Client, &line);
        (&client).write_all(&confirmation).unwrap();
        line.clear();
        input.read_until(b'\n', &mut line).unwrap();
        assert_eq!(Ready::decode(&line), Ok(Ready));
        assert_eq!(serving.join().unwrap(), Ok(()));
    }

    #[test]
    fn who_does_not_know_it_is_not_and_what_was_once_right_is_not_again() {
        let told = told();
        let begin = || Challenge::new(&told, &probe().encode()).unwrap();
        let (challenge, proof) = begin();
        let right = confirmed(&told.secret, Side::Client, &proof);
        assert_eq!(challenge.conclude(&right), Ok(Ready.encode()));
        let (challenge, _) = begin();
        assert_eq!(challenge.conclude(&right), Err(ProbeError::Unproven));
        let (challenge, proof) = begin();
        let wrong = confirmed(&Secret::from([8; 32]), Side::Client, &proof);
        assert_eq!(challenge.conclude(&wrong), Err(ProbeError::Unproven));
        // The worker's own code, sent back.
        let (challenge, proof) = begin();
        let own = confirmed(&told.secret, Side::Worker, &proof);
        assert_eq!(challenge.conclude(&own), Err(ProbeError::Unproven));
    }

    #[test]
    fn what_is_no_probe_ends_it() {
        let answered = |first: &[u8], then: &[u8]| {
            let mut out = Vec::new();
            let done = answer(&told(), first, &mut &then[..], &mut out);
            (
                done.unwrap_err(),
                out.iter().filter(|b| **b == b'\n').count(),
            )
        };
        let first = probe().encode();
        let endless = vec![b'x'; 10 * MAX_LINE];
        assert_eq!(
            answered(&first, &endless),
            (ProbeError::Line(Error::TooLong), 1)
        );
        assert_eq!(answered(&first, b""), (ProbeError::Closed, 1));
        assert_eq!(answered(&first, b"{\"confirm\""), (ProbeError::Closed, 1));
        assert!(matches!(
            answered(&first, b"{\"run\":{}}\n"),
            (ProbeError::Line(Error::Malformed { .. }), 1)
        ));
        assert!(matches!(
            answered(b"{\"id\":1}\n", b""),
            (ProbeError::Line(Error::Malformed { .. }), 0)
        ));
    }

    #[test]
    fn a_commission_is_read_once_and_its_descriptor_closed() {
        use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
        let (reader, writer) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&writer, &told().encode()).unwrap();
        drop(writer);
        // Far from the numbers that other tests are given meanwhile.
        let number = sys::fds::duplicate_from(reader.as_fd(), 700)
            .unwrap()
            .into_raw_fd();
        assert_eq!(inherited(number).unwrap().instance, told().instance);
        assert!(sys::fds::duplicate_number(number).is_err(), "it is closed");
        let (socket, _other) = UnixStream::pair().unwrap();
        assert_eq!(
            inherited(socket.as_raw_fd()).unwrap_err(),
            ProbeError::NoCommission
        );
        assert!(sys::fds::duplicate_number(socket.as_raw_fd()).is_ok());
        assert_eq!(inherited(-1).unwrap_err(), ProbeError::NoCommission);
    }
}
