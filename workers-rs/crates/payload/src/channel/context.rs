//! The process's one context of libzmq, made when it is first needed.

use std::sync::{Mutex, PoisonError};

use npufleet_wire::{Error, ErrorKind, Result};
use npufleet_zeromq::Context;
use rustix::event::{EventfdFlags, eventfd};

/// Descriptors that a context takes when it starts: two event descriptors and an epoll for its thread, and as much again
/// for each of the first sockets.
const DESCRIPTORS: usize = 16;

/// The context of this process. A forked child gets one of its own: the parent's thread does not run there.
pub(crate) fn context() -> Result<Context> {
    static CURRENT: Mutex<Option<(u32, Context)>> = Mutex::new(None);
    let process = std::process::id();
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((maker, context)) = &*current
        && *maker == process
    {
        return Ok(context.clone());
    }
    look_for_descriptors()?;
    let context = Context::new().map_err(|error| short(&error))?;
    // Ending the parent's would wait for a thread that is not there.
    std::mem::forget(current.replace((process, context.clone())));
    Ok(context)
}

/// libzmq ends the process when it runs out of descriptors while it starts, so that this looks first.
fn look_for_descriptors() -> Result<()> {
    let found: std::result::Result<Vec<_>, _> = (0..DESCRIPTORS).map(|_| eventfd(0, EventfdFlags::CLOEXEC)).collect();
    found.map(drop).map_err(|error| short(&error))
}

/// What is said when the process has no room for a socket.
pub(crate) fn short(error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!("no socket for the payload channel: {error}"),
    )
}
