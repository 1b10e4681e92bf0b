//! One end of a connection, or of many.

use std::ffi::{CString, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::again;
use crate::monitor::EVENTS;
use crate::{Context, Error, Event, KeyPair, Message, Result, ffi};

/// What a socket does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Asks one peer.
    Dealer = 5,
    /// Answers many peers, each by the address in the first part of its messages.
    Router = 6,
}

/// A setting whose value is a number; the manual page of `zmq_setsockopt` describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Milliseconds that messages may be left over when a socket is closed.
    Linger = 17,
    /// Milliseconds before connecting again; -1 for never.
    ReconnectInterval = 18,
    /// Messages that may wait to be sent to one peer.
    SendHighWater = 23,
    /// Messages that may wait to be received from one peer.
    ReceiveHighWater = 24,
    /// 1: sending to a peer that is gone is refused instead of dropped.
    RouterMandatory = 33,
    /// 1: addresses may be of IPv6.
    Ipv6 = 42,
    /// Milliseconds that a peer may take for the handshake.
    HandshakeInterval = 66,
    /// Milliseconds between heartbeats.
    HeartbeatInterval = 75,
    /// Milliseconds that a peer may take to answer a heartbeat.
    HeartbeatTimeout = 77,
    /// Milliseconds that connecting may take.
    ConnectTimeout = 79,
}

/// A socket. It may move between threads, and is used by one at a time.
pub struct Socket {
    pointer: *mut c_void,
    monitor: *mut c_void,
    // Ends after the sockets: fields are dropped behind `drop`.
    context: Context,
}

// SAFETY: a socket may move to another thread with a full fence between, which whatever moves it there has.
unsafe impl Send for Socket {}

impl Socket {
    pub(crate) fn new(context: Context, kind: c_int) -> Result<Self> {
        // SAFETY: the context is alive.
        let pointer = unsafe { ffi::zmq_socket(context.pointer(), kind) };
        if pointer.is_null() {
            return Err(Error::last());
        }
        Ok(Self {
            pointer,
            monitor: ptr::null_mut(),
            context,
        })
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    pub(crate) fn monitor_pointer(&self) -> *mut c_void {
        self.monitor
    }

    /// Changes a setting; it holds for what is bound and connected afterwards.
    ///
    /// # Errors
    /// When the value is out of range.
    pub fn set(&self, setting: Setting, value: i32) -> Result<()> {
        self.set_bytes(setting as c_int, &value.to_ne_bytes())
    }

    /// Has peers disconnected that send a larger message, in bytes.
    ///
    /// # Errors
    /// When the value is out of range.
    pub fn set_largest_message(&self, bytes: i64) -> Result<()> {
        self.set_bytes(ffi::MAXMSGSIZE, &bytes.to_ne_bytes())
    }

    /// Lets only peers in that speak CURVE and know the public key.
    ///
    /// # Errors
    /// When this build has no CURVE.
    pub fn serve_curve(&self, keys: &KeyPair) -> Result<()> {
        self.set_bytes(ffi::CURVE_SERVER, &1_i32.to_ne_bytes())?;
        self.set_bytes(ffi::CURVE_SECRETKEY, keys.secret.as_bytes())
    }

    /// Speaks CURVE, to a peer that has the secret half of `server`.
    ///
    /// # Errors
    /// When `server` is no key, or this build has no CURVE.
    pub fn use_curve(&self, server: &str, keys: &KeyPair) -> Result<()> {
        self.set_bytes(ffi::CURVE_SERVERKEY, server.as_bytes())?;
        self.set_bytes(ffi::CURVE_PUBLICKEY, keys.public.as_bytes())?;
        self.set_bytes(ffi::CURVE_SECRETKEY, keys.secret.as_bytes())
    }

    fn set_bytes(&self, option: c_int, value: &[u8]) -> Result<()> {
        // SAFETY: the value is readable for its length.
        again(|| unsafe { ffi::zmq_setsockopt(self.pointer, option, value.as_ptr().cast(), value.len()) }).map(drop)
    }

    /// Listens at an endpoint and says which one it became (a `*` for the port is replaced).
    ///
    /// # Errors
    /// When the address is taken, not of this machine, or malformed.
    pub fn bind(&self, endpoint: &str) -> Result<String> {
        let endpoint = c_string(endpoint);
        // SAFETY: the endpoint is a C string.
        again(|| unsafe { ffi::zmq_bind(self.pointer, endpoint.as_ptr()) })?;
        let mut bytes = [0_u8; 256];
        let mut length = bytes.len();
        // SAFETY: the buffer has `length` bytes.
        again(|| unsafe {
            ffi::zmq_getsockopt(
                self.pointer,
                ffi::LAST_ENDPOINT,
                bytes.as_mut_ptr().cast(),
                &raw mut length,
            )
        })?;
        Ok(String::from_utf8_lossy(&bytes[..length.saturating_sub(1)]).into_owned())
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// When the endpoint is malformed.
    pub fn connect(&self, endpoint: &str) -> Result<()> {
        let endpoint = c_string(endpoint);
        // SAFETY: the endpoint is a C string.
        again(|| unsafe { ffi::zmq_connect(self.pointer, endpoint.as_ptr()) }).map(drop)
    }

    /// Sends one part, or refuses when it would have to wait; `more` says that another one follows.
    ///
    /// # Errors
    /// [`Error::would_block`], [`Error::is_unreachable`].
    pub fn send(&self, mut message: Message, more: bool) -> Result<()> {
        let flags = ffi::DONTWAIT | if more { ffi::SNDMORE } else { 0 };
        // SAFETY: the message is initialised; libzmq takes its bytes on success and leaves it empty.
        again(|| unsafe { ffi::zmq_msg_send(&raw mut message.0, self.pointer, flags) }).map(drop)
    }

    /// Receives one part, or refuses when there is none.
    ///
    /// # Errors
    /// [`Error::would_block`].
    pub fn receive(&self) -> Result<Message> {
        let mut message = Message::new();
        // SAFETY: the message is initialised.
        again(|| unsafe { ffi::zmq_msg_recv(&raw mut message.0, self.pointer, ffi::DONTWAIT) })?;
        Ok(message)
    }

    /// Whether another part of the message received last follows; it is there already.
    ///
    /// # Errors
    /// When libzmq is ending.
    pub fn more(&self) -> Result<bool> {
        let mut value: c_int = 0;
        let mut length = size_of::<c_int>();
        // SAFETY: the buffer has `length` bytes.
        again(|| unsafe { ffi::zmq_getsockopt(self.pointer, ffi::RCVMORE, (&raw mut value).cast(), &raw mut length) })?;
        Ok(value != 0)
    }

    /// Has [`Socket::event`] tell what happens to connections from now on.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn watch(&mut self) -> Result<()> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("inproc://npufleet.events.{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let endpoint = c_string(&name);
        // SAFETY: the endpoint is a C string.
        again(|| unsafe { ffi::zmq_socket_monitor(self.pointer, endpoint.as_ptr(), EVENTS) })?;
        let mut reader = Self::new(self.context.clone(), ffi::PAIR)?;
        reader.connect(&name)?;
        self.monitor = std::mem::replace(&mut reader.pointer, ptr::null_mut());
        Ok(())
    }

    /// The next event, if there is one; [`Socket::watch`] comes before.
    ///
    /// # Errors
    /// When libzmq is ending.
    pub fn event(&self) -> Result<Option<Event>> {
        if self.monitor.is_null() {
            return Ok(None);
        }
        let mut parts = [Message::new(), Message::new()];
        // An event has two parts, and arrives whole.
        for part in &mut parts {
            // SAFETY: the message is initialised.
            match again(|| unsafe { ffi::zmq_msg_recv(&raw mut part.0, self.monitor, ffi::DONTWAIT) }) {
                Ok(_) => {}
                Err(error) if error.would_block() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Event::read(&parts[0])))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: each pointer is an open socket, closed once; the monitored one no longer writes when its reader goes.
        unsafe {
            if !self.monitor.is_null() {
                ffi::zmq_socket_monitor(self.pointer, ptr::null(), 0);
                ffi::zmq_close(self.monitor);
            }
            if !self.pointer.is_null() {
                ffi::zmq_close(self.pointer);
            }
        }
    }
}

/// A text of ours for C; what a NUL would cut off is no endpoint, which libzmq then says.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
