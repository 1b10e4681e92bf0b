//! The end of a worker, or of one model: take no more, finish what was accepted.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Timing};
use tokio::time::timeout;

use crate::connect::is_connected;
use crate::core::Core;
use crate::events::{Event, log};
use crate::intake::Intake;
use crate::models::Registry;
use crate::reply::From;

/// Longer than a broker nearby takes to read that we unsubscribe.
const UNSUBSCRIBING: Duration = Duration::from_millis(20);
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
            let intakes = std::mem::take(&mut *core.intakes.lock());
            core.unsubscribe(intakes.into_values().collect()).await;
            core.queue.close();
            join(executors).await;
            let forwards = std::mem::take(&mut *core.forwards.lock());
            forwards.join_all().await;
        };
        if timeout(limit, ended).await.is_err() {
            log(format_args!(
                "requests did not finish within {} s; the rest is given up",
                limit.as_secs_f64()
            ));
            core.give_up().await;
        }
        // Nobody must believe that the models are still served; a broker that is gone cannot be told.
        if core.within_patience(registry.withdraw(|_| true)).await.is_none() {
            log(format_args!("cannot take back what was said about models"));
        }
        if !core.confirm().await {
            log(format_args!("the broker does not confirm the last replies"));
        }
        core.events.emit(&Event::Stopped { served: core.served() });
    }
}

impl Core {
    /// Stops serving an endpoint; what was accepted is finished.
    pub(crate) async fn withdraw(&self, name: &str) {
        let intake = self.intakes.lock().remove(name);
        self.unsubscribe(intake.into_iter().collect()).await;
        self.endpoints.write().remove(name);
    }

    /// Takes no new requests and waits until those on their way have been admitted.
    async fn unsubscribe(&self, intakes: Vec<Intake>) {
        {
            // The client library forgets a drained subscription the next time it looks at the connection after it
            // wrote the unsubscription, be the broker's last messages there or not. So it must not look before they
            // are: nothing is published that would wake it, and its thread, which is this one, stands still.
            let _publishing = self.publishing.write().await;
            for intake in &intakes {
                intake.unsubscribe();
            }
            if !matches!(self.within_patience(self.client.flush()).await, Some(Ok(()))) {
                // A broker that is not there sends nothing more either.
                return intakes.into_iter().for_each(Intake::abort);
            }
            std::thread::sleep(UNSUBSCRIBING);
        }
        for intake in intakes {
            intake.finished().await;
        }
    }

    /// Answers what waits, and tells what is being executed to stop.
    async fn give_up(self: &Arc<Self>) {
        for request in self.queue.abandon() {
            let error = Error::new(
                ErrorKind::Unavailable,
                "the worker stopped before it came to this request",
            );
            self.answer(From::EventLoop, &request, &Err(error), Timing::default());
        }
        tokio::time::sleep(STOPPING).await;
    }

    /// Whether the broker has read everything sent so far: it has answered something sent after it.
    pub(crate) async fn confirm(&self) -> bool {
        // Every role may ask this. A broker without JetStream answers that nobody listens, which is as good.
        let answer = self.client.request("$JS.API.INFO", bytes::Bytes::new());
        match self.within_patience(answer).await {
            Some(Ok(_)) => true,
            Some(Err(error)) => error.kind() == async_nats::RequestErrorKind::NoResponders,
            None => false,
        }
    }

    /// What the broker answers; none when it is not there or takes too long.
    async fn within_patience<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        if is_connected(&self.client) {
            timeout(PATIENCE, answer).await.ok()
        } else {
            None
        }
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
