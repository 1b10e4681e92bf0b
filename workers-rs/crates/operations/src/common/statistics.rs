//! Sums, means and medians whose rounding stays small however many samples there are.

use super::{Float, Sample};

/// Sums of up to this many samples are made directly, longer ones of two halves: their error grows with the logarithm.
const DIRECT_SUM: usize = 64;

/// The mean of samples, of which there is at least one.
pub(crate) fn mean<S: Sample>(samples: &[S]) -> S {
    let one = S::Float::of(1.0);
    weighted_sum(samples, &|_| one) * S::Float::of((samples.len() as f64).recip())
}

/// The sum of the samples, each weighted by its position.
pub(crate) fn weighted_sum<S: Sample>(samples: &[S], weight: &impl Fn(usize) -> S::Float) -> S {
    sum(samples, weight, 0)
}

fn sum<S: Sample>(samples: &[S], weight: &impl Fn(usize) -> S::Float, first: usize) -> S {
    if samples.len() > DIRECT_SUM {
        let (front, rest) = samples.split_at(samples.len() / 2);
        return sum(front, weight, first) + sum(rest, weight, first + front.len());
    }
    let mut lanes = [S::default(); 4];
    let mut blocks = samples.chunks_exact(4);
    for (block, samples) in (&mut blocks).enumerate() {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total = *total + samples[lane] * weight(first + 4 * block + lane);
        }
    }
    let rest = first + samples.len() / 4 * 4;
    for (at, sample) in blocks.remainder().iter().enumerate() {
        lanes[at] = lanes[at] + *sample * weight(rest + at);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

/// The median, NaN if one of the values is; `buffer` is overwritten.
pub(crate) fn median<T: Float>(buffer: &mut [T], values: impl Iterator<Item = T>) -> T {
    for (place, value) in buffer.iter_mut().zip(values) {
        *place = value;
    }
    let order = |one: &T, other: &T| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal);
    if let Some(unordered) = buffer.iter().find(|value| value.partial_cmp(value).is_none()) {
        return *unordered;
    }
    let odd = !buffer.len().is_multiple_of(2);
    let (below, middle, _) = buffer.select_nth_unstable_by(buffer.len() / 2, order);
    match below.iter().copied().max_by(order) {
        Some(before) if !odd => (before + *middle) * T::of(0.5),
        _ => *middle,
    }
}
