//! Answers that leave together: those to one inbox whose requests came in bundles travel in bundles, too.

use bytes::Bytes;
use npufleet_link::{Bundle, HeaderBlock, Pieces, Subject};

use crate::request::Request;

/// Where one bundle of answers goes, in its inbox: to no call's number.
const WORD: &str = "bundle";

/// Answers on their way to the broker; all have left after [`Answers::leave`].
pub(crate) struct Answers<'a> {
    pieces: &'a mut Pieces,
    /// What the broker takes in a message, in bytes.
    limit: usize,
    /// Memory for headers.
    pub(crate) block: HeaderBlock,
    bundle: Bundle,
    /// The reply subject of one of the requests that the bundle answers.
    reply: Subject,
}

impl<'a> Answers<'a> {
    /// Answers for a broker that takes messages of up to `limit` bytes.
    pub(crate) fn new(pieces: &'a mut Pieces, limit: usize) -> Self {
        Self {
            pieces,
            limit,
            block: HeaderBlock::default(),
            bundle: Bundle::default(),
            reply: Subject::default(),
        }
    }

    /// Answers a request with the headers that are in `block`.
    pub(crate) fn publish(&mut self, request: &Request, payload: &Bytes) {
        let headers = self.block.as_bytes();
        if !request.message.is_part() || !Bundle::takes(headers.len() + payload.len(), self.limit) {
            return self.pieces.publish(&request.reply, None, headers, payload);
        }
        if self.bundle.is_full() || inbox(&self.reply) != inbox(&request.reply) {
            leave(&mut self.bundle, &self.reply, self.pieces);
        }
        if self.bundle.count() == 0 {
            self.reply = request.reply.clone();
        }
        self.bundle.add(&request.reply, None, headers, payload);
    }

    /// Has the last bundle leave.
    pub(crate) fn leave(mut self) {
        leave(&mut self.bundle, &self.reply, self.pieces);
    }
}

fn leave(bundle: &mut Bundle, reply: &str, pieces: &mut Pieces) {
    if bundle.count() > 0 {
        bundle.publish(&format!("{}.{WORD}", inbox(reply)), None, pieces);
    }
}

/// A subject without its last token.
fn inbox(subject: &str) -> &str {
    subject.rsplit_once('.').map_or(subject, |(inbox, _)| inbox)
}
