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
const BLOCK: usize = 16;
/// What a block reads at most.
pub(super) const SLACK: usize = BLOCK + MAX_HALF;

/// Calls a function that is compiled for every number of pairs of taps, and with fused multiplications and additions
/// where the processor has them.
macro_rules! by_half {
    ($half:expr, $function:ident, $($argument:expr),*) => {
        match $half {
            1 => $function::<T, 1, FUSED>($($argument),*),
            2 => $function::<T, 2, FUSED>($($argument),*),
            3 => $function::<T, 3, FUSED>($($argument),*),
            4 => $function::<T, 4, FUSED>($($argument),*),
            5 => $function::<T, 5, FUSED>($($argument),*),
            6 => $function::<T, 6, FUSED>($($argument),*),
            7 => $function::<T, 7, FUSED>($($argument),*),
            8 => $function::<T, 8, FUSED>($($argument),*),
            _ => $function::<T, MAX_HALF, FUSED>($($argument),*),
        }
    };
}

/// What is compiled for the vectors that the processor turns out to have, `FUSED` where it multiplies and adds at once.
trait Work {
    fn run<const FUSED: bool>(self);
}

struct Dispatched<W, const FUSED: bool>(W);

impl<W: Work, const FUSED: bool> NullaryFnOnce for Dispatched<W, FUSED> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.0.run::<FUSED>();
    }
}

fn dispatch(work: impl Work) {
    match Arch::new() {
        // Without the instruction, a fused multiplication and addition is a slow function.
        arch @ Arch::Scalar => arch.dispatch(Dispatched::<_, false>(work)),
        arch => arch.dispatch(Dispatched::<_, true>(work)),
    }
}

/// Takes elements of even and of odd numbers apart.
pub(super) fn part<T: Real>(line: &[T], even: &mut [T], odd: &mut [T]) {
    Arch::new().dispatch(Parting { line, even, odd });
}

/// The work of [`part`], which neither multiplies nor adds.
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
/// `even` and `odd` hold every other element of it: `low.len() + bank.half - 1` each, with [`SLACK`] of any others behind.
pub(super) fn analyse<T: Real>(halves: [&[T]; 2], bank: &Bank<T>, low: &mut [T], high: &mut [T]) {
    dispatch(Analysis {
        halves,
        bank,
        low,
        high,
    });
}

/// The work of [`analyse`].
struct Analysis<'a, T> {
    halves: [&'a [T]; 2],
    bank: &'a Bank<T>,
    low: &'a mut [T],
    high: &'a mut [T],
}

impl<T: Real> Work for Analysis<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let [even, odd] = self.halves;
        by_half!(self.bank.half, analyse_by, even, odd, self.bank, self.low, self.high);
    }
}

#[inline(always)]
fn analyse_by<T: Real, const HALF: usize, const FUSED: bool>(
    even: &[T],
    odd: &[T],
    bank: &Bank<T>,
    low: &mut [T],
    high: &mut [T],
) {
    let last = low.len().saturating_sub(BLOCK);
    let mut at = 0;
    while at < low.len() {
        // The last block lies over the one before: what is made twice is the same.
        let start = at.min(last);
        let (even, odd) = (&even[start..][..SLACK], &odd[start..][..SLACK]);
        let [below, above] = analyse_block::<T, HALF, FUSED>(even, odd, bank);
        if let (Some(low), Some(high)) = (low[start..].first_chunk_mut(), high[start..].first_chunk_mut()) {
            (*low, *high) = (below, above);
        } else {
            low.copy_from_slice(&below[..low.len()]);
            high.copy_from_slice(&above[..high.len()]);
        }
        at += BLOCK;
    }
}

#[inline(always)]
fn analyse_block<T: Real, const HALF: usize, const FUSED: bool>(
    even: &[T],
    odd: &[T],
    bank: &Bank<T>,
) -> [[T; BLOCK]; 2] {
    let is_fused = is_fused(HALF, FUSED);
    let (mut lows, mut highs) = ([T::default(); BLOCK], [T::default(); BLOCK]);
    let ([low_even, low_odd], [high_even, high_odd]) = (&bank.low, &bank.high);
    for tap in 0..HALF {
        let (even, odd) = (&even[tap..][..BLOCK], &odd[tap..][..BLOCK]);
        add(is_fused, &mut lows, even, low_even[tap]);
        add(is_fused, &mut highs, even, high_even[tap]);
        add(is_fused, &mut lows, odd, low_odd[tap]);
        add(is_fused, &mut highs, odd, high_odd[tap]);
    }
    [lows, highs]
}

/// Whether filters of so many pairs of taps multiply and add at once where the processor can: those of one do not, since
/// the difference of equal neighbours is to be zero.
#[inline(always)]
const fn is_fused(half: usize, can_fuse: bool) -> bool {
    can_fuse && half > 1
}

/// Adds numbers times a tap to sums.
#[inline(always)]
fn add<T: Real>(is_fused: bool, sums: &mut [T; BLOCK], numbers: &[T], tap: T) {
    for (sum, number) in sums.iter_mut().zip(numbers) {
        *sum = if is_fused {
            number.times_plus(tap, *sum)
        } else {
            *number * tap + *sum
        };
    }
}

/// Joins approximation and details to the samples `line`; of an even number, the last may be left out.
///
/// `low` and `high` hold at least `bank.half - 1` coefficients more than there are pairs of samples, one more with
/// `is_odd`; `bank` is that of analysis backwards. With `is_odd` the samples of even numbers are made by the taps of
/// odd ones.
pub(super) fn synthesise<T: Real>(halves: [&[T]; 2], bank: &Bank<T>, is_odd: bool, line: &mut [T]) {
    dispatch(Synthesis {
        halves,
        bank,
        is_odd,
        line,
    });
}

/// The work of [`synthesise`].
struct Synthesis<'a, T> {
    halves: [&'a [T]; 2],
    bank: &'a Bank<T>,
    is_odd: bool,
    line: &'a mut [T],
}

impl<T: Real> Work for Synthesis<'_, T> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let [low, high] = self.halves;
        if is_fused(self.bank.half, FUSED) {
            synthesise_by::<T, true>(low, high, self.bank, self.is_odd, self.line);
        } else {
            synthesise_by::<T, false>(low, high, self.bank, self.is_odd, self.line);
        }
    }
}

#[inline(always)]
fn synthesise_by<T: Real, const FUSED: bool>(low: &[T], high: &[T], bank: &Bank<T>, is_odd: bool, line: &mut [T]) {
    let mut at = 0;
    let mut blocks = line.chunks_exact_mut(2 * BLOCK);
    for block in &mut blocks {
        let [evens, odds] = synthesise_block::<T, FUSED>(&low[at..], &high[at..], bank, is_odd);
        for (pair, (even, odd)) in block.chunks_exact_mut(2).zip(evens.iter().zip(&odds)) {
            pair[0] = *even;
            pair[1] = *odd;
        }
        at += BLOCK;
    }
    let rest = blocks.into_remainder();
    if !rest.is_empty() {
        let made = synthesise_block::<T, FUSED>(&tail(&low[at..]), &tail(&high[at..]), bank, is_odd);
        for (index, sample) in rest.iter_mut().enumerate() {
            *sample = made[index % 2][index / 2];
        }
    }
}

#[inline(always)]
fn synthesise_block<T: Real, const FUSED: bool>(
    low: &[T],
    high: &[T],
    bank: &Bank<T>,
    is_odd: bool,
) -> [[T; BLOCK]; 2] {
    let (shift, other) = (usize::from(is_odd), usize::from(!is_odd));
    [
        synthesise_side::<T, FUSED>(low, high, bank, shift),
        synthesise_side::<T, FUSED>(&low[shift..], &high[shift..], bank, other),
    ]
}

/// The samples that taps of even (0) or odd (1) numbers make.
#[inline(always)]
fn synthesise_side<T: Real, const FUSED: bool>(low: &[T], high: &[T], bank: &Bank<T>, side: usize) -> [T; BLOCK] {
    let mut made = [T::default(); BLOCK];
    // Were the number of taps known here, the compiler would unroll them into single numbers.
    for tap in 0..bank.half {
        let (low, high) = (&low[tap..][..BLOCK], &high[tap..][..BLOCK]);
        add(FUSED, &mut made, low, bank.low[side][tap]);
        add(FUSED, &mut made, high, bank.high[side][tap]);
    }
    made
}

/// The end of a line, filled up to what a block reads.
#[inline(always)]
fn tail<T: Real>(rest: &[T]) -> [T; SLACK] {
    let mut filled = [T::default(); SLACK];
    let length = rest.len().min(SLACK);
    filled[..length].copy_from_slice(&rest[..length]);
    filled
}
