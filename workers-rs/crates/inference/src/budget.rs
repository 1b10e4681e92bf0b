//! The processor's threads, shared by all models of a worker.

use std::fmt;
use std::sync::Arc;
use std::thread::available_parallelism;

use parking_lot::{Condvar, Mutex};

/// Threads that inferences on the CPU may take together, whichever model they are of; clones are the same budget.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    total: usize,
    free: Mutex<usize>,
    /// Held by whoever waits next: one that wants many threads is not passed by those that want few.
    turn: Mutex<()>,
    returned: Condvar,
}

/// Some of a budget, which goes back when this is dropped.
pub(crate) struct Share<'a> {
    budget: &'a Inner,
    threads: usize,
}

impl Budget {
    /// So many threads; 0 means one per core.
    pub fn new(threads: usize) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let total = if threads == 0 { cores } else { threads };
        Self(Arc::new(Inner {
            total,
            free: Mutex::new(total),
            turn: Mutex::default(),
            returned: Condvar::new(),
        }))
    }

    /// All of it.
    pub fn total(&self) -> usize {
        self.0.total
    }

    /// Waits until so many threads are free (or all, when more are asked for) and takes them.
    pub(crate) fn take(&self, threads: usize) -> Share<'_> {
        let threads = threads.min(self.0.total);
        let turn = self.0.turn.lock();
        let mut free = self.0.free.lock();
        while *free < threads {
            self.0.returned.wait(&mut free);
        }
        *free -= threads;
        drop(turn);
        Share {
            budget: &self.0,
            threads,
        }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.free.lock() += self.threads;
        self.budget.returned.notify_one();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} threads)", self.0.total)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    #[test]
    fn no_more_threads_are_taken_than_there_are() {
        let budget = Budget::new(3);
        let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for worker in 0..6 {
                let (budget, busy, most) = (&budget, &busy, &most);
                scope.spawn(move || {
                    for turn in 0..200 {
                        // One of them wants more than there is, and gets all of it.
                        let threads = if worker == 0 { 9 } else { 1 + (worker + turn) % 3 };
                        let share = budget.take(threads);
                        most.fetch_max(busy.fetch_add(share.threads, SeqCst) + share.threads, SeqCst);
                        std::thread::yield_now();
                        busy.fetch_sub(share.threads, SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(SeqCst), 3);
        assert_eq!(*budget.0.free.lock(), 3);
    }
}
