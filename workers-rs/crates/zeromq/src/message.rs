//! One part of a message: bytes that libzmq owns, or borrows from a value that it keeps alive.

use std::ffi::c_void;
use std::fmt;

use crate::ffi::{self, RawMessage};
use crate::{Error, Result};

/// One part of a message.
pub struct Message(pub(crate) RawMessage);

// SAFETY: the bytes are not written to after construction, and libzmq counts references to them atomically.
unsafe impl Send for Message {}
// SAFETY: as above.
unsafe impl Sync for Message {}

impl Message {
    /// An empty one, to receive into.
    pub fn new() -> Self {
        let mut raw = RawMessage([0; 64]);
        // SAFETY: `raw` is writable; the function always succeeds.
        unsafe { ffi::zmq_msg_init(&raw mut raw) };
        Self(raw)
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// When memory is short.
    pub fn copy(bytes: &[u8]) -> Result<Self> {
        let mut raw = RawMessage([0; 64]);
        // SAFETY: `raw` is writable; what it is initialised with has room for `bytes`.
        unsafe {
            if ffi::zmq_msg_init_size(&raw mut raw, bytes.len()) == -1 {
                return Err(Error::last());
            }
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), ffi::zmq_msg_data(&raw const raw).cast(), bytes.len());
        }
        Ok(Self(raw))
    }

    /// The bytes of `owner` themselves: it is dropped, on any thread, when libzmq has sent them.
    ///
    /// # Errors
    /// When memory is short.
    pub fn borrow<T: AsRef<[u8]> + Send + 'static>(owner: T) -> Result<Self> {
        let owner = Box::new(owner);
        let bytes = (*owner).as_ref();
        let (data, size) = (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len());
        let hint = Box::into_raw(owner).cast::<c_void>();
        let mut raw = RawMessage([0; 64]);
        // SAFETY: the bytes live as long as the owner, which only `drop_owner::<T>` ends; libzmq only reads them.
        unsafe {
            if ffi::zmq_msg_init_data(&raw mut raw, data, size, Some(drop_owner::<T>), hint) == -1 {
                let error = Error::last();
                drop_owner::<T>(data, hint);
                return Err(error);
            }
        }
        Ok(Self(raw))
    }
}

/// # Safety
/// `hint` is a `Box<T>` that was given up, and this is called once.
unsafe extern "C" fn drop_owner<T>(_data: *mut c_void, hint: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(hint.cast::<T>()) });
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the message is initialised; libzmq gives where its bytes are and how many, and leaves them alone.
        unsafe {
            let size = ffi::zmq_msg_size(&raw const self.0);
            if size == 0 {
                return &[];
            }
            std::slice::from_raw_parts(ffi::zmq_msg_data(&raw const self.0).cast(), size)
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Message of {} bytes", self.as_ref().len())
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is initialised and not used after this.
        unsafe { ffi::zmq_msg_close(&raw mut self.0) };
    }
}
