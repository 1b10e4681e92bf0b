//! How many rows to run at once: the cheapest way through the compiled buckets.
//!
//! A changed row count costs a dynamic model on the CPU 50 us and more per inference (shapes are worked out again),
//! so models are compiled for a few row counts, and a batch runs in the buckets that take the least time together,
//! padding the last one where that is cheaper than another inference.

/// For every number of rows that is left, the bucket to run next.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `next[rows]` is the index of a bucket; `next[0]` is not used.
    next: Vec<u16>,
    largest: u16,
}

impl Plan {
    /// The plan for `buckets` of (rows, cost of one inference), ascending in rows, up to `most` rows.
    pub(crate) fn new(buckets: &[(usize, f64)], most: usize) -> Self {
        let mut next = vec![0_u16];
        let mut cheapest = vec![0.0_f64];
        for rows in 1..=most {
            let mut best = (0, f64::INFINITY);
            for (index, (bucket, cost)) in buckets.iter().enumerate() {
                let total = cost + cheapest[rows.saturating_sub(*bucket)];
                // Of equals the larger: fewer inferences.
                if total <= best.1 {
                    best = (index, total);
                }
            }
            next.push(best.0 as u16);
            cheapest.push(best.1);
        }
        Self {
            next,
            largest: buckets.len().saturating_sub(1) as u16,
        }
    }

    /// The bucket to run when `rows` are left.
    pub(crate) fn bucket(&self, rows: usize) -> usize {
        usize::from(*self.next.get(rows).unwrap_or(&self.largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(buckets: &[(usize, f64)], rows: usize) -> Vec<usize> {
        let plan = Plan::new(buckets, 32);
        let (mut left, mut steps) = (rows, Vec::new());
        while left > 0 {
            let size = buckets[plan.bucket(left)].0;
            steps.push(size);
            left = left.saturating_sub(size);
        }
        steps.sort_unstable();
        steps
    }

    #[test]
    fn cheap_rows_are_padded() {
        let buckets = [(1, 9.0), (2, 10.0), (4, 12.0), (8, 16.0)];
        assert_eq!(through(&buckets, 5), [8]);
        assert_eq!(through(&buckets, 9), [1, 8]);
        assert_eq!(through(&buckets, 32), [8, 8, 8, 8]);
    }

    #[test]
    fn dear_rows_are_not() {
        let buckets = [(1, 10.0), (2, 20.0), (4, 40.0), (8, 79.0)];
        assert_eq!(through(&buckets, 5), [1, 4]);
        assert_eq!(through(&buckets, 7), [1, 2, 4]);
    }

    #[test]
    fn more_rows_than_planned_take_the_largest_bucket() {
        let plan = Plan::new(&[(1, 1.0), (4, 1.0)], 4);
        assert_eq!(plan.bucket(1000), 1);
    }
}
