//! Frames on their way out, one chunk at a time in turn, so that no transfer waits for a larger one.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::door::{Closed, Door, Sent};
use super::message::{Answer, CHUNK_BYTES, CREDIT_LIMIT, IDLE_LIMIT, TRANSFERS_LIMIT};

/// One frame on its way to one asker.
pub(super) struct Transfer {
    pub(super) peer: Bytes,
    pub(super) number: u64,
    pub(super) frame: Bytes,
    pub(super) sent: usize,
    pub(super) credit: u32,
    pub(super) heard: Instant,
    pub(super) gives_up: Instant,
}

/// What became of a chunk.
enum Step {
    Sent,
    Finished,
    Waits,
    Gone,
}

impl Transfer {
    fn step(&mut self, door: &mut dyn Door) -> Result<Step, Closed> {
        if self.credit == 0 {
            return Ok(Step::Waits);
        }
        let end = self.frame.len().min(self.sent + CHUNK_BYTES);
        let head = Answer::Data {
            transfer: self.number,
            offset: self.sent as u64,
            length: self.frame.len() as u64,
        };
        // The slot's own bytes: they are not copied before the system takes them.
        match door.send(&self.peer, &head.encode(), self.frame.slice(self.sent..end))? {
            Sent::Yes => {}
            Sent::Full => return Ok(Step::Waits),
            Sent::Gone => return Ok(Step::Gone),
        }
        self.sent = end;
        self.credit -= 1;
        Ok(if end == self.frame.len() {
            Step::Finished
        } else {
            Step::Sent
        })
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.gives_up || now >= self.heard + IDLE_LIMIT
    }
}

/// All transfers of an owner.
#[derive(Default)]
pub(super) struct Transfers(VecDeque<Transfer>);

impl Transfers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= TRANSFERS_LIMIT
    }

    pub(super) fn add(&mut self, transfer: Transfer) {
        self.0.push_back(transfer);
    }

    pub(super) fn has(&self, peer: &[u8], number: u64) -> bool {
        self.0.iter().any(|each| each.number == number && each.peer == peer)
    }

    pub(super) fn give(&mut self, peer: &[u8], number: u64, credit: u32) {
        if let Some(found) = self
            .0
            .iter_mut()
            .find(|each| each.number == number && each.peer == peer)
        {
            found.credit = (found.credit + credit).min(CREDIT_LIMIT);
            found.heard = Instant::now();
        }
    }

    pub(super) fn stop(&mut self, peer: &[u8], number: u64) {
        self.0.retain(|each| each.number != number || each.peer != peer);
    }

    /// Sends a chunk of every transfer that may send one, and says whether there was one.
    pub(super) fn turn(&mut self, door: &mut dyn Door) -> Result<bool, Closed> {
        let mut any = false;
        for _ in 0..self.0.len() {
            let Some(mut transfer) = self.0.pop_front() else { break };
            match transfer.step(door)? {
                Step::Sent => any = true,
                Step::Waits => {}
                Step::Finished | Step::Gone => continue,
            }
            self.0.push_back(transfer);
        }
        Ok(any)
    }

    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        self.0.retain(|each| !each.is_over(now));
    }
}
