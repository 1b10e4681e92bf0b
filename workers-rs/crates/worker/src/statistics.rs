//! What an endpoint has done so far, for the service protocol.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Counters of one endpoint; they survive a new version of its model.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    requests: AtomicU64,
    errors: AtomicU64,
    rows: AtomicU64,
    batches: AtomicU64,
    processing: AtomicU64,
    overloaded: AtomicU64,
    cancelled: AtomicU64,
    deadline_exceeded: AtomicU64,
    rare: Mutex<Rare>,
}

/// What happens seldom enough for a lock.
#[derive(Debug, Default)]
struct Rare {
    last_error: String,
    handed_over: BTreeMap<String, u64>,
    fallback: BTreeMap<String, u64>,
    device_failures: BTreeMap<&'static str, u64>,
}

impl Statistics {
    /// A request got its result.
    pub(crate) fn succeeded(&self, rows: usize) {
        self.requests.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
    }

    /// A request got an error.
    pub(crate) fn failed(&self, error: &Error) {
        self.requests.fetch_add(1, Relaxed);
        self.errors.fetch_add(1, Relaxed);
        match error.kind {
            ErrorKind::Overloaded => &self.overloaded,
            ErrorKind::Cancelled => &self.cancelled,
            ErrorKind::DeadlineExceeded => &self.deadline_exceeded,
            _ => {
                self.rare.lock().last_error = format!("{}: {}", error.kind, error.message);
                return;
            }
        }
        .fetch_add(1, Relaxed);
    }

    /// A request was handed to the other engine.
    pub(crate) fn handed_over(&self, error: &Error) {
        self.requests.fetch_add(1, Relaxed);
        let mut rare = self.rare.lock();
        *rare.handed_over.entry(error.kind.to_string()).or_default() += 1;
    }

    /// A request came from another engine, for this reason (`word` or `word: text`).
    pub(crate) fn came_as_fallback(&self, reason: &str) {
        let word = reason.split_once(':').map_or(reason, |(word, _)| word);
        // The word is the sender's: an unknown one must not make this map grow.
        let word = npufleet_wire::Reason::parse(word).map_or("other", npufleet_wire::Reason::as_str);
        *self.rare.lock().fallback.entry(word.to_owned()).or_default() += 1;
    }

    /// The device of the endpoint's model failed while it served.
    pub(crate) fn device_failed(&self, device: &'static str) {
        *self.rare.lock().device_failures.entry(device).or_default() += 1;
    }

    /// A batch was executed.
    pub(crate) fn executed(&self, time: Duration) {
        self.batches.fetch_add(1, Relaxed);
        self.processing.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// The statistics of an endpoint as ADR-32 wants them.
    pub(crate) fn to_json(&self, queued: usize) -> Value {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let (requests, processing) = (count(&self.requests), count(&self.processing));
        let rare = self.rare.lock();
        json!({
            "num_requests": requests,
            "num_errors": count(&self.errors),
            "last_error": rare.last_error,
            "processing_time": processing,
            "average_processing_time": processing.checked_div(requests).unwrap_or(0),
            "data": {
                "rows": count(&self.rows),
                "queued": queued,
                "batches": count(&self.batches),
                "overloaded": count(&self.overloaded),
                "cancelled": count(&self.cancelled),
                "deadline_exceeded": count(&self.deadline_exceeded),
                "handed_over": rare.handed_over,
                "fallback": rare.fallback,
                "device_failures": rare.device_failures,
            },
        })
    }
}
