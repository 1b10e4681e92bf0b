//! The bounded queue between the connection and the executors: lanes, groups, batches.
//!
//! A lane is a priority. Within a lane, requests that may share a batch form a group, and groups take turns, so
//! that a flood for one model does not hold up another. A batch is everything of one group that waits, from the
//! chosen lane first and then from the others, up to the group's limit of rows.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use npufleet_link::Subject;
use parking_lot::{Condvar, Mutex};

/// Number of lanes, most urgent first.
pub(crate) const LANES: usize = 5;

/// A waiting lane gets a turn at the latest after this many batches of more urgent lanes. The most urgent lane
/// never waits for another; together the others can claim less than half of the turns.
const PATIENCE: [u32; LANES] = [0, 4, 8, 16, 32];

/// Empty groups that are kept because their next request is likely to come.
const KEPT_GROUPS: usize = 256;

/// How much may go into one batch of a group, and how long a batch may wait to fill up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
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
    /// Per executor: something in `State::cancelled` concerns the batch that it is executing.
    marks: Vec<AtomicBool>,
}

struct State<T> {
    groups: HashMap<u64, Group<T>>,
    lanes: [Lane; LANES],
    length: usize,
    /// Sum of the costs of everything that waits, nanoseconds.
    backlog: u64,
    idle: usize,
    closed: bool,
    running: Vec<Vec<Subject>>,
    cancelled: Vec<Vec<Subject>>,
}

struct Group<T> {
    waiting: [VecDeque<(T, u64)>; LANES],
    /// Whether the group is in the lane's list of turns.
    listed: [bool; LANES],
}

#[derive(Default)]
struct Lane {
    turns: VecDeque<u64>,
    passed_over: u32,
}

impl<T: Work> Queue<T> {
    /// A queue for `limit` requests and `executors` takers.
    pub(crate) fn new(limit: usize, executors: usize) -> Self {
        Self {
            limit,
            executors,
            state: Mutex::new(State {
                groups: HashMap::new(),
                lanes: Default::default(),
                length: 0,
                backlog: 0,
                idle: 0,
                closed: false,
                running: vec![Vec::new(); executors],
                cancelled: vec![Vec::new(); executors],
            }),
            arrival: Condvar::new(),
            marks: (0..executors).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Admits `items`, emptying the vector; one that cannot start before its deadline or finds the queue full goes
    /// to `refuse` with the time after which another try makes sense.
    pub(crate) fn push_all(&self, items: &mut Vec<T>, now: Instant, mut refuse: impl FnMut(T, Duration)) {
        let mut state = self.state.lock();
        for item in items.drain(..) {
            let wait = Duration::from_nanos(state.backlog / self.executors as u64);
            if state.length >= self.limit || (state.length > 0 && now + wait > item.deadline()) {
                refuse(item, wait.max(Duration::from_millis(1)));
            } else {
                state.insert(item);
            }
        }
        if state.length > 0 && state.idle > 0 {
            self.arrival.notify_one();
        }
    }

    /// Admits one item of a sender that counts its own places.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.state.lock();
        state.insert(item);
        if state.idle > 0 {
            self.arrival.notify_one();
        }
    }

    /// Fills `batch` with the next batch for `executor`, waiting for one; false when the queue is closed and empty.
    pub(crate) fn take(&self, executor: usize, batch: &mut Vec<T>) -> bool {
        let mut state = self.state.lock();
        state.running[executor].clear();
        state.cancelled[executor].clear();
        self.marks[executor].store(false, Ordering::Relaxed);
        loop {
            let ready_at = match state.choose() {
                Ok((lane, group)) => {
                    state.fill(lane, group, executor, batch);
                    // Others are woken one by one, each by the one before, so that a small load wakes only one.
                    if state.length > 0 && state.idle > 0 {
                        self.arrival.notify_one();
                    }
                    return true;
                }
                Err(ready_at) => ready_at,
            };
            if state.closed && state.length == 0 {
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
        for executor in 0..self.executors {
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
        self.state.lock().length
    }

    /// Requests of one group that wait, for statistics.
    pub(crate) fn count(&self, mut of: impl FnMut(&T) -> bool) -> usize {
        let state = self.state.lock();
        let waiting = state.groups.values().flat_map(|group| group.waiting.iter().flatten());
        waiting.filter(|(item, _)| of(item)).count()
    }

    /// Takes out everything that waits and marks everything that runs as cancelled.
    pub(crate) fn abandon(&self) -> Vec<T> {
        let mut state = self.state.lock();
        for executor in 0..self.executors {
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

impl<T: Work> State<T> {
    fn insert(&mut self, item: T) {
        let (lane, key, cost) = (item.lane(), item.group(), item.cost());
        if self.groups.len() > KEPT_GROUPS && !self.groups.contains_key(&key) {
            self.groups.retain(|_, group| group.listed.contains(&true));
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            waiting: Default::default(),
            listed: [false; LANES],
        });
        group.waiting[lane].push_back((item, cost));
        if !group.listed[lane] {
            group.listed[lane] = true;
            self.lanes[lane].turns.push_back(key);
        }
        self.length += 1;
        self.backlog += cost;
    }

    /// The lane and group whose turn it is, or the time at which the first delayed group becomes due.
    fn choose(&mut self) -> Result<(usize, u64), Option<Instant>> {
        let mut due: Option<Instant> = None;
        let mut ready = [None; LANES];
        for (lane, ready) in ready.iter_mut().enumerate() {
            self.drop_empty_turns(lane);
            for &key in &self.lanes[lane].turns {
                match self.groups.get(&key) {
                    Some(group) if !group.waiting[lane].is_empty() => {}
                    // Emptied by a batch of another lane; leaves the list once it is at the front.
                    _ => continue,
                }
                match self.due_at(key) {
                    None => {
                        *ready = Some(key);
                        break;
                    }
                    Some(instant) => due = Some(due.map_or(instant, |other| other.min(instant))),
                }
            }
        }
        let impatient =
            (1..LANES).find(|&lane| ready[lane].is_some() && self.lanes[lane].passed_over >= PATIENCE[lane]);
        let lane = impatient.or_else(|| (0..LANES).find(|&lane| ready[lane].is_some()));
        lane.and_then(|lane| ready[lane].map(|key| (lane, key))).ok_or(due)
    }

    fn drop_empty_turns(&mut self, lane: usize) {
        while let Some(key) = self.lanes[lane].turns.front() {
            match self.groups.get_mut(key) {
                Some(group) if group.waiting[lane].is_empty() => group.listed[lane] = false,
                Some(_) => return,
                None => {}
            }
            self.lanes[lane].turns.pop_front();
        }
    }

    /// When the group's batch must start, or nothing when it may start now.
    fn due_at(&self, key: u64) -> Option<Instant> {
        let group = self.groups.get(&key)?;
        let mut items = group.waiting.iter().flatten().map(|(item, _)| item);
        let first = items.next()?;
        let Limits { rows: limit, delay } = first.limits();
        if delay.is_zero() || self.closed {
            return None;
        }
        let (mut rows, mut oldest) = (first.rows(), first.arrived());
        for item in items {
            rows += item.rows();
            oldest = oldest.min(item.arrived());
        }
        let due = oldest + delay;
        (rows < limit && due > Instant::now()).then_some(due)
    }

    fn fill(&mut self, lane: usize, key: u64, executor: usize, batch: &mut Vec<T>) {
        let Some(group) = self.groups.get_mut(&key) else {
            return;
        };
        let mut rows = 0;
        let mut limit = None;
        for index in std::iter::once(lane).chain((0..LANES).filter(|&other| other != lane)) {
            while let Some((item, _)) = group.waiting[index].front() {
                let limit = *limit.get_or_insert_with(|| item.limits().rows);
                // A single request above the limit goes alone.
                if !batch.is_empty() && rows + item.rows() > limit {
                    break;
                }
                rows += item.rows();
                if let Some((item, cost)) = group.waiting[index].pop_front() {
                    self.running[executor].push(item.reply().clone());
                    self.length -= 1;
                    self.backlog -= cost;
                    batch.push(item);
                }
            }
        }
        // The group goes to the end of its lane's list; an empty one leaves it.
        let turns = &mut self.lanes[lane].turns;
        if let Some(position) = turns.iter().position(|&other| other == key) {
            turns.remove(position);
        }
        group.listed[lane] = !group.waiting[lane].is_empty();
        if group.listed[lane] {
            turns.push_back(key);
        }
        self.lanes[lane].passed_over = 0;
        for lower in lane + 1..LANES {
            self.drop_empty_turns(lower);
            let waits = !self.lanes[lower].turns.is_empty();
            self.lanes[lower].passed_over = if waits { self.lanes[lower].passed_over + 1 } else { 0 };
        }
    }

    fn remove(&mut self, mut unwanted: impl FnMut(&T) -> bool, most: usize) -> Vec<T> {
        let mut removed = Vec::new();
        for waiting in self.groups.values_mut().flat_map(|group| group.waiting.iter_mut()) {
            let mut index = 0;
            while index < waiting.len() && removed.len() < most {
                if unwanted(&waiting[index].0) {
                    if let Some((item, cost)) = waiting.remove(index) {
                        self.length -= 1;
                        self.backlog -= cost;
                        removed.push(item);
                    }
                } else {
                    index += 1;
                }
            }
        }
        removed
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
