//! Who writes what when, so that no two processes use a slot for different frames at once.
//!
//! Each word has one writer. A receiver says that it has the frame and then looks at the generation; an owner that wants
//! the slot back writes the next generation and then looks at what the receiver says. Whatever the order, at least one of
//! them sees the other.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A word that two processes see.
pub(crate) trait Word {
    fn get(&self) -> u64;
    /// Whoever sees the value sees what was written before it, too.
    fn set(&self, value: u64);
    /// Has everybody see what this process wrote before it reads on.
    fn settle();
}

impl Word for AtomicU64 {
    fn get(&self) -> u64 {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: u64) {
        self.store(value, Ordering::Release);
    }

    fn settle() {
        fence(Ordering::SeqCst);
    }
}

/// Generations of claims are below this, so that what receivers write fits into a word.
pub(crate) const GENERATIONS: u64 = 1 << 63;

/// What a receiver says of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Taken,
    Released,
}

/// Returns what the receiver said of a generation.
pub(crate) fn said(receiver: &impl Word, generation: u64) -> Said {
    match receiver.get() {
        word if word == 2 * generation => Said::Taken,
        word if word == 2 * generation + 1 => Said::Released,
        _ => Said::Nothing,
    }
}

/// The receiver's: takes the frame; false when the owner has taken it back.
pub(crate) fn take<W: Word>(generation_word: &W, receiver: &W, generation: u64) -> bool {
    // The word of a slot that was used again is somebody else's by now.
    if generation_word.get() != generation {
        return false;
    }
    receiver.set(2 * generation);
    W::settle();
    if generation_word.get() == generation {
        return true;
    }
    release(receiver, generation);
    false
}

/// The receiver's: needs the frame no more.
pub(crate) fn release(receiver: &impl Word, generation: u64) {
    receiver.set(2 * generation + 1);
}

/// The owner's: takes a frame back that nobody seems to have; false when the receiver may have it after all and will say
/// when it has not.
pub(crate) fn take_back<W: Word>(generation_word: &W, receiver: &W, generation: u64) -> bool {
    generation_word.set(generation + 1);
    W::settle();
    said(receiver, generation) != Said::Taken
}

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicU64, Ordering, fence};
    use loom::thread;

    use super::*;

    impl Word for AtomicU64 {
        fn get(&self) -> u64 {
            self.load(Ordering::SeqCst)
        }

        fn set(&self, value: u64) {
            self.store(value, Ordering::Release);
        }

        fn settle() {
            fence(Ordering::SeqCst);
        }
    }

    const CLAIMED: u64 = 7;

    struct Slot {
        generation: AtomicU64,
        receiver: AtomicU64,
        /// The frame, as a number; loom reports unsynchronised use of an `UnsafeCell`, which ours would be too.
        frame: AtomicU64,
    }

    fn slot() -> Arc<Slot> {
        Arc::new(Slot {
            generation: AtomicU64::new(CLAIMED),
            receiver: AtomicU64::new(2 * (CLAIMED - 1) + 1),
            frame: AtomicU64::new(CLAIMED),
        })
    }

    /// In every order of steps: the owner reuses the slot only when the receiver does not read it.
    #[test]
    fn a_lease_never_ends_under_a_reader() {
        loom::model(|| {
            let slot = slot();
            let owner = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    if take_back(&slot.generation, &slot.receiver, CLAIMED) {
                        slot.frame.store(CLAIMED + 2, Ordering::Relaxed);
                        slot.generation.store(CLAIMED + 2, Ordering::SeqCst);
                    }
                })
            };
            if take(&slot.generation, &slot.receiver, CLAIMED) {
                assert_eq!(slot.frame.load(Ordering::Relaxed), CLAIMED);
                release(&slot.receiver, CLAIMED);
            }
            owner.join().unwrap();
            // What a reader said that came too late is never `taken`: nobody would ever take that back.
            assert_ne!(said(&slot.receiver, CLAIMED), Said::Taken);
        });
    }

    /// In every order of steps: a slot that was released is used again, and what was read before that is whole.
    #[test]
    fn a_released_slot_is_reused_after_the_reading() {
        loom::model(|| {
            let slot = slot();
            let owner = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    if said(&slot.receiver, CLAIMED) == Said::Released {
                        slot.frame.store(CLAIMED + 1, Ordering::Relaxed);
                        slot.generation.store(CLAIMED + 1, Ordering::SeqCst);
                    }
                })
            };
            assert!(take(&slot.generation, &slot.receiver, CLAIMED));
            assert_eq!(slot.frame.load(Ordering::Relaxed), CLAIMED);
            release(&slot.receiver, CLAIMED);
            owner.join().unwrap();
        });
    }

    /// In every order of steps: a reader of a request's slot, which its owner takes back without asking, sees whole data
    /// or knows that it did not.
    #[test]
    fn a_stale_read_is_noticed() {
        loom::model(|| {
            let slot = slot();
            let owner = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    slot.generation.store(CLAIMED + 1, Ordering::SeqCst);
                    slot.frame.store(CLAIMED + 2, Ordering::SeqCst);
                    slot.generation.store(CLAIMED + 2, Ordering::SeqCst);
                })
            };
            if slot.generation.load(Ordering::SeqCst) == CLAIMED {
                let read = slot.frame.load(Ordering::SeqCst);
                let intact = slot.generation.load(Ordering::SeqCst) == CLAIMED;
                assert!(!intact || read == CLAIMED);
            }
            owner.join().unwrap();
        });
    }
}
