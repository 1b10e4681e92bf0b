//! The task that owns the connection: it sends, receives and watches deadlines.
//!
//! Everything happens on one thread, so the table of calls needs no lock. One pass takes all that waits on every side
//! and hands the results over together: under load the cost of waking anybody is shared by the whole batch.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_link::{Connection, Event, HeaderBlock, Link, Message, Pieces};
use npufleet_wire::{Error, ErrorKind, header, subject};
use tokio::time::Sleep;

use crate::calls::{Call, Calls, Now, RESOLUTION};
use crate::outcome::{Outcome, Request, too_large};
use crate::shared::{Shared, State, Submission};

/// How long closing waits for the last messages to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// While more than this waits for the broker, calls wait here, where they can still be cancelled, in bytes.
const FULL: usize = 64 * 1024;

/// An open connection that listens for answers.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) connection: Connection,
    /// Second part of every reply subject, and first part of every call's id.
    pub(crate) id: Arc<str>,
    /// A reply subject up to the number.
    pub(crate) inbox_prefix: String,
}

/// Something to publish once the connection takes it.
enum Outgoing {
    Call { sequence: u64, request: Request },
    Cancel { sequence: u64 },
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    link: Link,
    connection: Connection,
    writer: Writer,
    calls: Calls,
    submissions: Vec<Submission>,
    outgoing: VecDeque<Outgoing>,
    results: Vec<(u64, Outcome)>,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// The broker's words when it does not let us listen for answers: no call can succeed then.
    refused: Option<String>,
    closing: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, opened: Opened, fleet_prefix: &str) -> Self {
        let Opened {
            link,
            connection,
            id,
            inbox_prefix,
        } = opened;
        Self {
            shared,
            link,
            connection,
            writer: Writer {
                fleet_prefix: fleet_prefix.to_owned(),
                id,
                number_at: inbox_prefix.len(),
                reply: inbox_prefix,
                headers: HeaderBlock::default(),
            },
            calls: Calls::new(),
            submissions: Vec::new(),
            outgoing: VecDeque::new(),
            results: Vec::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            refused: None,
            closing: false,
        }
    }

    /// Does everything that can be done now; ready when the connection is to be ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(event) = self.connection.poll_next(cx) {
            self.on_event(event);
        }
        self.take_submissions(cx);
        self.send();
        self.watch_deadlines(cx);
        self.shared.set_in_flight(self.calls.len());
        self.shared.complete(&mut self.results);
        if self.closing { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_reply(&mut self, message: Message) {
        let number = message.subject().get(self.writer.number_at..);
        let sequence = number.and_then(|number| number.parse().ok());
        // An answer to a call that was cancelled or has expired has nobody to go to.
        if let Some(sequence) = sequence.filter(|sequence| self.calls.remove(*sequence).is_some()) {
            self.results.push((sequence, Outcome::Reply(message.into())));
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Message(message) => self.on_reply(message),
            Event::Connected => {
                self.refused = None;
                self.shared.set_state(State::Connected);
            }
            Event::Lost(reason) => {
                self.shared.set_state(State::Reconnecting);
                // Nobody knows whether these were done, and their answers would not find us.
                let message = format!("the connection to the broker was lost: {reason}");
                self.fail(|call| call.sent, ErrorKind::Unavailable, &message);
            }
            Event::Complaint(text) => self.on_violation(&text),
            Event::Failed(_) | Event::LameDuck | Event::Confirmed(_) => {}
        }
    }

    /// The broker reports a forbidden subject without saying whose message it was, so all calls to it fail.
    fn on_violation(&mut self, text: &str) {
        let lower = text.to_ascii_lowercase();
        let Some(named) = text.split('"').nth(1) else {
            return;
        };
        if lower.starts_with("permissions violation for subscription")
            && named.starts_with(&self.writer.reply[..self.writer.number_at])
        {
            let message = format!("the broker refuses our reply subject, set inbox_prefix to an allowed one: {text}");
            self.fail(|_| true, ErrorKind::Unavailable, &message);
            self.refused = Some(message);
        } else if lower.starts_with("permissions violation for publish") {
            let message = format!("the broker refuses the subject {named}: {text}");
            self.fail(
                |call| call.sent && call.subject == *named,
                ErrorKind::Unavailable,
                &message,
            );
        }
    }

    fn take_submissions(&mut self, cx: &mut Context<'_>) {
        let mut submissions = std::mem::take(&mut self.submissions);
        self.shared.take_submissions(cx, &mut submissions);
        if !submissions.is_empty() {
            let now = Now::new();
            for submission in submissions.drain(..) {
                match submission {
                    Submission::Call { sequence, request } => {
                        if let Some(message) = &self.refused {
                            let error = Error::new(ErrorKind::Unavailable, message.as_str());
                            self.results.push((sequence, Outcome::Failed(error)));
                            continue;
                        }
                        let deadline = now.instant(request.deadline_us);
                        let half_time = request.half_time.then(|| now.halfway(deadline));
                        let subject = request.subject.clone();
                        self.calls.insert(
                            sequence,
                            Call {
                                subject,
                                deadline,
                                half_time,
                                sent: false,
                            },
                        );
                        self.outgoing.push_back(Outgoing::Call { sequence, request });
                    }
                    Submission::Cancel { sequence } => self.cancel(sequence),
                    Submission::Close => self.close(),
                }
            }
        }
        self.submissions = submissions;
    }

    fn cancel(&mut self, sequence: u64) {
        if self.calls.remove(sequence).is_some_and(|call| call.sent) {
            self.outgoing.push_back(Outgoing::Cancel { sequence });
        }
    }

    /// Publishes what waits, as long as the broker takes it; what it does not take now leaves in a later pass.
    fn send(&mut self) {
        if !self.connection.is_up() {
            return;
        }
        let (link, limit) = (self.link.clone(), self.link.max_payload());
        while !self.outgoing.is_empty() && link.waiting() < FULL {
            link.send(|pieces| {
                while pieces.size() < FULL
                    && let Some(next) = self.outgoing.pop_front()
                {
                    match next {
                        Outgoing::Call { sequence, request } => self.send_call(sequence, &request, limit, pieces),
                        Outgoing::Cancel { sequence } => self.writer.cancel(sequence, pieces),
                    }
                }
            });
        }
    }

    fn send_call(&mut self, sequence: u64, request: &Request, limit: usize, pieces: &mut Pieces) {
        // It may have been cancelled or have expired while it waited.
        let Some(call) = self.calls.get_mut(sequence) else {
            return;
        };
        call.sent = true;
        if let Err(message) = self.writer.call(sequence, request, limit, pieces)
            && self.calls.remove(sequence).is_some()
        {
            // Seen when the broker came back with a smaller limit than the call was checked against.
            let error = Error::new(ErrorKind::PayloadTooLarge, message);
            self.results.push((sequence, Outcome::Failed(error)));
        }
    }

    fn watch_deadlines(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(earliest) = self.calls.earliest() else {
                self.armed = None;
                return;
            };
            if self.armed != Some(earliest) {
                // One scan serves everything that expires within the resolution.
                self.sleep.as_mut().reset((earliest + RESOLUTION / 2).into());
                self.armed = Some(earliest);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            let now = Instant::now();
            let halfway = self.calls.half_times(now);
            self.results
                .extend(halfway.map(|sequence| (sequence, Outcome::HalfTime)));
            for (sequence, call) in self.calls.take(|call| call.deadline <= now) {
                if call.sent {
                    self.outgoing.push_back(Outgoing::Cancel { sequence });
                }
                let error = Error::new(ErrorKind::DeadlineExceeded, "no answer arrived before the deadline");
                self.results.push((sequence, Outcome::Failed(error)));
            }
            // While the connection is away, the frames of expired calls would pile up here.
            self.outgoing.retain(|next| match next {
                Outgoing::Call { sequence, .. } => self.calls.contains(*sequence),
                Outgoing::Cancel { .. } => true,
            });
            self.armed = None;
            self.send();
        }
    }

    fn fail(&mut self, which: impl FnMut(&Call) -> bool, kind: ErrorKind, message: &str) {
        let failed = self.calls.take(which);
        self.results.extend(
            failed
                .into_iter()
                .map(|(sequence, _)| (sequence, Outcome::Failed(Error::new(kind, message)))),
        );
    }

    /// Ends every call; nothing is taken afterwards.
    fn close(&mut self) {
        self.closing = true;
        let error = || Outcome::Failed(Error::new(ErrorKind::Unavailable, "the connection was closed"));
        for submission in self.shared.close() {
            if let Submission::Call { sequence, .. } = submission {
                self.results.push((sequence, error()));
            }
        }
        for (sequence, call) in self.calls.take(|_| true) {
            if call.sent {
                self.outgoing.push_back(Outgoing::Cancel { sequence });
            }
            self.results.push((sequence, error()));
        }
    }

    /// Sends the last cancellations and gives the broker a clean end.
    pub(crate) async fn finish(mut self) {
        let (outgoing, writer) = (std::mem::take(&mut self.outgoing), &mut self.writer);
        self.link.send(|pieces| {
            for next in outgoing {
                if let Outgoing::Cancel { sequence } = next {
                    writer.cancel(sequence, pieces);
                }
            }
        });
        // A slow broker cannot be told, and nothing depends on it: calls carry deadlines.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.connection.finish()).await;
    }
}

impl Drop for Driver {
    /// Whatever ends the driver, no caller is left waiting.
    fn drop(&mut self) {
        self.close();
        self.shared.complete(&mut self.results);
    }
}

/// Writes messages; what they have in common is kept.
struct Writer {
    fleet_prefix: String,
    id: Arc<str>,
    /// A reply subject, and where its number begins.
    reply: String,
    number_at: usize,
    headers: HeaderBlock,
}

impl Writer {
    /// Fails when the message is larger than `limit`.
    fn call(
        &mut self,
        sequence: u64,
        request: &Request,
        limit: usize,
        pieces: &mut Pieces,
    ) -> std::result::Result<(), String> {
        self.reply.truncate(self.number_at);
        self.reply.push_str(itoa::Buffer::new().format(sequence));
        self.headers.clear();
        self.headers.push_number(header::DEADLINE, request.deadline_us);
        for (name, value) in request.headers.iter().flatten() {
            self.headers.push(name, value);
        }
        let headers = self.headers.as_bytes();
        let size = headers.len() + request.payload.len();
        if size > limit {
            return Err(too_large(size, limit));
        }
        pieces.publish(&request.subject, Some(&self.reply), headers, &request.payload);
        Ok(())
    }

    /// An empty message fits any limit, and a lost cancellation costs work but no answer.
    fn cancel(&self, sequence: u64, pieces: &mut Pieces) {
        let subject = subject::cancel(&self.fleet_prefix, &format!("{}.{sequence}", self.id));
        pieces.publish(&subject, None, b"", &Bytes::new());
    }
}
