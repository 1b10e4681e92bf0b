//! Handing a request to the other engine, which then answers the caller.
//!
//! The request goes on as it came, with the caller's reply subject, so that any NATS client gets the fallback. But a
//! broker tells only the *sender's* own inbox that nobody listens: a caller whose request was handed to nobody would
//! wait until its deadline. So unless the other engine was seen a moment ago, this worker asks in its own name, and
//! passes the answer on, or its own error when nobody is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use npufleet_link::{HeaderBlock, Message};
use npufleet_wire::{Error, Timing, header};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::core::Core;
use crate::reply::MAX_TEXT;
use crate::request::Request;

/// How long the other engine is believed to be there after it answered.
const SEEN: Duration = Duration::from_millis(250);

impl Core {
    /// Sends the request to the other engine from the event loop; `timing` is for the error, if that is the answer.
    pub(crate) fn hand_over(self: &Arc<Self>, request: Request, error: Error, timing: Timing) {
        let core = Arc::clone(self);
        let mut forwards = self.forwards.lock();
        while forwards.try_join_next().is_some() {}
        forwards.spawn_on(async move { core.forward(request, error, timing).await }, &self.runtime);
    }

    async fn forward(self: Arc<Self>, request: Request, error: Error, timing: Timing) {
        let start = Instant::now();
        let reason = format!("{}: {}", error.kind, error.message);
        let mut block = HeaderBlock::continuing(request.message.headers());
        block.push_text(header::FALLBACK_REASON, &reason, MAX_TEXT);
        let block = block.as_bytes();
        // The longer headers may no longer fit.
        let fits = block.len() + request.message.payload_bytes().len() <= self.link.max_payload();
        let subject = &request.endpoint.fallback[request.lane.index()];
        let is_there = request.endpoint.other_engine_seen_within(SEEN);
        let sent = fits
            && if is_there {
                self.pass_on(&request, subject, block)
            } else {
                self.ask(&request, subject, block).await
            };
        if sent {
            request.endpoint.statistics.handed_over(&error);
            self.count_served();
            self.telemetry.forwarded(&request, start, subject, &reason);
        } else {
            self.answer(&request, &Err(error), timing);
        }
    }

    /// Sends the request on; the answer goes to the caller without us.
    fn pass_on(&self, request: &Request, subject: &str, block: &[u8]) -> bool {
        let payload = request.message.payload();
        self.link
            .send(|pieces| pieces.publish(subject, Some(&request.reply), block, &payload))
    }

    /// Asks in our own name and passes the answer on; false when nobody is there.
    async fn ask(&self, request: &Request, subject: &str, block: &[u8]) -> bool {
        let patience = request.deadline.saturating_duration_since(Instant::now());
        let payload = request.message.payload();
        let (number, inbox, answer) = self.questions.ask();
        let asked = self
            .link
            .send(|pieces| pieces.publish(subject, Some(&inbox), block, &payload));
        let patience = if asked { patience } else { Duration::ZERO };
        let answer = timeout(patience, answer).await;
        self.questions.forget(number);
        match answer {
            _ if !asked => false,
            Ok(Ok(answer)) if answer.status() == 0 => {
                request.endpoint.saw_other_engine();
                let headers = answer.headers().as_bytes();
                self.send(|pieces| pieces.publish(&request.reply, None, headers, &answer.payload()));
                true
            }
            // The broker says that nobody listens, or it is not there any more.
            Ok(_) => false,
            // The caller no longer waits: there is nobody to tell.
            Err(_) => true,
        }
    }
}

/// What was asked in our own name and not answered yet.
pub(crate) struct Questions {
    /// Our inbox up to the number.
    inbox: String,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Asker>>,
}

/// Who waits for answers to a question.
enum Asker {
    Once(oneshot::Sender<Message>),
    /// Until it is forgotten.
    Again(mpsc::UnboundedSender<Message>),
}

impl Questions {
    pub(crate) fn new(inbox: String) -> Self {
        Self {
            inbox,
            next: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// Where this worker hears answers: all subjects that begin so are its own.
    pub(crate) fn inbox(&self) -> &str {
        &self.inbox
    }

    /// What the worker listens to for answers.
    pub(crate) fn pattern(&self) -> String {
        format!("{}*", self.inbox)
    }

    /// Numbers a question: returns its number, where its answer goes, and the answer.
    pub(crate) fn ask(&self) -> (u64, String, oneshot::Receiver<Message>) {
        let (sender, receiver) = oneshot::channel();
        let (number, inbox) = self.open(Asker::Once(sender));
        (number, inbox, receiver)
    }

    /// As [`Self::ask`], for a question that has several answers; whoever asks says when it has them all.
    pub(crate) fn ask_for_many(&self) -> (u64, String, mpsc::UnboundedReceiver<Message>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (number, inbox) = self.open(Asker::Again(sender));
        (number, inbox, receiver)
    }

    fn open(&self, asker: Asker) -> (u64, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, asker);
        (number, format!("{}{number}", self.inbox))
    }

    /// Whoever asked waits no more.
    pub(crate) fn forget(&self, number: u64) {
        self.open.lock().remove(&number);
    }

    /// An answer came.
    pub(crate) fn answered(&self, message: Message) {
        let number = message
            .subject()
            .get(self.inbox.len()..)
            .and_then(|number| number.parse().ok());
        let Some(number): Option<u64> = number else { return };
        let mut open = self.open.lock();
        let asker = match open.remove(&number) {
            // Who asked may have lost patience.
            Some(Asker::Once(asker)) => return drop(asker.send(message)),
            Some(Asker::Again(asker)) => asker,
            None => return,
        };
        if asker.send(message).is_ok() {
            open.insert(number, Asker::Again(asker));
        }
    }

    /// The connection was lost, and the answers with it.
    pub(crate) fn give_up(&self) {
        self.open.lock().clear();
    }
}
