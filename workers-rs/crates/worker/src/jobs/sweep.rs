//! Takes jobs that are over off the stream, many with one write to the disk.
//!
//! An acknowledgement only moves the lane's floor, below which every job is over; what lies there is removed at once.
//! Removed with it is what a broker that was killed had still to remove.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use npufleet_wire::{Lane, subject};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::delivery::Delivery;
use super::stream::{self as broker, Silence};
use crate::core::Core;
use crate::events::log;
use crate::queue::LANES;

/// Jobs that are over before they are worth a write, while more wait in their lane.
const MANY: usize = 256;
const PAUSE: Duration = Duration::from_millis(250);
/// How long, and in front of how many jobs that are over, one that is not may hold the floor; then those are removed
/// one by one, lest the stream get full.
const HELD: Duration = Duration::from_secs(5);
const HELD_MOST: usize = 1000;
const AT_ONCE: usize = 64;
/// The broker's word for a stream that must not be purged: it was made as a work queue, and removes jobs by itself.
const PURGE_REFUSED: u64 = 10110;

/// What this worker has finished and not yet seen removed.
#[derive(Default)]
pub(super) struct Sweep {
    lanes: Mutex<[Over; LANES]>,
    bell: Notify,
    off: AtomicBool,
}

#[derive(Default)]
struct Over {
    is_due: bool,
    /// Places in the stream, of this worker's own jobs.
    sequences: Vec<u64>,
    /// Where the floor was, and since when.
    floor: u64,
    since: Option<Instant>,
}

impl Sweep {
    /// A job is over: the broker has its acknowledgement.
    pub(super) fn over(&self, delivery: &Delivery) {
        if self.off.load(Relaxed) {
            return;
        }
        let over = &mut self.lanes.lock()[delivery.lane.index()];
        over.sequences.push(delivery.sequence);
        if delivery.pending == 0 || over.sequences.len() >= MANY {
            over.is_due = true;
            self.bell.notify_one();
        }
    }

    /// Has every lane looked at: others may have died before they came to it.
    pub(super) fn ring(&self) {
        self.lanes.lock().iter_mut().for_each(|over| over.is_due = true);
        self.bell.notify_one();
    }

    fn is_due(&self, lane: Lane) -> bool {
        !self.off.load(Relaxed) && self.lanes.lock()[lane.index()].is_due
    }

    /// Whether the floor was never looked at, or elsewhere.
    fn has_moved(&self, lane: Lane, floor: u64) -> bool {
        let over = &self.lanes.lock()[lane.index()];
        over.since.is_none() || over.floor != floor
    }

    /// Forgets what was removed; returns what has to go one by one.
    fn swept(&self, lane: Lane, floor: u64, is_idle: bool) -> Vec<u64> {
        let over = &mut self.lanes.lock()[lane.index()];
        if over.since.is_none() || over.floor != floor {
            (over.floor, over.since) = (floor, Some(Instant::now()));
            over.sequences.retain(|sequence| *sequence > floor);
        }
        let is_held = over.since.is_some_and(|since| since.elapsed() > HELD);
        let left = over.sequences.len();
        // One stays, and has the floor looked at until it moves.
        let going = if is_held && left >= HELD_MOST { left - 1 } else { 0 };
        let held = over.sequences.drain(..going).collect();
        let left = left - going;
        over.is_due = left >= MANY || (is_idle && left > 0);
        held
    }
}

impl Core {
    /// Removes what is over, lane by lane, again and again.
    pub(super) async fn sweep(self: Arc<Self>) {
        let sweep = &self.jobs.sweep;
        sweep.ring();
        loop {
            sweep.bell.notified().await;
            while Lane::ALL.into_iter().any(|lane| sweep.is_due(lane)) {
                self.sweep_lanes().await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Removes what is over in the lanes that are due.
    pub(super) async fn sweep_lanes(&self) {
        for lane in Lane::ALL {
            if self.jobs.sweep.is_due(lane)
                && let Err(silence) = self.sweep_lane(lane).await
            {
                // It stays due.
                log(format_args!("jobs that are over stay for now: {silence}"));
            }
        }
    }

    async fn sweep_lane(&self, lane: Lane) -> Result<(), Silence> {
        let question = format!("CONSUMER.INFO.JOBS.job-{}", lane.as_str());
        let info = broker::ask(self, &question, None).await?;
        let floor = info["ack_floor"]["stream_seq"].as_u64().unwrap_or_default();
        if self.jobs.sweep.has_moved(lane, floor) && !self.purge(lane, floor).await? {
            self.jobs.sweep.off.store(true, Relaxed);
            return Ok(());
        }
        let held = self.jobs.sweep.swept(lane, floor, info["num_pending"] == 0);
        stream::iter(held)
            .for_each_concurrent(AT_ONCE, |sequence| async move {
                let body = json!({"seq": sequence, "no_erase": true});
                if let Err(silence) = broker::ask(self, "STREAM.MSG.DELETE.JOBS", Some(&body)).await {
                    log(format_args!(
                        "a job that is over stays until those before it are: {silence}"
                    ));
                }
            })
            .await;
        Ok(())
    }

    /// Removes a lane's jobs up to the floor; false for a stream that does so by itself.
    async fn purge(&self, lane: Lane, floor: u64) -> Result<bool, Silence> {
        let body = json!({"filter": subject::job(&self.prefix, lane, ">", None), "seq": floor + 1}).to_string();
        let answer = broker::request(self, "$JS.API.STREAM.PURGE.JOBS", b"", &Bytes::from(body)).await?;
        let said: Value = serde_json::from_slice(answer.payload_bytes()).unwrap_or_default();
        match &said["error"] {
            Value::Null if said["success"] == true => Ok(true),
            error if error["err_code"] == PURGE_REFUSED => Ok(false),
            error => Err(Silence(format!("purging jobs: {error}"))),
        }
    }
}
