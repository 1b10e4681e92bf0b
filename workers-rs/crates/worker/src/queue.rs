//! The bounded queue between the connection and the executors: lanes, groups, batches.
//!
//! A lane is a priority. Within a lane, requests that may share a batch form a group, and groups take turns, so
//! that a flood for one model does not hold up another. A batch is everything of one group that waits, from the
//! chosen lane first and then from the others, up to the group's limit of rows; where that would be several
//! inferences, it is half of one executor's part.

mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use npufleet_link::Subject;
use parking_lot::{Condvar, Mutex};

use state::State;

/// Number of lanes, most urgent first.
pub(crate) const LANES: usize = 5;

/// What goes into one batch of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Where there may be more, an executor takes a multiple of this.
    pub(crate) whole: usize,
    /// How long it may wait to fill up.
    pub(crate) delay: Duration,
}

/// What the queue needs to know about a request.
pub(crate) trait Work {
    /// Index of the lane, below [`LANES`].
    fn lane(&self) -> usize;
    /// Requests with the same group may be executed together.
    fn group(&self) -> u64;
    /// Rows that the request adds to a batch.
    fn rows(&self) -> usize;
    /// Limits of the group, asked for when a batch is taken.
    fn limits(&self) -> Limits;
    /// Expected time of execution in nanoseconds, 0 when unknown.
    fn cost(&self) -> u64;
    /// Whether it may be done on the connection's own thread, if it costs little.
    fn is_light(&self) -> bool;
    /// When the request arrived.
    fn arrived(&self) -> Instant;
    /// When the caller stops waiting.
    fn deadline(&self) -> Instant;
    /// Where the answer goes, which also names the call.
    fn reply(&self) -> &Subject;
}

/// Where a cancelled call was found.
pub(crate) enum Cancelled<T> {
    /// It waited and has been taken out.
    Queued(T),
    /// It is being executed and has been marked.
    Running,
    /// It is not here.
    Unknown,
}

/// A queue with a limit, shared by the connection's thread and the executors.
pub(crate) struct Queue<T> {
    limit: usize,
    executors: usize,
    state: Mutex<State<T>>,
    arrival: Condvar,
    /// Per executor, the connection's own thread being the last: something in `State::cancelled` concerns the batch that it
    /// is executing.
    marks: Vec<AtomicBool>,
}

impl<T: Work> Queue<T> {
    /// A queue for `limit` requests and `executors` takers.
    pub(crate) fn new(limit: usize, executors: usize) -> Self {
        Self {
            limit,
            executors,
            state: Mutex::new(State::new(executors + 1)),
            arrival: Condvar::new(),
            marks: (0..=executors).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Admits `items`, emptying the vector; one that cannot start before its deadline or finds the queue full goes
    /// to `refuse` with the time after which another try makes sense. Returns whether the caller is to go on with
    /// [`Queue::take_quick`], no executor having been woken.
    pub(crate) fn push_all(&self, items: &mut Vec<T>, now: Instant, mut refuse: impl FnMut(T, Duration)) -> bool {
        let mut state = self.state.lock();
        for item in items.drain(..) {
            let wait = Duration::from_nanos(state.totals.backlog / self.executors as u64);
            if state.totals.length >= self.limit || (state.totals.length > 0 && now + wait > item.deadline()) {
                refuse(item, wait.max(Duration::from_millis(1)));
            } else {
                state.insert(item);
            }
        }
        let quick = state.is_quick(self.executors);
        if !quick {
            self.wake_one(&state);
        }
        quick
    }

    /// Fills `batch` with the next batch for the connection's own thread, which does what all executors would only have
    /// been woken for; false when it is for them, who are woken, or nothing waits. Without `room` for answers it is for them.
    pub(crate) fn take_quick(&self, room: bool, batch: &mut Vec<T>) -> bool {
        let mut state = self.state.lock();
        self.unmark(&mut state, self.executors);
        if room
            && state.is_quick(self.executors)
            && let Ok((lane, group)) = state.choose()
        {
            state.fill(lane, group, self.executors, batch);
            return true;
        }
        self.wake_one(&state);
        false
    }

    /// The number of the connection's own thread among the executors.
    pub(crate) fn own_thread(&self) -> usize {
        self.executors
    }

    /// Has an executor that waits look at what waits.
    fn wake_one(&self, state: &State<T>) {
        if state.totals.length > 0 && state.idle > 0 {
            self.arrival.notify_one();
        }
    }

    fn unmark(&self, state: &mut State<T>, executor: usize) {
        state.running[executor].clear();
        state.cancelled[executor].clear();
        self.marks[executor].store(false, Ordering::Relaxed);
    }

    /// Admits one item of a sender that counts its own places.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.insert(item);
        self.wake_one(&state);
    }

    /// Fills `batch` with the next batch for `executor`, waiting for one; false when the queue is closed and empty.
    pub(crate) fn take(&self, executor: usize, batch: &mut Vec<T>) -> bool {
        let mut state = self.state.lock();
        self.unmark(&mut state, executor);
        loop {
            let ready_at = match state.choose() {
                Ok((lane, group)) => {
                    state.fill(lane, group, executor, batch);
                    // Others are woken one by one, each by the one before, so that a small load wakes only one.
                    self.wake_one(&state);
                    return true;
                }
                Err(ready_at) => ready_at,
            };
            if state.closed && state.totals.length == 0 {
                self.arrival.notify_all();
                return false;
            }
            state.idle += 1;
            match ready_at {
                Some(instant) => {
                    self.arrival.wait_until(&mut state, instant);
                }
                None => self.arrival.wait(&mut state),
            }
            state.idle -= 1;
        }
    }

    /// Takes a waiting call out, or marks a running one; `matches` recognises its reply subject.
    pub(crate) fn cancel(&self, matches: impl Fn(&Subject) -> bool) -> Cancelled<T> {
        let mut state = self.state.lock();
        if let Some(item) = state.remove(|item| matches(item.reply()), 1).pop() {
            return Cancelled::Queued(item);
        }
        for executor in 0..=self.executors {
            if let Some(reply) = state.running[executor].iter().find(|reply| matches(reply)).cloned() {
                state.cancelled[executor].push(reply);
                self.marks[executor].store(true, Ordering::Relaxed);
                return Cancelled::Running;
            }
        }
        Cancelled::Unknown
    }

    /// Whether the call that `executor` is executing has been cancelled.
    pub(crate) fn is_cancelled(&self, executor: usize, reply: &Subject) -> bool {
        self.marks[executor].load(Ordering::Relaxed) && self.state.lock().cancelled[executor].contains(reply)
    }

    /// Takes out everything whose caller no longer waits.
    pub(crate) fn expired(&self, now: Instant) -> Vec<T> {
        self.state.lock().remove(|item| item.deadline() <= now, usize::MAX)
    }

    /// Requests that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.state.lock().totals.length
    }

    /// Requests of one group that wait, for statistics.
    pub(crate) fn count(&self, mut of: impl FnMut(&T) -> bool) -> usize {
        let state = self.state.lock();
        let waiting = state.groups.values().flat_map(|group| group.waiting.iter().flatten());
        waiting.filter(|waiting| of(&waiting.item)).count()
    }

    /// Takes out everything that waits and marks everything that runs as cancelled.
    pub(crate) fn abandon(&self) -> Vec<T> {
        let mut state = self.state.lock();
        for executor in 0..=self.executors {
            let State { running, cancelled, .. } = &mut *state;
            cancelled[executor].clone_from(&running[executor]);
            self.marks[executor].store(true, Ordering::Relaxed);
        }
        state.remove(|_| true, usize::MAX)
    }

    /// Lets the executors end once nothing waits; delayed batches no longer wait to fill up.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrival.notify_all();
    }
}

#[cfg(test)]
mod tests;
