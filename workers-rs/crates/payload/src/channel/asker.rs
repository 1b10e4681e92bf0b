//! Fetches frames from the arenas of other processes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_wire::{Claim, Error, ErrorKind, Result};

use super::Address;
use super::connection::{Connection, Failure};
use super::incoming::Incoming;
use super::line::Patience;
use super::message::PATIENCE_LIMIT_US;
use super::pool::{Place, Pool};

/// Connections that are tried for one frame; each goes on where the one before was lost.
const ATTEMPTS: u32 = 3;
/// How long a connection may take over which nothing but a release is said.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_micros(PATIENCE_LIMIT_US);

/// The asking side of the channel; may be shared by any number of threads.
#[derive(Default)]
pub struct Asker {
    pool: Pool,
}

impl Asker {
    /// Fetches a frame of at most `limit` bytes within `timeout`; blocks until it is there.
    ///
    /// Its bytes are aligned for tensors. With `release` the owner is told that it may use the slot again.
    ///
    /// # Errors
    /// `payload_lost` when the owner does not have it any more, is gone or cannot be reached, `invalid_frame` when
    /// there can be no such frame, `payload_too_large` above the limit, `deadline_exceeded`, `overloaded`,
    /// `unsupported` when the address wants CURVE and this build has none.
    pub fn fetch(
        &self,
        address: &Address,
        claim: &Claim,
        limit: u64,
        timeout: Duration,
        release: bool,
    ) -> Result<Bytes> {
        self.fetch_while(&|| true, address, claim, limit, timeout, release)
    }

    /// As [`Asker::fetch`], for as long as the frame is `wanted`, which is asked for now and then.
    ///
    /// # Errors
    /// As [`Asker::fetch`]; `cancelled` when it was wanted no longer.
    pub fn fetch_while(
        &self,
        wanted: &dyn Fn() -> bool,
        address: &Address,
        claim: &Claim,
        limit: u64,
        timeout: Duration,
        release: bool,
    ) -> Result<Bytes> {
        if claim.length > limit {
            let message = format!("frame is {} bytes; allowed: {limit}", claim.length);
            return Err(Error::new(ErrorKind::PayloadTooLarge, message));
        }
        let deadline = Instant::now() + timeout.min(LONGEST);
        let patience = Patience { deadline, wanted };
        let place = self.pool.place(deadline).ok_or_else(busy)?;
        let mut incoming = Incoming::new(claim.length as usize);
        for _ in 0..ATTEMPTS {
            let mut connection = place.take(address).map_or_else(|| Connection::open(address), Ok)?;
            match connection.fetch(claim, &mut incoming, &patience) {
                Ok(()) => {
                    if !release || connection.release(claim, &patience) {
                        place.keep(address, connection);
                    }
                    return Ok(incoming.finish());
                }
                Err(Failure::Lost) => place.forget(address),
                Err(Failure::Refused(error)) => {
                    place.keep(address, connection);
                    return Err(error);
                }
                Err(Failure::Final(error)) => {
                    connection.stop();
                    return Err(error);
                }
            }
        }
        let message = format!("no frame from {}: {ATTEMPTS} connections were lost", address.endpoint());
        Err(Error::new(ErrorKind::PayloadLost, message))
    }

    /// Tells an owner that it may use a frame's slot again; when that does not arrive, the slot's lease ends it.
    ///
    /// # Errors
    /// `overloaded` without descriptors, `unsupported` as [`Asker::fetch`].
    pub fn release(&self, address: &Address, claim: &Claim) -> Result<()> {
        let place: Place<'_> = self.pool.place(Instant::now()).ok_or_else(busy)?;
        let mut connection = place.take(address).map_or_else(|| Connection::open(address), Ok)?;
        let patience = Patience {
            deadline: Instant::now() + RELEASE_TIMEOUT,
            wanted: &|| true,
        };
        if connection.release(claim, &patience) {
            place.keep(address, connection);
        }
        Ok(())
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::Overloaded, "too many frames are being fetched")
}
