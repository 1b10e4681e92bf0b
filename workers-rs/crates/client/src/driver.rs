//! The task that owns the connection: it sends, receives, reconnects and watches deadlines.
//!
//! Everything happens on one thread, so the table of calls needs no lock. One pass takes all that waits on every side
//! and hands the results over together: under load the cost of waking anybody is shared by the whole batch.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use npufleet_link::{Connector, HeaderBlock, Lost, Message, Options, Received};
use npufleet_wire::{Error, ErrorKind, Result, header, subject};
use tokio::time::Sleep;

use crate::calls::{Call, Calls, RESOLUTION};
use crate::connection::Connection;
use crate::outcome::{Outcome, Request, too_large};
use crate::shared::{Shared, State, Submission};

/// Something to publish once the connection takes it.
enum Outgoing {
    Call { sequence: u64, request: Request },
    Cancel { sequence: u64 },
}

pub(crate) struct Driver<T> {
    shared: Arc<Shared<T>>,
    connection: Connection,
    fleet_prefix: String,
    id: String,
    /// A reply subject up to the number, and the place where the number is written.
    reply: String,
    number_at: usize,
    headers: HeaderBlock,
    calls: Calls<T>,
    submissions: Vec<Submission<T>>,
    outgoing: VecDeque<Outgoing>,
    results: Vec<(T, Outcome)>,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
    closing: bool,
}

impl<T> Driver<T> {
    pub(crate) async fn connect(options: Arc<Options>, shared: Arc<Shared<T>>) -> Result<Self> {
        let id = nuid::next().as_str().to_owned();
        let reply = format!("{}.{id}.", options.inbox());
        let mut connector = Box::new(Connector::new(Arc::clone(&options))?);
        connector.subscribe(format!("{reply}*"))?;
        let link = connector.connect().await.map_err(|mut error| {
            if error
                .message
                .contains("Permissions Violation for Subscription")
            {
                error
                    .message
                    .push_str("; set inbox_prefix to one that this user may subscribe to");
            }
            error
        })?;
        shared.set_max_payload(link.max_payload());
        Ok(Self {
            shared,
            connection: Connection::Up {
                link: Box::new(link),
                connector,
            },
            fleet_prefix: options.fleet_prefix().into(),
            id,
            number_at: reply.len(),
            reply,
            headers: HeaderBlock::default(),
            calls: Calls::new(),
            submissions: Vec::new(),
            outgoing: VecDeque::new(),
            results: Vec::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            closing: false,
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.reconnect(cx);
        self.receive(cx);
        self.take_submissions(cx);
        self.watch_deadlines(cx);
        self.send(cx);
        self.shared.set_in_flight(self.calls.len());
        self.shared.complete(&mut self.results);
        if self.closing {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn reconnect(&mut self, cx: &mut Context<'_>) {
        if let Some(limit) = self.connection.poll_reconnect(cx) {
            self.shared.set_max_payload(limit);
            self.shared.set_state(State::Connected);
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) {
        if let Connection::Up { link, .. } = &mut self.connection
            && let Err(lost) = link.poll_alive(cx)
        {
            self.lose(&lost, cx);
        }
        while let Connection::Up { link, .. } = &mut self.connection {
            match link.poll_receive(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(Received::Message(message))) => self.on_reply(message),
                Poll::Ready(Ok(Received::Complaint(text))) => self.on_complaint(&text, cx),
                Poll::Ready(Err(lost)) => self.lose(&lost, cx),
            }
        }
    }

    fn on_reply(&mut self, message: Message) {
        let sequence = message
            .subject()
            .get(self.number_at..)
            .and_then(|number| number.parse().ok());
        // An answer to a call that was cancelled or has expired has nobody to go to.
        let Some(call) = sequence.and_then(|sequence| self.calls.remove(sequence)) else {
            return;
        };
        self.results.push((call.ticket, Outcome::Reply(message)));
    }

    /// The broker reports a forbidden subject without saying whose message it was, so all calls to it fail.
    fn on_complaint(&mut self, text: &str, cx: &mut Context<'_>) {
        let Some(named) = text.split('"').nth(1) else {
            return;
        };
        if text.starts_with("Permissions Violation for Publish") {
            let message = format!("the broker refuses the subject {named}: {text}");
            self.fail(|call| call.sent && *call.subject == *named, &message);
        } else if named.starts_with(&self.reply[..self.number_at]) {
            // Without our inbox no answer arrives: better no connection than a silent one.
            self.lose(&Lost(text.to_owned()), cx);
        }
    }

    /// Nobody knows whether the calls that were sent are done, and their answers would not find us: they fail. What
    /// was not sent yet waits for the next connection.
    fn lose(&mut self, lost: &Lost, cx: &mut Context<'_>) {
        self.shared.set_state(State::Reconnecting);
        self.fail(
            |call| call.sent,
            &format!("the connection to the broker was lost: {}", lost.0),
        );
        self.connection.lose();
        self.reconnect(cx);
    }

    fn take_submissions(&mut self, cx: &mut Context<'_>) {
        let mut submissions = std::mem::take(&mut self.submissions);
        self.shared.take_submissions(cx, &mut submissions);
        if !submissions.is_empty() {
            let (now, now_us) = (Instant::now(), unix_us());
            for submission in submissions.drain(..) {
                match submission {
                    Submission::Call {
                        sequence,
                        request,
                        ticket,
                    } => {
                        let deadline =
                            now + Duration::from_micros(request.deadline_us.saturating_sub(now_us));
                        let subject = Arc::clone(&request.subject);
                        self.calls.insert(
                            sequence,
                            Call {
                                ticket,
                                subject,
                                deadline,
                                sent: false,
                            },
                        );
                        self.outgoing
                            .push_back(Outgoing::Call { sequence, request });
                    }
                    Submission::Cancel { sequence } => {
                        if self.calls.remove(sequence).is_some_and(|call| call.sent) {
                            self.outgoing.push_back(Outgoing::Cancel { sequence });
                        }
                    }
                    Submission::Close => self.close(),
                }
            }
        }
        self.submissions = submissions;
    }

    fn watch_deadlines(&mut self, cx: &mut Context<'_>) {
        loop {
            let Some(earliest) = self.calls.earliest() else {
                self.armed = None;
                return;
            };
            if self.armed != Some(earliest) {
                // One scan serves everything that expires within the resolution.
                self.sleep
                    .as_mut()
                    .reset((earliest + RESOLUTION / 2).into());
                self.armed = Some(earliest);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            let now = Instant::now();
            for (sequence, call) in self.calls.take(|call| call.deadline <= now) {
                if call.sent {
                    self.outgoing.push_back(Outgoing::Cancel { sequence });
                }
                let error = Error::new(
                    ErrorKind::DeadlineExceeded,
                    "no answer arrived before the deadline",
                );
                self.results.push((call.ticket, Outcome::Failed(error)));
            }
            // While the connection is away, the frames of expired calls would pile up here.
            self.outgoing.retain(|next| match next {
                Outgoing::Call { sequence, .. } => self.calls.contains(*sequence),
                Outgoing::Cancel { .. } => true,
            });
            self.armed = None;
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        while let Connection::Up { link, .. } = &mut self.connection {
            while !link.is_full()
                && let Some(next) = self.outgoing.pop_front()
            {
                match next {
                    Outgoing::Call { sequence, request } => {
                        // It may have been cancelled while it waited.
                        let Some(call) = self.calls.get_mut(sequence) else {
                            continue;
                        };
                        call.sent = true;
                        self.reply.truncate(self.number_at);
                        self.reply.push_str(itoa::Buffer::new().format(sequence));
                        self.headers.clear();
                        self.headers
                            .push_number(header::DEADLINE, request.deadline_us);
                        for (name, value) in &request.headers {
                            self.headers.push(name, value);
                        }
                        let (size, limit) = (
                            self.headers.size() + request.payload.len(),
                            link.max_payload(),
                        );
                        if size <= limit {
                            link.publish(
                                &request.subject,
                                Some(&self.reply),
                                &self.headers,
                                &request.payload,
                            );
                        } else if let Some(call) = self.calls.remove(sequence) {
                            // The broker came back with a smaller limit than the call was checked against.
                            let error =
                                Error::new(ErrorKind::PayloadTooLarge, too_large(size, limit));
                            self.results.push((call.ticket, Outcome::Failed(error)));
                        }
                    }
                    Outgoing::Cancel { sequence } => {
                        let subject =
                            subject::cancel(&self.fleet_prefix, &format!("{}.{sequence}", self.id));
                        self.headers.clear();
                        link.publish(&subject, None, &self.headers, &Bytes::new());
                    }
                }
            }
            match link.poll_flush(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if self.outgoing.is_empty() => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(lost)) => self.lose(&lost, cx),
            }
        }
    }

    fn fail(&mut self, which: impl FnMut(&Call<T>) -> bool, message: &str) {
        for (_, call) in self.calls.take(which) {
            let error = Error::new(ErrorKind::Unavailable, message);
            self.results.push((call.ticket, Outcome::Failed(error)));
        }
    }

    /// Ends every call; nothing is taken afterwards.
    fn close(&mut self) {
        const CLOSED: &str = "the connection was closed";
        self.closing = true;
        for submission in self.shared.close() {
            if let Submission::Call { ticket, .. } = submission {
                self.results.push((
                    ticket,
                    Outcome::Failed(Error::new(ErrorKind::Unavailable, CLOSED)),
                ));
            }
        }
        for (sequence, call) in self.calls.take(|_| true) {
            if call.sent {
                self.outgoing.push_back(Outgoing::Cancel { sequence });
            }
            self.results.push((
                call.ticket,
                Outcome::Failed(Error::new(ErrorKind::Unavailable, CLOSED)),
            ));
        }
    }

    /// Sends the last cancellations and gives the broker a clean end.
    pub(crate) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.send(cx);
            let busy =
                matches!(self.connection, Connection::Up { .. }) && !self.outgoing.is_empty();
            if busy { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        if let Connection::Up { link, .. } =
            std::mem::replace(&mut self.connection, Connection::Closed)
        {
            // A broker that cannot be told any more needs not be told.
            let _ = link.close().await;
        }
    }
}

impl<T> Drop for Driver<T> {
    /// Whatever ends the driver, no caller is left waiting.
    fn drop(&mut self) {
        self.close();
        self.shared.complete(&mut self.results);
    }
}

fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_micros() as u64)
}
