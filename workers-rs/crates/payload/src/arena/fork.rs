//! Noticing that this process is a forked child of the one that made an arena: asking for the process's id would cost a
//! system call for every frame.
#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process is a child of itself, once [`watch`] was called.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Counts forks from now on.
///
/// # Errors
/// Without memory.
pub(crate) fn watch() -> io::Result<()> {
    static OUTCOME: OnceLock<i32> = OnceLock::new();
    // SAFETY: all that the handler does is an atomic addition, which is allowed in a child with other threads' locks held.
    match OUTCOME.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(forked)) }) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(*error)),
    }
}

extern "C" fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
