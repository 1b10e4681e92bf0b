//! The life of a worker: start, serve, drain.

use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use npufleet_operations::Operation;
use npufleet_wire::{Error as Refusal, ErrorKind, Timing, subject};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::core::{Core, ENGINE};
use crate::endpoint::{Endpoint, Engine};
use crate::events::{Event, Events, log};
use crate::intake::{self, Intake};
use crate::queue::Queue;
use crate::reply::From;
use crate::telemetry::Telemetry;
use crate::{Config, Error, connect, executor, service};

/// How long the broker may take to confirm that it has read everything sent so far.
const CONFIRMATION: Duration = Duration::from_secs(5);
/// Longer than a broker nearby takes to read that we unsubscribe.
const UNSUBSCRIBING: Duration = Duration::from_millis(20);
/// How long operations that were told to stop may take to notice.
const STOPPING: Duration = Duration::from_secs(1);

/// Runs a worker until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// When it could not start.
pub fn run(config: Config) -> Result<(), Error> {
    run_until(config, async {
        match signal().await {
            Ok(()) => {}
            Err(error) => {
                log(format_args!(
                    "cannot listen for signals, runs until it is killed: {error}"
                ));
                std::future::pending().await
            }
        }
    })
}

/// Runs a worker until `stop` is ready, then drains it; blocks, on an event loop of its own.
///
/// # Errors
/// When it could not start.
pub fn run_until(config: Config, stop: impl Future<Output = ()>) -> Result<(), Error> {
    Worker {
        config,
        operations: npufleet_operations::registry().to_vec(),
    }
    .run_until(stop)
}

/// A worker that has yet to start.
pub struct Worker {
    /// What it was told.
    pub config: Config,
    /// The operations it serves; each must be in the contract.
    pub operations: Vec<&'static dyn Operation>,
}

impl Worker {
    /// Runs until `stop` is ready, then drains; blocks, on an event loop of its own.
    ///
    /// # Errors
    /// When it could not start.
    pub fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let id = nuid::next().to_string();
        // Exporters bring blocking clients, which must neither start nor end on an event loop.
        let telemetry = Arc::new(Telemetry::start(&id));
        // One thread reads, admits and writes; the work itself is done by the executors.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let result = runtime.block_on(async {
            let stop = stop.shared();
            match Serving::start(self, id, Arc::clone(&telemetry), stop.clone()).await? {
                Some(serving) => {
                    stop.await;
                    serving.drain().await;
                }
                None => log(format_args!("told to stop before the broker answered")),
            }
            Ok(())
        });
        runtime.shutdown_timeout(STOPPING);
        telemetry.stop();
        result
    }
}

/// A worker that serves.
struct Serving {
    core: Arc<Core>,
    executors: Vec<JoinHandle<()>>,
    drain_limit: Duration,
}

impl Serving {
    /// Connects, subscribes and announces the worker; none when `stop` came first.
    async fn start(
        worker: Worker,
        id: String,
        telemetry: Arc<Telemetry>,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, Error> {
        let Worker { config, operations } = worker;
        let events = Events::new(config.json);
        let (client, mut states) =
            connect::connect(&config, format!("npufleet-{ENGINE}-{id}")).await?;
        tokio::select! {
            () = connected(&mut states, events) => {}
            () = stop => return Ok(None),
        }
        tokio::spawn(async move { while connected_or_not(&mut states, events).await.is_some() {} });

        let count = config.executor_count();
        let queue = Queue::new(config.queue_limit, count);
        let core = Arc::new(Core::new(
            client,
            config.prefix.clone(),
            queue,
            telemetry,
            events,
            id,
        ));
        let executors = (0..count)
            .map(|index| executor::start(&core, index))
            .collect::<Result<_, _>>()?;
        core.subscribe(&operations)
            .await
            .map_err(|error| Error::Broker(error.to_string()))?;
        tokio::spawn(intake::sweep(Arc::clone(&core)));
        if !core.confirm().await {
            log(format_args!(
                "the broker does not confirm the subscriptions; serving all the same"
            ));
        }
        let devices = core.devices.lock().clone();
        events.emit(&Event::Ready {
            id: core.id.clone(),
            engine: ENGINE,
            pid: std::process::id(),
            devices,
        });
        Ok(Some(Self {
            core,
            executors,
            drain_limit: config.drain_limit(),
        }))
    }

    /// Finishes what was accepted and leaves.
    async fn drain(self) {
        let Self {
            core,
            executors,
            drain_limit,
        } = self;
        core.events.emit(&Event::Draining);
        let ended = async {
            core.stop_requests().await;
            core.queue.close();
            join(executors).await;
        };
        if timeout(drain_limit, ended).await.is_err() {
            log(format_args!(
                "requests did not finish within {} s; the rest is given up",
                drain_limit.as_secs_f64()
            ));
            core.give_up().await;
        }
        if !core.confirm().await {
            log(format_args!("the broker does not confirm the last replies"));
        }
        core.events.emit(&Event::Stopped {
            served: core.served(),
        });
    }
}

impl Core {
    async fn subscribe(
        self: &Arc<Self>,
        operations: &[&'static dyn Operation],
    ) -> Result<(), async_nats::client::SubscribeError> {
        service::serve(self).await?;
        let cancels = self
            .client
            .subscribe(subject::cancel(&self.prefix, ">"))
            .await?;
        tokio::spawn(intake::cancel(Arc::clone(self), cancels));
        for operation in operations {
            match Endpoint::new(
                &self.prefix,
                operation.name(),
                None,
                Engine::Operation(*operation),
            ) {
                Some(endpoint) => self.serve(&Arc::new(endpoint)).await?,
                None => log(format_args!(
                    "operation {} is not in the contract and is not served",
                    operation.name()
                )),
            }
        }
        Ok(())
    }

    /// Subscribes an endpoint and shows it to NATS tools.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(), async_nats::client::SubscribeError> {
        let intake = Intake::open(self, endpoint).await?;
        self.endpoints
            .write()
            .insert(endpoint.name.clone(), Arc::clone(endpoint));
        self.intakes.lock().insert(endpoint.name.clone(), intake);
        Ok(())
    }

    /// Takes no new requests and waits until those on their way have been admitted.
    // The executors must not publish meanwhile, see below; on this thread nobody else wants the lock.
    #[allow(clippy::await_holding_lock)]
    async fn stop_requests(&self) {
        let intakes = std::mem::take(&mut *self.intakes.lock());
        {
            // The client library forgets a drained subscription the next time it looks at the connection after it
            // wrote the unsubscription, be the broker's last messages there or not. So it must not look before they
            // are: nothing is published that would wake it, and its thread, which is this one, stands still.
            let _publishing = self.publishing.write();
            for intake in intakes.values() {
                intake.unsubscribe();
            }
            if let Err(error) = self.client.flush().await {
                log(format_args!("cannot unsubscribe: {error}"));
            }
            std::thread::sleep(UNSUBSCRIBING);
        }
        for intake in intakes.into_values() {
            intake.finished().await;
        }
    }

    /// Answers what waits, and tells what is being executed to stop.
    async fn give_up(self: &Arc<Self>) {
        for request in self.queue.abandon() {
            let error = Refusal::new(
                ErrorKind::Unavailable,
                "the worker stopped before it came to this request",
            );
            self.answer(From::EventLoop, request, Err(error), Timing::default());
        }
        tokio::time::sleep(STOPPING).await;
    }

    /// Whether the broker has read everything sent so far: a message to ourselves has come back.
    async fn confirm(&self) -> bool {
        let round_trip = async {
            let inbox = self.client.new_inbox();
            let mut subscriber = self.client.subscribe(inbox.clone()).await.ok()?;
            self.client.publish(inbox, bytes::Bytes::new()).await.ok()?;
            subscriber.next().await.map(drop)
        };
        matches!(timeout(CONFIRMATION, round_trip).await, Ok(Some(())))
    }
}

/// Waits until the broker answers for the first time.
async fn connected(states: &mut UnboundedReceiver<bool>, events: Events) {
    while let Some(connected) = connected_or_not(states, events).await {
        if connected {
            return;
        }
    }
    std::future::pending().await
}

/// Waits for the connection to change, and says so; none when it is closed for good.
async fn connected_or_not(states: &mut UnboundedReceiver<bool>, events: Events) -> Option<bool> {
    let connected = states.recv().await?;
    events.emit(&Event::Broker {
        state: if connected {
            "connected"
        } else {
            "disconnected"
        },
    });
    Some(connected)
}

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

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
