//! What the caller's threads and the connection's thread have in common.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::outcome::{Outcome, Request};

/// The driver starts on a burst, while the caller goes on with it, after this share of the calls in flight: enough for
/// every process on the way to have something to do, and few enough messages less than full to cost system calls.
const BURST_SHARE: usize = 4;
/// The smallest part of a burst that is worth a system call.
const SMALLEST_BURST: usize = 4;

/// How the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connected,
    Reconnecting,
    Closed,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Closed => "closed",
        }
    }
}

/// Something that a caller wants done.
pub(crate) enum Submission {
    Call { sequence: u64, request: Request },
    Cancel { sequence: u64 },
    Close,
}

/// Work that waits for the driver; `closed` under the same lock, so that nothing can be left where nobody looks.
struct Submissions {
    waiting: Vec<Submission>,
    closed: bool,
}

pub(crate) struct Shared {
    submissions: Mutex<Submissions>,
    driver: AtomicWaker,
    completions: Mutex<Vec<(u64, Outcome)>>,
    wake: Box<dyn Fn() + Send + Sync>,
    in_flight: AtomicUsize,
    sequence: AtomicU64,
    state: AtomicU8,
}

impl Shared {
    pub(crate) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            submissions: Mutex::new(Submissions {
                waiting: Vec::new(),
                closed: false,
            }),
            driver: AtomicWaker::new(),
            completions: Mutex::new(Vec::new()),
            wake,
            in_flight: AtomicUsize::new(0),
            sequence: AtomicU64::new(1),
            state: AtomicU8::new(State::Connected as u8),
        }
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Connected,
            1 => State::Reconnecting,
            _ => State::Closed,
        }
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Leaves work for the driver, or returns false when there is none any more.
    ///
    /// A wake-up is a system call, and many small messages cost the broker far more than one large write. So a call
    /// wakes the driver at once only when it is alone or completes a burst; the rest is `flush`'s.
    pub(crate) fn submit(&self, submission: Submission) -> bool {
        let mut submissions = self.submissions.lock();
        if submissions.closed {
            return false;
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let alone = submissions.waiting.is_empty() && in_flight == 0;
        submissions.waiting.push(submission);
        let burst = (in_flight / BURST_SHARE).max(SMALLEST_BURST);
        let burst = submissions.waiting.len().is_multiple_of(burst);
        drop(submissions);
        if alone || burst {
            self.driver.wake();
        }
        true
    }

    /// Wakes the driver if work waits for it.
    pub(crate) fn flush(&self) {
        if !self.submissions.lock().waiting.is_empty() {
            self.driver.wake();
        }
    }

    /// Says how many calls the driver knows of.
    pub(crate) fn set_in_flight(&self, calls: usize) {
        self.in_flight.store(calls, Ordering::Relaxed);
    }

    /// Swaps the waiting work into `into`, which must be empty, and registers the driver for what comes next.
    pub(crate) fn take_submissions(&self, cx: &std::task::Context<'_>, into: &mut Vec<Submission>) {
        // Registered before looking: what is pushed in between wakes again instead of being missed.
        self.driver.register(cx.waker());
        std::mem::swap(&mut self.submissions.lock().waiting, into);
    }

    /// Refuses work from now on and returns what still waits.
    pub(crate) fn close(&self) -> Vec<Submission> {
        self.set_state(State::Closed);
        let mut submissions = self.submissions.lock();
        submissions.closed = true;
        std::mem::take(&mut submissions.waiting)
    }

    /// Hands results over; the caller is woken only when it had none waiting.
    pub(crate) fn complete(&self, results: &mut Vec<(u64, Outcome)>) {
        if results.is_empty() {
            return;
        }
        let mut completions = self.completions.lock();
        let first = completions.is_empty();
        completions.append(results);
        drop(completions);
        if first {
            (self.wake)();
        }
    }

    pub(crate) fn take_completions(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut *self.completions.lock())
    }
}
