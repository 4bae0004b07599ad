//! Names for sessions that nobody named.

use protocol::pool::SID;
use protocol::{Fault, FaultCode};

/// So many are asked for at once.
const AT_ONCE: usize = 16;

/// Random ones, each given once.
#[derive(Debug, Default)]
pub(super) struct Sids {
    left: Vec<[u8; SID / 2]>,
}

impl Sids {
    /// Another one.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub(super) fn next(&mut self) -> Result<String, Fault> {
        loop {
            if let Some(bytes) = self.left.pop() {
                return Ok(format!("{:032x}", u128::from_ne_bytes(bytes)));
            }
            let mut bytes = [0; SID / 2 * AT_ONCE];
            sys::random::fill(&mut bytes)
                .map_err(|errno| Fault::new(FaultCode::Failed, format!("getentropy: {errno}")))?;
            self.left.extend(bytes.as_chunks().0);
        }
    }
}
