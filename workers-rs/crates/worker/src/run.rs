//! The life of a worker: start, serve, drain.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use async_nats::RequestErrorKind;
use futures::FutureExt as _;
use npufleet_operations::Operation;
use npufleet_wire::subject;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use crate::connect::{self, Connections};
use crate::core::{Core, ENGINE};
use crate::drain::{PATIENCE, STOPPING, Serving};
use crate::endpoint::{Endpoint, Engine, Target};
use crate::events::{Event, Events, log};
use crate::intake::{self, Intake};
use crate::models::{self, Models};
use crate::queue::Queue;
use crate::telemetry::Telemetry;
use crate::{Config, Error, executor, service};

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
                std::future::pending::<()>().await;
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
        let Connections {
            link,
            mut states,
            control,
            reconnected,
        } = connect::open(&config, &id).await?;
        let count = config.executor_count();
        let core = Arc::new(Core {
            id,
            started: service::rfc3339(SystemTime::now()),
            prefix: config.prefix.clone(),
            link,
            control,
            reconnected,
            queue: Queue::new(config.queue_limit, count),
            telemetry,
            events,
            endpoints: RwLock::default(),
            subscriptions: Mutex::default(),
            devices: Mutex::new(models::unknown_devices()),
            forwards: Mutex::default(),
            runtime: Handle::current(),
            served: AtomicU64::new(0),
        });
        core.link
            .subscribe(subject::cancel(&core.prefix, ">"), None, Target::Cancel);
        for operation in operations {
            match Endpoint::new(
                &core.prefix,
                operation.name(),
                None,
                Engine::Operation(operation),
            ) {
                Some(endpoint) => core.serve(&Arc::new(endpoint)),
                None => log(format_args!(
                    "operation {} is not in the contract and is not served",
                    operation.name()
                )),
            }
        }
        let executors = (0..count)
            .map(|index| executor::start(&core, index))
            .collect::<Result<_, _>>()?;
        tokio::spawn(Arc::clone(&core.link).run(Intake::new(&core)));
        tokio::spawn(intake::sweep(Arc::clone(&core)));
        tokio::select! {
            () = connected(&mut states, events) => {}
            () = stop => return Ok(None),
        }
        tokio::spawn(async move { while connected_or_not(&mut states, events).await.is_some() {} });
        service::serve(&core)
            .await
            .map_err(|error| Error::Broker(error.to_string()))?;
        // `ready` means that the broker routes requests here, not that it has been asked to.
        let (requests, tools) = tokio::join!(core.link.confirm(PATIENCE), core.confirm_control());
        if !(requests && tools) {
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
        let registry = Models::registry(&core);
        let models = tokio::spawn(Models::new(&core, &registry, &config).run());
        Ok(Some(Self {
            core,
            executors,
            registry,
            models,
            limit: config.drain_limit(),
        }))
    }
}

impl Core {
    /// Whether the broker has read everything sent on the control connection.
    async fn confirm_control(&self) -> bool {
        // Every role may ask this. A broker without JetStream answers that nobody listens, which is as good.
        let answer = self.control.request("$JS.API.INFO", bytes::Bytes::new());
        match timeout(PATIENCE, answer).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
            Err(_) => false,
        }
    }
}

/// Waits until the link stands for the first time.
async fn connected(states: &mut UnboundedReceiver<bool>, events: Events) {
    while let Some(connected) = connected_or_not(states, events).await {
        if connected {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Waits for the link to change, and says so; none when it has ended.
async fn connected_or_not(states: &mut UnboundedReceiver<bool>, events: Events) -> Option<bool> {
    let connected = states.recv().await?;
    let state = if connected {
        "connected"
    } else {
        "disconnected"
    };
    events.emit(&Event::Broker { state });
    Some(connected)
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
