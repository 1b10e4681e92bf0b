//! Calls and cancellations as messages.

use std::sync::Arc;

use bytes::Bytes;
use npufleet_link::{HeaderBlock, Pieces};
use npufleet_wire::{header, subject};

use crate::outcome::{Request, too_large};

/// Writes messages; what they have in common is kept.
pub(crate) struct Writer {
    fleet_prefix: String,
    /// Second part of every reply subject, and first part of every call's id.
    id: Arc<str>,
    /// A reply subject, and where its number begins.
    reply: String,
    number_at: usize,
    headers: HeaderBlock,
}

impl Writer {
    /// Answers will come to `inbox_prefix`, followed by the number of the call.
    pub(crate) fn new(fleet_prefix: &str, id: &str, inbox_prefix: String) -> Self {
        Self {
            fleet_prefix: fleet_prefix.to_owned(),
            id: id.into(),
            number_at: inbox_prefix.len(),
            reply: inbox_prefix,
            headers: HeaderBlock::default(),
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

    /// Fails when the message is larger than `limit`.
    pub(crate) fn call(
        &mut self,
        sequence: u64,
        request: Request,
        limit: usize,
        pieces: &mut Pieces,
    ) -> Result<(), String> {
        self.reply.truncate(self.number_at);
        self.reply.push_str(itoa::Buffer::new().format(sequence));
        let (headers, ahead) = if let Some(store) = request.store {
            self.headers = store.headers;
            (self.headers.as_bytes(), Some(store.ahead))
        } else {
            self.headers.clear();
            self.headers.push_number(header::DEADLINE, request.deadline_us);
            for (name, value) in request.headers.iter().flatten() {
                self.headers.push(name, value);
            }
            (self.headers.as_bytes(), None)
        };
        let size = headers.len() + request.payload.len();
        if size > limit {
            return Err(too_large(size, limit));
        }
        if let Some(ahead) = ahead {
            pieces.append(ahead);
        }
        pieces.publish(&request.subject, Some(&self.reply), headers, &request.payload);
        Ok(())
    }

    /// An empty message fits any limit, and a lost cancellation costs work but no answer.
    pub(crate) fn cancel(&self, sequence: u64, pieces: &mut Pieces) {
        let subject = subject::cancel(&self.fleet_prefix, &format!("{}.{sequence}", self.id));
        pieces.publish(&subject, None, b"", &Bytes::new());
    }
}
