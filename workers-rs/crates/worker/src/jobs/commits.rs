//! Results that are ready at the same time are stored with one write to the disk.
//!
//! While one write is on its way, the next results gather. Many leave as an atomic batch (ADR-50), in which each one
//! still has to be the first on its subject; if one is not, the broker stores none of them, and each is sent alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use futures::future::join_all;
use npufleet_link::HeaderBlock;
use serde_json::Value;

use super::gathering::{Gathering, Sender};
use super::stream::{self, Silence, Stored};
use crate::core::Core;

/// Results that are not worth a batch, for which the broker makes a folder and files of its own.
const FEW: usize = 8;
/// Results in a batch; the first is the broker's limit, the second ours, in bytes.
const MOST: usize = 1000;
const MOST_BYTES: usize = 8 << 20;
/// The broker's word for a stream that takes no batches.
const NO_BATCHES: u64 = 10174;

/// The results that are to be written.
#[derive(Default)]
pub(super) struct Commits {
    gathering: Gathering<Written, Stored>,
    /// The stream was made without batches.
    alone: AtomicBool,
}

struct Written {
    subject: String,
    headers: HeaderBlock,
    frame: Bytes,
}

/// A result, and who wants to know what became of it.
type Pending = (Written, Sender<Stored>);

/// Stores a result, with others if there are some; as [`stream::publish`].
pub(super) async fn publish(
    core: &Core,
    subject: &str,
    headers: &HeaderBlock,
    frame: &Bytes,
) -> Result<Stored, Silence> {
    let written = Written {
        subject: subject.to_owned(),
        headers: headers.clone(),
        frame: frame.clone(),
    };
    core.jobs.commits.gathering.ask(written).await
}

impl Core {
    /// Writes the results that wait, those together that came together.
    pub(super) async fn commit(self: Arc<Self>) {
        let gathering = &self.jobs.commits.gathering;
        loop {
            gathering.asked().await;
            loop {
                let next = next_batch(&mut gathering.waiting());
                if next.is_empty() {
                    break;
                }
                self.write_together(next).await;
            }
        }
    }

    async fn write_together(&self, results: Vec<Pending>) {
        let together = results.len() >= FEW && !self.jobs.commits.alone.load(Relaxed);
        if together && self.is_batch_stored(&results).await {
            for (_, answer) in results {
                // The attempt may have ended with the worker.
                let _ = answer.send(Ok(Stored::Now));
            }
            return;
        }
        let alone = results.into_iter().map(|(result, answer)| async move {
            let stored = stream::publish(self, &result.subject, &result.headers, &result.frame).await;
            let _ = answer.send(stored);
        });
        join_all(alone).await;
    }

    /// Whether all of them are stored; when it is not known, each one's own writing finds out.
    async fn is_batch_stored(&self, results: &[Pending]) -> bool {
        let id = nuid::next();
        let headers = (1..).zip(results).map(|(number, (result, _))| {
            let mut headers = result.headers.clone();
            headers.push("Nats-Batch-Id", &id);
            headers.push_number("Nats-Batch-Sequence", number);
            if number == results.len() as u64 {
                headers.push("Nats-Batch-Commit", "1");
            }
            headers
        });
        let headers: Vec<_> = headers.collect();
        let messages: Vec<_> = results
            .iter()
            .zip(&headers)
            .map(|((result, _), headers)| (&*result.subject, headers.as_bytes(), &result.frame))
            .collect();
        let Ok(answer) = stream::request_together(self, &messages).await else {
            return false;
        };
        let said: Value = serde_json::from_slice(answer.payload_bytes()).unwrap_or_default();
        if said["error"]["err_code"] == NO_BATCHES {
            self.jobs.commits.alone.store(true, Relaxed);
        }
        said["count"] == results.len()
    }
}

/// Takes as many results as one batch holds.
fn next_batch(waiting: &mut Vec<Pending>) -> Vec<Pending> {
    let mut bytes = 0;
    let fitting = waiting.iter().take(MOST).take_while(|(result, _)| {
        let is_first = bytes == 0;
        bytes += result.frame.len() + result.headers.as_bytes().len();
        is_first || bytes <= MOST_BYTES
    });
    let count = fitting.count();
    waiting.drain(..count).collect()
}
