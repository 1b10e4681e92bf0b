//! Takes jobs that are over off the stream, many with one write to the disk.
//!
//! An acknowledgement only moves the lane's floor, below which every job is over; what lies there is removed at once.
//! Removed with it is what a broker that was killed had still to remove.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use npufleet_wire::Lane;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::delivery::{Delivery, Taking};
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
    plans_bell: Notify,
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
    pub(super) fn ring(&self, taking: Taking) {
        if taking == Taking::Plans {
            return self.plans_bell.notify_one();
        }
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
        sweep.ring(Taking::Jobs);
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
                // They stay due; whoever ends is not held up for the rest of them.
                return log(format_args!("jobs that are over stay for now: {silence}"));
            }
        }
    }

    async fn sweep_lane(&self, lane: Lane) -> Result<(), Silence> {
        let (info, floor) = self.floor(Taking::Jobs, lane).await?;
        if self.jobs.sweep.has_moved(lane, floor) && !self.purge(Taking::Jobs, lane, floor).await? {
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

    /// Removes the plans that are acknowledged and that a killed broker kept, at first and whenever there is time.
    pub(super) async fn sweep_plans(self: Arc<Self>) {
        loop {
            for lane in Lane::ALL {
                let purged = async {
                    let (_, floor) = self.floor(Taking::Plans, lane).await?;
                    self.purge(Taking::Plans, lane, floor).await
                };
                match purged.await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(silence) => log(format_args!("plans that are over stay for now: {silence}")),
                }
            }
            self.jobs.sweep.plans_bell.notified().await;
        }
    }

    /// What the broker says of a lane's consumer, and up to where everything is acknowledged.
    async fn floor(&self, taking: Taking, lane: Lane) -> Result<(Value, u64), Silence> {
        let question = format!("CONSUMER.INFO.{}.{}", taking.stream(), taking.consumer(lane));
        let info = broker::ask(self, &question, None).await?;
        let floor = info["ack_floor"]["stream_seq"].as_u64().unwrap_or_default();
        Ok((info, floor))
    }

    /// Removes what is in a lane up to the floor; false for a stream that cannot be purged.
    ///
    /// The filters must not contain the consumer's own, nor be contained in it: after a purge that concerns a consumer, the
    /// broker forgets what it was about to deliver again, until that is overdue once more.
    async fn purge(&self, taking: Taking, lane: Lane, floor: u64) -> Result<bool, Silence> {
        let question = format!("$JS.API.STREAM.PURGE.{}", taking.stream());
        for rest in ["*", "*.>"] {
            let filter = format!("{}.*.{}.{}.{rest}", self.prefix, taking.route(), lane.as_str());
            let body = Bytes::from(json!({"filter": filter, "seq": floor + 1}).to_string());
            let answer = broker::request(self, &question, b"", &body).await?;
            let said: Value = serde_json::from_slice(answer.payload_bytes()).unwrap_or_default();
            match &said["error"] {
                Value::Null if said["success"] == true => {}
                error if error["err_code"] == PURGE_REFUSED => return Ok(false),
                error => return Err(Silence(format!("{question}: {error}"))),
            }
        }
        Ok(true)
    }
}
