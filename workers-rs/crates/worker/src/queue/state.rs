//! What waits, and whose turn it is.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::RandomState;
use npufleet_link::Subject;

use super::{LANES, Limits, Work};

/// A waiting lane gets a turn at the latest after this many batches of more urgent lanes. The most urgent lane
/// never waits for another; together the others can claim less than half of the turns.
const PATIENCE: [u32; LANES] = [0, 4, 8, 16, 32];

/// What the connection's own thread may do instead of waking an executor, in nanoseconds of expected work: about what
/// the wake-up takes.
const QUICK: u64 = 50_000;

/// Empty groups that are kept because their next request is likely to come.
const KEPT_GROUPS: usize = 256;

pub(super) struct State<T> {
    pub(super) groups: HashMap<u64, Group<T>, RandomState>,
    pub(super) lanes: [Lane; LANES],
    pub(super) totals: Totals,
    pub(super) idle: usize,
    pub(super) closed: bool,
    pub(super) running: Vec<Vec<Subject>>,
    pub(super) cancelled: Vec<Vec<Subject>>,
}

pub(super) struct Group<T> {
    pub(super) waiting: [VecDeque<Waiting<T>>; LANES],
    /// Whether the group is in the lane's list of turns.
    listed: [bool; LANES],
}

/// An item, and what was expected of it when it came.
pub(super) struct Waiting<T> {
    pub(super) item: T,
    cost: u64,
    /// It is for an executor, whatever else waits.
    is_heavy: bool,
}

/// What all that waits comes to.
#[derive(Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) length: usize,
    /// Sum of the costs, nanoseconds.
    pub(super) backlog: u64,
    heavy: usize,
}

impl Totals {
    fn add<T>(&mut self, waiting: &Waiting<T>) {
        self.length += 1;
        self.backlog += waiting.cost;
        self.heavy += usize::from(waiting.is_heavy);
    }

    fn subtract<T>(&mut self, waiting: &Waiting<T>) {
        self.length -= 1;
        self.backlog -= waiting.cost;
        self.heavy -= usize::from(waiting.is_heavy);
    }
}

#[derive(Default)]
pub(super) struct Lane {
    turns: VecDeque<u64>,
    passed_over: u32,
}

impl<T: Work> State<T> {
    /// Nothing waits, for so many takers.
    pub(super) fn new(takers: usize) -> Self {
        Self {
            groups: HashMap::default(),
            lanes: Default::default(),
            totals: Totals::default(),
            idle: 0,
            closed: false,
            running: vec![Vec::new(); takers],
            cancelled: vec![Vec::new(); takers],
        }
    }

    pub(super) fn insert(&mut self, item: T) {
        let (lane, key, cost) = (item.lane(), item.group(), item.cost());
        let is_heavy = cost == 0 || !item.is_light();
        let waiting = Waiting { item, cost, is_heavy };
        self.totals.add(&waiting);
        if self.groups.len() > KEPT_GROUPS && !self.groups.contains_key(&key) {
            self.groups.retain(|_, group| group.listed.contains(&true));
        }
        let group = self.groups.entry(key).or_insert_with(|| Group {
            waiting: Default::default(),
            listed: [false; LANES],
        });
        group.waiting[lane].push_back(waiting);
        if !group.listed[lane] {
            group.listed[lane] = true;
            self.lanes[lane].turns.push_back(key);
        }
    }

    /// Whether all that waits costs less than waking one of the executors, who all wait.
    pub(super) fn is_quick(&self, executors: usize) -> bool {
        let Totals { length, backlog, heavy } = self.totals;
        length > 0 && heavy == 0 && backlog <= QUICK && self.idle == executors
    }

    /// The lane and group whose turn it is, or the time at which the first delayed group becomes due.
    pub(super) fn choose(&mut self) -> Result<(usize, u64), Option<Instant>> {
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
        let mut items = group.waiting.iter().flatten().map(|waiting| &waiting.item);
        let first = items.next()?;
        let Limits { rows: limit, delay, .. } = first.limits();
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

    pub(super) fn fill(&mut self, lane: usize, key: u64, executor: usize, batch: &mut Vec<T>) {
        let Some(group) = self.groups.get_mut(&key) else {
            return;
        };
        let executors = self.running.len() - 1;
        let mut rows = 0;
        let mut limit = None;
        for index in std::iter::once(lane).chain((0..LANES).filter(|&other| other != lane)) {
            while let Some(Waiting { item, .. }) = group.waiting[index].front() {
                let limit = *limit.get_or_insert_with(|| part(item.limits(), &group.waiting, executors));
                // A single request above the limit goes alone.
                if !batch.is_empty() && rows + item.rows() > limit {
                    break;
                }
                rows += item.rows();
                if let Some(waiting) = group.waiting[index].pop_front() {
                    self.running[executor].push(waiting.item.reply().clone());
                    self.totals.subtract(&waiting);
                    batch.push(waiting.item);
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

    pub(super) fn remove(&mut self, mut unwanted: impl FnMut(&T) -> bool, most: usize) -> Vec<T> {
        let mut removed = Vec::new();
        for waiting in self.groups.values_mut().flat_map(|group| group.waiting.iter_mut()) {
            let mut index = 0;
            while index < waiting.len() && removed.len() < most {
                if unwanted(&waiting[index].item) {
                    if let Some(waiting) = waiting.remove(index) {
                        self.totals.subtract(&waiting);
                        removed.push(waiting.item);
                    }
                } else {
                    index += 1;
                }
            }
        }
        removed
    }
}

/// The rows of a batch of a group: half of an executor's part of what waits. If it took more, the others would have nothing
/// to do until its answers bring the next requests.
fn part<T: Work>(limits: Limits, waiting: &[VecDeque<Waiting<T>>; LANES], executors: usize) -> usize {
    if limits.whole >= limits.rows {
        return limits.rows;
    }
    let all: usize = waiting.iter().flatten().map(|waiting| waiting.item.rows()).sum();
    all.div_ceil(2 * executors)
        .next_multiple_of(limits.whole)
        .min(limits.rows)
}
