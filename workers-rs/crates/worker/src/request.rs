//! A request that was admitted, on its way from the connection to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use npufleet_link::{Headers, Message, Subject};
use npufleet_payload::exchange::Reader;
use npufleet_payload::read_arena_id;
use npufleet_wire::{Frame, Lane, Result, header};

use crate::endpoint::{Endpoint, Prepared};
use crate::jobs::Seat;
use crate::payloads::Payload;
use crate::queue::{Limits, Work};
use crate::telemetry::Trace;

/// How long a request without a deadline may take.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// A moment on both clocks: the monotonic one measures, the wall clock is what processes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix: Duration,
}

impl Now {
    pub(crate) fn new() -> Self {
        // A clock before 1970 counts as 1970: every deadline is then far away, which is the harmless side.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            instant: Instant::now(),
            unix,
        }
    }

    /// When a deadline in unix microseconds comes; now, if it has passed.
    pub(crate) fn at(&self, deadline: u64) -> Instant {
        let left = Duration::from_micros(deadline).saturating_sub(self.unix);
        // A deadline beyond what the clock can count is as good as a year.
        self.instant
            .checked_add(left)
            .unwrap_or(self.instant + Duration::from_secs(31_536_000))
    }
}

/// What a worker reads from a request's headers.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    deadline: Option<&'a str>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    /// Set when the request already left another engine.
    pub(crate) fallback_reason: Option<&'a str>,
    /// Where the frame is, when it is not in the message.
    pub(crate) claim: Option<&'a str>,
    /// Where it can be asked for, when its arena cannot be opened.
    pub(crate) channel: Option<&'a str>,
    accept: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// One pass over the headers, which costs less than looking each one up; the first of several counts.
    pub(crate) fn read(headers: Headers<'a>) -> Self {
        let mut asked = Self::default();
        for (name, value) in headers.iter() {
            let field = match name {
                header::DEADLINE => &mut asked.deadline,
                header::TRACEPARENT => &mut asked.traceparent,
                header::TRACESTATE => &mut asked.tracestate,
                header::FALLBACK_REASON => &mut asked.fallback_reason,
                header::CLAIM => &mut asked.claim,
                header::CHANNEL => &mut asked.channel,
                header::ACCEPT => &mut asked.accept,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        asked
    }

    /// When the caller stops waiting.
    ///
    /// # Errors
    /// `invalid_parameter` when the header is no number.
    pub(crate) fn deadline(&self, now: &Now) -> Result<Instant> {
        match self.deadline {
            Some(text) => Ok(now.at(header::parse_microseconds(header::DEADLINE, text)?)),
            None => Ok(now.instant + DEFAULT_DEADLINE),
        }
    }

    /// Who is to have the result, if it takes claims.
    pub(crate) fn reader(&self) -> Option<Reader> {
        Some(Reader {
            arena: self.accept.and_then(read_arena_id)?,
            has_channel: self.channel.is_some(),
        })
    }

    /// The trace that the request belongs to, if it is sampled.
    pub(crate) fn trace(&self, now: &Now) -> Option<Box<Trace>> {
        self.traceparent
            .and_then(|parent| Trace::parse(parent, self.tracestate, now))
    }
}

/// A request that was admitted.
pub(crate) struct Request {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) message: Message,
    /// The frame.
    pub(crate) payload: Payload,
    /// Who is to have the result, if it takes claims.
    pub(crate) reader: Option<Reader>,
    /// Where the answer goes.
    pub(crate) reply: Subject,
    pub(crate) lane: Lane,
    /// It already left another engine: it is not sent round in circles.
    pub(crate) is_fallback: bool,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    pub(crate) trace: Option<Box<Trace>>,
    /// Set when it is the work of a durable job: then nobody is answered.
    pub(crate) job: Option<Seat>,
}

impl Request {
    /// The payload with its layout; nothing is copied.
    pub(crate) fn frame(&self) -> Frame {
        Frame {
            layout: Arc::clone(&self.prepared.layout),
            bytes: self.payload.bytes.clone(),
        }
    }

    /// Why the request left another engine, if it did.
    pub(crate) fn fallback_reason(&self) -> Option<&str> {
        // Seldom: the headers are read again rather than the reason kept.
        if self.is_fallback {
            Asked::read(self.message.headers()).fallback_reason
        } else {
            None
        }
    }
}

impl Work for Request {
    fn lane(&self) -> usize {
        self.lane.index()
    }
    fn group(&self) -> u64 {
        self.prepared.group
    }
    fn rows(&self) -> usize {
        self.prepared.rows
    }
    fn limits(&self) -> Limits {
        self.prepared.limits()
    }
    fn cost(&self) -> u64 {
        self.prepared.cost()
    }
    fn is_light(&self) -> bool {
        // A device that hangs, or a job that is told of, would hold the connection up.
        self.job.is_none() && self.prepared.engine.is_local()
    }
    fn arrived(&self) -> Instant {
        self.arrived
    }
    fn deadline(&self) -> Instant {
        self.deadline
    }
    fn reply(&self) -> &Subject {
        &self.reply
    }
}
