//! Answers: a result or an error.

use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Message, Pieces};
use npufleet_payload::exchange::Loan;
use npufleet_wire::{Error, ErrorKind, Result, Timing, header};

use crate::answers::Answers;
use crate::core::{Core, ENGINE};
use crate::endpoint::Endpoint;
use crate::events::log;
use crate::jobs::Seat;
use crate::request::{Asked, Request};

/// Texts in headers are cut to this length; they are for people.
pub(crate) const MAX_TEXT: usize = 1000;

impl Core {
    /// Ends a request with its result or error, without waiting for the broker.
    pub(crate) fn answer(&self, request: &Request, outcome: &Result<Bytes>, timing: Timing) {
        self.send(|pieces| {
            let mut answers = Answers::new(pieces, self.link.max_payload());
            self.write(&mut answers, request, outcome, None, timing);
            answers.leave();
        });
    }

    /// Writes the end of a request; of a result that is lent nothing is in `outcome`.
    pub(crate) fn write(
        &self,
        answers: &mut Answers<'_>,
        request: &Request,
        outcome: &Result<Bytes>,
        loan: Option<Loan<'_>>,
        timing: Timing,
    ) {
        if let Some(job) = &request.job {
            return self.end(job, request, outcome, timing);
        }
        let start = request.trace.as_ref().map(|_| Instant::now());
        let statistics = &request.endpoint.statistics;
        self.count_served();
        let too_large = match outcome {
            Ok(payload) => {
                let block = &mut answers.block;
                result_headers(block, request, loan, timing);
                let (size, limit) = (payload.len(), self.link.max_payload());
                if block.as_bytes().len() + size <= limit {
                    statistics.succeeded(request.prepared.rows);
                    answers.publish(request, payload);
                    None
                } else {
                    let text = format!("the reply has {size} bytes; the broker allows {limit}");
                    Some(Error::new(ErrorKind::PayloadTooLarge, text))
                }
            }
            Err(_) => None,
        };
        let error = too_large.as_ref().or(outcome.as_ref().err());
        if let Some(error) = error {
            statistics.failed(error);
            error_headers(&mut answers.block, error, request.fallback_reason());
            answers.publish(request, &Bytes::new());
        }
        let placement = match loan {
            None => "inline",
            Some(Loan { channel: None, .. }) => "arena",
            Some(_) => header::ZEROMQ,
        };
        if let Some(start) = start {
            self.telemetry.replied(request, start, error.map_or(Ok(placement), Err));
        }
    }

    /// Ends the work on a job; what is written about the job is decided where it is waited for.
    fn end(&self, job: &Seat, request: &Request, outcome: &Result<Bytes>, timing: Timing) {
        let statistics = &request.endpoint.statistics;
        let mut block = HeaderBlock::default();
        match outcome {
            Ok(_) => {
                statistics.succeeded(request.prepared.rows);
                self.jobs.took(Duration::from_micros(timing.executing));
                result_headers(&mut block, request, None, timing);
            }
            Err(error) => statistics.failed(error),
        }
        self.count_served();
        let told = outcome.as_ref().map(|_| "inline");
        self.telemetry.replied(request, Instant::now(), told);
        job.end(outcome.clone(), block);
    }

    /// Answers a message that never became a request.
    pub(crate) fn refuse(&self, endpoint: &Endpoint, reply: &str, message: &Message, error: &Error) {
        endpoint.statistics.failed(error);
        self.count_served();
        let mut block = HeaderBlock::default();
        error_headers(&mut block, error, Asked::read(message.headers()).fallback_reason);
        self.send(|pieces| pieces.publish(reply, None, block.as_bytes(), &Bytes::new()));
    }

    /// Sends from the event loop, which must not wait.
    pub(crate) fn send(&self, write: impl FnOnce(&mut Pieces)) {
        if !self.link.send(write) {
            log(format_args!("an answer is dropped: too many wait for the broker"));
        }
    }
}

fn result_headers(block: &mut HeaderBlock, request: &Request, loan: Option<Loan<'_>>, timing: Timing) {
    block.clear();
    // What callers look for most is first, where they find it fastest.
    if let limit @ 2.. = request.prepared.bundle_limit() {
        block.push_number(header::BUNDLE_LIMIT, limit);
    }
    if let Some(Loan { claim, channel }) = loan {
        block.push(header::CLAIM, &claim.to_string());
        if let Some(channel) = channel {
            block.push(header::CHANNEL, channel);
        }
    }
    block.push(header::ENGINE, ENGINE);
    block.push(header::DEVICE, request.prepared.device());
    write_timing(block, timing);
    if request.payload.fetching().is_some() {
        block.push(header::PLACEMENT, header::ZEROMQ);
    }
    if let Some(reason) = request.fallback_reason() {
        block.push_text(header::FALLBACK_REASON, reason, MAX_TEXT);
    }
}

/// As `Timing` writes itself, without the machinery of formatting.
fn write_timing(block: &mut HeaderBlock, timing: Timing) {
    let Timing {
        queued,
        fetching,
        batching,
        executing,
    } = timing;
    let parts = [
        ("queued", queued),
        ("fetching", fetching),
        ("batching", batching),
        ("executing", executing),
    ];
    block.push_numbers(header::TIMING, &parts);
}

/// The headers of a failure that is written down.
pub(crate) fn failure(error: &Error) -> HeaderBlock {
    let mut block = HeaderBlock::default();
    error_headers(&mut block, error, None);
    block
}

/// The headers of a failure.
fn error_headers(block: &mut HeaderBlock, error: &Error, fallback_reason: Option<&str>) {
    block.clear();
    block.push_text(header::ERROR, &error.message, MAX_TEXT);
    block.push_number(header::ERROR_CODE, error.kind.code().into());
    block.push(header::ERROR_KIND, error.kind.as_str());
    block.push(header::ENGINE, ENGINE);
    if let Some(after) = error.retry_after {
        block.push_number(header::RETRY_AFTER, after.as_micros() as u64);
    }
    if let Some(reason) = fallback_reason {
        block.push_text(header::FALLBACK_REASON, reason, MAX_TEXT);
    }
}

#[cfg(test)]
mod tests {
    use npufleet_link::Headers;

    use super::*;

    #[test]
    fn errors_say_kind_code_and_when_to_come_back() {
        let error = Error::overloaded("busy\nvery", std::time::Duration::from_millis(2));
        let mut block = HeaderBlock::default();
        error_headers(&mut block, &error, Some("no_answer"));
        let headers: Vec<_> = Headers::new(block.as_bytes()).iter().collect();
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

    #[test]
    fn the_timing_is_written_as_it_is_read() {
        let timing = Timing {
            queued: 1,
            fetching: 20,
            batching: 0,
            executing: u64::MAX,
        };
        let mut block = HeaderBlock::default();
        write_timing(&mut block, timing);
        let headers = Headers::new(block.as_bytes());
        assert_eq!(headers.get(header::TIMING), Some(&*timing.to_string()));
    }
}
