//! From the connection into the queue: subscriptions, admission, cancellation.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_nats::client::SubscribeError;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use npufleet_wire::{Error, ErrorKind, Lane, Result, Route, Timing, subject};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::core::Core;
use crate::endpoint::{Endpoint, Prepared};
use crate::events::log;
use crate::executor::{cancelled, too_late};
use crate::queue::Cancelled;
use crate::reply::From;
use crate::request::{Asked, Now, Request};

/// Messages handled at once: admitted under one lock, with one wake-up.
const CHUNK: usize = 64;
/// How late a waiting request may learn that its deadline has passed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// A subscription that can be drained while a task reads it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Subscriber>>);

impl Stream for Shared {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.0.lock().poll_next_unpin(context)
    }
}

/// The subscriptions of one endpoint, one per lane, and the tasks that read them.
pub(crate) struct Intake {
    subscriptions: Vec<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Intake {
    /// Subscribes an endpoint in every lane.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub(crate) async fn open(core: &Arc<Core>, endpoint: &Arc<Endpoint>) -> std::result::Result<Self, SubscribeError> {
        let (mut subscriptions, mut tasks) = (Vec::new(), Vec::new());
        for lane in Lane::ALL {
            let subject = npufleet_wire::Subject {
                route: Route::Call,
                lane,
                operation: endpoint.operation.clone(),
                model: endpoint.model.clone(),
            };
            let queue = Route::Call.queue().to_owned();
            let subscriber = core.client.queue_subscribe(subject.format(&core.prefix), queue).await?;
            let shared = Shared(Arc::new(Mutex::new(subscriber)));
            subscriptions.push(shared.clone());
            let (core, endpoint) = (Arc::clone(core), Arc::clone(endpoint));
            tasks.push(tokio::spawn(async move {
                let mut chunks = shared.ready_chunks(CHUNK);
                while let Some(messages) = chunks.next().await {
                    admit(&core, &endpoint, lane, messages);
                }
            }));
        }
        Ok(Self { subscriptions, tasks })
    }

    /// Asks the broker to send no more; what is on its way still arrives.
    pub(crate) fn unsubscribe(&self) {
        for subscription in &self.subscriptions {
            // The command waits only for room among the replies; nobody else fills it while this runs.
            match subscription.0.lock().drain().now_or_never() {
                Some(Ok(())) => {}
                Some(Err(error)) => log(format_args!("cannot unsubscribe: {error}")),
                None => log(format_args!("cannot unsubscribe: the connection is full")),
            }
        }
    }

    /// Reads no more.
    pub(crate) fn abort(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Waits until everything that arrived has been admitted.
    pub(crate) async fn finished(self) {
        for task in self.tasks {
            if let Err(error) = task.await {
                log(format_args!("a reader of requests failed: {error}"));
            }
        }
    }
}

/// Queues what can be done and refuses the rest.
fn admit(core: &Arc<Core>, endpoint: &Arc<Endpoint>, lane: Lane, messages: Vec<Message>) {
    let now = Now::new();
    let mut requests = Vec::with_capacity(messages.len());
    for message in messages {
        let asked = Asked::read(message.headers.as_ref());
        let checked = check(endpoint, &asked, &message.payload, &now);
        let trace = if core.telemetry.is_on() {
            asked.trace(&now)
        } else {
            None
        };
        if let Some(reason) = asked.fallback_reason {
            endpoint.statistics.came_as_fallback(reason);
        }
        let is_fallback = asked.fallback_reason.is_some();
        let Message {
            reply,
            payload,
            headers,
            ..
        } = message;
        // Without a reply subject there is nobody to answer, and nothing else that the work would be good for.
        let Some(reply) = reply else { continue };
        let (prepared, deadline) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                core.refuse(endpoint, reply, headers.as_ref(), &error);
                continue;
            }
        };
        if let Some(trace) = &trace {
            core.telemetry.fetched(trace, payload.len(), now.instant);
        }
        let (endpoint, arrived) = (Arc::clone(endpoint), now.instant);
        requests.push(Request {
            endpoint,
            prepared,
            payload,
            reply,
            headers,
            lane,
            is_fallback,
            arrived,
            deadline,
            trace,
        });
    }
    core.queue.push_all(&mut requests, now.instant, |request, retry_after| {
        let text = format!(
            "too many requests wait; another could start in about {} ms",
            retry_after.as_millis().max(1)
        );
        let error = Error::overloaded(text, retry_after);
        core.refuse(&request.endpoint, request.reply, request.headers.as_ref(), &error);
    });
}

/// Checks what must be right before a request may wait.
fn check(endpoint: &Endpoint, asked: &Asked<'_>, payload: &Bytes, now: &Now) -> Result<(Arc<Prepared>, Instant)> {
    let deadline = asked.deadline(now)?;
    if deadline <= now.instant {
        return Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "the deadline had passed on arrival",
        ));
    }
    Ok((endpoint.prepare(payload)?, deadline))
}

/// Takes cancelled calls out of the queue and marks running ones, until the subscription ends.
pub(crate) async fn cancel(core: Arc<Core>, mut subscriber: Subscriber) {
    let start = subject::cancel(&core.prefix, "").len();
    while let Some(message) = subscriber.next().await {
        let Some(id) = message.subject.get(start..) else {
            continue;
        };
        let found = core.queue.cancel(|reply| subject::call_id(reply) == Some(id));
        if let Cancelled::Queued(request) = found {
            core.answer(From::EventLoop, &request, &Err(cancelled()), Timing::default());
        }
    }
}

/// Answers requests whose deadline passes while they wait, so that they neither hold a place nor time out in silence.
pub(crate) async fn sweep(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        for request in core.queue.expired(now) {
            let error = too_late(now - request.arrived);
            core.answer(From::EventLoop, &request, &Err(error), Timing::default());
        }
    }
}
