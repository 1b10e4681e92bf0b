//! What all parts of a worker share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_nats::Client;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::events::Events;
use crate::intake::Intake;
use crate::queue::Queue;
use crate::request::Request;
use crate::telemetry::Telemetry;

/// The name of this engine in subjects, headers and metadata.
pub(crate) const ENGINE: &str = "rust";

/// What all parts of a worker share.
pub(crate) struct Core {
    /// Unique among all workers; a NUID.
    pub(crate) id: String,
    /// When the worker started, RFC 3339 in UTC.
    pub(crate) started: String,
    pub(crate) prefix: String,
    pub(crate) client: Client,
    pub(crate) queue: Queue<Request>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) events: Events,
    /// What is served now, by name.
    pub(crate) endpoints: RwLock<BTreeMap<String, Arc<Endpoint>>>,
    /// The subscriptions that feed the queue, by the same names.
    pub(crate) intakes: Mutex<BTreeMap<String, Intake>>,
    /// The devices of this machine, as the service's metadata shows them.
    pub(crate) devices: Mutex<Value>,
    /// Held by executors while they publish; whoever holds it for writing has the connection to itself.
    pub(crate) publishing: tokio::sync::RwLock<()>,
    /// Rung when the broker connection was lost and found.
    pub(crate) reconnected: Notify,
    /// Requests that are being handed over.
    pub(crate) forwards: Mutex<JoinSet<()>>,
    /// The event loop, for the executors.
    pub(crate) runtime: Handle,
    served: AtomicU64,
}

impl Core {
    pub(crate) fn new(
        client: Client,
        prefix: String,
        queue: Queue<Request>,
        telemetry: Arc<Telemetry>,
        events: Events,
        id: String,
    ) -> Self {
        Self {
            id,
            started: crate::service::rfc3339(std::time::SystemTime::now()),
            prefix,
            client,
            queue,
            telemetry,
            events,
            endpoints: RwLock::default(),
            intakes: Mutex::default(),
            devices: Mutex::new(crate::models::unknown_devices()),
            publishing: tokio::sync::RwLock::new(()),
            reconnected: Notify::new(),
            forwards: Mutex::default(),
            runtime: Handle::current(),
            served: AtomicU64::new(0),
        }
    }

    /// Counts a request that was answered or handed over.
    pub(crate) fn count_served(&self) {
        self.served.fetch_add(1, Relaxed);
    }

    /// Requests answered or handed over so far.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
}
