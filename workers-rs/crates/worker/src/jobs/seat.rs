//! A job's seat in the queue of requests: who hears how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use npufleet_link::HeaderBlock;
use npufleet_wire::Result;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::delivery::Place;

/// How the work on a job ended.
pub(crate) struct Ended {
    pub(crate) outcome: Result<Bytes>,
    /// The headers of a reply with that outcome.
    pub(crate) headers: HeaderBlock,
}

/// What a request has that came from a job.
pub(crate) struct Seat {
    progress: Arc<AtomicU32>,
    waiting: Mutex<Option<oneshot::Sender<Ended>>>,
    /// Given back when the request goes, and with it the work.
    _place: Place,
}

impl Seat {
    pub(super) fn new(progress: Arc<AtomicU32>, place: Place) -> (Self, oneshot::Receiver<Ended>) {
        let (sender, receiver) = oneshot::channel();
        let seat = Self {
            progress,
            waiting: Mutex::new(Some(sender)),
            _place: place,
        };
        (seat, receiver)
    }

    /// Says how much of the work is done, 0 to 1.
    pub(crate) fn progressed(&self, done: f64) {
        self.progress.store((done * 1e3) as u32, Relaxed);
    }

    /// Says how the work ended. Whoever waited may have gone, as after a cancellation.
    pub(crate) fn end(&self, outcome: Result<Bytes>, headers: HeaderBlock) {
        if let Some(waiting) = self.waiting.lock().take() {
            let _ = waiting.send(Ended { outcome, headers });
        }
    }
}
