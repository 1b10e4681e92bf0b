//! A file of another process may be cut off while we read it, and then the system raises SIGBUS in the reader.
//!
//! As libwayland does for the buffers of its clients, the handler puts zeros in place of what is missing and remembers
//! it: the reader goes on, finds another generation, and reports a lost payload.
#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings of other processes' files at once.
const RANGES: usize = 512;

struct Range {
    /// 0 when the place is free, 1 while it is being filled.
    start: AtomicUsize,
    length: AtomicUsize,
    broken: AtomicBool,
}

static WATCHED: [Range; RANGES] = [const {
    Range {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    }
}; RANGES];

static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// A mapping that survives being cut off.
pub(crate) struct Watched(&'static Range);

impl Watched {
    /// Watches a mapping, until it is dropped; it must be dropped before the mapping is.
    ///
    /// # Errors
    /// When too many are watched, or the handler cannot be set.
    pub(crate) fn new(start: usize, length: usize) -> io::Result<Self> {
        install()?;
        let free = WATCHED.iter().find(|range| {
            range
                .start
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        });
        let range = free.ok_or_else(|| io::Error::other("too many arenas are mapped"))?;
        range.length.store(length, Ordering::Relaxed);
        range.broken.store(false, Ordering::Relaxed);
        range.start.store(start, Ordering::Release);
        Ok(Self(range))
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.start.store(0, Ordering::Release);
    }
}

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: a zeroed sigaction is a valid one; the pointers are to values that live through the calls.
        unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut previous) != 0 {
                return false;
            }
            // Set before the handler can need it.
            let _ = PREVIOUS.set(previous);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) == 0
        }
    });
    if *installed {
        return Ok(());
    }
    Err(io::Error::other("cannot handle SIGBUS"))
}

/// Runs in a thread that touched what is not there: only atomics and system calls are allowed.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes a valid `info`; the range is a mapping of ours, which its reader keeps alive.
    unsafe {
        let address = (*info).si_addr() as usize;
        for range in &WATCHED {
            let (start, length) = (
                range.start.load(Ordering::Acquire),
                range.length.load(Ordering::Relaxed),
            );
            if start > 1 && (start..start + length).contains(&address) {
                let replaced = libc::mmap(
                    start as *mut libc::c_void,
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                    -1,
                    0,
                );
                if replaced != libc::MAP_FAILED {
                    range.broken.store(true, Ordering::Release);
                    return;
                }
            }
        }
        // Not ours. Whoever was there before decides; by default the process ends when it touches the place again.
        match PREVIOUS.get() {
            Some(previous) if previous.sa_sigaction > libc::SIG_IGN => {
                if previous.sa_flags & libc::SA_SIGINFO == 0 {
                    let handler: extern "C" fn(libc::c_int) = std::mem::transmute(previous.sa_sigaction);
                    handler(signal);
                } else {
                    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(previous.sa_sigaction);
                    handler(signal, info, context);
                }
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}
