//! One chain or group: submits the jobs of the next stage when those of the one before are over.
//!
//! Nothing is kept but the plan: how far a flow is, its jobs' results say. So whoever gets the plan goes on where another
//! worker died, and two that work on the same plan do no harm: a step's job has the same id from either.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream as streams};
use npufleet_link::{HeaderBlock, Headers, Message};
use npufleet_wire::frame::{self, MAX_RESULT_BYTES};
use npufleet_wire::{Error, ErrorKind, Frame, header, job, subject};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::cancel::cancelled;
use super::delivery::Delivery;
use super::order::Order;
use super::payloads::{self, Of, Reference};
use super::plan::{self, Member, Plan};
use super::stop::Stop;
use super::stream::{self, Silence};
use super::{detail, look, outcome};
use crate::core::{Core, ENGINE};
use crate::reply;

const LOOK_FIRST: Duration = Duration::from_secs(1);
const LOOK_LONGEST: Duration = Duration::from_secs(15);
const AT_ONCE: usize = 16;
const ASKED_AT_ONCE: usize = 64;
/// A plan may live through many restarts of workers; one that ends them all must still end itself.
const DELIVERIES: u32 = 1000;
/// What a flow's result repeats of its last step's.
const COPIED: [&str; 5] = [
    header::ENGINE,
    header::DEVICE,
    header::TIMING,
    header::FALLBACK_REASON,
    header::PAYLOAD,
];

/// What this worker does with one plan while it has it.
pub(super) struct Run {
    core: Arc<Core>,
    pub(super) delivery: Arc<Delivery>,
    id: OnceLock<String>,
    news: Mutex<HashSet<String>>,
    told: Notify,
}

impl Run {
    pub(super) fn new(core: Arc<Core>, delivery: Arc<Delivery>) -> Self {
        Self {
            core,
            delivery,
            id: OnceLock::new(),
            news: Mutex::default(),
            told: Notify::new(),
        }
    }

    /// The flow's id, once it is read.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.get().map(String::as_str)
    }

    /// Says that something happened to one of the flow's jobs, or to the flow itself.
    pub(super) fn tell(&self, job: &str) {
        self.news.lock().insert(job.to_owned());
        self.told.notify_one();
    }
}

/// Sees the flow through to its result.
pub(super) async fn see_through(run: &Run) -> Result<(), Silence> {
    let Run { core, delivery, .. } = run;
    let order = match Order::of(&core.prefix, delivery) {
        Ok(order) => order,
        Err(error) => {
            let order = Order::unreadable(delivery.sequence);
            return Flow { run, order: &order }.fail(&error, None).await;
        }
    };
    run.id.get_or_init(|| order.id.clone());
    let flow = Flow { run, order: &order };
    let plan = match flow.plan().await {
        Ok(plan) => plan,
        Err(Stop::Silent(silence)) => return Err(silence),
        Err(Stop::Failed(error)) => return flow.fail(&error, None).await,
        Err(Stop::Over) => return flow.end().await,
    };
    match flow.stages(&plan).await {
        Ok(()) => Ok(()),
        Err(Stop::Silent(silence)) => Err(silence),
        Err(Stop::Failed(error)) => flow.fail(&error, Some(&plan)).await,
        Err(Stop::Over) => {
            flow.cancel_rest(&plan).await?;
            flow.end().await
        }
    }
}

struct Flow<'a> {
    run: &'a Run,
    order: &'a Order,
}

impl Flow<'_> {
    fn core(&self) -> &Core {
        &self.run.core
    }

    fn number(&self) -> u32 {
        self.run.delivery.delivered
    }

    fn job_id(&self, member: &Member) -> String {
        member.job_id(&self.order.id)
    }

    async fn plan(&self) -> Result<Plan, Stop> {
        if self.number() > DELIVERIES {
            let text = format!("{DELIVERIES} workers had the plan, and none lived to finish it");
            return Err(Error::new(ErrorKind::Internal, text).into());
        }
        let bytes = match &self.order.payload {
            None => self.run.delivery.message.payload(),
            Some(payload) => payloads::get(self.core(), payload).await?,
        };
        Ok(Plan::decode(bytes)?)
    }

    async fn stages(&self, plan: &Plan) -> Result<(), Stop> {
        self.look_whether_over().await?;
        let mut before: &[Member] = &[];
        for (index, stage) in plan.stages.iter().enumerate() {
            if !before.is_empty() {
                self.submit(stage, before, &plan.constants).await?;
            }
            self.wait(stage, index as f64 / plan.stages.len() as f64).await?;
            before = stage;
        }
        self.succeed(before).await
    }

    /// Submits what is not over already; what is on its way is dropped by the broker, or by whoever takes it.
    async fn submit(&self, stage: &[Member], before: &[Member], constants: &Frame) -> Result<(), Stop> {
        let done = self.results(stage.iter().map(|member| self.job_id(member))).await?;
        let missing: Vec<_> = stage
            .iter()
            .filter(|member| !done.contains_key(&self.job_id(member)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let size = Mutex::new(0);
        let reads: Vec<_> = before.iter().map(|member| self.given(member, &size)).collect();
        let given: Vec<Frame> = streams::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let shared = Arc::new((before.to_vec(), given, constants.clone()));
        let writes: Vec<_> = missing.iter().map(|member| self.submit_one(member, &shared)).collect();
        streams::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What a step gave; `size` is what all together have so far.
    async fn given(&self, member: &Member, size: &Mutex<usize>) -> Result<Frame, Stop> {
        let stored = self.stored(member).await?;
        let reference = stored.headers().get(header::PAYLOAD);
        let bytes = match reference {
            None => stored.payload_bytes().len(),
            Some(text) => Reference::parse(text)?.size(),
        };
        let all = {
            let mut size = size.lock();
            *size += bytes;
            *size
        };
        if all > MAX_RESULT_BYTES {
            let text = format!("{all} bytes; allowed: at most {MAX_RESULT_BYTES}");
            return Err(member.named(&Error::new(ErrorKind::PayloadTooLarge, text)).into());
        }
        let data = match reference {
            None => stored.payload(),
            Some(text) => payloads::get(self.core(), text).await?,
        };
        Frame::decode(data).map_err(|error| member.named(&error).into())
    }

    async fn submit_one(&self, member: &Member, shared: &Arc<(Vec<Member>, Vec<Frame>, Frame)>) -> Result<(), Stop> {
        let (core, flow, id) = (self.core(), self.order, self.job_id(member));
        let (step, shared) = (member.clone(), Arc::clone(shared));
        let made = move || plan::request(&step, &shared.0, &shared.1, &shared.2);
        let made = tokio::task::spawn_blocking(made).await;
        let mut data = made.map_err(|error| {
            let text = format!("its request could not be made: {error}");
            member.named(&Error::new(ErrorKind::Internal, text))
        })??;
        let mut headers = HeaderBlock::default();
        headers.push(header::JOB_ID, &id);
        headers.push(header::MESSAGE_ID, &id);
        headers.push("Nats-Expected-Stream", "JOBS");
        headers.push_number(header::SUBMITTED, outcome::now());
        if let Some(deadline) = flow.deadline {
            headers.push_number(header::DEADLINE, deadline);
        }
        headers.push_number(header::RETRIES, flow.retries.into());
        headers.push_number(header::ATTEMPT_TIMEOUT, flow.attempt_timeout.as_micros() as u64);
        headers.push(header::NOTIFY, &subject::advance(&core.prefix, &flow.id));
        for name in [header::TRACEPARENT, header::TRACESTATE] {
            if let Some(value) = self.run.delivery.message.headers().get(name) {
                headers.push(name, value);
            }
        }
        if data.len() > job::INLINE_BYTES {
            let stored = payloads::put(core, format!("{id}.in"), &data, Of::Job).await;
            headers.push(header::PAYLOAD, &stored.to_string());
            data = Bytes::new();
        }
        let subject = subject::job(&core.prefix, flow.lane, member.operation(), member.model());
        stream::write(core, &subject, &headers, &data).await;
        Ok(())
    }

    /// Waits until every step of a stage has succeeded.
    async fn wait(&self, stage: &[Member], progress: f64) -> Result<(), Stop> {
        let members: HashMap<_, _> = stage.iter().map(|member| (self.job_id(member), member)).collect();
        let mut missing: HashSet<_> = members.keys().cloned().collect();
        let mut asked: Vec<_> = members.keys().cloned().collect();
        let (mut pause, mut is_first) = (LOOK_FIRST, true);
        loop {
            self.run.news.lock().clear();
            for (id, failure) in self.results(asked).await? {
                if let (Some(error), Some(member)) = (failure, members.get(&id)) {
                    return Err(member.named(&error).into());
                }
                missing.remove(&id);
            }
            self.look_whether_over().await?;
            if missing.is_empty() {
                return Ok(());
            }
            if std::mem::take(&mut is_first) {
                self.tell("running", json!({"progress": progress}));
            }
            let told = timeout(pause, self.run.told.notified()).await.is_ok();
            asked = if told {
                let news = self.run.news.lock();
                missing.intersection(&news).cloned().collect()
            } else {
                // What one is told may be lost; the results are not.
                pause = pause.mul_f64(1.5).min(LOOK_LONGEST);
                missing.iter().cloned().collect()
            };
        }
    }

    /// Which of the jobs have a result, and the error of those that failed.
    async fn results(&self, ids: impl IntoIterator<Item = String>) -> Result<HashMap<String, Option<Error>>, Silence> {
        let ids: Vec<_> = ids.into_iter().collect();
        let mut found = HashMap::new();
        for some in ids.chunks(ASKED_AT_ONCE) {
            let subjects: Vec<_> = some.iter().map(|id| subject::result(&self.core().prefix, id)).collect();
            let results = self.core().last_of(&subjects).await?;
            for (id, subject) in some.iter().zip(&subjects) {
                if let Some(result) = results.get(subject) {
                    found.insert(id.clone(), failure(result.headers()));
                }
            }
        }
        Ok(found)
    }

    async fn stored(&self, member: &Member) -> Result<Message, Stop> {
        let found = outcome::result(self.core(), &self.job_id(member)).await?;
        let gone = || Error::new(ErrorKind::Internal, "its result has passed its retention");
        found.ok_or_else(|| member.named(&gone()).into())
    }

    async fn look_whether_over(&self) -> Result<(), Stop> {
        let (result, is_cancelled) = look::known(self.core(), &self.order.id).await?;
        if result.is_some() {
            return Err(Stop::Over);
        }
        if is_cancelled {
            let said = reply::failure(&cancelled());
            if outcome::commit(self.core(), self.order, 0, said, &Bytes::new()).await {
                self.tell("cancelled", Value::Null);
            }
            return Err(Stop::Over);
        }
        Ok(())
    }

    /// Commits the result of the last step as the flow's; of a group, how to find its members' results.
    async fn succeed(&self, last: &[Member]) -> Result<(), Stop> {
        let Some(first) = last.first() else {
            return Err(Error::new(ErrorKind::Internal, "a flow without steps").into());
        };
        let mut headers = HeaderBlock::default();
        let data = if first.count > 0 {
            headers.push(header::ENGINE, ENGINE);
            let (members, stage) = (Value::from(last.len()), Value::from(first.stage));
            let params = Map::from_iter([("members".to_owned(), members), ("stage".to_owned(), stage)]);
            frame::encode(&[], &params)?
        } else {
            let stored = self.stored(first).await?;
            for name in COPIED {
                if let Some(value) = stored.headers().get(name) {
                    headers.push(name, value);
                }
            }
            stored.payload()
        };
        if outcome::commit(self.core(), self.order, self.number(), headers, &data).await {
            self.tell("succeeded", json!({"progress": 1.0}));
        }
        Ok(self.end().await?)
    }

    /// Ends the flow with the error of a step, and cancels the steps beside it.
    async fn fail(&self, error: &Error, plan: Option<&Plan>) -> Result<(), Silence> {
        let said = reply::failure(error);
        if outcome::commit(self.core(), self.order, self.number(), said, &Bytes::new()).await {
            let is_cancelled = error.kind == ErrorKind::Cancelled;
            let state = if is_cancelled { "cancelled" } else { "failed" };
            self.tell(state, json!({"error": detail(error)}));
        }
        if let Some(plan) = plan {
            self.cancel_rest(plan).await?;
        }
        self.end().await
    }

    async fn end(&self) -> Result<(), Silence> {
        self.run.delivery.acknowledge(self.core()).await?;
        outcome::remove(self.core(), self.order.payload.as_deref()).await;
        Ok(())
    }

    /// Cancels what has been submitted and is not over: jobs of the first stage that is not done.
    async fn cancel_rest(&self, plan: &Plan) -> Result<(), Silence> {
        for stage in &plan.stages {
            let done = self.results(stage.iter().map(|member| self.job_id(member))).await?;
            let rest = stage.iter().filter(|member| !done.contains_key(&self.job_id(member)));
            let rest: Vec<_> = rest.map(|member| self.cancel(member)).collect();
            if !rest.is_empty() {
                streams::iter(rest).buffer_unordered(AT_ONCE).collect::<()>().await;
                break;
            }
        }
        Ok(())
    }

    async fn cancel(&self, member: &Member) {
        let order = Order {
            lane: self.order.lane,
            operation: member.operation().to_owned(),
            model: member.model().map(str::to_owned),
            ..Order::default()
        };
        let mut headers = HeaderBlock::default();
        headers.push(header::OPERATION, &order.name());
        let subject = subject::cancel(&self.core().prefix, &self.job_id(member));
        // Somebody may have asked before, which comes to the same.
        stream::write(self.core(), &subject, &headers, &Bytes::new()).await;
    }

    fn tell(&self, state: &str, more: Value) {
        outcome::tell(self.core(), &self.order.id, state, self.number(), more);
    }
}

/// The error that a result says.
fn failure(headers: Headers<'_>) -> Option<Error> {
    let word = headers.get(header::ERROR_KIND)?;
    let kind = ErrorKind::parse(word).unwrap_or(ErrorKind::Internal);
    Some(Error::new(kind, headers.get(header::ERROR).unwrap_or(word)))
}
