//! The life of a worker: start, serve, drain.

use std::future::Future;
use std::sync::Arc;

use futures::FutureExt as _;
use npufleet_operations::Operation;
use npufleet_wire::subject;

use crate::connect::{self, Connections};
use crate::core::{Core, ENGINE, Parts};
use crate::drain::{STOPPING, Serving};
use crate::endpoint::{Endpoint, Engine};
use crate::events::{Event, Events, log};
use crate::intake::{self, Target};
use crate::jobs::FailPoint;
use crate::models::Models;
use crate::payloads::Payloads;
use crate::queue::Queue;
use crate::telemetry::Telemetry;
use crate::{Config, Error, executor};

/// Runs a worker until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// When it could not start.
pub fn run(config: Config) -> Result<(), Error> {
    npufleet_inference::keep_one_arena();
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
    ) -> Result<Option<Serving>, Error> {
        let Worker { config, operations } = worker;
        let setting = std::env::var(FailPoint::VARIABLE).unwrap_or_default();
        let fail_point = FailPoint::parse(&setting).map_err(Error::Configuration)?;
        let payloads = Payloads::new(&config.url).map_err(|error| Error::Configuration(error.message))?;
        let events = Events::new(config.json);
        let Connections {
            link,
            connection,
            control,
            reconnected,
            inbox,
        } = connect::open(&config, &id).await?;
        let count = config.executor_count();
        let core = Arc::new(Core::new(Parts {
            id,
            payloads,
            prefix: config.prefix.clone(),
            link,
            control,
            reconnected,
            inbox,
            queue: Queue::new(config.queue_limit, count),
            telemetry,
            events,
            executors: count,
            fail_point,
        }));
        core.subscribe(&operations)
            .map_err(|error| Error::Configuration(error.message))?;
        tokio::spawn(intake::run(Arc::clone(&core), connection));
        tokio::select! {
            () = core.connected.notified() => {}
            () = stop => return Ok(None),
        }
        let executors = (0..count)
            .map(|index| executor::start(&core, index))
            .collect::<Result<_, _>>()?;
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
        let jobs = tokio::spawn(Arc::clone(&core).take_jobs());
        let registry = Models::registry(&core);
        let models = tokio::spawn(Models::new(&core, &registry, &config).run());
        Ok(Some(Serving {
            core,
            executors,
            registry,
            models,
            jobs,
            limit: config.drain_limit(),
        }))
    }
}

impl Core {
    /// Subscribes everything but models; the broker hears of it once the connection stands.
    fn subscribe(&self, operations: &[&'static dyn Operation]) -> npufleet_wire::Result<()> {
        self.serve_tools()?;
        self.listen(&self.questions.pattern(), None, Target::Answers)?;
        self.listen(&subject::cancel(&self.prefix, ">"), None, Target::Cancel)?;
        for operation in operations {
            match Endpoint::new(&self.prefix, operation.name(), None, Engine::Operation(*operation)) {
                Some(endpoint) => self.serve(&Arc::new(endpoint))?,
                None => log(format_args!(
                    "operation {} is not in the contract and is not served",
                    operation.name()
                )),
            }
        }
        Ok(())
    }
}

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
