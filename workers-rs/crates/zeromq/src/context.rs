//! A process's sockets and the thread that moves their bytes.

use std::ffi::c_void;
use std::sync::Arc;

use crate::error::again;
use crate::{Error, Kind, Result, Socket, ffi};

/// A context of libzmq: cheap to clone, ended when the last clone and the last socket are gone.
#[derive(Clone)]
pub struct Context(Arc<Raw>);

pub(crate) struct Raw(*mut c_void);

// SAFETY: contexts of libzmq may be used by any number of threads.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

impl Context {
    /// A context with one thread for its sockets, started with the first of them.
    ///
    /// # Errors
    /// When descriptors or memory are short.
    pub fn new() -> Result<Self> {
        // SAFETY: no arguments.
        let context = unsafe { ffi::zmq_ctx_new() };
        if context.is_null() {
            return Err(Error::last());
        }
        Ok(Self(Arc::new(Raw(context))))
    }

    /// A socket that is neither bound nor connected.
    ///
    /// # Errors
    /// When descriptors are short.
    pub fn socket(&self, kind: Kind) -> Result<Socket> {
        Socket::new(self.clone(), kind as i32)
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.0.0
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Every socket holds the context, so that none is open now: what is left to wait for is bounded by LINGER.
        // SAFETY: the pointer is a context, and nobody uses it after this.
        let ended = again(|| unsafe { ffi::zmq_ctx_term(self.0) });
        debug_assert!(ended.is_ok(), "a context ends once");
    }
}
