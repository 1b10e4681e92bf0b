//! Calls and cancellations as messages.

use std::sync::Arc;

use bytes::Bytes;
use npufleet_link::{Bundle, HeaderBlock, Pieces};
use npufleet_wire::{header, subject};

use crate::bundling::Bundling;
use crate::gathering::Group;
use crate::outcome::{Request, too_large};

/// What the headers of a batch take at most, in bytes.
const BATCH_ROOM: usize = 256;

/// Adds the headers that make a message part of an atomic batch (ADR-50): the one with an `index` from 0 on.
pub fn number_in_batch(headers: &mut HeaderBlock, batch: &str, index: usize, is_last: bool) {
    headers.push("Nats-Batch-Id", batch);
    headers.push_number("Nats-Batch-Sequence", index as u64 + 1);
    if is_last {
        headers.push("Nats-Batch-Commit", "1");
    }
}

/// Writes messages; what they have in common is kept.
pub(crate) struct Writer {
    fleet_prefix: String,
    /// Second part of every reply subject, and first part of every call's id.
    id: Arc<str>,
    /// A reply subject, and where its number begins.
    reply: String,
    number_at: usize,
    headers: HeaderBlock,
    pub(crate) bundling: Bundling,
}

impl Writer {
    /// Answers will come to `inbox_prefix`, followed by the number of the call.
    pub(crate) fn new(fleet_prefix: &str, id: &str, inbox_prefix: String) -> Self {
        Self {
            fleet_prefix: fleet_prefix.to_owned(),
            id: id.into(),
            number_at: inbox_prefix.len(),
            reply: inbox_prefix.clone(),
            headers: HeaderBlock::default(),
            bundling: Bundling::new(inbox_prefix),
        }
    }

    /// The reply subjects up to the number.
    pub(crate) fn inbox_prefix(&self) -> &str {
        &self.reply[..self.number_at]
    }

    /// The number of the call that an answer on `subject` is for.
    pub(crate) fn number(&self, subject: &str) -> Option<u64> {
        subject.get(self.number_at..)?.parse().ok()
    }

    /// Writes a call, or adds it to a bundle, whose name is returned; that leaves with [`Writer::leave`] at the latest.
    /// Fails when the message is larger than `limit`.
    pub(crate) fn call(
        &mut self,
        sequence: u64,
        request: Request,
        limit: usize,
        pieces: &mut Pieces,
    ) -> Result<Option<u64>, String> {
        self.reply.truncate(self.number_at);
        self.reply.push_str(itoa::Buffer::new().format(sequence));
        let (ahead, is_stored) = if let Some(store) = request.store {
            self.headers = store.headers;
            (Some(store.ahead), true)
        } else {
            self.headers.clear();
            self.headers.push_number(header::DEADLINE, request.deadline_us);
            self.headers.push_all(&request.headers);
            (None, false)
        };
        let (subject, reply, headers) = (&request.subject, Some(&*self.reply), self.headers.as_bytes());
        let size = headers.len() + request.payload.len();
        if size > limit {
            return Err(too_large(size, limit));
        }
        if !is_stored && Bundle::takes(size, limit) && self.bundling.limit(subject) > 1 {
            let add = |bundle: &mut Bundle| bundle.add(subject, reply, headers, &request.payload);
            return Ok(Some(self.bundling.join(subject, sequence, pieces, add)));
        }
        if let Some(ahead) = ahead {
            pieces.append(ahead);
        }
        pieces.publish(subject, reply, headers, &request.payload);
        Ok(None)
    }

    /// Writes the bundles that calls were added to.
    pub(crate) fn leave(&mut self, pieces: &mut Pieces) {
        self.bundling.leave(pieces);
    }

    /// Whether a message has room for the headers of a batch below a limit.
    pub(crate) fn fits(request: &Request, limit: usize) -> bool {
        let headers = request.store.as_ref().map_or(0, |store| store.headers.as_bytes().len());
        headers + request.payload.len() + BATCH_ROOM <= limit
    }

    /// Writes messages that a stream is to store all at once, and returns the number that its answer comes to: that of
    /// the last one.
    pub(crate) fn batch(&mut self, group: &Group, pieces: &mut Pieces) -> Option<u64> {
        let (number, _) = *group.last()?;
        let id = format!("{}-{number}", self.id);
        self.reply.truncate(self.number_at);
        self.reply.push_str(itoa::Buffer::new().format(number));
        for (index, (_, request)) in group.iter().enumerate() {
            let store = request.store.as_ref()?;
            let mut headers = store.headers.clone();
            let is_last = index + 1 == group.len();
            number_in_batch(&mut headers, &id, index, is_last);
            let reply = is_last.then_some(&*self.reply);
            pieces.publish(&request.subject, reply, headers.as_bytes(), &request.payload);
        }
        Some(number)
    }

    /// An empty message fits any limit, and a lost cancellation costs work but no answer.
    pub(crate) fn cancel(&self, sequence: u64, pieces: &mut Pieces) {
        let subject = subject::cancel(&self.fleet_prefix, &format!("{}.{sequence}", self.id));
        pieces.publish(&subject, None, b"", &Bytes::new());
    }
}
