//! Between the connection and the queue: what a request must be to be admitted, and how its frame gets here when that is
//! on another host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::{Error, ErrorKind, Lane, Result};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::core::Core;
use crate::endpoint::{Endpoint, Prepared};
use crate::executor::{do_quick, too_late};
use crate::payloads::Payload;
use crate::request::{Asked, Now, Request};

impl Core {
    /// Makes a request of a message that arrived at `now`, of which `asked` is what it says; one that cannot be done is
    /// refused.
    pub(crate) fn prepare(
        &self,
        endpoint: &Arc<Endpoint>,
        lane: Lane,
        (message, asked): (&Message, &Asked<'_>),
        payload: Result<Payload>,
        now: &Now,
    ) -> Option<Request> {
        // Without a reply subject there is nobody to answer, and nothing else that the work would be good for.
        let reply = message.reply()?;
        let checked = payload.and_then(|payload| {
            let bytes = payload.bytes(message);
            let (prepared, deadline) = check(endpoint, asked, &bytes, now)?;
            Ok((payload, bytes.len(), prepared, deadline))
        });
        let (payload, size, prepared, deadline) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.refuse(endpoint, &reply, message, &error);
                return None;
            }
        };
        let fetching = match payload {
            Payload::Inline => Duration::ZERO,
            _ => now.instant.elapsed(),
        };
        let trace = if self.telemetry.is_on() { asked.trace(now) } else { None };
        if let Some(trace) = &trace {
            self.telemetry.fetched(trace, payload.placement(), size, now.instant);
        }
        let (is_fallback, reader) = (asked.fallback_reason.is_some(), asked.reader());
        Some(Request {
            endpoint: Arc::clone(endpoint),
            prepared,
            reply,
            payload,
            fetching,
            reader,
            message: message.clone(),
            lane,
            is_fallback,
            arrived: now.instant,
            deadline,
            trace,
            job: None,
        })
    }

    /// Fetches a request's frame from its caller, whose arena cannot be opened here, and then queues it as any other.
    pub(crate) fn fetch(self: &Arc<Self>, endpoint: &Arc<Endpoint>, lane: Lane, message: Message, now: Now) {
        if message.reply().is_none() {
            return;
        }
        let (core, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        let mut fetches = self.fetches.lock();
        while fetches.try_join_next().is_some() {}
        let fetch = async move {
            let asked = Asked::read(message.headers());
            let payload = core.fetched(&asked, &now).await.map(Payload::Fetched);
            let mut admitted = Vec::from_iter(core.prepare(&endpoint, lane, (&message, &asked), payload, &now));
            core.queue_all(&mut admitted, Instant::now());
        };
        fetches.spawn_on(fetch, &self.runtime);
    }

    async fn fetched(self: &Arc<Self>, asked: &Asked<'_>, now: &Now) -> Result<Bytes> {
        let deadline = asked.deadline(now)?;
        let Ok(Ok(_right)) = timeout_at(deadline.into(), self.payloads.fetches.acquire()).await else {
            return Err(too_late(now.instant.elapsed()));
        };
        let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let (core, claim, channel) = (Arc::clone(self), owned(asked.claim), owned(asked.channel));
        let fetched = spawn_blocking(move || core.payloads.fetch(&claim, &channel, deadline));
        fetched
            .await
            .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, format!("the fetching failed: {error}"))))
    }

    /// Queues what was admitted, as far as there is room and time for it, and does it at once where that is quick. For the
    /// event loop's thread.
    pub(crate) fn queue_all(self: &Arc<Self>, admitted: &mut Vec<Request>, now: Instant) {
        let quick = self.queue.push_all(admitted, now, |request, retry_after| {
            let text = format!(
                "too many requests wait; another could start in about {} ms",
                retry_after.as_millis().max(1)
            );
            let error = Error::overloaded(text, retry_after);
            self.refuse(&request.endpoint, &request.reply, &request.message, &error);
        });
        if quick {
            do_quick(self, admitted);
        }
    }
}

/// Checks what must be right before a request may wait.
fn check(endpoint: &Endpoint, asked: &Asked<'_>, payload: &Bytes, now: &Now) -> Result<(Arc<Prepared>, Instant)> {
    let deadline = asked.deadline(now)?;
    if deadline <= now.instant {
        return Err(Error::new(
            ErrorKind::DeadlineExceeded,
            "the deadline had passed on arrival",
        ));
    }
    Ok((endpoint.prepare(payload)?, deadline))
}
