//! What all parts of a worker share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use async_nats::Client;
use npufleet_link::Link;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::events::Events;
use crate::fetching::Fetching;
use crate::handover::Questions;
use crate::intake::Target;
use crate::jobs::{FailPoint, Jobs};
use crate::models::Coming;
use crate::payloads::Payloads;
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
    pub(crate) link: Link,
    /// For `JetStream`.
    pub(crate) control: Client,
    /// Rung when the control connection was lost and found.
    pub(crate) reconnected: Arc<Notify>,
    /// Rung when the link stands.
    pub(crate) connected: Notify,
    pub(crate) queue: Queue<Request>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) events: Events,
    /// What is served now, by name.
    pub(crate) endpoints: RwLock<BTreeMap<String, Arc<Endpoint>>>,
    /// What the link's subscriptions are for, by their numbers.
    pub(crate) targets: RwLock<HashMap<u64, Target>>,
    /// The devices of this machine, as the service's metadata shows them.
    pub(crate) devices: Mutex<Value>,
    /// Requests that are being handed over.
    pub(crate) forwards: Mutex<JoinSet<()>>,
    /// Requests whose frames are being fetched.
    pub(crate) fetching: Fetching,
    pub(crate) questions: Questions,
    pub(crate) jobs: Jobs,
    /// Models that are registered and not served yet.
    pub(crate) coming: Coming,
    pub(crate) payloads: Payloads,
    /// The event loop, for the executors.
    pub(crate) runtime: Handle,
    served: AtomicU64,
}

/// What a worker begins with.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) payloads: Payloads,
    pub(crate) prefix: String,
    pub(crate) link: Link,
    pub(crate) control: Client,
    pub(crate) reconnected: Arc<Notify>,
    pub(crate) inbox: String,
    pub(crate) queue: Queue<Request>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) events: Events,
    pub(crate) executors: usize,
    pub(crate) fail_point: FailPoint,
}

impl Core {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            questions: Questions::new(format!("{}.{}.", parts.inbox, parts.id)),
            jobs: Jobs::new(parts.executors, parts.fail_point),
            coming: Coming::default(),
            payloads: parts.payloads,
            id: parts.id,
            started: crate::service::rfc3339(SystemTime::now()),
            prefix: parts.prefix,
            link: parts.link,
            control: parts.control,
            reconnected: parts.reconnected,
            connected: Notify::new(),
            queue: parts.queue,
            telemetry: parts.telemetry,
            events: parts.events,
            endpoints: RwLock::default(),
            targets: RwLock::default(),
            devices: Mutex::new(crate::models::unknown_devices()),
            forwards: Mutex::default(),
            fetching: Fetching::new(),
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
