//! One level of one line: two filters at once, several coefficients at a time.
//!
//! Elements of even and of odd numbers lie apart, so that each tap meets neighbours in memory, and the loops over a
//! block of coefficients become vector instructions.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

use pulp::{Arch, NullaryFnOnce};

use super::filters::{Bank, MAX_HALF};
use super::work::Real;

/// Coefficients that are computed at a time.
const BLOCK: usize = 8;
/// What the last block of a line reads, filled up.
const TAIL: usize = BLOCK + MAX_HALF;

/// Calls a function that is compiled for every number of pairs of taps.
macro_rules! by_half {
    ($half:expr, $function:ident, $($argument:expr),*) => {
        match $half {
            1 => $function::<T, 1>($($argument),*),
            2 => $function::<T, 2>($($argument),*),
            3 => $function::<T, 3>($($argument),*),
            4 => $function::<T, 4>($($argument),*),
            5 => $function::<T, 5>($($argument),*),
            6 => $function::<T, 6>($($argument),*),
            7 => $function::<T, 7>($($argument),*),
            8 => $function::<T, 8>($($argument),*),
            _ => $function::<T, MAX_HALF>($($argument),*),
        }
    };
}

/// Takes elements of even and of odd numbers apart.
pub(super) fn part<T: Real>(line: &[T], even: &mut [T], odd: &mut [T]) {
    Arch::new().dispatch(Parting { line, even, odd });
}

/// The work of [`part`] as what is compiled for the vectors that the processor turns out to have.
struct Parting<'a, T> {
    line: &'a [T],
    even: &'a mut [T],
    odd: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Parting<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((pair, even), odd) in self.line.as_chunks::<2>().0.iter().zip(self.even).zip(self.odd) {
            [*even, *odd] = *pair;
        }
    }
}

/// Splits a stretch of an extended line into approximation and details.
///
/// `even` and `odd` hold every other element of it: `low.len() + bank.half - 1` each.
pub(super) fn analyse<T: Real>(halves: [&[T]; 2], bank: &Bank<T>, low: &mut [T], high: &mut [T]) {
    Arch::new().dispatch(Analysis {
        halves,
        bank,
        low,
        high,
    });
}

/// The work of [`analyse`], likewise.
struct Analysis<'a, T> {
    halves: [&'a [T]; 2],
    bank: &'a Bank<T>,
    low: &'a mut [T],
    high: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Analysis<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [even, odd] = self.halves;
        by_half!(self.bank.half, analyse_by, even, odd, self.bank, self.low, self.high);
    }
}

#[inline(always)]
fn analyse_by<T: Real, const HALF: usize>(even: &[T], odd: &[T], bank: &Bank<T>, low: &mut [T], high: &mut [T]) {
    let mut at = 0;
    let (mut lows, mut highs) = (low.chunks_exact_mut(BLOCK), high.chunks_exact_mut(BLOCK));
    for (low, high) in (&mut lows).zip(&mut highs) {
        let [below, above] = analyse_block::<T, HALF>(&even[at..], &odd[at..], bank);
        low.copy_from_slice(&below);
        high.copy_from_slice(&above);
        at += BLOCK;
    }
    let (low, high) = (lows.into_remainder(), highs.into_remainder());
    if !low.is_empty() {
        let [below, above] = analyse_block::<T, HALF>(&tail(&even[at..]), &tail(&odd[at..]), bank);
        low.copy_from_slice(&below[..low.len()]);
        high.copy_from_slice(&above[..high.len()]);
    }
}

#[inline(always)]
fn analyse_block<T: Real, const HALF: usize>(even: &[T], odd: &[T], bank: &Bank<T>) -> [[T; BLOCK]; 2] {
    let (mut lows, mut highs) = ([T::default(); BLOCK], [T::default(); BLOCK]);
    let ([low_even, low_odd], [high_even, high_odd]) = (&bank.low, &bank.high);
    for tap in 0..HALF {
        let (even, odd) = (&even[tap..][..BLOCK], &odd[tap..][..BLOCK]);
        for lane in 0..BLOCK {
            lows[lane] += even[lane] * low_even[tap] + odd[lane] * low_odd[tap];
            highs[lane] += even[lane] * high_even[tap] + odd[lane] * high_odd[tap];
        }
    }
    [lows, highs]
}

/// Joins approximation and details to the samples `line`; of an even number, the last may be left out.
///
/// `low` and `high` hold at least `bank.half - 1` coefficients more than there are pairs of samples, one more with
/// `is_odd`; `bank` is that of analysis backwards. With `is_odd` the samples of even numbers are made by the taps of
/// odd ones.
pub(super) fn synthesise<T: Real>(halves: [&[T]; 2], bank: &Bank<T>, is_odd: bool, line: &mut [T]) {
    Arch::new().dispatch(Synthesis {
        halves,
        bank,
        is_odd,
        line,
    });
}

/// The work of [`synthesise`], likewise.
struct Synthesis<'a, T> {
    halves: [&'a [T]; 2],
    bank: &'a Bank<T>,
    is_odd: bool,
    line: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Synthesis<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [low, high] = self.halves;
        by_half!(
            self.bank.half,
            synthesise_by,
            low,
            high,
            self.bank,
            self.is_odd,
            self.line
        );
    }
}

#[inline(always)]
fn synthesise_by<T: Real, const HALF: usize>(low: &[T], high: &[T], bank: &Bank<T>, is_odd: bool, line: &mut [T]) {
    let mut at = 0;
    let mut blocks = line.chunks_exact_mut(2 * BLOCK);
    for block in &mut blocks {
        let [evens, odds] = synthesise_block::<T, HALF>(&low[at..], &high[at..], bank, is_odd);
        for (pair, (even, odd)) in block.chunks_exact_mut(2).zip(evens.iter().zip(&odds)) {
            pair[0] = *even;
            pair[1] = *odd;
        }
        at += BLOCK;
    }
    let rest = blocks.into_remainder();
    if !rest.is_empty() {
        let made = synthesise_block::<T, HALF>(&tail(&low[at..]), &tail(&high[at..]), bank, is_odd);
        for (index, sample) in rest.iter_mut().enumerate() {
            *sample = made[index % 2][index / 2];
        }
    }
}

#[inline(always)]
fn synthesise_block<T: Real, const HALF: usize>(
    low: &[T],
    high: &[T],
    bank: &Bank<T>,
    is_odd: bool,
) -> [[T; BLOCK]; 2] {
    let shift = usize::from(is_odd);
    let mut made = [[T::default(); BLOCK]; 2];
    for (side, made) in made.iter_mut().enumerate() {
        let (shift, taps) = (side * shift, side ^ shift);
        let (low_taps, high_taps) = (&bank.low[taps], &bank.high[taps]);
        for tap in 0..HALF {
            let (low, high) = (&low[tap + shift..][..BLOCK], &high[tap + shift..][..BLOCK]);
            for lane in 0..BLOCK {
                made[lane] += low[lane] * low_taps[tap] + high[lane] * high_taps[tap];
            }
        }
    }
    made
}

/// The end of a line, filled up to what a block reads.
#[inline(always)]
fn tail<T: Real>(rest: &[T]) -> [T; TAIL] {
    let mut filled = [T::default(); TAIL];
    let length = rest.len().min(TAIL);
    filled[..length].copy_from_slice(&rest[..length]);
    filled
}
