//! Durable jobs: taken from the broker as executors are free, done like calls, settled one by one.
//!
//! What is written when, and why nothing is lost, is in docs/jobs-protocol.md. Everything here runs on the event loop,
//! which never computes; the work itself is done by the executors, in the same queue as calls and in batches with them.
//! The broker is asked over the link: a job is four small requests, and the library's own `JetStream` context costs
//! several times what they do, hides the error codes and knows no priorities.
//!
//! - `pull`: asks for as many jobs as can be started; `places`: which lane gets them;
//! - `delivery`: one delivered job, its place and its acknowledgements; `order`: what its message says;
//! - `attempt`: from there to its end; `seat`: how it waits in the queue;
//! - `look`: whether it is over already; `gathering`: what is asked together; `post`: what is sent leaves together;
//! - `outcome`: results, dead letters and events; `commits`: results that are ready together are written together;
//! - `sweep`: what is over is removed together;
//! - `stream`: the requests to the broker; `payloads`: large frames;
//! - `flows`: chains and groups that this worker sees through; `flow`: one of them; `stop`: why it does not go on;
//!   `plan`: what it says;
//! - `cancel`: jobs that are no longer wanted; `failpoint`: where fault tests let a worker die.

mod attempt;
mod cancel;
mod commits;
mod delivery;
mod failpoint;
mod flow;
mod flows;
mod gathering;
mod look;
mod order;
mod outcome;
mod payloads;
mod places;
mod plan;
mod post;
mod pull;
mod seat;
mod stop;
mod stream;
mod sweep;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use npufleet_wire::Lane;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::core::Core;
use crate::events::{Event, log};
use crate::intake::Target;
use commits::Commits;
use delivery::{Delivery, Taking};
pub(crate) use failpoint::FailPoint;
use flows::Flows;
use look::Looks;
use pull::Puller;
pub(crate) use seat::Seat;
use sweep::Sweep;

/// How long the streams are waited for before they are looked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What an executor may have waiting for it, in time and in jobs, so that it need not wait for the broker.
const AHEAD: Duration = Duration::from_millis(20);
const AHEAD_JOBS: u64 = 64;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);
/// Jobs that are done and whose results are on their way to the disk, and all others, at most.
const MOST: usize = 1024;

/// The durable side of a worker.
pub(crate) struct Jobs {
    executors: usize,
    stopped: AtomicBool,
    /// Jobs whose work is not done yet.
    places: AtomicUsize,
    /// Moving average of the time that one job computes, nanoseconds; 0 until the first.
    typical: AtomicU64,
    active: Mutex<HashMap<u64, Arc<Delivery>>>,
    pullers: [Puller; 2],
    flows: Flows,
    looks: Looks,
    commits: Commits,
    sweep: Sweep,
    /// Rung when something waits to be sent.
    posted: Notify,
    /// Rung when the last job has ended.
    idle: Notify,
    fail_point: FailPoint,
}

impl Jobs {
    pub(crate) fn new(executors: usize, fail_point: FailPoint) -> Self {
        Self {
            executors,
            stopped: AtomicBool::new(false),
            places: AtomicUsize::new(0),
            typical: AtomicU64::new(0),
            active: Mutex::default(),
            pullers: <[Puller; 2]>::default(),
            flows: Flows::default(),
            looks: Looks::default(),
            commits: Commits::default(),
            sweep: Sweep::default(),
            posted: Notify::new(),
            idle: Notify::new(),
            fail_point,
        }
    }

    /// Asks again: what was asked of the broker went with the connection.
    pub(crate) fn connection_changed(&self) {
        self.pullers.iter().for_each(Puller::connection_changed);
    }

    /// Takes a measured time into the average, by which is decided how many jobs may wait for an executor.
    pub(crate) fn took(&self, time: Duration) {
        let (old, new) = (self.typical.load(Relaxed), time.as_nanos().max(1) as u64);
        self.typical
            .store(if old == 0 { new } else { old - old / 8 + new / 8 }, Relaxed);
    }

    fn puller(&self, taking: Taking) -> &Puller {
        &self.pullers[taking as usize]
    }

    /// Jobs, or plans, that may be asked for now.
    fn free(&self, taking: Taking) -> usize {
        if taking == Taking::Plans {
            return self.flows.free();
        }
        let ahead = match self.typical.load(Relaxed) {
            0 => 1,
            typical => (AHEAD.as_nanos() as u64 / typical).clamp(1, AHEAD_JOBS),
        };
        let all = self.executors * ahead as usize;
        let places = all.saturating_sub(self.places.load(Relaxed));
        // Not one by one: there is work until more are free.
        let places = if places < all / 4 { 0 } else { places };
        places.min(MOST.saturating_sub(self.active.lock().len()))
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    fn passing(&self, place: &str) {
        self.fail_point.pass(place);
    }
}

impl Core {
    /// Takes jobs until they are stopped; waits for the streams as long as there are none.
    pub(crate) async fn take_jobs(self: Arc<Self>) {
        let sending = tokio::spawn(Arc::clone(&self).send_posts());
        let flows = tokio::spawn(Arc::clone(&self).take_plans());
        if let Some(patience) = self.ack_wait(Taking::Jobs).await {
            self.take_and_keep(patience).await;
        }
        // What it still sends, leaves with it.
        let _ = flows.await;
        self.link.flush();
        sending.abort();
    }

    async fn take_and_keep(self: &Arc<Self>, patience: Duration) {
        if let Err(error) = self.listen_for_cancellations() {
            log(format_args!("cancellations of jobs are not heard: {error}"));
        }
        self.events.emit(&Event::Jobs { state: "taking" });
        let background = [
            tokio::spawn(keep_alive(Arc::clone(self), patience / 3, |core| {
                core.jobs.active.lock().values().cloned().collect()
            })),
            tokio::spawn(tell_progress(Arc::clone(self))),
            tokio::spawn(Arc::clone(self).look()),
            tokio::spawn(Arc::clone(self).commit()),
            tokio::spawn(Arc::clone(self).sweep()),
        ];
        self.pull(Taking::Jobs).await;
        self.no_jobs().await;
        background.iter().for_each(JoinHandle::abort);
        self.sweep_lanes().await;
    }

    /// Takes no more jobs; what arrives after all is given back.
    pub(crate) async fn stop_jobs(&self) {
        self.jobs.stopped.store(true, Relaxed);
        self.jobs.pullers.iter().for_each(Puller::ring);
        self.unsubscribe(
            &self.subscriptions(|target| matches!(target, Target::Jobs | Target::JobCancel | Target::Advance)),
        )
        .await;
    }

    /// Waits until every job has been settled.
    pub(crate) async fn no_jobs(&self) {
        loop {
            let ended = self.jobs.idle.notified();
            if self.jobs.active.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// After what time of silence the broker takes us for dead; nothing when we are told to stop before it says so.
    async fn ack_wait(&self, taking: Taking) -> Option<Duration> {
        let question = format!("CONSUMER.INFO.{}.{}", taking.stream(), taking.consumer(Lane::Normal));
        while !self.jobs.is_stopped() {
            let answer = stream::ask(self, &question, None).await;
            let nanoseconds = answer.ok().and_then(|answer| answer["config"]["ack_wait"].as_u64());
            match nanoseconds {
                Some(nanoseconds) => return Some(Duration::from_nanos(nanoseconds)),
                None => self.jobs.puller(taking).pause(ASK_AGAIN).await,
            }
        }
        None
    }
}

/// Says of all that is `held`, again and again, that the work on it goes on.
async fn keep_alive(core: Arc<Core>, every: Duration, held: fn(&Core) -> Vec<Arc<Delivery>>) {
    let mut ticks = interval(every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let active = held(&core);
        if !active.is_empty() {
            core.post(|pieces| active.iter().for_each(|delivery| delivery.keep(pieces)));
        }
    }
}

/// Says how far the running jobs are.
async fn tell_progress(core: Arc<Core>) {
    let mut ticks = interval(PROGRESS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for delivery in core.jobs.active.lock().values() {
            if let (Some((id, attempt)), Some(done)) = (delivery.known.get(), delivery.news()) {
                outcome::tell(&core, id, "running", *attempt, serde_json::json!({"progress": done}));
            }
        }
    }
}

/// What is told about a failure in events.
fn detail(error: &npufleet_wire::Error) -> Value {
    let text: String = error
        .message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    serde_json::json!({"kind": error.kind.as_str(), "message": text})
}
