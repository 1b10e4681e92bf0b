//! Message headers: their names, and the values that have a form.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state.
pub const TRACESTATE: &str = "tracestate";
/// When the answer is no longer wanted: unix microseconds.
pub const DEADLINE: &str = "Npu-Deadline";
/// Where the frame lies when it is not in the message: a [`crate::Claim`].
pub const CLAIM: &str = "Npu-Claim";
/// Where the claim's owner can be asked for the frame, by whoever cannot open its arena.
pub const CHANNEL: &str = "Npu-Channel";
/// The id of the caller's arena: a worker that can open it may answer by claim.
pub const ACCEPT: &str = "Npu-Accept";
/// How the worker got at the request's frame: [`ZEROMQ`] when it had to fetch it over the channel.
pub const PLACEMENT: &str = "Npu-Placement";
/// The value of [`PLACEMENT`] for a frame that was fetched.
pub const ZEROMQ: &str = "zeromq";
/// The id by which the broker drops duplicates of a job.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// Which engine answered: `rust` or `python`.
pub const ENGINE: &str = "Npu-Engine";
/// Which device did the work: `NPU`, `GPU` or `CPU`.
pub const DEVICE: &str = "Npu-Device";
/// Why the request left its first engine: a [`crate::Reason`], and a text after a colon.
pub const FALLBACK_REASON: &str = "Npu-Fallback-Reason";
/// Where the time went: a [`Timing`].
pub const TIMING: &str = "Npu-Timing";
/// Of a bundle: how many messages it holds.
pub const BUNDLE: &str = "Npu-Bundle";
/// Of an answer: how many requests like this one may travel in one bundle.
pub const BUNDLE_LIMIT: &str = "Npu-Bundle-Limit";
/// When to come back after `overloaded`: microseconds.
pub const RETRY_AFTER: &str = "Npu-Retry-After";
/// The text of a failure.
pub const ERROR: &str = "Nats-Service-Error";
/// The code of a failure.
pub const ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The kind of a failure: a [`crate::ErrorKind`].
pub const ERROR_KIND: &str = "Npu-Error-Kind";
/// The id of a job.
pub const JOB_ID: &str = "Npu-Job-Id";
/// When a job was submitted: unix microseconds.
pub const SUBMITTED: &str = "Npu-Submitted";
/// When a job's result was committed: unix microseconds.
pub const FINISHED: &str = "Npu-Finished";
/// How many attempts a job may have after the first.
pub const RETRIES: &str = "Npu-Retries";
/// How long one attempt may take: microseconds.
pub const ATTEMPT_TIMEOUT: &str = "Npu-Attempt-Timeout";
/// How many attempts have been made.
pub const ATTEMPT: &str = "Npu-Attempt";
/// Which worker did it.
pub const WORKER: &str = "Npu-Worker";
/// What a job was: `<lane>.<operation>[.<model>]`.
pub const OPERATION: &str = "Npu-Operation";
/// The submitter's own name for a job.
pub const IDEMPOTENCY_KEY: &str = "Npu-Idempotency-Key";
/// The subject that hears when a job's result is there.
pub const NOTIFY: &str = "Npu-Notify";
/// A dead letter's events: a JSON array.
pub const HISTORY: &str = "Npu-History";
/// Where a job's frame lies when it is not in the message.
pub const PAYLOAD: &str = "Npu-Payload";
/// The job that this one repeats.
pub const RETRY_OF: &str = "Npu-Retry-Of";

/// The contract's key and the name of every header.
pub const ALL: [(&str, &str); 31] = [
    ("traceparent", TRACEPARENT),
    ("tracestate", TRACESTATE),
    ("deadline", DEADLINE),
    ("claim", CLAIM),
    ("channel", CHANNEL),
    ("accept", ACCEPT),
    ("placement", PLACEMENT),
    ("message_id", MESSAGE_ID),
    ("engine", ENGINE),
    ("device", DEVICE),
    ("fallback_reason", FALLBACK_REASON),
    ("timing", TIMING),
    ("bundle", BUNDLE),
    ("bundle_limit", BUNDLE_LIMIT),
    ("retry_after", RETRY_AFTER),
    ("error", ERROR),
    ("error_code", ERROR_CODE),
    ("error_kind", ERROR_KIND),
    ("job_id", JOB_ID),
    ("submitted", SUBMITTED),
    ("finished", FINISHED),
    ("retries", RETRIES),
    ("attempt_timeout", ATTEMPT_TIMEOUT),
    ("attempt", ATTEMPT),
    ("worker", WORKER),
    ("operation", OPERATION),
    ("idempotency_key", IDEMPOTENCY_KEY),
    ("notify", NOTIFY),
    ("history", HISTORY),
    ("payload", PAYLOAD),
    ("retry_of", RETRY_OF),
];

/// Reads a header value in microseconds ([`DEADLINE`], [`RETRY_AFTER`]).
///
/// # Errors
/// `invalid_parameter` when it is not a decimal number of at most 64 bits.
pub fn parse_microseconds(name: &str, value: &str) -> Result<u64> {
    // `u64::from_str` takes a leading plus sign, which no other language's reader must.
    if value.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(microseconds) = value.parse()
    {
        return Ok(microseconds);
    }
    Err(Error::new(
        ErrorKind::InvalidParameter,
        format!(
            "header {name} is '{}'; allowed: microseconds as a decimal number",
            shortened(value)
        ),
    ))
}

/// The first characters of a foreign text, for messages.
pub(crate) fn shortened(text: &str) -> String {
    const LIMIT: usize = 80;
    if text.chars().nth(LIMIT).is_none() {
        text.to_owned()
    } else {
        text.chars().take(LIMIT).chain(['…']).collect()
    }
}

/// Where a request's time went in the worker, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timing {
    /// From arrival until an executor took it.
    pub queued: u64,
    /// Decoding or fetching the payload.
    pub fetching: u64,
    /// From taken until its batch started.
    pub batching: u64,
    /// The work itself.
    pub executing: u64,
}

impl fmt::Display for Timing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            queued,
            fetching,
            batching,
            executing,
        } = self;
        write!(
            formatter,
            "queued={queued};fetching={fetching};batching={batching};executing={executing}"
        )
    }
}

impl FromStr for Timing {
    type Err = Error;

    /// Reads what `Display` writes; parts may come in any order, unknown ones are skipped, absent ones are 0.
    fn from_str(text: &str) -> Result<Self> {
        let mut timing = Self::default();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let field = match name {
                "queued" => &mut timing.queued,
                "fetching" => &mut timing.fetching,
                "batching" => &mut timing.batching,
                "executing" => &mut timing.executing,
                _ => continue,
            };
            *field = parse_microseconds(TIMING, value)?;
        }
        Ok(timing)
    }
}
