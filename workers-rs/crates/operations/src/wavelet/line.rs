//! All levels of one line.

use npufleet_wire::Result;

use super::extend::{Mode, before, behind};
use super::filters::Bank;
use super::kernel::{SLACK, analyse, part, synthesise};
use super::work::{Levels, Real};
use crate::common::{Pace, sized};

/// The median magnitude of standard normal noise, which turns a median magnitude into a standard deviation.
const MEDIAN_MAGNITUDE: f64 = 0.674_489_750_196_081_7;

/// What to do to details that are hardly more than noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shrink {
    Soft,
    Hard,
    Garrote,
}

impl Shrink {
    /// The way of a name that the contract has passed.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "hard" => Self::Hard,
            "garrote" => Self::Garrote,
            _ => Self::Soft,
        }
    }
}

/// Coefficients of a level between two looks at the context; what they are made of fits into the first-level cache.
const STRETCH: usize = 1 << 10;

/// Where the coefficients of a line lie: the approximation first, then details from the coarsest level.
pub(super) type Places<'a> = &'a [(usize, usize)];

/// Decomposes `samples` into `coefficients`, each level's at its place.
pub(super) fn decompose<T: Real>(
    samples: &[T],
    coefficients: &mut [T],
    places: Places<'_>,
    mode: Mode,
    bank: &Bank<T>,
    levels: &mut Levels<T>,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let Levels {
        approximations: [coarser, finer],
        stretch,
        ..
    } = levels;
    let mut length = samples.len();
    for (index, &(start, count)) in places[1..].iter().rev().enumerate() {
        let details = &mut coefficients[start..][..count];
        let line = if index == 0 { samples } else { &finer[..length] };
        let low = sized(coarser, count);
        split(line, mode, bank, [low, details], stretch, pace)?;
        std::mem::swap(coarser, finer);
        length = count;
    }
    let (start, count) = places[0];
    let approximation = if places.len() == 1 { samples } else { &finer[..length] };
    coefficients[start..][..count].copy_from_slice(approximation);
    Ok(())
}

/// One level of decomposition, a stretch at a time.
fn split<T: Real>(
    line: &[T],
    mode: Mode,
    bank: &Bank<T>,
    [low, high]: [&mut [T]; 2],
    stretch: &mut Vec<T>,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let front = mode.front(bank.half);
    let most = STRETCH + bank.half - 1 + SLACK;
    let mut halves: [&mut [T]; 2] = sized(stretch, 2 * most).split_at_mut(most).into();
    for (index, (low, high)) in low.chunks_mut(STRETCH).zip(high.chunks_mut(STRETCH)).enumerate() {
        pace.step(low.len() * bank.half)?;
        let pairs = low.len() + bank.half - 1;
        // Elements are counted from the first one in front of the line.
        let start = 2 * index * STRETCH;
        // Pairs of which both are in the line.
        let from = front.saturating_sub(start).div_ceil(2).min(pairs);
        let to = ((front + line.len()).saturating_sub(start) / 2).clamp(from, pairs);
        for element in start..start + 2 * from {
            halves[element % 2][(element - start) / 2] = match element.checked_sub(front) {
                None => before(mode, |at| line[at], line.len(), front - element),
                Some(inside) => line[inside],
            };
        }
        let inside = &line[start + 2 * from - front..][..2 * (to - from)];
        let [even, odd] = &mut halves;
        part(inside, &mut even[from..to], &mut odd[from..to]);
        for element in start + 2 * to..start + 2 * pairs {
            let inside = element - front;
            halves[element % 2][(element - start) / 2] = match (inside + 1).checked_sub(line.len()) {
                None | Some(0) => line[inside],
                Some(beyond) => behind(mode, |at| line[at], line.len(), beyond),
            };
        }
        analyse(halves.each_ref().map(|half| &**half), bank, low, high);
    }
    Ok(())
}

/// Reconstructs `samples` from `coefficients`, each level's at its place; `bank` is that of analysis backwards.
///
/// An approximation may have one coefficient more than the details beside it, which is left out; `samples` may be
/// one less than there are.
pub(super) fn reconstruct<T: Real>(
    coefficients: &[T],
    places: Places<'_>,
    samples: &mut [T],
    mode: Mode,
    bank: &Bank<T>,
    levels: &mut Levels<T>,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let Levels {
        approximations: [finer, coarser],
        wrapped,
        ..
    } = levels;
    let (start, count) = places[0];
    let approximation = &coefficients[start..][..count];
    if places.len() == 1 {
        samples.copy_from_slice(approximation);
        return Ok(());
    }
    for (index, &(start, count)) in places[1..].iter().enumerate() {
        let low = if index == 0 { approximation } else { &coarser[..] };
        let pair = [&low[..count], &coefficients[start..][..count]];
        if index + 2 == places.len() {
            return join(pair, mode, bank, samples, wrapped, pace);
        }
        let length = 2 * count
            - if mode == Mode::Periodization {
                0
            } else {
                2 * bank.half - 2
            };
        join(pair, mode, bank, sized(finer, length), wrapped, pace)?;
        std::mem::swap(finer, coarser);
        coarser.truncate(length);
    }
    Ok(())
}

/// One level of reconstruction, a stretch at a time.
fn join<T: Real>(
    [low, high]: [&[T]; 2],
    mode: Mode,
    bank: &Bank<T>,
    line: &mut [T],
    wrapped: &mut [Vec<T>; 2],
    pace: &mut Pace<'_>,
) -> Result<()> {
    let mut pair = [low, high];
    let is_wrapped = mode == Mode::Periodization;
    if is_wrapped {
        // Of periodic coefficients some are needed again beyond the ends.
        let (front, count) = (bank.half / 2, low.len());
        for (buffer, source) in wrapped.iter_mut().zip(&mut pair) {
            let buffer = sized(buffer, count + bank.half + 1);
            buffer[front..][..count].copy_from_slice(source);
            for step in 0..front {
                buffer[step] = source[count - 1 - (front - 1 - step) % count];
            }
            for step in 0..=bank.half - front {
                buffer[front + count + step] = source[step % count];
            }
            *source = buffer;
        }
    }
    let is_odd = is_wrapped && bank.half.is_multiple_of(2);
    for (index, line) in line.chunks_mut(2 * STRETCH).enumerate() {
        pace.step(line.len() * bank.half)?;
        synthesise(pair.map(|each| &each[index * STRETCH..]), bank, is_odd, line);
    }
    Ok(())
}

/// Takes noise out of the details among the coefficients; without a threshold by the universal one of Donoho and
/// Johnstone (1994), from the finest details, which are the last.
pub(super) fn shrink<T: Real>(
    coefficients: &mut [T],
    places: Places<'_>,
    samples: usize,
    threshold: Option<f64>,
    shrink: Shrink,
    magnitudes: &mut Vec<T>,
) {
    let (kept, finest) = (places[0].1, places[places.len() - 1].0);
    let threshold = T::from_f64(threshold.unwrap_or_else(|| {
        let noise = median_magnitude(&coefficients[finest..], magnitudes) / MEDIAN_MAGNITUDE;
        noise * (2.0 * (samples as f64).ln()).sqrt()
    }));
    let details = &mut coefficients[kept..];
    let zero = T::default();
    match shrink {
        Shrink::Hard => details
            .iter_mut()
            .for_each(|value| *value = if value.magnitude() < threshold { zero } else { *value }),
        Shrink::Soft => details.iter_mut().for_each(|value| {
            let taken = *value - threshold.with_sign(*value);
            *value = if value.magnitude() <= threshold { zero } else { taken };
        }),
        Shrink::Garrote => details.iter_mut().for_each(|value| {
            let taken = *value - threshold * (threshold / *value);
            *value = if value.magnitude() <= threshold { zero } else { taken };
        }),
    }
}

fn median_magnitude<T: Real>(values: &[T], magnitudes: &mut Vec<T>) -> f64 {
    let magnitudes = sized(magnitudes, values.len());
    let mut is_nowhere = false;
    for (magnitude, value) in magnitudes.iter_mut().zip(values) {
        is_nowhere |= value.is_not_a_number();
        *magnitude = value.magnitude();
    }
    if is_nowhere {
        return f64::NAN;
    }
    // Numbers without a sign are in the order of their bits, which compare faster.
    let bits: &mut [T::Bits] = bytemuck::cast_slice_mut(magnitudes);
    let middle = bits.len() / 2;
    let (below, upper, _) = bits.select_nth_unstable(middle);
    let number = |bits: T::Bits| bytemuck::cast::<_, T>(bits).to_f64();
    let upper = number(*upper);
    if values.len().is_multiple_of(2) {
        let lower = below.iter().max().map_or(upper, |bits| number(*bits));
        return 0.5 * lower + 0.5 * upper;
    }
    upper
}
