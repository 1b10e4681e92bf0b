//! Where one result is written: in a slot of this worker's arena if its reader looks there, so that it is not copied.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_payload::HEADER_ROOM;
use npufleet_payload::arena::Slot;
use npufleet_payload::exchange::{Loan, Offer, Reader, Way};
use npufleet_wire::Result;
use npufleet_wire::frame::{Place, Room};
use parking_lot::Mutex;

use crate::core::Core;
use crate::payloads::Payloads;
use crate::request::Request;

/// The room for the result of one request.
pub(crate) struct ResultRoom<'a> {
    payloads: &'a Payloads,
    /// How many bytes of a result a message takes.
    inline: usize,
    reader: Option<Reader>,
    /// How long its reader waits.
    deadline: Instant,
    /// The slot that was written to last.
    written: Mutex<Option<(Arc<Slot>, Way<'a>)>>,
}

impl<'a> ResultRoom<'a> {
    pub(crate) fn new(core: &'a Core, request: &Request) -> Self {
        Self {
            payloads: &core.payloads,
            inline: core.link.max_payload().saturating_sub(HEADER_ROOM),
            reader: request.reader,
            deadline: request.deadline,
            written: Mutex::new(None),
        }
    }

    /// Leaves the result to its reader, which leaves nothing of it here; none when it is to go inline.
    pub(crate) fn lend(self, outcome: &mut Result<Bytes>) -> Option<Loan<'a>> {
        let frame = outcome.as_mut().ok()?;
        if let Some((slot, way)) = self.written.into_inner()
            && slot.bytes().as_ptr_range() == frame.as_ptr_range()
        {
            drop(mem::take(frame));
            match Arc::try_unwrap(slot) {
                Ok(slot) => return Some(way.lend(slot, self.deadline)),
                // Whoever kept a part of the result must not see what is in the slot next.
                Err(slot) => *frame = Bytes::copy_from_slice(slot.bytes()),
            }
        }
        let Offer { mut slot, way } = self.payloads.offer(frame.len(), self.inline, self.reader?)?;
        slot.bytes_mut().copy_from_slice(&mem::take(frame));
        Some(way.lend(slot, self.deadline))
    }
}

impl Room for ResultRoom<'_> {
    fn place(&self, length: usize) -> Option<Box<dyn Place + '_>> {
        let offer = self.payloads.offer(length, self.inline, self.reader?)?;
        Some(Box::new(InSlot { offer, room: self }))
    }
}

/// A result that is written in its slot.
struct InSlot<'room, 'a> {
    offer: Offer<'a>,
    room: &'room ResultRoom<'a>,
}

impl AsRef<[u8]> for InSlot<'_, '_> {
    fn as_ref(&self) -> &[u8] {
        self.offer.slot.bytes()
    }
}

impl AsMut<[u8]> for InSlot<'_, '_> {
    fn as_mut(&mut self) -> &mut [u8] {
        self.offer.slot.bytes_mut()
    }
}

impl Place for InSlot<'_, '_> {
    fn freeze(self: Box<Self>) -> Bytes {
        let Offer { slot, way } = self.offer;
        let slot = Arc::new(slot);
        *self.room.written.lock() = Some((Arc::clone(&slot), way));
        Bytes::from_owner(Written(slot))
    }
}

struct Written(Arc<Slot>);

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}
