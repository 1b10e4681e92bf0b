//! One attempt at a job: from what its message says to what is written about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Headers};
use npufleet_wire::{Error, ErrorKind, contract, header, job, subject};
use serde_json::{Value, json};

use super::cancel::cancelled;
use super::delivery::{Delivery, Place};
use super::order::Order;
use super::payloads::{self, Missing};
use super::seat::{Ended, Seat};
use super::stream::{self, Silence, Stored};
use super::{detail, look, outcome};
use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::events::log;
use crate::payloads::Payload;
use crate::reply::{self, MAX_TEXT};
use crate::request::{Asked, Now, Request};

/// When a job comes again whose end could not be written.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long work whose time is over may take to notice before it is left alone.
const GRACE: Duration = Duration::from_millis(200);
/// How often it is looked whether a model has been loaded.
const LOADING: Duration = Duration::from_millis(50);

/// Does a delivered job, or settles it in another way.
pub(super) async fn work(core: Arc<Core>, delivery: Arc<Delivery>, place: Place) {
    if core.jobs.is_stopped() {
        delivery.give_back(&core, Duration::ZERO);
    } else if let Err(silence) = attempt(&core, &delivery, place).await {
        // Whoever gets it then sees what has been written.
        log(format_args!("a job is left to be delivered again: {silence}"));
        delivery.give_back(&core, ASK_AGAIN);
    }
    let mut active = core.jobs.active.lock();
    active.remove(&delivery.number);
    if active.is_empty() {
        core.jobs.idle.notify_waiters();
    }
    drop(active);
    core.jobs.puller(delivery.taking).wake();
}

async fn attempt(core: &Arc<Core>, delivery: &Delivery, place: Place) -> Result<(), Silence> {
    core.jobs.passing("fetched");
    let (order, unreadable) = match Order::of(&core.prefix, delivery) {
        Ok(order) => (order, None),
        Err(error) => (Order::unreadable(delivery.sequence), Some(error)),
    };
    let attempt = Attempt {
        core,
        delivery,
        number: order.made + delivery.delivered,
        order: &order,
    };
    if let Some(error) = unreadable {
        return attempt.fail(&error).await;
    }
    // Said once: nobody else reads the message.
    let _ = delivery.known.set((order.id.clone(), attempt.number));
    if attempt.is_settled().await? || attempt.is_refused().await? {
        return Ok(());
    }
    core.jobs.passing("looked");
    attempt.tell("running", Value::Null);
    let begun = Now::new();
    let Ended { outcome, headers } = attempt.execute(&begun, place).await.unwrap_or_else(|error| Ended {
        outcome: Err(error),
        headers: HeaderBlock::default(),
    });
    match outcome {
        Ok(frame) => attempt.succeed(headers, &frame).await,
        Err(error) => attempt.failed(error, &begun).await,
    }
}

struct Attempt<'a> {
    core: &'a Arc<Core>,
    delivery: &'a Delivery,
    order: &'a Order,
    /// Which attempt it is, from 1.
    number: u32,
}

impl Attempt<'_> {
    /// Takes the job off the stream if it is over already: done by another worker, or cancelled while it waited.
    async fn is_settled(&self) -> Result<bool, Silence> {
        let Self {
            core, delivery, order, ..
        } = self;
        let (result, is_cancelled) = look::known(core, &order.id).await?;
        let Some(result) = result else {
            match &order.series {
                Some(series) if outcome::cancel_asked(core, series).await? => outcome::end_schedule(core, series).await,
                _ if is_cancelled => {}
                _ => return Ok(false),
            }
            self.cancel().await?;
            return Ok(true);
        };
        let headers = result.headers();
        match headers.get(header::ERROR_KIND) {
            None => self.over().await?,
            Some(kind) if kind == ErrorKind::Cancelled.as_str() => self.over().await?,
            // Whoever wrote that may have died before it wrote the dead letter.
            Some(_) => {
                let attempt = headers.get(header::ATTEMPT).and_then(|text| text.parse().ok());
                outcome::bury(core, order, &delivery.message, headers, attempt.unwrap_or_default()).await;
                delivery.acknowledge(core).await?;
            }
        }
        Ok(true)
    }

    /// Fails a job that came too late or too often.
    async fn is_refused(&self) -> Result<bool, Silence> {
        let error = if self.order.deadline.is_some_and(|deadline| outcome::now() > deadline) {
            Error::new(ErrorKind::DeadlineExceeded, "deadline passed while the job waited")
        } else if self.number > self.order.retries + 1 {
            let text = format!("{} attempts began, and no worker lived to finish one", self.number - 1);
            Error::new(ErrorKind::Internal, text)
        } else {
            return Ok(false);
        };
        self.fail(&error).await?;
        Ok(true)
    }

    /// Has the work done by the executors, within the job's time.
    async fn execute(&self, begun: &Now, place: Place) -> npufleet_wire::Result<Ended> {
        let Self {
            core, delivery, order, ..
        } = self;
        let latest = begun.unix.saturating_add(order.attempt_timeout).as_micros() as u64;
        let deadline = begun.at(order.deadline.map_or(latest, |deadline| deadline.min(latest)));
        let endpoint = self.endpoint(deadline).await?;
        let frame = match &order.payload {
            None => delivery.message.payload(),
            Some(payload) => payloads::get(core, payload).await.map_err(|missing| match missing {
                Missing::Lost(error) => error,
                Missing::Silent(silence) => Error::overloaded(silence.to_string(), ASK_AGAIN),
            })?,
        };
        let prepared = endpoint.prepare(&frame)?;
        if delivery.is_cancelled() {
            return Err(cancelled());
        }
        if core.jobs.is_stopped() {
            return Err(Error::new(ErrorKind::Unavailable, "the worker stops"));
        }
        let asked = Asked::read(delivery.message.headers());
        let is_traced = core.telemetry.is_on();
        let (seat, ended) = Seat::new(Arc::clone(&delivery.progress), place);
        core.queue.push(Request {
            endpoint,
            prepared,
            message: delivery.message.clone(),
            payload: Payload::inline(frame),
            reader: None,
            reply: delivery.ack.clone(),
            lane: order.lane,
            is_fallback: false,
            arrived: Instant::now(),
            deadline,
            trace: if is_traced { asked.trace(begun) } else { None },
            job: Some(seat),
        });
        core.jobs.passing("executing");
        let late = tokio::time::Instant::from_std(deadline) + GRACE;
        tokio::select! {
            ended = ended => ended.map_err(|_| Error::new(ErrorKind::Internal, "the work on the job was dropped")),
            () = delivery.cancelled() => {
                self.stop_work();
                Err(cancelled())
            }
            () = tokio::time::sleep_until(late) => {
                self.stop_work();
                Err(Error::new(ErrorKind::DeadlineExceeded, "the deadline passed in the worker"))
            }
        }
    }

    /// Takes the work out of the queue, or tells the executor to stop; nobody waits for it any more.
    fn stop_work(&self) {
        drop(self.core.queue.cancel(|reply| *reply == self.delivery.ack));
    }

    /// Who does the operation; a job can wait for a model that is still loading.
    async fn endpoint(&self, deadline: Instant) -> npufleet_wire::Result<Arc<Endpoint>> {
        let Self {
            core, order, delivery, ..
        } = self;
        let name = order.endpoint();
        loop {
            if let Some(endpoint) = core.endpoints.read().get(&name).cloned() {
                return Ok(endpoint);
            }
            let Some(row) = contract::operation(&order.operation) else {
                let text = format!("operation '{}' is not in the contract", order.operation);
                return Err(Error::new(ErrorKind::UnknownOperation, text));
            };
            let Some(model) = order.model.as_deref().filter(|_| row.model) else {
                let text = format!("{name} is not done by this engine");
                return Err(Error::new(ErrorKind::Unsupported, text));
            };
            if core.jobs.is_stopped() || !core.coming.is_coming(model) {
                let text = format!("model '{model}' is not served by this worker");
                return Err(Error::new(ErrorKind::UnknownModel, text));
            }
            if Instant::now() > deadline {
                let text = "deadline passed while the model was loading";
                return Err(Error::new(ErrorKind::DeadlineExceeded, text));
            }
            if delivery.is_cancelled() {
                return Err(cancelled());
            }
            tokio::time::sleep(LOADING).await;
        }
    }

    async fn succeed(&self, headers: HeaderBlock, frame: &Bytes) -> Result<(), Silence> {
        let Self {
            core, order, number, ..
        } = *self;
        core.jobs.passing("executed");
        if outcome::commit_frame(core, order, number, headers, frame).await {
            self.tell("succeeded", Value::Null);
        }
        self.over().await
    }

    /// Retries, gives back, hands over or ends the job after an attempt that gave no result.
    async fn failed(&self, error: Error, begun: &Now) -> Result<(), Silence> {
        let Self {
            core,
            delivery,
            order,
            number,
        } = *self;
        if delivery.is_cancelled() {
            return self.cancel().await;
        }
        if core.jobs.is_stopped() {
            delivery.give_back(core, Duration::ZERO);
            return Ok(());
        }
        let is_late = order.deadline.is_some_and(|deadline| outcome::now() >= deadline);
        let ran_out = error.kind == ErrorKind::DeadlineExceeded && !is_late;
        let error = if ran_out {
            let (spent, allowed) = (
                begun.instant.elapsed().as_secs_f64(),
                order.attempt_timeout.as_secs_f64(),
            );
            let text = format!("the attempt was ended after {spent:.1} s; allowed: {allowed} s");
            Error::new(ErrorKind::Internal, text)
        } else {
            error
        };
        // The other engine would not be faster.
        if !ran_out && job::handed_over(error.kind) && self.hand_over(&error).await {
            return delivery.acknowledge(core).await;
        }
        if job::permanent(error.kind) || number > order.retries {
            return self.fail(&error).await;
        }
        let pause = job::retry_after(number).mul_f64(stream::jitter());
        let more = json!({"error": detail(&error), "retry_after": pause.as_millis() as f64 / 1e3});
        outcome::tell_surely(core, &order.id, "retrying", number, more).await;
        delivery.give_back(core, pause);
        Ok(())
    }

    /// Gives the job to the Python workers; false when that cannot be written.
    async fn hand_over(&self, error: &Error) -> bool {
        let Self {
            core,
            delivery,
            order,
            number,
        } = *self;
        let (id, made) = (format!("{}:handover", order.id), number.to_string());
        let reason: String = format!("{}: {}", error.kind, error.message)
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(MAX_TEXT)
            .collect();
        let own = [
            (header::MESSAGE_ID, id.as_str()),
            (header::JOB_ID, &order.id),
            (header::ATTEMPT, &made),
            (header::FALLBACK_REASON, &reason),
        ];
        let headers = outcome::repeat(delivery.message.headers(), &own);
        let subject = subject::handover(&core.prefix, order.lane, &order.operation, order.model.as_deref());
        match stream::publish(core, &subject, &headers, &delivery.message.payload()).await {
            Ok(Stored::Now | Stored::Before) => true,
            Err(silence) => {
                log(format_args!("job {} is not handed over: {silence}", order.id));
                false
            }
        }
    }

    /// Ends the job: its result says why, its dead letter keeps it.
    async fn fail(&self, error: &Error) -> Result<(), Silence> {
        let Self {
            core,
            delivery,
            order,
            number,
        } = *self;
        let said = reply::failure(error);
        if !outcome::commit(core, order, number, said.clone(), &Bytes::new()).await {
            // It ended in another way meanwhile; what that needs is written where it is seen.
            return self.is_settled().await.map(drop);
        }
        outcome::tell_surely(core, &order.id, "failed", number, json!({"error": detail(error)})).await;
        outcome::bury(core, order, &delivery.message, Headers::new(said.as_bytes()), number).await;
        delivery.terminate(core).await
    }

    async fn cancel(&self) -> Result<(), Silence> {
        let Self {
            core, order, number, ..
        } = *self;
        let said = reply::failure(&cancelled());
        if outcome::commit(core, order, number, said, &Bytes::new()).await {
            self.tell("cancelled", Value::Null);
        }
        self.over().await
    }

    /// Takes the job off the stream, and with it the frame that was too large for its message.
    async fn over(&self) -> Result<(), Silence> {
        let Self {
            core, delivery, order, ..
        } = *self;
        core.jobs.passing("committed");
        delivery.acknowledge(core).await?;
        core.jobs.passing("acknowledged");
        outcome::remove(core, order.payload.as_deref()).await;
        Ok(())
    }

    fn tell(&self, state: &str, more: Value) {
        outcome::tell(self.core, &self.order.id, state, self.number, more);
    }
}
