//! Frames of requests on their way over the channel, until they are here or their calls are cancelled.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_link::Message;
use npufleet_wire::{Error, ErrorKind, Lane, Result, subject};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout_at;

use crate::core::Core;
use crate::endpoint::Endpoint;
use crate::executor::{cancelled, too_late};
use crate::payloads::Payload;
use crate::request::{Asked, Now};

/// Frames that are fetched at once; each takes a thread, and memory as it arrives.
const FETCHES: usize = 16;

/// What is being fetched.
pub(crate) struct Fetching {
    tasks: Mutex<JoinSet<()>>,
    /// The right to fetch.
    rights: Semaphore,
    /// Whether a call's frame is still wanted, by the call's id.
    wanted: Mutex<HashMap<String, watch::Sender<bool>>>,
}

impl Fetching {
    pub(crate) fn new() -> Self {
        Self {
            tasks: Mutex::default(),
            rights: Semaphore::new(FETCHES),
            wanted: Mutex::default(),
        }
    }

    /// Ends the fetching for a call, if its frame is not here yet.
    pub(crate) fn cancel(&self, call: &str) {
        if let Some(wanted) = self.wanted.lock().get(call) {
            wanted.send_replace(false);
        }
    }

    /// Waits until all that is being fetched is here, or lost.
    pub(crate) async fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.join_all().await;
    }
}

impl Core {
    /// Fetches a request's frame from its caller, whose arena cannot be opened here, and then queues it as any other.
    pub(crate) fn fetch(self: &Arc<Self>, endpoint: &Arc<Endpoint>, lane: Lane, message: Message, now: Now) {
        let Some(reply) = message.reply() else { return };
        let call = subject::call_id(&reply).unwrap_or_default().to_owned();
        let (wants, wanted) = watch::channel(true);
        self.fetching.wanted.lock().insert(call.clone(), wants);
        let (core, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        let mut tasks = self.fetching.tasks.lock();
        while tasks.try_join_next().is_some() {}
        let fetch = async move {
            let asked = Asked::read(message.headers());
            let fetched = core.fetched(&asked, &now, wanted).await;
            let payload = fetched.map(|bytes| Payload::fetched(bytes, now.instant.elapsed()));
            let mut admitted = Vec::from_iter(core.prepare(&endpoint, lane, (&message, &asked), payload, &now));
            core.queue_all(&mut admitted, Instant::now());
            core.fetching.wanted.lock().remove(&call);
        };
        tasks.spawn_on(fetch, &self.runtime);
    }

    async fn fetched(
        self: &Arc<Self>,
        asked: &Asked<'_>,
        now: &Now,
        mut wanted: watch::Receiver<bool>,
    ) -> Result<Bytes> {
        let deadline = asked.deadline(now)?;
        let still = wanted.clone();
        let given_up = async {
            if wanted.wait_for(|wanted| !wanted).await.is_err() {
                // Somebody else has the same id, so that this one cannot be cancelled.
                pending::<()>().await;
            }
        };
        let right = tokio::select! {
            right = timeout_at(deadline.into(), self.fetching.rights.acquire()) => right,
            () = given_up => return Err(cancelled()),
        };
        let Ok(Ok(_right)) = right else {
            return Err(too_late(now.instant.elapsed()));
        };
        let owned = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let (core, claim, channel) = (Arc::clone(self), owned(asked.claim), owned(asked.channel));
        let fetched = spawn_blocking(move || core.payloads.fetch(&claim, &channel, deadline, &|| *still.borrow()));
        fetched
            .await
            .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, format!("the fetching failed: {error}"))))
    }
}
