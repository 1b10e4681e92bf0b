//! Memory that goes back to the system when a model goes.

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
