//! All chains and groups that this worker sees through: plans taken from the stream FLOWS, and what it hears of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use npufleet_link::Message;
use npufleet_wire::subject;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use super::delivery::{Delivery, Taking};
use super::flow::{self, Run};
use super::keep_alive;
use crate::core::Core;
use crate::events::log;
use crate::intake::Target;

/// Plans that one worker holds; the others wait for it, or for another worker.
const AT_ONCE: usize = 256;
/// When a plan is looked at again for which the broker was away.
const AGAIN: Duration = Duration::from_secs(1);

/// The plans of this worker, by the numbers of their deliveries.
#[derive(Default)]
pub(super) struct Flows {
    runs: Mutex<HashMap<u64, Arc<Run>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Flows {
    pub(super) fn free(&self) -> usize {
        AT_ONCE.saturating_sub(self.runs.lock().len())
    }

    /// Tells a flow that something happened to one of its jobs, or to itself.
    pub(super) fn tell(&self, flow: &str, job: &str) {
        for run in self.runs.lock().values() {
            if run.id() == Some(flow) {
                run.tell(job);
            }
        }
    }

    fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.runs.lock().values().map(|run| Arc::clone(&run.delivery)).collect()
    }
}

impl Core {
    /// Takes plans until that is stopped, and then gives back those that are held: another worker goes on with them.
    pub(super) async fn take_plans(self: Arc<Self>) {
        let Some(patience) = self.ack_wait(Taking::Plans).await else {
            return;
        };
        if let Err(error) = self.listen(&subject::advance(&self.prefix, "*"), None, Target::Advance) {
            log(format_args!("steps that are over are not heard of: {error}"));
        }
        let held = |core: &Self| core.jobs.flows.deliveries();
        let background = [
            tokio::spawn(keep_alive(Arc::clone(&self), patience / 3, held)),
            tokio::spawn(Arc::clone(&self).sweep_plans()),
        ];
        self.pull(Taking::Plans).await;
        let mut tasks = std::mem::take(&mut *self.jobs.flows.tasks.lock());
        tasks.shutdown().await;
        let runs = std::mem::take(&mut *self.jobs.flows.runs.lock());
        for run in runs.values() {
            run.delivery.give_back(&self, Duration::ZERO);
        }
        background.iter().for_each(JoinHandle::abort);
    }

    /// A step is over: whoever sees to what follows hears of it.
    pub(crate) fn step_over(&self, message: &Message) {
        let flow = message.subject().rsplit('.').next().unwrap_or_default();
        if let Ok(job) = std::str::from_utf8(message.payload_bytes()) {
            self.jobs.flows.tell(flow, job);
        }
    }
}

/// Sees a plan through that was just delivered.
pub(super) fn begin(core: &Arc<Core>, delivery: Arc<Delivery>) {
    if core.jobs.is_stopped() {
        return delivery.give_back(core, Duration::ZERO);
    }
    let number = delivery.number;
    let run = Arc::new(Run::new(Arc::clone(core), delivery));
    core.jobs.flows.runs.lock().insert(number, Arc::clone(&run));
    let core = Arc::clone(core);
    let mut tasks = core.jobs.flows.tasks.lock();
    // Those that have ended need not be kept.
    while tasks.try_join_next().is_some() {}
    let there = Arc::clone(&core);
    tasks.spawn(async move {
        while let Err(silence) = flow::see_through(&run).await {
            // Not given back: deliveries are counted, and whoever gets it has the same broker.
            log(format_args!("a flow waits for the broker: {silence}"));
            tokio::time::sleep(AGAIN).await;
        }
        there.jobs.flows.runs.lock().remove(&number);
        there.jobs.puller(Taking::Plans).wake();
    });
}
