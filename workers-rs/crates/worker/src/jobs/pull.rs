//! Asks the lanes' consumers for as many jobs as can be started, and waits where there is nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use npufleet_link::Message;
use npufleet_wire::Lane;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::delivery::{Delivery, Place, Taking};
use super::places::Places;
use super::{attempt, flows};
use crate::core::Core;
use crate::events::log;
use crate::intake::Target;
use crate::queue::LANES;

/// Group and priority with which Rust workers ask; Python ones ask with 1 and get what these leave.
const WHO: &str = r#""group":"workers","priority":0"#;
/// How long one request for a job waits at the broker.
const WAIT: Duration = Duration::from_secs(30);
/// How long the broker may take to say what there is.
const FETCH: Duration = Duration::from_secs(5);
/// How long streams that are not there are left alone.
const ABSENT: Duration = Duration::from_secs(1);
const NO_RESPONDERS: u16 = 503;

/// What is known about the lanes, and what has been asked.
#[derive(Default)]
pub(super) struct Puller {
    state: Mutex<State>,
    /// Rung when there may be something to do.
    changed: Notify,
    /// Rung when waiting for jobs has come to an end.
    arrived: Notify,
    absent: AtomicBool,
}

#[derive(Default)]
struct State {
    places: Places,
    /// Jobs that a fetch still waits for, by lane.
    fetching: [usize; LANES],
}

impl Puller {
    /// Ends all waiting: a job came, or the connection changed, or we are told to stop.
    pub(super) fn ring(&self) {
        self.arrived.notify_one();
        self.wake();
    }

    /// Looks again: a place is free.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// What was asked on the old connection is gone.
    pub(super) fn connection_changed(&self) {
        let mut state = self.state.lock();
        state.fetching = [0; LANES];
        // What waits may have changed meanwhile.
        state.places.waiting = state.places.waiting.map(|count| count.max(1));
        drop(state);
        self.ring();
    }

    /// Waits until something changes, at most so long.
    pub(super) async fn pause(&self, most: Duration) {
        // Both ends are the same to whoever waits.
        let _ = timeout(most, self.changed.notified()).await;
    }

    fn is_fetching(&self) -> bool {
        self.state.lock().fetching.iter().any(|missing| *missing > 0)
    }

    fn delivered(&self, delivery: &Delivery) {
        let mut state = self.state.lock();
        let lane = delivery.lane.index();
        state.places.waiting[lane] = delivery.pending;
        state.fetching[lane] = state.fetching[lane].saturating_sub(1);
    }

    /// There is nothing more for a request: nothing waits, its time is over, or there is no such consumer.
    fn ended(&self, lane: Lane, status: u16) {
        let mut state = self.state.lock();
        state.places.waiting[lane.index()] = 0;
        state.fetching[lane.index()] = 0;
        drop(state);
        if status == NO_RESPONDERS {
            self.absent.store(true, Relaxed);
        }
        self.ring();
    }
}

impl Core {
    /// Takes jobs, or plans, until that is stopped.
    pub(super) async fn pull(self: &Arc<Self>, taking: Taking) {
        let (jobs, puller) = (&self.jobs, self.jobs.puller(taking));
        let Some((_, fetching)) = self.listen_for_jobs(taking, "fetch") else {
            return;
        };
        while !jobs.is_stopped() {
            if puller.absent.swap(false, Relaxed) {
                puller.pause(ABSENT).await;
                continue;
            }
            let free = jobs.free(taking);
            if free == 0 {
                puller.pause(WAIT).await;
                continue;
            }
            let shares = puller.state.lock().places.share(free);
            if shares == [0; LANES] {
                self.wait_for_jobs(taking).await;
            } else {
                self.fetch_jobs(taking, &fetching, shares).await;
            }
        }
    }

    /// Takes what waits already, without waiting for more.
    async fn fetch_jobs(&self, taking: Taking, inbox: &str, shares: [usize; LANES]) {
        let puller = self.jobs.puller(taking);
        puller.state.lock().fetching = shares;
        self.post(|pieces| {
            for (lane, count) in Lane::ALL.into_iter().zip(shares).filter(|(_, count)| *count > 0) {
                let body = Bytes::from(format!(r#"{{"batch":{count},"no_wait":true,{WHO}}}"#));
                pieces.publish(
                    &question(taking, lane),
                    Some(&format!("{inbox}{}", taking.consumer(lane))),
                    b"",
                    &body,
                );
            }
        });
        let all = async {
            while puller.is_fetching() && !self.jobs.is_stopped() {
                puller.changed.notified().await;
            }
        };
        if timeout(FETCH, all).await.is_err() {
            log(format_args!("the broker does not say whether there are jobs"));
            puller.state.lock().fetching = [0; LANES];
        }
    }

    /// Waits in every lane at once, for one job each; the first one ends the waiting.
    async fn wait_for_jobs(&self, taking: Taking) {
        let Some((number, inbox)) = self.listen_for_jobs(taking, "wait") else {
            return;
        };
        let arrived = &self.jobs.puller(taking).arrived;
        // What came before is no news.
        let _ = arrived.notified().now_or_never();
        let body = Bytes::from(format!(r#"{{"batch":1,"expires":{},{WHO}}}"#, WAIT.as_nanos()));
        self.post(|pieces| {
            for lane in Lane::ALL {
                pieces.publish(
                    &question(taking, lane),
                    Some(&format!("{inbox}{}", taking.consumer(lane))),
                    b"",
                    &body,
                );
            }
        });
        if timeout(WAIT, arrived.notified()).await.is_err() {
            self.jobs.sweep.ring(taking);
        }
        // The broker forgets the requests of a subscription that has gone.
        self.unsubscribe(&[number]).await;
    }

    fn listen_for_jobs(&self, taking: Taking, purpose: &str) -> Option<(u64, String)> {
        let inbox = format!("{}{purpose}-{}.", self.questions.inbox(), taking.route());
        match self.listen(&format!("{inbox}*"), None, Target::Jobs) {
            Ok(number) => Some((number, inbox)),
            Err(error) => {
                log(format_args!("no jobs are taken: {error}"));
                None
            }
        }
    }

    /// Takes what the broker sends to whoever asked for jobs.
    pub(crate) fn receive_job(self: &Arc<Self>, message: Message) {
        if message.reply().is_none() {
            let consumer = message.subject().rsplit('.').next().unwrap_or_default();
            if let Some((taking, lane)) = Taking::of(consumer) {
                self.jobs.puller(taking).ended(lane, message.status());
            }
            return;
        }
        let Some(delivery) = Delivery::of(message) else {
            return log(format_args!("a message that is no job came as one"));
        };
        let puller = self.jobs.puller(delivery.taking);
        puller.delivered(&delivery);
        let delivery = Arc::new(delivery);
        if delivery.taking == Taking::Plans {
            flows::begin(self, delivery);
            return puller.ring();
        }
        self.jobs.active.lock().insert(delivery.number, Arc::clone(&delivery));
        tokio::spawn(attempt::work(Arc::clone(self), delivery, Place::take(self)));
        puller.ring();
    }
}

fn question(taking: Taking, lane: Lane) -> String {
    format!(
        "$JS.API.CONSUMER.MSG.NEXT.{}.{}",
        taking.stream(),
        taking.consumer(lane)
    )
}
