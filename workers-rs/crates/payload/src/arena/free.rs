//! Free places, by class.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::layout::CLASSES;

/// The free places of each class, the one that became free last on top: its memory is the likeliest to be in a cache still,
/// and what is not needed sinks to the bottom, where it is seen to be idle.
///
/// Stacks without locks (Treiber, 1986) over the numbers of places.
pub(crate) struct Free {
    /// By class: the place on top in the lower half, and how often the stack has changed in the upper one, so that a place
    /// that was taken and came back meanwhile is not mistaken for one that stayed.
    tops: [AtomicU64; CLASSES],
    /// By place: the one below it.
    below: Box<[AtomicU32]>,
}

/// Below the lowest place.
const NONE: u32 = u32::MAX;

impl Free {
    /// None of so many places.
    pub(crate) fn new(places: u32) -> Self {
        Self {
            tops: [const { AtomicU64::new(NONE as u64) }; CLASSES],
            below: (0..places).map(|_| AtomicU32::new(NONE)).collect(),
        }
    }

    /// Puts a place that is on no stack on top.
    pub(crate) fn push(&self, class: usize, place: u32) {
        self.change(class, |top| {
            self.below[place as usize].store(top, Ordering::Relaxed);
            Some(place)
        });
    }

    /// Takes the place on top.
    pub(crate) fn pop(&self, class: usize) -> Option<u32> {
        // A place that somebody else takes meanwhile may say anything; what it said then counts for nothing.
        self.change(class, |top| {
            let below = self.below.get(top as usize)?;
            Some(below.load(Ordering::Relaxed))
        })
    }

    /// Takes all, the one on top first.
    pub(crate) fn pop_all(&self, class: usize) -> Vec<u32> {
        let top = self.change(class, |top| (top != NONE).then_some(NONE));
        self.down(top).collect()
    }

    /// Whether there is one of this kind, as far as can be seen while others take and put.
    pub(crate) fn any(&self, class: usize, is: impl Fn(u32) -> bool) -> bool {
        let top = self.tops[class].load(Ordering::Acquire) as u32;
        self.down(Some(top)).any(is)
    }

    /// Exchanges the top for what `next` says; returns what it was, or none where there is to be no change.
    fn change(&self, class: usize, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let changed = |top: u64| {
            let changes = (top >> 32).wrapping_add(1) << 32;
            next(top as u32).map(|next| changes | u64::from(next))
        };
        let before = self.tops[class].fetch_update(Ordering::AcqRel, Ordering::Acquire, changed);
        before.ok().map(|top| top as u32)
    }

    /// A place and those below it; while others change the stack, this may lead anywhere, and in a circle.
    fn down(&self, top: Option<u32>) -> impl Iterator<Item = u32> {
        let below = |place: &u32| Some(self.below.get(*place as usize)?.load(Ordering::Relaxed));
        let down = std::iter::successors(top, below);
        down.take_while(|place| *place != NONE).take(self.below.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    #[test]
    fn the_last_one_is_the_first() {
        let free = Free::new(8);
        assert_eq!(free.pop(0), None);
        for place in [3, 1, 4] {
            free.push(0, place);
        }
        free.push(1, 5);
        assert!(free.any(0, |place| place == 3) && !free.any(0, |place| place == 5));
        assert_eq!(free.pop(0), Some(4));
        assert_eq!(free.pop_all(0), [1, 3]);
        assert_eq!((free.pop(0), free.pop_all(0), free.pop(1)), (None, vec![], Some(5)));
    }

    #[test]
    fn no_place_is_taken_twice_or_lost() {
        const PLACES: u32 = 5;
        let free = Free::new(PLACES);
        (0..PLACES).for_each(|place| free.push(0, place));
        let taken: Vec<_> = (0..PLACES).map(|_| AtomicBool::new(false)).collect();
        let hold = |place: u32| assert!(!taken[place as usize].swap(true, Ordering::Relaxed), "{place} twice");
        let put = |place: u32| {
            taken[place as usize].store(false, Ordering::Relaxed);
            free.push(0, place);
        };
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        let pair = [free.pop(0), free.pop(0)];
                        pair.into_iter().flatten().for_each(hold);
                        pair.into_iter().flatten().for_each(put);
                    }
                });
            }
            scope.spawn(|| {
                let mut finds = 0;
                // The others may have all of them for a while.
                while finds < 10_000 {
                    free.any(0, |place| place >= PLACES);
                    let found = free.pop_all(0);
                    finds += usize::from(!found.is_empty());
                    found.iter().copied().for_each(hold);
                    found.into_iter().for_each(put);
                }
            });
        });
        let mut left = free.pop_all(0);
        left.sort_unstable();
        assert_eq!(left, (0..PLACES).collect::<Vec<_>>());
    }
}
