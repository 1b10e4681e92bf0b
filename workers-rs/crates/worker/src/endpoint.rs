//! What a subject leads to: an operation or a model, and what is known about requests for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_inference::Joint;
use npufleet_link::Subject;
use npufleet_operations::Operation;
use npufleet_wire::contract::{self, OperationRow};
use npufleet_wire::frame::{self, HeaderCache};
use npufleet_wire::{Error, ErrorKind, Frame, Lane, Layout, Result, Route};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::queue::Limits;
use crate::statistics::Statistics;

/// Time that one batch of cheap requests may take: it bounds what an urgent request waits for.
const BATCH_TIME: Duration = Duration::from_micros(100);
/// Cheap requests in one batch, or in one bundle, at most.
const BATCH_REQUESTS: u64 = 64;
/// Where work can be done; signal operations are done on the first.
pub(crate) const DEVICES: [&str; 3] = [CPU, "GPU", "NPU"];
/// The processor, which every machine has.
pub(crate) const CPU: &str = "CPU";
/// Batch signatures remembered per endpoint.
const SIGNATURES: usize = 4096;

/// Numbers groups across all endpoints and versions, so that none is ever mistaken for another.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// Something that executes many requests at once.
pub(crate) trait Network: Send + Sync {
    /// The device that did the latest work: `NPU`, `GPU` or `CPU`.
    fn device(&self) -> &str;
    /// Rows that are worth executing together.
    fn joint(&self) -> Joint;
    /// Checks a request's tensors and counts its rows.
    ///
    /// # Errors
    /// `invalid_shape` naming the tensor.
    fn check(&self, layout: &Layout) -> Result<usize>;
    /// One result per member.
    fn infer(&self, members: &[Frame]) -> Vec<Result<Bytes>>;
}

/// What does the work of an endpoint.
pub(crate) enum Engine {
    /// One request at a time, on the CPU.
    Operation(&'static dyn Operation),
    /// Many requests in one execution.
    Model {
        network: Arc<dyn Network>,
        version: u32,
        delay: Duration,
    },
}

impl Engine {
    /// The version of a model; 0 for an operation.
    fn version(&self) -> u32 {
        match self {
            Self::Operation(_) => 0,
            Self::Model { version, .. } => *version,
        }
    }

    /// Whether this machine's processor does the work.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Operation(_) => true,
            Self::Model { network, .. } => network.device() == CPU,
        }
    }
}

/// What does the work by version, which is 0 for an operation; the highest does what names none.
type Engines = BTreeMap<u32, Arc<Engine>>;

/// What a subject leads to.
pub(crate) struct Endpoint {
    /// `echo`, or `infer-<model>`.
    pub(crate) name: String,
    /// What is computed.
    pub(crate) operation: String,
    /// Which model does it.
    pub(crate) model: Option<String>,
    /// The subjects of all lanes.
    pub(crate) pattern: String,
    /// Where a request goes that this engine cannot do, by lane.
    pub(crate) fallback: [Subject; 5],
    pub(crate) statistics: Statistics,
    row: &'static OperationRow,
    known: Mutex<Known>,
    other_engine_seen: Mutex<Option<Instant>>,
}

struct Known {
    engines: Engines,
    requests: HeaderCache<Prepared>,
    groups: HashMap<String, u64>,
}

/// Everything that a request's header decides, checked once per distinct header.
pub(crate) struct Prepared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) layout: Arc<Layout>,
    /// Checked, with defaults filled in.
    pub(crate) params: Map<String, Value>,
    pub(crate) rows: usize,
    pub(crate) group: u64,
    /// Moving average of the time that one such request takes, nanoseconds; 0 until the first.
    speed: AtomicU64,
    /// Where the latest model of a pipeline ran, as an index of [`DEVICES`].
    ran_on: AtomicUsize,
}

impl Endpoint {
    /// An endpoint for an operation of the contract; none when the contract does not know it.
    pub(crate) fn new(prefix: &str, operation: &str, model: Option<&str>, engine: Engine) -> Option<Self> {
        let fallback = Lane::ALL.map(|lane| {
            let subject = npufleet_wire::Subject {
                route: Route::Fallback,
                lane,
                operation: operation.to_owned(),
                model: model.map(str::to_owned),
            };
            Subject::from(subject.format(prefix))
        });
        Some(Self {
            name: model.map_or_else(|| operation.to_owned(), |model| format!("{operation}-{model}")),
            operation: operation.to_owned(),
            model: model.map(str::to_owned),
            pattern: Route::Call.pattern(prefix, operation, model),
            fallback,
            statistics: Statistics::default(),
            row: contract::operation(operation)?,
            known: Mutex::new(Known::new(BTreeMap::from([(engine.version(), Arc::new(engine))]))),
            other_engine_seen: Mutex::default(),
        })
    }

    /// Serves a version with this engine from now on; requests already prepared finish with the old one, which is
    /// returned because it may take long to go.
    #[must_use]
    pub(crate) fn put(&self, engine: Engine) -> Option<Arc<Engine>> {
        self.change(|engines| engines.insert(engine.version(), Arc::new(engine)))
    }

    /// Serves a version no longer; requests already prepared finish with it.
    #[must_use]
    pub(crate) fn take(&self, version: u32) -> Option<Arc<Engine>> {
        self.change(|engines| engines.remove(&version))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Engines) -> R) -> R {
        let mut known = self.known.lock();
        let mut engines = std::mem::take(&mut known.engines);
        let result = change(&mut engines);
        // What was prepared for another version is forgotten.
        let old = std::mem::replace(&mut *known, Known::new(engines));
        drop(known);
        drop(old);
        result
    }

    /// The other engine has just answered.
    pub(crate) fn saw_other_engine(&self) {
        *self.other_engine_seen.lock() = Some(Instant::now());
    }

    /// Whether the other engine answered a moment ago.
    pub(crate) fn other_engine_seen_within(&self, moment: Duration) -> bool {
        self.other_engine_seen
            .lock()
            .is_some_and(|seen| seen.elapsed() < moment)
    }

    /// The model that serves requests with these parameters; none when this is no model's endpoint.
    ///
    /// # Errors
    /// `unknown_model` when the parameters ask for another version.
    pub(crate) fn network(&self, params: &Map<String, Value>) -> Result<Option<Arc<dyn Network>>> {
        match &**choose(&self.known.lock().engines, params)? {
            Engine::Operation(_) => Ok(None),
            Engine::Model { network, .. } => Ok(Some(Arc::clone(network))),
        }
    }

    /// What the service protocol tells about it beyond its subject.
    pub(crate) fn metadata(&self) -> Value {
        let mut metadata = Map::from_iter([("operation".to_owned(), Value::from(self.operation.clone()))]);
        let engines = &self.known.lock().engines;
        if let (Some(model), Some(engine)) = (&self.model, engines.values().next_back())
            && let Engine::Model { network, version, .. } = &**engine
        {
            let versions: Vec<_> = engines.keys().map(u32::to_string).collect();
            metadata.insert("model".to_owned(), Value::from(model.clone()));
            metadata.insert("version".to_owned(), Value::from(version.to_string()));
            metadata.insert("versions".to_owned(), Value::from(versions.join(",")));
            metadata.insert("device".to_owned(), Value::from(network.device()));
        }
        Value::Object(metadata)
    }

    /// Reads and checks a request's header, or finds it among those already checked.
    ///
    /// # Errors
    /// `invalid_frame`, `invalid_parameter`, `invalid_shape`, `unknown_model`.
    pub(crate) fn prepare(&self, payload: &Bytes) -> Result<Arc<Prepared>> {
        let header = frame::header(payload)?;
        let Known {
            engines,
            requests,
            groups,
        } = &mut *self.known.lock();
        let prepared = requests.get_or_make(header, || {
            Prepared::new(self.row, engines, Layout::parse(header)?, groups)
        })?;
        if payload.len() != prepared.layout.total {
            // The wire crate words the error.
            Frame::new(Arc::clone(&prepared.layout), payload.clone())?;
        }
        Ok(prepared)
    }
}

impl Known {
    fn new(engines: Engines) -> Self {
        Self {
            engines,
            requests: HeaderCache::default(),
            groups: HashMap::new(),
        }
    }
}

impl Prepared {
    fn new(row: &OperationRow, engines: &Engines, layout: Layout, groups: &mut HashMap<String, u64>) -> Result<Self> {
        let params = row.check_params(&layout.params)?;
        row.check_inputs(&layout)?;
        let engine = choose(engines, &params)?;
        let rows = match &**engine {
            Engine::Operation(operation) => operation.rows(&layout),
            Engine::Model { network, .. } => network.check(&layout)?,
        };
        if groups.len() >= SIGNATURES {
            groups.clear();
        }
        let group = *groups
            .entry(signature(&layout, &params, engine.version()))
            .or_insert_with(|| NEXT_GROUP.fetch_add(1, Relaxed));
        Ok(Self {
            engine: Arc::clone(engine),
            layout: Arc::new(layout),
            params,
            rows,
            group,
            speed: AtomicU64::new(0),
            ran_on: AtomicUsize::new(0),
        })
    }

    /// What may go into one batch.
    pub(crate) fn limits(&self) -> Limits {
        match &*self.engine {
            Engine::Model { network, delay, .. } => {
                let Joint { inference, rows } = network.joint();
                Limits {
                    rows,
                    whole: inference,
                    delay: *delay,
                }
            }
            Engine::Operation(_) => {
                let rows = (self.bundle_limit() as usize).saturating_mul(self.rows.max(1));
                Limits {
                    rows,
                    whole: rows,
                    delay: Duration::ZERO,
                }
            }
        }
    }

    /// How many requests like this one take no more than the time of a batch.
    pub(crate) fn bundle_limit(&self) -> u64 {
        let requests = (BATCH_TIME.as_nanos() as u64).checked_div(self.cost()).unwrap_or(1);
        requests.clamp(1, BATCH_REQUESTS)
    }

    /// Expected time of execution, nanoseconds; 0 when unknown.
    pub(crate) fn cost(&self) -> u64 {
        self.speed.load(Relaxed)
    }

    /// Takes a measured time into the average.
    pub(crate) fn took(&self, time: Duration) {
        let (old, new) = (self.cost(), time.as_nanos().clamp(1, u64::MAX.into()) as u64);
        // Two executors may overwrite each other; an average bears it.
        self.speed
            .store(if old == 0 { new } else { old - old / 8 + new / 8 }, Relaxed);
    }

    /// A step ran on a device.
    pub(crate) fn ran_on(&self, device: &str) {
        let index = DEVICES.iter().position(|known| *known == device).unwrap_or_default();
        self.ran_on.store(index, Relaxed);
    }

    /// The device that executes, for the reply.
    pub(crate) fn device(&self) -> &str {
        match &*self.engine {
            Engine::Operation(_) => DEVICES[self.ran_on.load(Relaxed)],
            Engine::Model { network, .. } => network.device(),
        }
    }
}

/// The engine for these parameters.
fn choose<'a>(engines: &'a Engines, params: &Map<String, Value>) -> Result<&'a Arc<Engine>> {
    let wanted = params.get("version").and_then(Value::as_u64);
    let found = match wanted {
        // An operation has no versions; its parameter of that name would be its own.
        Some(version) if !engines.contains_key(&0) => u32::try_from(version).ok().and_then(|it| engines.get(&it)),
        _ => engines.values().next_back(),
    };
    found.ok_or_else(|| {
        let served: Vec<_> = engines.keys().map(u32::to_string).collect();
        let version = wanted.map_or_else(String::new, |version| format!(" {version}"));
        Error::new(
            ErrorKind::UnknownModel,
            format!("version{version} is not served; served: {}", served.join(", ")),
        )
    })
}

/// What requests must have in common to share a batch: parameters, tensor names, types and trailing shapes.
fn signature(layout: &Layout, params: &Map<String, Value>, version: u32) -> String {
    let mut params = params.clone();
    // Whoever names the version shares batches with those who get it anyway.
    params.remove("version");
    let mut text = format!("{version}|{}", Value::Object(params));
    let mut tensors: Vec<_> = layout.tensors.iter().collect();
    tensors.sort_by(|one, other| one.name.cmp(&other.name));
    for info in tensors {
        // Writing to a string cannot fail. The debug form of the name is unambiguous whatever is in it.
        let _ = write!(text, "|{:?}:{}:{:?}", info.name, info.dtype.name(), info.shape.get(1..));
    }
    text
}
