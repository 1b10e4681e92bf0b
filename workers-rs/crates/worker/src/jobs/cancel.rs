//! Jobs that are no longer wanted: whoever runs one stops it, and one of all workers writes the result at once, so that
//! nobody waits for a job's turn.

use std::sync::Arc;

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::{Error, ErrorKind, header, subject};
use serde_json::Value;

use super::order::Order;
use super::outcome;
use crate::core::Core;
use crate::events::log;
use crate::intake::Target;
use crate::reply;

/// Queue group of those that write down a cancellation: one of them does.
const QUEUE: &str = "jobs";

/// How a job ends that somebody wanted no more.
pub(super) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled on request")
}

impl Core {
    pub(super) fn listen_for_cancellations(&self) -> npufleet_wire::Result<()> {
        let any = subject::cancel(&self.prefix, "*");
        self.listen(&any, Some(QUEUE), Target::JobCancel).map(drop)
    }

    /// Stops the job if this worker has it; it may be a chain or a group.
    pub(crate) fn cancel_job(&self, id: &str) {
        self.jobs.flows.tell(id, id);
        for delivery in self.jobs.active.lock().values() {
            if delivery.known.get().is_some_and(|(known, _)| known == id) {
                delivery.cancel();
            }
        }
    }

    /// Commits a cancellation as the job's result, wherever the job is.
    pub(crate) fn write_cancellation(self: &Arc<Self>, message: &Message) {
        let id = message.subject().rsplit('.').next().unwrap_or_default();
        match Order::known_by(id, message.headers().get(header::OPERATION)) {
            Ok(order) => {
                let core = Arc::clone(self);
                tokio::spawn(async move {
                    outcome::end_schedule(&core, &order.id).await;
                    let said = reply::failure(&cancelled());
                    if outcome::commit(&core, &order, 0, said, &Bytes::new()).await {
                        outcome::tell(&core, &order.id, "cancelled", 0, Value::Null);
                    }
                });
            }
            Err(error) => log(format_args!("cancellation of nothing: {error}")),
        }
    }
}
