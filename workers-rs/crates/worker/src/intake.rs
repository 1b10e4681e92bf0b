//! From the connection into the queue: subscriptions, admission, cancellation.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use npufleet_link::{Connection, Event as Heard, Message};
use npufleet_wire::{Lane, Result, Route, Timing, subject};
use tokio::time::MissedTickBehavior;

use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::events::{Event, log};
use crate::executor::{cancelled, too_late};
use crate::payloads::{Payload, out_of_reach};
use crate::queue::Cancelled;
use crate::request::{Asked, Now, Request};
use crate::service::Verb;

/// How late a waiting request may learn that its deadline has passed.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// What a subscription is for.
pub(crate) enum Target {
    /// Requests of a lane.
    Requests(Arc<Endpoint>, Lane),
    /// Calls that are no longer wanted.
    Cancel,
    /// Whoever looks at the fleet.
    Service(Verb),
    /// Answers to what we asked.
    Answers,
    /// Durable jobs.
    Jobs,
    /// Jobs that are no longer wanted, for one of all workers.
    JobCancel,
    /// Steps of chains and groups that are over.
    Advance,
}

/// Reads the connection as long as the worker lives.
pub(crate) async fn run(core: Arc<Core>, mut connection: Connection) {
    let mut intake = Intake {
        core,
        admitted: Vec::new(),
        now: None,
        said: String::new(),
    };
    poll_fn(|cx| {
        while let Poll::Ready(heard) = connection.poll_next(cx) {
            intake.hear(heard);
        }
        intake.queue();
        Poll::<()>::Pending
    })
    .await;
}

/// Takes what the connection receives; what came at once is queued under one lock, with one wake-up.
struct Intake {
    core: Arc<Core>,
    admitted: Vec<Request>,
    /// The moment at which the messages that came at once arrived.
    now: Option<Now>,
    /// The last thing that was said about the connection.
    said: String,
}

impl Intake {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Message(message) => self.receive(message),
            Heard::Confirmed(confirmation) => {
                // Whoever waits for it relies on what came before.
                self.queue();
                confirmation.tell();
            }
            Heard::Connected => {
                self.said.clear();
                self.core.events.emit(&Event::Broker { state: "connected" });
                self.core.connected.notify_one();
                self.core.jobs.connection_changed();
            }
            Heard::Lost(reason) => {
                self.core.events.emit(&Event::Broker { state: "disconnected" });
                self.core.questions.give_up();
                self.core.jobs.connection_changed();
                self.say_once(format!("the broker connection is lost: {reason}"));
            }
            Heard::Failed(reason) => self.say_once(format!("will try again: {reason}")),
            Heard::Complaint(text) => self.say_once(format!("the broker says: {text}")),
            Heard::LameDuck => log(format_args!("the broker is about to shut down")),
        }
    }

    /// Says a thing once, not at every attempt to connect.
    fn say_once(&mut self, text: String) {
        if self.said != text {
            log(format_args!("{text}"));
            self.said = text;
        }
    }

    fn receive(&mut self, message: Message) {
        let core = Arc::clone(&self.core);
        let targets = core.targets.read();
        match targets.get(&message.subscription()) {
            Some(Target::Requests(endpoint, lane)) => self.admit(endpoint, *lane, message),
            Some(Target::Cancel) => self.cancel(&message),
            Some(Target::Service(verb)) => core.tell(*verb, &message),
            Some(Target::Answers) => core.questions.answered(message),
            Some(Target::Jobs) => core.receive_job(message),
            Some(Target::JobCancel) => core.write_cancellation(&message),
            Some(Target::Advance) => core.step_over(&message),
            // The broker had not yet read that we no longer want it, and nobody waits for what still comes.
            None => {}
        }
    }

    /// Checks a request; what cannot be done is refused, the rest is queued soon.
    fn admit(&mut self, endpoint: &Arc<Endpoint>, lane: Lane, message: Message) {
        let now = *self.now.get_or_insert_with(Now::new);
        let asked = Asked::read(message.headers());
        if let Some(reason) = asked.fallback_reason {
            endpoint.statistics.came_as_fallback(reason);
        }
        let payload = match asked.claim {
            None => Ok(Payload::inline(message.payload())),
            Some(claim) => match (self.core.payloads.look(claim), asked.channel) {
                (Ok(Some(view)), _) => Ok(Payload::arena(view)),
                (Ok(None), Some(_)) => return self.core.fetch(endpoint, lane, message, now),
                (Ok(None), None) => Err(out_of_reach(claim)),
                (Err(error), _) => Err(error),
            },
        };
        self.admitted
            .extend(self.core.prepare(endpoint, lane, (&message, &asked), payload, &now));
    }

    /// Queues what was admitted, as far as there is room and time for it.
    fn queue(&mut self) {
        let Some(now) = self.now.take() else { return };
        self.core.queue_all(&mut self.admitted, now.instant);
    }

    /// Takes a cancelled call out of the queue, marks it when it is running, or ends the fetching of its frame.
    fn cancel(&mut self, message: &Message) {
        // What came just before may be what is cancelled.
        self.queue();
        let start = subject::cancel(&self.core.prefix, "").len();
        let Some(id) = message.subject().get(start..) else {
            return;
        };
        if !id.contains('.') {
            // A call's id has two tokens, a job's one.
            return self.core.cancel_job(id);
        }
        let found = self.core.queue.cancel(|reply| subject::call_id(reply) == Some(id));
        match found {
            Cancelled::Queued(request) => self.core.answer(&request, &Err(cancelled()), Timing::default()),
            Cancelled::Running => {}
            Cancelled::Unknown => self.core.fetching.cancel(id),
        }
    }
}

impl Core {
    /// Lets requests reach an endpoint, in every lane, and shows it to NATS tools.
    ///
    /// # Errors
    /// When its name makes no subject.
    pub(crate) fn serve(&self, endpoint: &Arc<Endpoint>) -> Result<()> {
        self.endpoints
            .write()
            .insert(endpoint.name.clone(), Arc::clone(endpoint));
        for lane in Lane::ALL {
            let subject = npufleet_wire::Subject {
                route: Route::Call,
                lane,
                operation: endpoint.operation.clone(),
                model: endpoint.model.clone(),
            };
            let target = Target::Requests(Arc::clone(endpoint), lane);
            self.listen(&subject.format(&self.prefix), Some(Route::Call.queue()), target)?;
        }
        Ok(())
    }

    /// Has messages on a subject go to a target; returns the number of the subscription.
    ///
    /// # Errors
    /// When it is no subject.
    pub(crate) fn listen(&self, subject: &str, queue: Option<&str>, target: Target) -> Result<u64> {
        let mut targets = self.targets.write();
        let number = self.link.subscribe(subject, queue)?;
        targets.insert(number, target);
        Ok(number)
    }

    /// The numbers of the subscriptions that bring requests to the endpoints that are `wanted`.
    pub(crate) fn intakes(&self, wanted: impl Fn(&Endpoint) -> bool) -> Vec<u64> {
        self.subscriptions(|target| matches!(target, Target::Requests(endpoint, _) if wanted(endpoint)))
    }

    /// The numbers of the subscriptions that are `wanted`.
    pub(crate) fn subscriptions(&self, wanted: impl Fn(&Target) -> bool) -> Vec<u64> {
        let targets = self.targets.read();
        targets
            .iter()
            .filter(|(_, target)| wanted(target))
            .map(|(number, _)| *number)
            .collect()
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
            core.answer(&request, &Err(error), Timing::default());
        }
    }
}
