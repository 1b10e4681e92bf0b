//! Where calls are taken, sent and known until they end; used under one lock by the caller's threads and the driver.
//!
//! Whoever has a call to send writes it to the socket: that spares the wake-up of another thread, which costs more than
//! the system call.

use std::collections::VecDeque;
use std::time::Instant;

use npufleet_link::{Bundle, Link, Message, Pieces, bundle};
use npufleet_wire::{Error, ErrorKind};

use crate::calls::{Call, Calls, Now};
use crate::gathering::{Gathering, Group, is_stored};
use crate::outcome::{CLOSED, Outcome, Reply, Request};
use crate::writer::Writer;

/// While more than this waits for the broker, calls wait here, where they can still be cancelled, in bytes.
const FULL: usize = 64 * 1024;
/// Short calls that leave without waiting for the next flush: workers begin with them while others are still submitted.
const MANY: usize = bundle::PARTS / 2;

/// What came of calls, by their numbers.
pub(crate) type Outcomes = Vec<(u64, Outcome)>;

/// Something to publish once the connection takes it.
enum Outgoing {
    Call { sequence: u64, request: Request },
    Cancel { sequence: u64 },
    Group(Group),
}

pub(crate) struct Desk {
    link: Link,
    writer: Writer,
    calls: Calls,
    gathering: Gathering,
    /// What the connection did not take yet.
    outgoing: VecDeque<Outgoing>,
    /// Calls given to the connection since the last flush.
    unflushed: usize,
    /// When the driver looks at the deadlines next.
    armed: Option<Instant>,
    /// The broker's words when it does not let us listen for answers: no call can succeed then.
    refused: Option<String>,
    closed: bool,
}

/// What is to be done after something was taken in.
#[must_use]
pub(crate) enum Next {
    /// It was not taken: nothing is any more.
    Closed,
    /// Nothing.
    Nothing,
    /// The driver must look at the deadlines.
    Wake,
}

impl Desk {
    pub(crate) fn new(link: Link, writer: Writer) -> Self {
        Self {
            link,
            writer,
            calls: Calls::new(),
            gathering: Gathering::default(),
            outgoing: VecDeque::new(),
            unflushed: 0,
            armed: None,
            refused: None,
            closed: false,
        }
    }

    /// Takes a call; it leaves at once when it is alone or the last of [`MANY`], otherwise at [`Desk::flush`]: few large
    /// messages cost every process on the way less than many small ones.
    pub(crate) fn submit(&mut self, sequence: u64, request: Request, outcomes: &mut Outcomes) -> Next {
        if self.closed {
            return Next::Closed;
        }
        if let Some(message) = &self.refused {
            let error = Error::new(ErrorKind::Unavailable, message.as_str());
            outcomes.push((sequence, Outcome::Failed(error)));
            return Next::Nothing;
        }
        let now = Now::new();
        let deadline = now.instant(request.deadline_us);
        let call = Call {
            subject: request.subject.clone(),
            deadline,
            half_time: request.half_time.then(|| now.halfway(deadline)),
            sent: false,
            stores: request.store.as_ref().map_or(0, |store| store.count),
            bundle: None,
        };
        let is_alone = self.calls.len() == 0;
        let is_first_due = self.armed.is_none_or(|armed| call.due() < armed);
        self.calls.insert(sequence, call);
        if request.store.as_ref().is_some_and(|store| store.gathers) {
            self.gathering.push(sequence, request);
        } else {
            let is_small = Bundle::takes(request.payload.len(), self.link.max_payload());
            self.outgoing.push_back(Outgoing::Call { sequence, request });
            let leaves = is_alone || self.outgoing.len() >= MANY;
            if leaves || !is_small {
                self.hand_on(outcomes);
            }
            if leaves {
                self.leave();
            }
        }
        if is_first_due { Next::Wake } else { Next::Nothing }
    }

    /// Forgets a call, and tells the workers if it was sent.
    pub(crate) fn cancel(&mut self, sequence: u64, outcomes: &mut Outcomes) {
        if self
            .calls
            .remove(sequence)
            .is_some_and(|call| call.is_known_to_workers())
        {
            self.outgoing.push_back(Outgoing::Cancel { sequence });
            self.send(outcomes);
        }
    }

    /// Has what was submitted leave.
    pub(crate) fn flush(&mut self, outcomes: &mut Outcomes) {
        let groups = self.gathering.take();
        self.outgoing.extend(groups.into_iter().map(Outgoing::Group));
        self.hand_on(outcomes);
        self.leave();
    }

    /// Has what was given to the connection leave.
    fn leave(&mut self) {
        if std::mem::take(&mut self.unflushed) > 0 {
            self.link.flush();
        }
    }

    /// Sends what waits, as long as the broker takes it; the driver asks again when it has taken more.
    pub(crate) fn send(&mut self, outcomes: &mut Outcomes) {
        if !self.outgoing.is_empty() {
            self.hand_on(outcomes);
            self.leave();
        }
    }

    /// An answer came. If its call was cancelled or has expired it has nobody to go to.
    pub(crate) fn answered(&mut self, message: Message, outcomes: &mut Outcomes) {
        let Some(number) = self.writer.number(message.subject()) else {
            return self.bundle_answered(&message, outcomes);
        };
        let Some(group) = self.gathering.answered(number, message.payload_bytes()) else {
            if let Some(call) = self.calls.remove(number) {
                let is_stored = call.stores > 0 && is_stored(message.payload_bytes(), call.stores);
                if call.stores == 0 {
                    self.writer.bundling.learn(&call.subject, &message);
                }
                let reply = Reply::from(message);
                outcomes.push((number, Outcome::Reply(Reply { is_stored, ..reply })));
            }
            return;
        };
        if is_stored(message.payload_bytes(), group.len()) {
            for (sequence, _) in group {
                if self.calls.remove(sequence).is_some() {
                    let reply = Reply::from(message.clone());
                    outcomes.push((
                        sequence,
                        Outcome::Reply(Reply {
                            is_stored: true,
                            ..reply
                        }),
                    ));
                }
            }
        } else {
            let each = group.into_iter();
            self.outgoing
                .extend(each.map(|(sequence, request)| Outgoing::Call { sequence, request }));
            self.send(outcomes);
        }
    }

    /// The broker found nobody who listens where a bundle went: that is the answer to each of its calls.
    fn bundle_answered(&mut self, message: &Message, outcomes: &mut Outcomes) {
        let Some(name) = self.writer.bundling.name(message.subject()) else {
            return;
        };
        let each = self.calls.take(|call| call.bundle == Some(name)).into_iter();
        outcomes.extend(each.map(|(sequence, call)| {
            self.writer.bundling.learn(&call.subject, message);
            (sequence, Outcome::Reply(Reply::from(message.clone())))
        }));
    }

    /// The connection stands, perhaps again.
    pub(crate) fn connected(&mut self) {
        self.refused = None;
    }

    /// The connection was lost: nobody knows whether what was sent was done, and its answers would not find us.
    pub(crate) fn lost(&mut self, reason: &str, outcomes: &mut Outcomes) {
        let message = format!("the connection to the broker was lost: {reason}");
        self.gathering.keep(|_| false);
        self.writer.bundling.forget();
        for (sequence, call) in self.calls.take(|call| call.sent) {
            outcomes.push((sequence, call.unanswered(ErrorKind::Unavailable, &message)));
        }
    }

    /// The broker reports a forbidden subject without saying whose message it was, so all calls to it fail.
    pub(crate) fn violated(&mut self, text: &str, outcomes: &mut Outcomes) {
        let lower = text.to_ascii_lowercase();
        let Some(named) = text.split('"').nth(1) else {
            return;
        };
        if lower.starts_with("permissions violation for subscription") && named.starts_with(self.writer.inbox_prefix())
        {
            let message = format!("the broker refuses our reply subject, set inbox_prefix to an allowed one: {text}");
            self.fail(|_| true, &message, outcomes);
            self.refused = Some(message);
        } else if lower.starts_with("permissions violation for publish") {
            let message = format!("the broker refuses the subject {named}: {text}");
            self.fail(|call| call.sent && call.subject == *named, &message, outcomes);
        }
    }

    /// When the driver must look at the deadlines next.
    pub(crate) fn arm(&mut self) -> Option<Instant> {
        self.armed = self.calls.earliest();
        self.armed
    }

    /// Ends the calls whose deadlines have passed, and tells of half-times.
    pub(crate) fn expire(&mut self, now: Instant, outcomes: &mut Outcomes) {
        let halfway = self.calls.half_times(now);
        outcomes.extend(halfway.map(|sequence| (sequence, Outcome::HalfTime)));
        for (sequence, call) in self.calls.take(|call| call.deadline <= now) {
            if call.is_known_to_workers() {
                self.outgoing.push_back(Outgoing::Cancel { sequence });
            }
            let message = "no answer arrived before the deadline";
            outcomes.push((sequence, call.unanswered(ErrorKind::DeadlineExceeded, message)));
        }
        // While the connection is away, the frames of expired calls would pile up here.
        let calls = &self.calls;
        self.outgoing.retain_mut(|next| match next {
            Outgoing::Call { sequence, .. } => calls.contains(*sequence),
            Outgoing::Cancel { .. } => true,
            Outgoing::Group(group) => {
                group.retain(|(sequence, _)| calls.contains(*sequence));
                !group.is_empty()
            }
        });
        self.gathering.keep(|sequence| calls.contains(sequence));
        self.send(outcomes);
    }

    /// Ends every call; nothing is taken afterwards.
    pub(crate) fn close(&mut self, outcomes: &mut Outcomes) {
        self.closed = true;
        for (sequence, call) in self.calls.take(|_| true) {
            if call.is_known_to_workers() {
                self.outgoing.push_back(Outgoing::Cancel { sequence });
            }
            outcomes.push((sequence, call.unanswered(ErrorKind::Unavailable, CLOSED)));
        }
        self.send(outcomes);
    }

    fn fail(&mut self, which: impl FnMut(&Call) -> bool, message: &str, outcomes: &mut Outcomes) {
        let failed = self.calls.take(which).into_iter();
        outcomes.extend(failed.map(|(sequence, _)| {
            let error = Error::new(ErrorKind::Unavailable, message);
            (sequence, Outcome::Failed(error))
        }));
    }

    /// Gives what waits to the connection, as far as there is one and it has room.
    fn hand_on(&mut self, outcomes: &mut Outcomes) {
        while !self.outgoing.is_empty() {
            if !self.fill(outcomes) {
                // What was added before makes room as it leaves, unless the broker is slow: then the driver goes on.
                self.leave();
                if !self.fill(outcomes) {
                    return;
                }
            }
        }
    }

    /// Gives the connection as much as it has room for; false when it has none.
    fn fill(&mut self, outcomes: &mut Outcomes) -> bool {
        let (link, limit) = (self.link.clone(), self.link.max_payload());
        link.add(FULL, |pieces| {
            while pieces.size() <= FULL
                && let Some(next) = self.outgoing.pop_front()
            {
                self.unflushed += 1;
                match next {
                    Outgoing::Call { sequence, request } => self.write(sequence, request, limit, pieces, outcomes),
                    Outgoing::Cancel { sequence } => {
                        // It may be in a bundle.
                        self.writer.leave(pieces);
                        self.writer.cancel(sequence, pieces);
                    }
                    Outgoing::Group(group) => self.write_group(group, limit, pieces, outcomes),
                }
            }
            self.writer.leave(pieces);
        })
    }

    /// Writes messages as a batch, as far as they are still wanted and fit.
    fn write_group(&mut self, mut group: Group, limit: usize, pieces: &mut Pieces, outcomes: &mut Outcomes) {
        group.retain(|(sequence, _)| self.calls.contains(*sequence));
        let (mut group, alone): (Group, Group) =
            group.into_iter().partition(|(_, request)| Writer::fits(request, limit));
        let alone = alone
            .into_iter()
            .chain((group.len() == 1).then(|| group.pop()).flatten());
        for (sequence, request) in alone {
            self.write(sequence, request, limit, pieces, outcomes);
        }
        for (sequence, _) in &group {
            if let Some(call) = self.calls.get_mut(*sequence) {
                call.sent = true;
            }
        }
        if let Some(number) = self.writer.batch(&group, pieces) {
            self.gathering.sent(number, group);
        }
    }

    fn write(&mut self, sequence: u64, request: Request, limit: usize, pieces: &mut Pieces, outcomes: &mut Outcomes) {
        // It may have been cancelled or have expired while it waited.
        let Some(call) = self.calls.get_mut(sequence) else {
            return;
        };
        call.sent = true;
        match self.writer.call(sequence, request, limit, pieces) {
            Ok(bundle) => call.bundle = bundle,
            Err(message) => {
                // Seen when the broker came back with a smaller limit than the call was checked against.
                self.calls.remove(sequence);
                let error = Error::new(ErrorKind::PayloadTooLarge, message);
                outcomes.push((sequence, Outcome::Failed(error)));
            }
        }
    }
}
