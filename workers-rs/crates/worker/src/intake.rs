//! From the connection into the queue: admission, cancellation, and the sweep of what waited too long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use npufleet_wire::{Error, ErrorKind, Lane, Result, Route, Timing, subject};
use tokio::time::MissedTickBehavior;

use crate::core::Core;
use crate::endpoint::{Endpoint, Prepared, Target};
use crate::executor::{cancelled, too_late};
use crate::link::{From, Message, Receiver};
use crate::queue::Cancelled;
use crate::request::{Asked, Now, Request, call, call_of};

/// How late a waiting request may learn that its deadline has passed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// Takes messages from the connection; what came at once is queued under one lock, with one wake-up.
pub(crate) struct Intake {
    core: Arc<Core>,
    admitted: Vec<Request>,
    /// The moment at which the messages that came at once arrived.
    now: Option<Now>,
}

impl Intake {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::clone(core),
            admitted: Vec::new(),
            now: None,
        }
    }

    /// Queues what can be done and refuses the rest.
    fn admit(&mut self, endpoint: &Arc<Endpoint>, lane: Lane, message: Message) {
        // Without a reply subject there is nobody to answer, and nothing else that the work would be good for.
        if message.reply().is_empty() {
            return;
        }
        let now = self.now.get_or_insert_with(Now::new);
        let asked = Asked::read(&message);
        if let Some(reason) = asked.fallback_reason {
            endpoint.statistics.came_as_fallback(reason);
        }
        let (prepared, deadline) = match check(endpoint, &asked, &message, now) {
            Ok(checked) => checked,
            Err(error) => return self.core.refuse(endpoint, &message, &error),
        };
        let trace = if self.core.telemetry.is_on() {
            asked.trace(now)
        } else {
            None
        };
        if let Some(trace) = &trace {
            self.core
                .telemetry
                .fetched(trace, message.payload().len(), now.instant);
        }
        let (is_fallback, call) = (asked.fallback_reason.is_some(), call_of(message.reply()));
        let (endpoint, arrived) = (Arc::clone(endpoint), now.instant);
        self.admitted.push(Request {
            endpoint,
            prepared,
            message,
            call,
            lane,
            is_fallback,
            arrived,
            deadline,
            trace,
        });
    }

    /// Takes a cancelled call out of the queue, or marks it when it is running.
    fn cancel(&mut self, message: &Message) {
        // What came just before may be what is cancelled.
        self.pause();
        let start = subject::cancel(&self.core.prefix, "").len();
        let id = message
            .subject()
            .get(start..)
            .and_then(|id| std::str::from_utf8(id).ok());
        if let Cancelled::Queued(request) = self.core.queue.cancel(call(id.unwrap_or_default())) {
            self.core.answer(
                From::EventLoop,
                &request,
                &Err(cancelled()),
                Timing::default(),
            );
        }
    }
}

impl Receiver for Intake {
    type Tag = Target;

    fn receive(&mut self, target: &Target, message: Message) {
        match target {
            Target::Endpoint(endpoint, lane) => self.admit(endpoint, *lane, message),
            Target::Cancel => self.cancel(&message),
        }
    }

    fn pause(&mut self) {
        let Some(now) = self.now.take() else { return };
        let core = &self.core;
        core.queue
            .push_all(&mut self.admitted, now.instant, |request, retry_after| {
                let wait = retry_after.as_millis().max(1);
                let text =
                    format!("too many requests wait; another could start in about {wait} ms");
                core.refuse(
                    &request.endpoint,
                    &request.message,
                    &Error::overloaded(text, retry_after),
                );
            });
    }
}

/// Checks what must be right before a request may wait.
fn check(
    endpoint: &Endpoint,
    asked: &Asked<'_>,
    message: &Message,
    now: &Now,
) -> Result<(Arc<Prepared>, Instant)> {
    let deadline = asked.deadline(now)?;
    if deadline <= now.instant {
        return Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "the deadline had passed on arrival",
        ));
    }
    Ok((endpoint.prepare(message.payload())?, deadline))
}

impl Core {
    /// Lets requests reach an endpoint, in every lane, and shows it to NATS tools.
    pub(crate) fn serve(&self, endpoint: &Arc<Endpoint>) {
        let subscribe = |lane| {
            let subject = npufleet_wire::Subject {
                route: Route::Call,
                lane,
                operation: endpoint.operation.clone(),
                model: endpoint.model.clone(),
            };
            let target = Target::Endpoint(Arc::clone(endpoint), lane);
            self.link.subscribe(
                subject.format(&self.prefix),
                Some(Route::Call.queue()),
                target,
            )
        };
        let numbers = Lane::ALL.map(subscribe).to_vec();
        self.subscriptions
            .lock()
            .insert(endpoint.name.clone(), numbers);
        self.endpoints
            .write()
            .insert(endpoint.name.clone(), Arc::clone(endpoint));
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
