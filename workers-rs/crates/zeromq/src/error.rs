//! What libzmq refuses to do, by its error number.

use std::ffi::{CStr, c_int};
use std::fmt;

use crate::ffi;

const EINTR: c_int = 4;
const EAGAIN: c_int = 11;
const EHOSTUNREACH: c_int = 113;

/// A refusal of libzmq, with the error number it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(c_int);

/// The result of everything that libzmq can refuse.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The refusal of the call before, on this thread.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local number.
        Self(unsafe { ffi::zmq_errno() })
    }

    /// Whether it would have had to wait.
    pub fn would_block(self) -> bool {
        self.0 == EAGAIN
    }

    /// Whether the peer that a ROUTER was to send to is not connected any more.
    pub fn is_unreachable(self) -> bool {
        self.0 == EHOSTUNREACH
    }

    /// Whether a signal arrived meanwhile, so that the call is to be made again.
    pub(crate) fn is_interruption(self) -> bool {
        self.0 == EINTR
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: libzmq returns a text that it never frees, for every number.
        let text = unsafe { CStr::from_ptr(ffi::zmq_strerror(self.0)) };
        formatter.write_str(&text.to_string_lossy())
    }
}

impl std::error::Error for Error {}

/// Makes a call again as long as signals interrupt it; -1 is its refusal.
pub(crate) fn again(mut call: impl FnMut() -> c_int) -> Result<c_int> {
    loop {
        let returned = call();
        if returned != -1 {
            return Ok(returned);
        }
        let error = Error::last();
        if !error.is_interruption() {
            return Err(error);
        }
    }
}
