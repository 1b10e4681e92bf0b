//! Slots that were lent to callers with a reply, until they are released or nobody can release them any more.

use std::collections::HashMap;
use std::time::Instant;

use crossbeam_queue::SegQueue;

use super::layout::{CLASSES, Entry};
use super::map::Map;
use super::peers::Caller;
use super::words::{Said, said, take_back};

/// How many of those that were lent first are looked at for a free slot.
const LOOKED_AT: usize = 4;

/// A slot that a caller may have.
pub(crate) struct Lent {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    /// When a claim that was not taken is void.
    pub(crate) until: Instant,
    /// Who has it; none when that cannot be seen from here.
    pub(crate) caller: Option<Caller>,
    /// The lease has ended while the caller may have had it.
    pub(crate) ended: bool,
}

/// What was lent, by class, the oldest first.
pub(crate) struct Lending {
    classes: [SegQueue<Lent>; CLASSES],
}

impl Lending {
    pub(crate) fn new() -> Self {
        Self {
            classes: [const { SegQueue::new() }; CLASSES],
        }
    }

    pub(crate) fn lend(&self, class: usize, lent: Lent) {
        self.classes[class].push(lent);
    }

    /// Returns a slot of a class that was released, with its generation, if one of the oldest was.
    pub(crate) fn released(&self, class: usize, map: &Map) -> Option<(u32, u64)> {
        for _ in 0..LOOKED_AT {
            let lent = self.classes[class].pop()?;
            let receiver = map.word(Entry::of(lent.slot).receiver());
            if said(receiver, lent.generation) == Said::Released {
                return Some((lent.slot, lent.generation));
            }
            self.classes[class].push(lent);
        }
        None
    }

    /// Hands every slot to `free` that was released, whose lease has ended without its being taken, or whose caller died.
    pub(crate) fn sweep(&self, map: &Map, now: Instant, mut free: impl FnMut(u32, u64)) {
        let mut dead = HashMap::new();
        for class in &self.classes {
            for _ in 0..class.len() {
                let Some(mut lent) = class.pop() else { break };
                let entry = Entry::of(lent.slot);
                let (generation, receiver) = (map.word(entry.generation()), map.word(entry.receiver()));
                let mut is_dead = |caller: &Caller| *dead.entry(caller.key()).or_insert_with(|| caller.is_dead());
                let over = match said(receiver, lent.generation) {
                    Said::Released => true,
                    _ if lent.caller.as_ref().is_some_and(&mut is_dead) => true,
                    Said::Nothing if now >= lent.until && !lent.ended => {
                        lent.ended = true;
                        take_back(generation, receiver, lent.generation)
                    }
                    _ => false,
                };
                if over {
                    free(lent.slot, lent.generation);
                } else {
                    class.push(lent);
                }
            }
        }
    }
}
