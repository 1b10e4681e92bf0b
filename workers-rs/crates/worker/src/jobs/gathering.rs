//! Questions that came at the same time, kept until they are answered together.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use super::stream::Silence;

/// Where the answer to a question goes.
pub(super) type Sender<A> = oneshot::Sender<Result<A, Silence>>;

/// Each question with where its answer goes.
type Waiting<Q, A> = Vec<(Q, Sender<A>)>;

/// Questions `Q` that wait for answers `A`.
pub(super) struct Gathering<Q, A> {
    waiting: Mutex<Waiting<Q, A>>,
    bell: Notify,
}

impl<Q, A> Default for Gathering<Q, A> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            bell: Notify::new(),
        }
    }
}

impl<Q, A> Gathering<Q, A> {
    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, question: Q) -> Result<A, Silence> {
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().push((question, sender));
        self.bell.notify_one();
        answer
            .await
            .unwrap_or_else(|_| Err(Silence("the worker ends".to_owned())))
    }

    /// Waits until somebody asks.
    pub(super) async fn asked(&self) {
        self.bell.notified().await;
        // Whoever can go on now may have a question too.
        tokio::task::yield_now().await;
    }

    /// What waits, to be taken.
    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting<Q, A>> {
        self.waiting.lock()
    }
}
