//! The task that owns the connection: it sends, receives and watches deadlines.
//!
//! Everything happens on one thread, so the table of calls needs no lock. One pass takes all that waits on every side
//! and hands the results over together: under load the cost of waking anybody is shared by the whole batch.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_nats::header::HeaderName;
use async_nats::message::OutboundMessage;
use async_nats::{Event, HeaderMap, Message, ServerError, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::{Sink, Stream};
use npufleet_wire::{Error, ErrorKind, header, subject};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;

use crate::calls::{Call, Calls, Now, RESOLUTION};
use crate::outcome::{Outcome, Reply, Request};
use crate::shared::{Shared, State, Submission};

/// How long closing waits for the last messages to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const DEADLINE: HeaderName = HeaderName::from_static(header::DEADLINE);

/// An open connection that listens for answers.
pub(crate) struct Opened {
    pub(crate) nats: async_nats::Client,
    /// Second part of every reply subject, and first part of every call's id.
    pub(crate) id: Arc<str>,
    pub(crate) inbox: Subscriber,
    /// A reply subject up to the number.
    pub(crate) inbox_prefix: String,
    pub(crate) events: UnboundedReceiver<Event>,
}

/// Something to publish once the connection takes it.
enum Outgoing {
    Call { sequence: u64, request: Request },
    Cancel { sequence: u64 },
}

pub(crate) struct Driver<T: Clone> {
    shared: Arc<Shared<T>>,
    nats: async_nats::Client,
    inbox: Subscriber,
    inbox_prefix: String,
    fleet_prefix: String,
    id: Arc<str>,
    events: UnboundedReceiver<Event>,
    calls: Calls<T>,
    submissions: Vec<Submission<T>>,
    outgoing: VecDeque<Outgoing>,
    results: Vec<(T, Outcome)>,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    /// The broker's words when it does not let us listen for answers: no call can succeed then.
    refused: Option<String>,
    closing: bool,
}

impl<T: Clone> Driver<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>, opened: Opened, fleet_prefix: &str) -> Self {
        let Opened {
            nats,
            id,
            inbox,
            inbox_prefix,
            events,
        } = opened;
        Self {
            shared,
            nats,
            inbox,
            inbox_prefix,
            fleet_prefix: fleet_prefix.to_owned(),
            id,
            events,
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
        while let Poll::Ready(Some(event)) = self.events.poll_recv(cx) {
            self.on_event(event);
        }
        while let Poll::Ready(Some(message)) = Pin::new(&mut self.inbox).poll_next(cx) {
            self.on_reply(message);
        }
        self.take_submissions(cx);
        self.send(cx);
        self.watch_deadlines(cx);
        self.shared.set_in_flight(self.calls.len());
        self.shared.complete(&mut self.results);
        if self.closing { Poll::Ready(()) } else { Poll::Pending }
    }

    fn on_reply(&mut self, message: Message) {
        let sequence = message
            .subject
            .as_str()
            .get(self.inbox_prefix.len()..)
            .and_then(|text| text.parse().ok());
        // An answer to a call that was cancelled or has expired has nobody to go to.
        let Some(call) = sequence.and_then(|sequence| self.calls.remove(sequence)) else {
            return;
        };
        let status = message.status.map_or(0, |status| status.as_u16());
        let status = if status == StatusCode::NO_RESPONDERS.as_u16() {
            status
        } else {
            0
        };
        let reply = Reply {
            status,
            headers: message.headers,
            payload: message.payload,
        };
        self.results.push((call.ticket, Outcome::Reply(reply)));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.shared.set_state(State::Connected),
            Event::Disconnected => {
                self.shared.set_state(State::Reconnecting);
                // Nobody knows whether these were done, and their answers would not find us.
                self.fail(
                    |call| call.sent,
                    ErrorKind::Unavailable,
                    "the connection to the broker was lost",
                );
            }
            Event::Closed => self.close(),
            Event::ServerError(ServerError::Other(text)) => self.on_violation(&text),
            _ => {}
        }
    }

    /// The broker reports a forbidden subject without saying whose message it was, so all calls to it fail.
    fn on_violation(&mut self, text: &str) {
        let lower = text.to_ascii_lowercase();
        let Some(named) = text.split('"').nth(1) else {
            return;
        };
        if lower.starts_with("permissions violation for subscription") && named.starts_with(&self.inbox_prefix) {
            let message = format!("the broker refuses our reply subject, set inbox_prefix to an allowed one: {text}");
            self.fail(|_| true, ErrorKind::Unavailable, &message);
            self.refused = Some(message);
        } else if lower.starts_with("permissions violation for publish") {
            let message = format!("the broker refuses the subject {named}: {text}");
            self.fail(
                |call| call.sent && call.subject.as_str() == named,
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
                    Submission::Call {
                        sequence,
                        request,
                        ticket,
                    } => {
                        if let Some(message) = &self.refused {
                            let error = Error::new(ErrorKind::Unavailable, message.as_str());
                            self.results.push((ticket, Outcome::Failed(error)));
                            continue;
                        }
                        let deadline = now.instant(request.deadline_us);
                        let half_time = request.half_time.then(|| now.halfway(deadline));
                        let subject = request.subject.clone();
                        self.calls.insert(
                            sequence,
                            Call {
                                ticket,
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

    fn send(&mut self, cx: &mut Context<'_>) {
        if self.shared.state() != State::Connected {
            return;
        }
        while !self.outgoing.is_empty() && matches!(Pin::new(&mut self.nats).poll_ready(cx), Poll::Ready(Ok(()))) {
            let Some(next) = self.outgoing.pop_front() else {
                return;
            };
            match next {
                Outgoing::Call { sequence, request } => self.send_call(sequence, request),
                Outgoing::Cancel { sequence } => {
                    let id = format!("{}.{sequence}", self.id);
                    // An empty message fits any limit, and a lost cancellation costs work but no answer.
                    let _ = self.publish(
                        subject::cancel(&self.fleet_prefix, &id).into(),
                        None,
                        None,
                        Bytes::new(),
                    );
                }
            }
        }
    }

    fn send_call(&mut self, sequence: u64, request: Request) {
        // It may have been cancelled or have expired while it waited.
        let Some(call) = self.calls.get_mut(sequence) else {
            return;
        };
        call.sent = true;
        let reply = self.reply_subject(sequence);
        let mut headers = HeaderMap::new();
        headers.insert(DEADLINE, request.deadline_us.to_string());
        for (name, value) in request.headers.into_iter().flatten() {
            headers.insert(name, value);
        }
        if let Err(message) = self.publish(request.subject, Some(reply), Some(headers), request.payload)
            && let Some(call) = self.calls.remove(sequence)
        {
            // Seen when the broker came back with a smaller limit than the call was checked against.
            let error = Error::new(ErrorKind::PayloadTooLarge, message);
            self.results.push((call.ticket, Outcome::Failed(error)));
        }
    }

    fn reply_subject(&self, sequence: u64) -> Subject {
        // Of exactly the right size, since anything else is allocated a second time.
        let digits = sequence.checked_ilog10().unwrap_or(0) as usize + 1;
        let mut subject = String::with_capacity(self.inbox_prefix.len() + digits);
        subject.push_str(&self.inbox_prefix);
        // Writing to a string cannot fail.
        let _ = write!(subject, "{sequence}");
        subject.into()
    }

    fn publish(
        &mut self,
        subject: Subject,
        reply: Option<Subject>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> std::result::Result<(), String> {
        let message = OutboundMessage {
            subject,
            reply,
            payload,
            headers,
        };
        Pin::new(&mut self.nats)
            .start_send(message)
            .map_err(|error| error.to_string())
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
            self.results.extend(halfway.map(|ticket| (ticket, Outcome::HalfTime)));
            for (sequence, call) in self.calls.take(|call| call.deadline <= now) {
                if call.sent {
                    self.outgoing.push_back(Outgoing::Cancel { sequence });
                }
                let error = Error::new(ErrorKind::DeadlineExceeded, "no answer arrived before the deadline");
                self.results.push((call.ticket, Outcome::Failed(error)));
            }
            // While the connection is away, the frames of expired calls would pile up here.
            self.outgoing.retain(|next| match next {
                Outgoing::Call { sequence, .. } => self.calls.contains(*sequence),
                Outgoing::Cancel { .. } => true,
            });
            self.armed = None;
            self.send(cx);
        }
    }

    fn fail(&mut self, which: impl FnMut(&Call<T>) -> bool, kind: ErrorKind, message: &str) {
        let failed = self.calls.take(which);
        self.results.extend(
            failed
                .into_iter()
                .map(|(_, call)| (call.ticket, Outcome::Failed(Error::new(kind, message)))),
        );
    }

    /// Ends every call; nothing is taken afterwards.
    fn close(&mut self) {
        self.closing = true;
        let error = || Outcome::Failed(Error::new(ErrorKind::Unavailable, "the connection was closed"));
        for submission in self.shared.close() {
            if let Submission::Call { ticket, .. } = submission {
                self.results.push((ticket, error()));
            }
        }
        for (sequence, call) in self.calls.take(|_| true) {
            if call.sent {
                self.outgoing.push_back(Outgoing::Cancel { sequence });
            }
            self.results.push((call.ticket, error()));
        }
    }

    /// Sends the last cancellations and gives the broker a clean end.
    pub(crate) async fn finish(&mut self) {
        if self.nats.connection_state() != async_nats::connection::State::Connected {
            return;
        }
        let farewell = async {
            while let Some(next) = self.outgoing.pop_front() {
                if let Outgoing::Cancel { sequence } = next {
                    let subject = subject::cancel(&self.fleet_prefix, &format!("{}.{sequence}", self.id));
                    self.nats
                        .publish(subject, Bytes::new())
                        .await
                        .map_err(|error| error.to_string())?;
                }
            }
            self.nats.flush().await.map_err(|error| error.to_string())
        };
        // A slow broker cannot be told, and nothing depends on it: calls carry deadlines.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, farewell).await;
    }
}

impl<T: Clone> Drop for Driver<T> {
    /// Whatever ends the driver, no caller is left waiting.
    fn drop(&mut self) {
        self.close();
        self.shared.complete(&mut self.results);
    }
}
