//! Handing a request to the other engine, which then answers the caller.
//!
//! The request goes on as it came, with the caller's reply subject, so that any NATS client gets the fallback. But a
//! broker tells only the *sender's* own inbox that nobody listens: a caller whose request was handed to nobody would
//! wait until its deadline. So unless the other engine was seen a moment ago, this worker asks in its own name, and
//! passes the answer on, or its own error when nobody is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Request as Question, RequestErrorKind};
use npufleet_wire::{Error, Timing, header};

use crate::core::Core;
use crate::headers::{self, Headers};
use crate::link::From;
use crate::request::Request;

/// How long the other engine is believed to be there after it answered.
const SEEN: Duration = Duration::from_millis(250);

impl Core {
    /// Sends the request to the other engine from the event loop; `timing` is for the error, if that is the answer.
    pub(crate) fn hand_over(self: &Arc<Self>, request: Request, error: Error, timing: Timing) {
        let core = Arc::clone(self);
        let mut forwards = self.forwards.lock();
        while forwards.try_join_next().is_some() {}
        forwards.spawn_on(
            async move { core.forward(request, error, timing).await },
            &self.runtime,
        );
    }

    async fn forward(self: Arc<Self>, request: Request, error: Error, timing: Timing) {
        let start = Instant::now();
        let reason = format!("{}: {}", error.kind, error.message);
        let mut block = Headers::continuing(request.message.headers());
        block.text(header::FALLBACK_REASON, &reason);
        let block = block.finish();
        let fits = block.len() + request.message.payload().len() <= self.link.max_payload();
        let subject = request.endpoint.fallback[request.lane.index()].as_str();
        let sent = fits
            && (self.pass_on(&request, subject, &block)
                || self.ask(&request, subject, &block).await);
        if sent {
            request.endpoint.statistics.handed_over(&error);
            self.count_served();
            self.telemetry.forwarded(&request, start, subject, &reason);
        } else {
            self.answer(From::EventLoop, &request, &Err(error), timing);
        }
    }

    /// Sends the request on, if the other engine is known to be there; its answer goes to the caller without us.
    fn pass_on(&self, request: &Request, subject: &str, block: &[u8]) -> bool {
        let there = request.endpoint.other_engine_seen_within(SEEN);
        if there {
            let (reply, payload) = (request.message.reply(), request.message.shared_payload());
            self.link.send(From::EventLoop, |pieces| {
                pieces.publish(subject.as_bytes(), reply, block, &payload);
            });
        }
        there
    }

    /// Asks in our own name and passes the answer on; false when nobody is there.
    async fn ask(&self, request: &Request, subject: &str, block: &[u8]) -> bool {
        let patience = request.deadline.saturating_duration_since(Instant::now());
        let mut question = HeaderMap::new();
        for (name, value) in headers::read(block) {
            question.append(name, value);
        }
        let question = Question::new()
            .headers(question)
            .payload(request.message.shared_payload())
            .timeout(Some(patience));
        match self
            .control
            .send_request(subject.to_owned(), question)
            .await
        {
            Ok(answer) => {
                request.endpoint.saw_other_engine();
                let mut block = Headers::new();
                for (name, values) in answer.headers.iter().flat_map(HeaderMap::iter) {
                    for value in values {
                        block.word(name.as_ref(), value.as_str());
                    }
                }
                let (reply, block) = (request.message.reply(), block.finish());
                self.link.send(From::EventLoop, |pieces| {
                    pieces.publish(reply, b"", &block, &answer.payload);
                });
                true
            }
            // The caller no longer waits: there is nobody to tell.
            Err(error) => error.kind() == RequestErrorKind::TimedOut,
        }
    }
}
