//! Waiting for several sockets and descriptors at once.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use crate::ffi::{self, PollItem};
use crate::{Error, Result, Socket};

/// Something to read from.
#[derive(Clone, Copy)]
pub enum Interest<'a> {
    /// A socket with a message to receive.
    Socket(&'a Socket),
    /// What monitors a socket, with an event to take.
    Events(&'a Socket),
    /// A descriptor of the system.
    Descriptor(BorrowedFd<'a>),
}

/// Waits until one of `interests` can be read, `timeout` has passed or a signal arrived; says which can be read.
///
/// # Errors
/// When libzmq is ending.
pub fn poll<const N: usize>(interests: [Interest<'_>; N], timeout: Duration) -> Result<[bool; N]> {
    let mut items = interests.map(|interest| {
        let (socket, descriptor) = match interest {
            Interest::Socket(socket) => (socket.pointer(), 0),
            Interest::Events(socket) => (socket.monitor_pointer(), -1),
            Interest::Descriptor(descriptor) => (ptr::null_mut(), descriptor.as_raw_fd()),
        };
        PollItem {
            socket,
            descriptor,
            events: ffi::POLLIN,
            returned: 0,
        }
    });
    // Rounded up: a wait that ends early would be made again and again.
    let milliseconds = timeout.as_micros().div_ceil(1000).min(60_000) as _;
    let count = c_int::try_from(N).unwrap_or(c_int::MAX);
    // SAFETY: `items` has N entries; sockets and descriptors are borrowed for as long as the call takes.
    let ready = unsafe { ffi::zmq_poll(items.as_mut_ptr(), count, milliseconds) };
    if ready == -1 {
        let error = Error::last();
        if !error.is_interruption() {
            return Err(error);
        }
    }
    Ok(items.map(|item| item.returned & ffi::POLLIN != 0))
}
