//! Between the connection and the queue: what a request must be to be admitted.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::{Error, ErrorKind, Lane, Result};

use crate::core::Core;
use crate::endpoint::{Endpoint, Prepared};
use crate::executor::do_quick;
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
            let (prepared, deadline) = check(endpoint, asked, &payload.bytes, now)?;
            Ok((payload, prepared, deadline))
        });
        let (payload, prepared, deadline) = match checked {
            Ok(checked) => checked,
            Err(error) => {
                self.refuse(endpoint, &reply, message, &error);
                return None;
            }
        };
        let trace = if self.telemetry.is_on() { asked.trace(now) } else { None };
        if let Some(trace) = &trace {
            self.telemetry
                .fetched(trace, payload.placement(), payload.bytes.len(), now.instant);
        }
        let (is_fallback, reader) = (asked.fallback_reason.is_some(), asked.reader());
        Some(Request {
            endpoint: Arc::clone(endpoint),
            prepared,
            reply,
            payload,
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
