//! The descriptor that an event loop watches.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

/// Readable from `signal` until `reset`.
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn fileno(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(crate) fn signal(&self) {
        // It fails only when 2^64 - 2 signals wait, and then it is readable anyway.
        let _ = write(&self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn reset(&self) {
        // It fails only when there was no signal.
        let _ = read(&self.0, &mut [0u8; 8]);
    }
}
