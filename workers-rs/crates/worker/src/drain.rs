//! The end of a worker, or of one model: take no more, finish what was accepted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Timing};
use tokio::time::timeout;

use crate::core::Core;
use crate::events::{Event, log};
use crate::link::From;
use crate::models::Registry;

/// How long the broker may take to answer while the worker waits for nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long operations that were told to stop may take to notice.
pub(crate) const STOPPING: Duration = Duration::from_secs(1);

/// A worker that serves.
pub(crate) struct Serving {
    pub(crate) core: Arc<Core>,
    pub(crate) executors: Vec<JoinHandle<()>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) models: tokio::task::JoinHandle<()>,
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
            limit,
        } = self;
        core.events.emit(&Event::Draining);
        models.abort();
        let ended = async {
            let numbers = std::mem::take(&mut *core.subscriptions.lock())
                .into_values()
                .flatten();
            core.link
                .unsubscribe(&numbers.collect::<Vec<_>>(), PATIENCE)
                .await;
            core.queue.close();
            join(executors).await;
            let forwards = std::mem::take(&mut *core.forwards.lock());
            forwards.join_all().await;
        };
        if timeout(limit, ended).await.is_err() {
            let seconds = limit.as_secs_f64();
            log(format_args!(
                "requests did not finish within {seconds} s; the rest is given up"
            ));
            core.give_up().await;
        }
        if core.link.confirm(PATIENCE).await {
            // Nobody must believe that the models are still served.
            registry.withdraw(|_| true).await;
        } else {
            log(format_args!(
                "the broker is not there to take the last replies"
            ));
        }
        core.link.end();
        core.events.emit(&Event::Stopped {
            served: core.served.load(Ordering::Relaxed),
        });
    }
}

impl Core {
    /// Stops serving an endpoint; what was accepted is finished.
    pub(crate) async fn withdraw(&self, name: &str) {
        let numbers = self.subscriptions.lock().remove(name).unwrap_or_default();
        self.link.unsubscribe(&numbers, PATIENCE).await;
        self.endpoints.write().remove(name);
    }

    /// Answers what waits, and tells what is being executed to stop.
    async fn give_up(&self) {
        for request in self.queue.abandon() {
            let text = "the worker stopped before it came to this request";
            let error = Error::new(ErrorKind::Unavailable, text);
            self.answer(From::EventLoop, &request, &Err(error), Timing::default());
        }
        tokio::time::sleep(STOPPING).await;
    }
}

/// Waits for the executors without holding up the event loop, which has their replies to send.
async fn join(executors: Vec<JoinHandle<()>>) {
    let join = || {
        executors
            .into_iter()
            .map(JoinHandle::join)
            .filter(Result::is_err)
            .count()
    };
    match tokio::task::spawn_blocking(join).await {
        Ok(0) => {}
        Ok(failed) => log(format_args!("{failed} executors had failed")),
        Err(error) => log(format_args!("cannot wait for the executors: {error}")),
    }
}
