//! Handing a request to the other engine, which then answers the caller.
//!
//! The request goes on as it came, with the caller's reply subject, so that any NATS client gets the fallback. But a
//! broker tells only the *sender's* own inbox that nobody listens: a caller whose request was handed to nobody would
//! wait until its deadline. So unless the other engine was seen a moment ago, this worker asks in its own name, and
//! passes the answer on, or its own error when nobody is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Request as Question, RequestErrorKind, Subject};
use npufleet_wire::{Error, Timing, header};

use crate::core::Core;
use crate::events::log;
use crate::reply::{From, name, one_line};
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
        let reason = format!("{}: {}", error.kind, one_line(&error.message));
        let mut headers = request.headers.clone().unwrap_or_default();
        headers.insert(name(header::FALLBACK_REASON), reason.as_str());
        let subject = &request.endpoint.fallback[request.lane.index()];
        let sent = if request.endpoint.other_engine_seen_within(SEEN) {
            self.pass_on(&request, subject, headers).await
        } else {
            self.ask(&request, subject, headers).await
        };
        if sent {
            request.endpoint.statistics.handed_over(&error);
            self.count_served();
            self.telemetry.forwarded(&request, start, subject, &reason);
        } else {
            self.answer(From::EventLoop, &request, &Err(error), timing);
        }
    }

    /// Sends the request on; the answer goes to the caller without us.
    async fn pass_on(&self, request: &Request, subject: &Subject, headers: HeaderMap) -> bool {
        let (subject, reply, payload) = (subject.clone(), request.reply.clone(), request.payload.clone());
        // Fails when the longer headers no longer fit, or the connection is gone for good.
        self.client
            .publish_with_reply_and_headers(subject, reply, headers, payload)
            .await
            .is_ok()
    }

    /// Asks in our own name and passes the answer on; false when nobody is there.
    async fn ask(&self, request: &Request, subject: &Subject, headers: HeaderMap) -> bool {
        let patience = request.deadline.saturating_duration_since(Instant::now());
        let question = Question::new()
            .headers(headers)
            .payload(request.payload.clone())
            .timeout(Some(patience));
        match self.client.send_request(subject.clone(), question).await {
            Ok(answer) => {
                request.endpoint.saw_other_engine();
                let headers = answer.headers.unwrap_or_default();
                let sent = self
                    .client
                    .publish_with_headers(request.reply.clone(), headers, answer.payload)
                    .await;
                if let Err(error) = sent {
                    log(format_args!("cannot pass on a reply: {error}"));
                }
                true
            }
            // The caller no longer waits: there is nobody to tell.
            Err(error) => error.kind() == RequestErrorKind::TimedOut,
        }
    }
}
