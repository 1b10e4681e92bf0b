//! Answers: a result or an error.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_wire::{Error, ErrorKind, Result, Timing, header};

use crate::core::{Core, ENGINE};
use crate::endpoint::Endpoint;
use crate::headers::Headers;
use crate::link::{From, Message, Pieces};
use crate::request::{Asked, Request};

impl Core {
    /// Ends a request with its result or error.
    pub(crate) fn answer(
        &self,
        from: From,
        request: &Request,
        outcome: &Result<Bytes>,
        timing: Timing,
    ) {
        self.link
            .send(from, |pieces| self.write(pieces, request, outcome, timing));
    }

    /// Writes the end of a request to the connection, whose lock the caller holds.
    pub(crate) fn write(
        &self,
        pieces: &mut Pieces,
        request: &Request,
        outcome: &Result<Bytes>,
        timing: Timing,
    ) {
        let start = Instant::now();
        let reply = request.message.reply();
        self.count_served();
        match outcome {
            Ok(payload) => {
                let headers = result_headers(request, timing);
                let (size, limit) = (headers.len() + payload.len(), self.link.max_payload());
                if size <= limit {
                    request.endpoint.statistics.succeeded(request.prepared.rows);
                    pieces.publish(reply, b"", &headers, payload);
                } else {
                    let text = format!("the reply has {size} bytes; the broker allows {limit}");
                    let error = Error::new(ErrorKind::PayloadTooLarge, text);
                    request.endpoint.statistics.failed(&error);
                    pieces.publish(
                        reply,
                        b"",
                        &error_headers(&error, request.fallback_reason()),
                        &Bytes::new(),
                    );
                }
            }
            Err(error) => {
                request.endpoint.statistics.failed(error);
                pieces.publish(
                    reply,
                    b"",
                    &error_headers(error, request.fallback_reason()),
                    &Bytes::new(),
                );
            }
        }
        self.telemetry
            .replied(request, start, outcome.as_ref().err());
    }

    /// Answers a message that never became a request.
    pub(crate) fn refuse(self: &Arc<Self>, endpoint: &Endpoint, message: &Message, error: &Error) {
        endpoint.statistics.failed(error);
        self.count_served();
        let headers = error_headers(error, Asked::read(message).fallback_reason);
        self.link.send(From::EventLoop, |pieces| {
            pieces.publish(message.reply(), b"", &headers, &Bytes::new());
        });
    }
}

fn result_headers(request: &Request, timing: Timing) -> Vec<u8> {
    let Timing {
        queued,
        fetching,
        batching,
        executing,
    } = timing;
    let mut headers = Headers::new();
    headers.word(header::ENGINE, ENGINE);
    headers.word(header::DEVICE, request.prepared.device());
    // As `Timing` writes itself, without the machinery of formatting.
    let parts = [
        ("queued", queued),
        ("fetching", fetching),
        ("batching", batching),
        ("executing", executing),
    ];
    headers.numbers(header::TIMING, &parts);
    if let Some(reason) = request.fallback_reason() {
        headers.text(header::FALLBACK_REASON, reason);
    }
    headers.finish()
}

fn error_headers(error: &Error, fallback_reason: Option<&str>) -> Vec<u8> {
    let mut headers = Headers::new();
    headers.text(header::ERROR, &error.message);
    headers.number(header::ERROR_CODE, error.kind.code().into());
    headers.word(header::ERROR_KIND, error.kind.as_str());
    headers.word(header::ENGINE, ENGINE);
    if let Some(after) = error.retry_after {
        headers.number(header::RETRY_AFTER, after.as_micros() as u64);
    }
    if let Some(reason) = fallback_reason {
        headers.text(header::FALLBACK_REASON, reason);
    }
    headers.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::read;

    #[test]
    fn errors_say_kind_code_and_when_to_come_back() {
        let error = Error::overloaded("busy\nvery", std::time::Duration::from_millis(2));
        let block = error_headers(&error, Some("no_answer"));
        let headers: Vec<_> = read(&block).collect();
        let expected = [
            (header::ERROR, "busy very"),
            (header::ERROR_CODE, "429"),
            (header::ERROR_KIND, "overloaded"),
            (header::ENGINE, "rust"),
            (header::RETRY_AFTER, "2000"),
            (header::FALLBACK_REASON, "no_answer"),
        ];
        assert_eq!(headers, expected);
    }
}
