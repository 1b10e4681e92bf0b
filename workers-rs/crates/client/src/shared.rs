//! What the caller's threads and the connection's thread have in common.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use futures::task::AtomicWaker;
use npufleet_link::Link;
use npufleet_wire::ErrorKind;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use crate::desk::{Desk, Next, Outcomes};
use crate::outcome::{Outcome, Refusal, Request};

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

/// Is called when something came back and nothing did before.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

pub(crate) struct Shared {
    link: Link,
    desk: Mutex<Desk>,
    driver: AtomicWaker,
    completions: Mutex<Outcomes>,
    /// Calls that were answered and are not finished; none once the connection is closed.
    unfinished: Mutex<Option<HashSet<u64>>>,
    runtime: Handle,
    wake: Wake,
    sequence: AtomicU64,
    state: AtomicU8,
    closing: AtomicBool,
}

impl Shared {
    pub(crate) fn new(link: Link, desk: Desk, wake: Wake) -> Self {
        Self {
            link,
            desk: Mutex::new(desk),
            driver: AtomicWaker::new(),
            completions: Mutex::new(Vec::new()),
            unfinished: Mutex::new(Some(HashSet::new())),
            runtime: Handle::current(),
            wake,
            sequence: AtomicU64::new(1),
            state: AtomicU8::new(State::Connected as u8),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock()
    }

    /// Registers the driver.
    pub(crate) fn register(&self, waker: &Waker) {
        self.driver.register(waker);
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

    /// Takes a call and returns its number.
    pub(crate) fn submit(&self, request: Request) -> Result<u64, Refusal> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let mut outcomes = Vec::new();
        let next = self.desk().submit(sequence, request, &mut outcomes);
        self.complete(&mut outcomes);
        match next {
            Next::Closed => return Err(Refusal::new(ErrorKind::Unavailable, "the connection is closed")),
            Next::Wake => self.driver.wake(),
            Next::Nothing => {}
        }
        Ok(sequence)
    }

    /// Sends what was submitted.
    pub(crate) fn flush(&self) {
        let mut outcomes = Vec::new();
        self.desk().flush(&mut outcomes);
        self.complete(&mut outcomes);
    }

    /// Has `work` say, on a thread of its own, what became of a call that was answered; false when the connection is
    /// closed. It can ask whether that is still wanted.
    pub(crate) fn finish(
        self: &Arc<Self>,
        sequence: u64,
        work: impl FnOnce(&dyn Fn() -> bool) -> Outcome + Send + 'static,
    ) -> bool {
        let is_open = self
            .unfinished
            .lock()
            .as_mut()
            .map(|calls| calls.insert(sequence))
            .is_some();
        if !is_open {
            return false;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn_blocking(move || {
            let is_wanted = || {
                let unfinished = shared.unfinished.lock();
                unfinished.as_ref().is_some_and(|calls| calls.contains(&sequence))
            };
            let outcome = work(&is_wanted);
            let was_wanted = shared
                .unfinished
                .lock()
                .as_mut()
                .is_some_and(|calls| calls.remove(&sequence));
            if was_wanted {
                shared.complete(&mut vec![(sequence, outcome)]);
            }
        });
        true
    }

    /// Ends what is not finished: the connection is closed.
    pub(crate) fn give_up(&self) {
        let calls = self.unfinished.lock().take().unwrap_or_default();
        let mut outcomes = calls
            .into_iter()
            .map(|sequence| (sequence, Outcome::closed()))
            .collect();
        self.complete(&mut outcomes);
    }

    pub(crate) fn cancel(&self, sequence: u64) {
        if let Some(calls) = self.unfinished.lock().as_mut() {
            calls.remove(&sequence);
        }
        let mut outcomes = Vec::new();
        self.desk().cancel(sequence, &mut outcomes);
        self.complete(&mut outcomes);
    }

    /// Has the driver end the connection.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.driver.wake();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Hands results over; the caller is woken only when it had none waiting.
    pub(crate) fn complete(&self, results: &mut Outcomes) {
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

    pub(crate) fn has_completions(&self) -> bool {
        !self.completions.lock().is_empty()
    }

    pub(crate) fn take_completions(&self) -> Outcomes {
        std::mem::take(&mut *self.completions.lock())
    }
}
