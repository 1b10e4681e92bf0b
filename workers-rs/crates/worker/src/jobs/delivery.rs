//! One delivered job: what its acknowledgement subject says, and the answers that the broker can get.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use npufleet_link::{Message, Pieces, Subject};
use npufleet_wire::Lane;
use tokio::sync::Notify;

use super::stream::{self, Silence};
use crate::core::Core;

/// Tokens of the acknowledgement subject in the server's old form; the new one has two more after `$JS.ACK`.
const OLD_TOKENS: usize = 9;
/// How much progress is worth telling, in thousandths: a job has few events.
const PROGRESS_STEP: u32 = 100;

/// Numbers the deliveries of this process: the same message may come twice.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What is taken from the broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Taking {
    Jobs,
    /// Plans of jobs that follow each other.
    Plans,
}

impl Taking {
    pub(super) const ALL: [Self; 2] = [Self::Jobs, Self::Plans];

    pub(super) const fn stream(self) -> &'static str {
        match self {
            Self::Jobs => "JOBS",
            Self::Plans => "FLOWS",
        }
    }

    /// What stands before the lane in the names of consumers and in subjects.
    pub(super) const fn route(self) -> &'static str {
        match self {
            Self::Jobs => "job",
            Self::Plans => "flow",
        }
    }

    pub(super) fn consumer(self, lane: Lane) -> String {
        format!("{}-{}", self.route(), lane.as_str())
    }

    /// Whose consumer it is, and of which lane.
    pub(super) fn of(consumer: &str) -> Option<(Self, Lane)> {
        let (route, lane) = consumer.split_once('-')?;
        let taking = Self::ALL.into_iter().find(|taking| taking.route() == route)?;
        Some((taking, Lane::parse(lane)?))
    }
}

/// A message of the streams JOBS or FLOWS while this worker has it.
pub(crate) struct Delivery {
    pub(super) number: u64,
    pub(super) taking: Taking,
    pub(super) message: Message,
    /// Where the broker is told about it; no other delivery has the same.
    pub(super) ack: Subject,
    pub(super) lane: Lane,
    /// How often it was delivered, this time included.
    pub(super) delivered: u32,
    /// Its place in the stream.
    pub(super) sequence: u64,
    /// How many more wait in the lane.
    pub(super) pending: u64,
    /// The job's id and which attempt it is, once that is read.
    pub(super) known: OnceLock<(String, u32)>,
    /// How much of the work is done, and how much of that was told, in thousandths.
    pub(super) progress: Arc<AtomicU32>,
    told: AtomicU32,
    cancelled: AtomicBool,
    bell: Notify,
}

impl Delivery {
    /// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>`; nothing when
    /// the message is no delivery of a job.
    pub(super) fn of(message: Message) -> Option<Self> {
        let ack = message.reply()?;
        let Numbers {
            taking,
            lane,
            delivered,
            sequence,
            pending,
        } = Numbers::parse(&ack)?;
        Some(Self {
            number: NEXT.fetch_add(1, Relaxed),
            taking,
            message,
            ack,
            lane,
            delivered,
            sequence,
            pending,
            known: OnceLock::new(),
            progress: Arc::default(),
            told: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            bell: Notify::new(),
        })
    }

    /// How much of the work is done, 0 to 1, if that is worth telling: after each tenth.
    pub(super) fn news(&self) -> Option<f64> {
        let (done, told) = (self.progress.load(Relaxed), self.told.load(Relaxed));
        let is_news = done >= told + PROGRESS_STEP && done < 1000;
        is_news.then(|| {
            self.told.store(done, Relaxed);
            f64::from(done) / 1e3
        })
    }

    /// The job is no longer wanted.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
        self.bell.notify_one();
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Waits until the job is no longer wanted.
    pub(super) async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.bell.notified().await;
        }
    }

    /// Says that the job is over, and waits until the broker knows.
    pub(super) async fn acknowledge(&self, core: &Core) -> Result<(), Silence> {
        self.confirmed(core, b"+ACK").await
    }

    /// The same for a job that has failed for good.
    pub(super) async fn terminate(&self, core: &Core) -> Result<(), Silence> {
        self.confirmed(core, b"+TERM").await
    }

    async fn confirmed(&self, core: &Core, word: &'static [u8]) -> Result<(), Silence> {
        let answer = stream::request(core, &self.ack, b"", &Bytes::from_static(word)).await?;
        if answer.status() == 0 {
            if self.taking == Taking::Jobs {
                core.jobs.sweep.over(self);
            }
            return Ok(());
        }
        Err(Silence("an acknowledgement is not confirmed: no consumer".to_owned()))
    }

    /// Lets the broker deliver the job again, to anybody, after so long.
    pub(super) fn give_back(&self, core: &Core, after: Duration) {
        let body = Bytes::from(format!("-NAK {{\"delay\": {}}}", after.as_nanos()));
        core.post(|pieces| pieces.publish(&self.ack, None, b"", &body));
    }

    /// Says that the work goes on: the broker waits as long again.
    pub(super) fn keep(&self, pieces: &mut Pieces) {
        pieces.publish(&self.ack, None, b"", &Bytes::from_static(b"+WPI"));
    }
}

#[derive(Debug, PartialEq)]
struct Numbers {
    taking: Taking,
    lane: Lane,
    delivered: u32,
    sequence: u64,
    pending: u64,
}

impl Numbers {
    fn parse(ack: &str) -> Option<Self> {
        let mut tokens: Vec<_> = ack.strip_prefix("$JS.ACK.")?.split('.').collect();
        if tokens.len() + 2 > OLD_TOKENS {
            tokens.drain(0..2);
        }
        let &[_, consumer, delivered, sequence, _, _, pending, ..] = &tokens[..] else {
            return None;
        };
        let (taking, lane) = Taking::of(consumer)?;
        Some(Self {
            taking,
            lane,
            delivered: delivered.parse().ok()?,
            sequence: sequence.parse().ok()?,
            pending: pending.parse().ok()?,
        })
    }
}

/// A delivery counts as work that waits for an executor as long as this is kept.
pub(crate) struct Place(pub(super) Arc<Core>);

impl Place {
    pub(super) fn take(core: &Arc<Core>) -> Self {
        core.jobs.places.fetch_add(1, Relaxed);
        Self(Arc::clone(core))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.jobs.places.fetch_sub(1, Relaxed);
        self.0.jobs.puller(Taking::Jobs).wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_acknowledgement_subject_are_read() {
        let numbers = Numbers {
            taking: Taking::Jobs,
            lane: Lane::Low,
            delivered: 3,
            sequence: 17,
            pending: 42,
        };
        let old = "$JS.ACK.JOBS.job-low.3.17.9.1700000000000000000.42";
        assert_eq!(Numbers::parse(old), Some(numbers));
        let new = "$JS.ACK.hub.aBcD.JOBS.job-low.3.17.9.1700000000000000000.42";
        assert_eq!(Numbers::parse(new), Numbers::parse(old));
        assert_eq!(Numbers::parse(&format!("{new}.x1")), Numbers::parse(old));
    }

    #[test]
    fn anything_else_is_no_delivery() {
        for wrong in [
            "",
            "_INBOX.x.1",
            "$JS.ACK.JOBS.job-low.3.17.9.1",
            "$JS.ACK.JOBS.handover-low.3.17.9.1.0",
            "$JS.ACK.JOBS.job-low.x.17.9.1.0",
        ] {
            assert_eq!(Numbers::parse(wrong), None, "{wrong}");
        }
    }
}
