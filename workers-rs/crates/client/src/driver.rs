//! The task that owns the connection: it receives, watches deadlines, and sends what the broker did not take at once.
//!
//! One pass takes all that waits and hands the results over together: under load the cost of waking anybody is shared by
//! the whole batch.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use npufleet_link::{Connection, Event};
use tokio::time::Sleep;

use crate::calls::RESOLUTION;
use crate::desk::{Desk, Outcomes};
use crate::shared::{Shared, State};

/// How long closing waits for the last messages to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Driver {
    shared: Arc<Shared>,
    connection: Connection,
    events: Vec<Event>,
    outcomes: Outcomes,
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        Self {
            shared,
            connection,
            events: Vec::new(),
            outcomes: Vec::new(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        }
    }

    /// Does everything that can be done now; ready when the connection is to be ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Registered before looking: what comes in between wakes again instead of being missed.
        self.shared.register(cx.waker());
        while let Poll::Ready(event) = self.connection.poll_next(cx) {
            self.events.push(event);
        }
        let shared = Arc::clone(&self.shared);
        let mut desk = shared.desk();
        for event in std::mem::take(&mut self.events) {
            self.on_event(event, &mut desk);
        }
        desk.send(&mut self.outcomes);
        self.watch_deadlines(cx, &mut desk);
        drop(desk);
        self.shared.complete(&mut self.outcomes);
        if self.shared.is_closing() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn on_event(&mut self, event: Event, desk: &mut Desk) {
        match event {
            Event::Message(message) => desk.answered(message, &mut self.outcomes),
            Event::Connected => {
                desk.connected();
                self.shared.set_state(State::Connected);
            }
            Event::Lost(reason) => {
                self.shared.set_state(State::Reconnecting);
                desk.lost(&reason, &mut self.outcomes);
            }
            Event::Complaint(text) => desk.violated(&text, &mut self.outcomes),
            Event::Failed(_) | Event::LameDuck | Event::Confirmed(_) => {}
        }
    }

    fn watch_deadlines(&mut self, cx: &mut Context<'_>, desk: &mut Desk) {
        while let Some(earliest) = desk.arm() {
            if self.armed != Some(earliest) {
                // One scan serves everything that expires within the resolution.
                self.sleep.as_mut().reset((earliest + RESOLUTION / 2).into());
                self.armed = Some(earliest);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            desk.expire(Instant::now(), &mut self.outcomes);
            self.armed = None;
        }
        self.armed = None;
    }

    /// Sends the last cancellations and gives the broker a clean end.
    pub(crate) async fn finish(mut self) {
        self.close();
        // A slow broker cannot be told, and nothing depends on it: calls carry deadlines.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.connection.finish()).await;
    }

    fn close(&mut self) {
        self.shared.set_state(State::Closed);
        self.shared.desk().close(&mut self.outcomes);
        self.shared.complete(&mut self.outcomes);
        self.shared.give_up();
    }
}

impl Drop for Driver {
    /// Whatever ends the driver, no caller is left waiting.
    fn drop(&mut self) {
        self.close();
    }
}
