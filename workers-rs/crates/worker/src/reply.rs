//! Answers: a result or an error.

use std::sync::Arc;
use std::time::Instant;

use async_nats::client::{PublishError, PublishErrorKind};
use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use futures::FutureExt as _;
use npufleet_wire::{Error, ErrorKind, Result, Timing, header};

use crate::core::{Core, ENGINE};
use crate::endpoint::Endpoint;
use crate::events::log;
use crate::request::{Asked, Request};

/// Error texts are cut to this length; they are for people.
const MAX_TEXT: usize = 1000;

/// Which thread answers: an executor may wait for a full connection, the event loop must not.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum From {
    Executor,
    EventLoop,
}

impl Core {
    /// Ends a request with its result or error.
    pub(crate) fn answer(self: &Arc<Self>, from: From, request: &Request, outcome: &Result<Bytes>, timing: Timing) {
        let statistics = &request.endpoint.statistics;
        let start = Instant::now();
        let (headers, payload) = match outcome {
            Ok(payload) => {
                statistics.succeeded(request.prepared.rows);
                let mut headers = HeaderMap::new();
                headers.insert(name(header::ENGINE), ENGINE);
                headers.insert(name(header::DEVICE), request.prepared.device());
                headers.insert(name(header::TIMING), timing.to_string());
                if let Some(reason) = request.fallback_reason() {
                    headers.insert(name(header::FALLBACK_REASON), reason);
                }
                (headers, payload.clone())
            }
            Err(error) => {
                statistics.failed(error);
                (error_headers(error, request.fallback_reason()), Bytes::new())
            }
        };
        self.count_served();
        self.send(from, request.reply.clone(), headers, payload);
        self.telemetry.replied(request, start, outcome.as_ref().err());
    }

    /// Answers a message that never became a request.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        reply: Subject,
        headers: Option<&HeaderMap>,
        error: &Error,
    ) {
        endpoint.statistics.failed(error);
        self.count_served();
        let headers = error_headers(error, Asked::read(headers).fallback_reason);
        self.send(From::EventLoop, reply, headers, Bytes::new());
    }

    fn send(self: &Arc<Self>, from: From, reply: Subject, headers: HeaderMap, payload: Bytes) {
        let size = payload.len();
        let result = match from {
            From::Executor => {
                futures::executor::block_on(self.client.publish_with_headers(reply.clone(), headers, payload))
            }
            From::EventLoop => {
                let (client, subject) = (self.client.clone(), reply.clone());
                let mut publish = async move { client.publish_with_headers(subject, headers, payload).await }.boxed();
                match (&mut publish).now_or_never() {
                    Some(result) => result,
                    // The connection is full; the answer leaves when there is room.
                    None => return drop(tokio::spawn(publish)),
                }
            }
        };
        if let Err(error) = result {
            self.not_sent(from, reply, size, &error);
        }
    }

    fn not_sent(self: &Arc<Self>, from: From, reply: Subject, size: usize, error: &PublishError) {
        if error.kind() == PublishErrorKind::MaxPayloadExceeded && size > 0 {
            let limit = self.client.max_payload();
            let error = Error::new(
                ErrorKind::PayloadTooLarge,
                format!("the reply has {size} bytes; the broker allows {limit}"),
            );
            self.send(from, reply, error_headers(&error, None), Bytes::new());
        } else {
            log(format_args!("cannot send a reply: {error}"));
        }
    }
}

/// The headers of a failure.
fn error_headers(error: &Error, fallback_reason: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name(header::ERROR), one_line(&error.message));
    headers.insert(name(header::ERROR_CODE), error.kind.code().to_string());
    headers.insert(name(header::ERROR_KIND), error.kind.as_str());
    headers.insert(name(header::ENGINE), ENGINE);
    if let Some(after) = error.retry_after {
        headers.insert(name(header::RETRY_AFTER), after.as_micros().to_string());
    }
    if let Some(reason) = fallback_reason {
        headers.insert(name(header::FALLBACK_REASON), reason);
    }
    headers
}

/// A header's name, without copying it.
pub(crate) fn name(header: &'static str) -> HeaderName {
    HeaderName::from_static(header)
}

/// A header value is one line.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_TEXT)
        .collect()
}
