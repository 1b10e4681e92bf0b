//! The process's one context of libzmq, made when it is first needed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Result};
use npufleet_zeromq::{Context, Setting, Socket};
use rustix::event::{EventfdFlags, eventfd};

use super::message::{HANDSHAKE_TIMEOUT, HEARTBEAT, HEARTBEAT_TIMEOUT};

/// Descriptors that a context takes when it starts: two event descriptors and an epoll for its thread, and as much again
/// for each of the first sockets.
const DESCRIPTORS: usize = 16;

/// A refusal or a request to stop may still leave when a socket is closed.
const LINGER: Duration = Duration::from_millis(100);

/// Sets the limits that every socket of the channel has.
pub(crate) fn limit(socket: &Socket, ipv6: bool, high_water: i32, largest: i64) -> npufleet_zeromq::Result<()> {
    let milliseconds = |time: Duration| i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    socket.set(Setting::Linger, milliseconds(LINGER))?;
    socket.set(Setting::SendHighWater, high_water)?;
    socket.set(Setting::ReceiveHighWater, high_water)?;
    socket.set(Setting::HeartbeatInterval, milliseconds(HEARTBEAT))?;
    socket.set(Setting::HeartbeatTimeout, milliseconds(HEARTBEAT_TIMEOUT))?;
    socket.set(Setting::HandshakeInterval, milliseconds(HANDSHAKE_TIMEOUT))?;
    socket.set(Setting::Ipv6, i32::from(ipv6))?;
    socket.set_largest_message(largest)
}

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
