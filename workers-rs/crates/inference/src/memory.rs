//! Memory that goes back to the system: of a model that goes, and of files that a model has read.
//!
//! glibc gives back what is free in its main arena, and keeps some of what is free in the others: of a model whose weights
//! were made by several threads, now this layer stayed and now that.

use std::path::Path;
#[cfg(target_os = "linux")]
use std::{ffi::c_void, fs};

use parking_lot::RwLock;

/// Has all threads that start from now on share one arena of the C library, as far as it has such.
pub fn keep_one_arena() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// As glibc numbers it.
        const M_ARENA_MAX: i32 = -8;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: takes two numbers, and may be called from any thread at any time.
        unsafe { mallopt(M_ARENA_MAX, 1) };
    }
}

/// Gives what was freed back to the system when it is dropped: the last field of what frees much.
pub(crate) struct GiveBack;

impl Drop for GiveBack {
    fn drop(&mut self) {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            unsafe extern "C" {
                /// Of glibc: releases the free pages of every arena, down to `pad` bytes at the top.
                fn malloc_trim(pad: usize) -> i32;
            }
            // SAFETY: takes a number, touches free memory only, and may be called from any thread at any time.
            unsafe { malloc_trim(0) };
        }
    }
}

/// Held to read by whoever frees what may have files mapped.
pub(crate) static FREEING: RwLock<()> = RwLock::new(());

/// Lets go of the pages of files that OpenVINO has mapped to read, where `wanted` says so of the file. Nobody must be
/// loading a model meanwhile.
///
/// OpenVINO maps a model's weights and prepares them in memory of its own; the pages that it has read for that would stay
/// resident. Those that it does read again come back from the system's cache of files.
#[cfg(target_os = "linux")]
pub(crate) fn let_go(wanted: impl Fn(&Path) -> bool) {
    /// As Linux numbers it.
    const MADV_DONTNEED: i32 = 4;
    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: i32) -> i32;
    }
    let _nothing_is_freed = FREEING.write();
    // Without /proc pages stay until the system wants them.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for line in maps.lines() {
        let mut words = line.splitn(6, ' ');
        let (Some(range), Some(rights), Some(file)) = (words.next(), words.next(), words.nth(3)) else {
            continue;
        };
        let range = range.split_once('-').and_then(|(from, to)| {
            Some((
                usize::from_str_radix(from, 16).ok()?,
                usize::from_str_radix(to, 16).ok()?,
            ))
        });
        if let Some((from, to)) = range
            && rights.starts_with("r--")
            && wanted(Path::new(file.trim_start()))
        {
            // SAFETY: pages of a file that nobody has written to, since the mapping does not allow it: whoever reads them
            // next finds the same bytes. The mapping is still there: what is locked keeps it from being freed.
            unsafe { madvise(std::ptr::with_exposed_provenance_mut(from), to - from, MADV_DONTNEED) };
        }
    }
}

/// Other systems are left to decide.
#[cfg(not(target_os = "linux"))]
pub(crate) fn let_go(_wanted: impl Fn(&Path) -> bool) {}
