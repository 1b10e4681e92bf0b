//! Which lane gets a free place: each in proportion to its weight, of those that have work.

use npufleet_wire::{Lane, job};

use crate::queue::LANES;

/// Smooth weighted round robin over the lanes, of which it is known how many jobs wait.
#[derive(Debug)]
pub(super) struct Places {
    credit: [i64; LANES],
    /// How many jobs wait in each lane, as far as is known. At first every one may have work.
    pub(super) waiting: [u64; LANES],
}

impl Default for Places {
    fn default() -> Self {
        Self {
            credit: [0; LANES],
            waiting: [1; LANES],
        }
    }
}

impl Places {
    /// Divides the free places among the lanes; none at all where nothing is known to wait.
    pub(super) fn share(&mut self, free: usize) -> [usize; LANES] {
        let (mut left, mut shares) = (self.waiting, [0; LANES]);
        for _ in 0..free {
            let mut sum = 0;
            let mut chosen = None;
            for lane in Lane::ALL.map(Lane::index) {
                if left[lane] == 0 {
                    continue;
                }
                let weight = i64::from(job::weight(Lane::ALL[lane]));
                self.credit[lane] += weight;
                sum += weight;
                if chosen.is_none_or(|best: usize| self.credit[lane] > self.credit[best]) {
                    chosen = Some(lane);
                }
            }
            let Some(lane) = chosen else { break };
            self.credit[lane] -= sum;
            left[lane] -= 1;
            shares[lane] += 1;
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_shared_by_weight_and_no_lane_starves() {
        let mut places = Places {
            waiting: [1000; LANES],
            ..Places::default()
        };
        assert_eq!(places.share(31), [16, 8, 4, 2, 1]);
        // One place at a time comes to the same.
        let mut sum = [0; LANES];
        for _ in 0..62 {
            for (sum, share) in sum.iter_mut().zip(places.share(1)) {
                *sum += share;
            }
        }
        assert_eq!(sum, [32, 16, 8, 4, 2]);
    }

    #[test]
    fn a_lane_gets_no_more_than_waits_in_it() {
        let mut places = Places {
            waiting: [2, 0, 0, 0, 5],
            ..Places::default()
        };
        assert_eq!(places.share(100), [2, 0, 0, 0, 5]);
        assert_eq!(places.share(0), [0; LANES]);
        places.waiting = [0; LANES];
        assert_eq!(places.share(7), [0; LANES]);
    }

    #[test]
    fn what_may_wait_is_asked_for_at_first() {
        assert_eq!(Places::default().share(8), [1; LANES]);
    }
}
