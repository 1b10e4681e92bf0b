//! The end of a worker, or of one model: take no more, finish what was accepted.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Timing};
use tokio::time::timeout;

use crate::connect::is_connected;
use crate::core::Core;
use crate::events::{Event, log};
use crate::models::Registry;

/// How long the broker may take to answer while the worker waits for nothing else.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long operations that were told to stop may take to notice.
pub(crate) const STOPPING: Duration = Duration::from_secs(1);

/// A worker that serves.
pub(crate) struct Serving {
    pub(crate) core: Arc<Core>,
    pub(crate) executors: Vec<JoinHandle<()>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) models: tokio::task::JoinHandle<()>,
    pub(crate) jobs: tokio::task::JoinHandle<()>,
    /// How long a drain may take.
    pub(crate) limit: Duration,
}

impl Serving {
    /// Finishes what was accepted and leaves.
    pub(crate) async fn drain(self) {
        let Self {
            core,
            executors,
            registry,
            models,
            mut jobs,
            limit,
        } = self;
        core.events.emit(&Event::Draining);
        models.abort();
        let ended = async {
            core.stop_jobs().await;
            core.unsubscribe(&core.intakes(|_| true)).await;
            core.fetching.end().await;
            core.queue.close();
            join(executors).await;
            core.no_jobs().await;
            let forwards = std::mem::take(&mut *core.forwards.lock());
            forwards.join_all().await;
            // Plans are given back, and what is over is removed.
            let _ = (&mut jobs).await;
        };
        if timeout(limit, ended).await.is_err() {
            log(format_args!(
                "requests did not finish within {} s; the rest is given up",
                limit.as_secs_f64()
            ));
            core.give_up().await;
        }
        jobs.abort();
        // Nobody must believe that the models are still served; a broker that is gone cannot be told.
        let said = is_connected(&core.control) && timeout(PATIENCE, registry.withdraw(|_| true)).await.is_ok();
        if !said {
            log(format_args!("cannot take back what was said about models"));
        }
        if !core.confirm().await {
            log(format_args!("the broker does not confirm the last replies"));
        }
        core.payloads.close().await;
        core.events.emit(&Event::Stopped { served: core.served() });
    }
}

impl Core {
    /// Stops serving an endpoint; what was accepted is finished.
    pub(crate) async fn withdraw(&self, name: &str) {
        self.unsubscribe(&self.intakes(|endpoint| endpoint.name == name)).await;
        self.endpoints.write().remove(name);
    }

    /// Takes no new requests and waits until those on their way have been admitted: the broker's answer to a question
    /// that follows the unsubscription comes after the last of them.
    pub(crate) async fn unsubscribe(&self, numbers: &[u64]) {
        self.link.unsubscribe(numbers);
        // A broker that is not there sends nothing more either.
        self.confirm().await;
        self.targets.write().retain(|number, _| !numbers.contains(number));
    }

    /// Answers what waits, and tells what is being executed to stop.
    async fn give_up(&self) {
        for request in self.queue.abandon() {
            let error = Error::new(
                ErrorKind::Unavailable,
                "the worker stopped before it came to this request",
            );
            self.answer(&request, &Err(error), Timing::default());
        }
        tokio::time::sleep(STOPPING).await;
    }

    /// Whether the broker has read everything sent so far.
    pub(crate) async fn confirm(&self) -> bool {
        timeout(PATIENCE, self.link.confirm()).await.unwrap_or(false)
    }
}

/// Waits for the executors without holding up the event loop, which has their replies to send.
async fn join(executors: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(|| {
        executors
            .into_iter()
            .map(JoinHandle::join)
            .filter(Result::is_err)
            .count()
    });
    match joined.await {
        Ok(0) => {}
        Ok(failed) => log(format_args!("{failed} executors had failed")),
        Err(error) => log(format_args!("cannot wait for the executors: {error}")),
    }
}
