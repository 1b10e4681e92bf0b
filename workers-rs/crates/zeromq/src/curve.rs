//! CURVE: keys, and whether this build has it.

use std::fmt;

use crate::error::again;
use crate::{Result, ffi};

/// A CURVE key pair, each half 40 characters of Z85.
#[derive(Clone)]
pub struct KeyPair {
    /// What others need to know to reach and to trust the owner.
    pub public: String,
    /// What nobody else may know.
    pub(crate) secret: String,
}

impl KeyPair {
    /// A new pair from the system's random numbers.
    ///
    /// # Errors
    /// When this build of libzmq has no CURVE.
    pub fn new() -> Result<Self> {
        let mut halves = [[0_u8; 41]; 2];
        let [public, secret] = &mut halves;
        // SAFETY: both buffers have the 41 bytes that the manual asks for.
        again(|| unsafe { ffi::zmq_curve_keypair(public.as_mut_ptr().cast(), secret.as_mut_ptr().cast()) })?;
        let text = |half: &[u8; 41]| String::from_utf8_lossy(&half[..40]).into_owned();
        Ok(Self {
            public: text(public),
            secret: text(secret),
        })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Whether the libzmq that is linked here has CURVE; with the build of this crate it has.
pub fn has_curve() -> bool {
    // SAFETY: the argument is a C string.
    unsafe { ffi::zmq_has(c"curve".as_ptr()) == 1 }
}
