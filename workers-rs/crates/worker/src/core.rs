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

use crate::endpoint::{Endpoint, Target};
use crate::events::Events;
use crate::link::Link;
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
    /// Requests come in here and answers go out.
    pub(crate) link: Arc<Link<Target>>,
    /// Everything else: the service protocol, the model registry.
    pub(crate) control: Client,
    /// Rung when the control connection was lost and found.
    pub(crate) reconnected: Arc<Notify>,
    pub(crate) queue: Queue<Request>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) events: Events,
    /// What is served now, by name.
    pub(crate) endpoints: RwLock<BTreeMap<String, Arc<Endpoint>>>,
    /// The link's subscriptions, by the same names.
    pub(crate) subscriptions: Mutex<BTreeMap<String, Vec<u64>>>,
    /// The devices of this machine, as the service's metadata shows them.
    pub(crate) devices: Mutex<Value>,
    /// Requests that are being handed over.
    pub(crate) forwards: Mutex<JoinSet<()>>,
    /// The event loop, for the executors.
    pub(crate) runtime: Handle,
    pub(crate) served: AtomicU64,
}

impl Core {
    /// Counts a request that was answered or handed over.
    pub(crate) fn count_served(&self) {
        self.served.fetch_add(1, Relaxed);
    }
}
