//! The table of calls in flight.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use npufleet_link::Subject;
use npufleet_wire::{Error, ErrorKind};

use crate::outcome::Outcome;

/// How finely deadlines are watched: a call fails at most this long after its deadline.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(10);

/// One moment on both clocks: deadlines arrive in unix time and are watched on a clock that nobody sets.
pub(crate) struct Now {
    instant: Instant,
    unix_us: u64,
}

impl Now {
    pub(crate) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            instant: Instant::now(),
            unix_us: unix.map_or(0, |elapsed| elapsed.as_micros() as u64),
        }
    }

    /// Returns the moment halfway to another.
    pub(crate) fn halfway(&self, to: Instant) -> Instant {
        self.instant + to.saturating_duration_since(self.instant) / 2
    }

    /// Returns the moment of a deadline, or this one when it has passed.
    pub(crate) fn instant(&self, deadline_us: u64) -> Instant {
        self.instant + Duration::from_micros(deadline_us.saturating_sub(self.unix_us))
    }
}

pub(crate) struct Call {
    pub(crate) subject: Subject,
    pub(crate) deadline: Instant,
    /// When the caller wants to hear that half of its time has passed.
    pub(crate) half_time: Option<Instant>,
    /// Whether it was given to the connection; what was not yet sent survives a lost connection.
    pub(crate) sent: bool,
    /// How many messages a stream is to store for it; none when it goes to workers.
    pub(crate) stores: usize,
    /// The bundle that it was sent in, if in one.
    pub(crate) bundle: Option<u64>,
}

impl Call {
    /// The next moment at which something is to be done.
    pub(crate) fn due(&self) -> Instant {
        self.half_time.unwrap_or(self.deadline)
    }

    /// Whether workers may be at it, who are told when nobody wants it any more.
    pub(crate) fn is_known_to_workers(&self) -> bool {
        self.sent && self.stores == 0
    }

    /// How it fails for which there will be no answer, as an error of `kind` if it is a call.
    pub(crate) fn unanswered(&self, kind: ErrorKind, message: &str) -> Outcome {
        let kind = match (self.stores, self.sent) {
            (0, _) => kind,
            (_, true) => ErrorKind::Unknown,
            (_, false) => ErrorKind::Unavailable,
        };
        Outcome::Failed(Error::new(kind, message))
    }
}

/// Spreads our own sequence numbers over the table. They are nobody's input, so no defence against collisions is needed.
#[derive(Default)]
pub struct SequenceHasher(u64);

impl Hasher for SequenceHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: neighbours land far apart, in the high bits that the table looks at too.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Something for each of a client's calls, by their sequence numbers.
pub type BySequence<V> = HashMap<u64, V, BuildHasherDefault<SequenceHasher>>;

/// Calls by sequence, and when the next of them may expire.
pub(crate) struct Calls {
    calls: BySequence<Call>,
    /// No deadline lies before this instant. Exact only right after a scan: calls that were answered leave it stale,
    /// which costs one scan too many and spares an ordered structure on the hot path.
    earliest: Option<Instant>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            calls: HashMap::default(),
            earliest: None,
        }
    }

    pub(crate) fn insert(&mut self, sequence: u64, call: Call) {
        let due = call.due();
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        self.calls.insert(sequence, call);
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        self.calls.contains_key(&sequence)
    }

    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Call> {
        self.calls.get_mut(&sequence)
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Call> {
        self.calls.remove(&sequence)
    }

    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Returns the calls that half of their time has passed for; each once. A [`Calls::take`] must follow.
    pub(crate) fn half_times(&mut self, now: Instant) -> impl Iterator<Item = u64> {
        self.calls.iter_mut().filter_map(move |(sequence, call)| {
            call.half_time.take_if(|half_time| *half_time <= now)?;
            Some(*sequence)
        })
    }

    /// Takes out every call that `which` names.
    pub(crate) fn take(&mut self, mut which: impl FnMut(&Call) -> bool) -> Vec<(u64, Call)> {
        let taken = self.calls.extract_if(|_, call| which(call)).collect();
        self.earliest = self.calls.values().map(Call::due).min();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_is_kept_across_scans() {
        let start = Instant::now();
        let mut calls = Calls::new();
        for (sequence, seconds) in [(1, 30), (2, 10), (3, 20)] {
            let deadline = start + Duration::from_secs(seconds);
            calls.insert(
                sequence,
                Call {
                    subject: "s".into(),
                    deadline,
                    half_time: None,
                    sent: false,
                    stores: 0,
                    bundle: None,
                },
            );
        }
        assert_eq!(calls.earliest(), Some(start + Duration::from_secs(10)));
        let expired = calls.take(|call| call.deadline <= start + Duration::from_secs(20));
        assert_eq!(expired.len(), 2);
        assert_eq!(calls.earliest(), Some(start + Duration::from_secs(30)));
        assert_eq!(
            calls.remove(1).map(|call| call.deadline),
            Some(start + Duration::from_secs(30))
        );
        calls.take(|_| true);
        assert_eq!(calls.earliest(), None);
    }
}
