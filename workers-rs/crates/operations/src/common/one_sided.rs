//! The transform of a real line; of an even length one of complex numbers, half as long, taken apart into the spectrum.

// What is not inlined is compiled for the oldest processor, whatever vectors this one has.
#![allow(clippy::inline_always)]

#[cfg(test)]
mod tests;

use std::sync::Arc;

use npufleet_wire::{Error, ErrorKind, Result};
use num_complex::Complex;
use pulp::{Arch, NullaryFnOnce};
use realfft::RealToComplex;
use rustfft::Fft;

use super::plans::{Float, LineWork};
use super::sample::fill;
use super::sized;

/// Pairs of bins that are taken apart at a time.
const WIDTH: usize = 4;

/// A prepared transform of real lines of one length.
#[doc(hidden)]
pub enum OneSided<T> {
    /// Of our own.
    Own(Box<dyn RealLine<T>>),
    /// Of any other length.
    Other(Arc<dyn RealToComplex<T>>),
}

/// A transform of our own.
#[doc(hidden)]
pub trait RealLine<T>: Send + Sync {
    /// How many samples a line has.
    fn points(&self) -> usize;

    /// Transforms a line of at most so many samples into its bins up to the middle.
    fn line(&self, source: &[u8], spectrum: &mut [Complex<T>], work: &mut LineWork<T>);
}

/// Neighbouring samples as real and imaginary part; each bin and its mirror image hold what two bins are made of.
pub(super) struct Halved<T> {
    arch: Arch,
    half: Arc<dyn Fft<T>>,
    /// The factors of the bins 1, 2, ..., and those of their imaginary parts.
    factors: [Vec<T>; 2],
}

impl<T: Float> Halved<T> {
    /// For lines twice as long as the lines of `half`.
    pub(super) fn new(half: Arc<dyn Fft<T>>) -> Self {
        let length = half.len();
        let factors = |part: fn(f64) -> f64| {
            let turn = |bin| std::f64::consts::PI * bin as f64 / length as f64;
            (1..=length.saturating_sub(1) / 2)
                .map(|bin| T::of(-0.5 * part(turn(bin))))
                .collect()
        };
        let factors = [factors(f64::sin), factors(f64::cos)];
        Self {
            arch: Arch::new(),
            half,
            factors,
        }
    }
}

impl<T: Float> RealLine<T> for Halved<T> {
    fn points(&self) -> usize {
        2 * self.half.len()
    }

    fn line(&self, source: &[u8], spectrum: &mut [Complex<T>], work: &mut LineWork<T>) {
        let length = self.half.len();
        let pairs: &[Complex<T>] = match bytemuck::try_cast_slice(source) {
            Ok(pairs) if pairs.len() == length => pairs,
            _ => {
                let samples = sized(&mut work.samples, 2 * length);
                fill(samples, source);
                bytemuck::cast_slice(samples)
            }
        };
        let scratch = sized(&mut work.scratch, self.half.get_immutable_scratch_len());
        self.half
            .process_immutable_with_scratch(pairs, &mut spectrum[..length], scratch);
        self.arch.dispatch(Apart(self, &mut spectrum[..=length]));
    }
}

impl<T: Float> OneSided<T> {
    pub(crate) fn points(&self) -> usize {
        match self {
            Self::Own(plan) => plan.points(),
            Self::Other(plan) => plan.len(),
        }
    }

    /// Transforms one line of at most as many samples as there are points into its bins up to the middle.
    ///
    /// # Errors
    /// `internal` when the lengths do not fit.
    pub(crate) fn line(&self, source: &[u8], spectrum: &mut [Complex<T>], work: &mut LineWork<T>) -> Result<()> {
        match self {
            Self::Own(plan) => plan.line(source, spectrum, work),
            Self::Other(plan) => {
                let samples = sized(&mut work.samples, plan.len());
                fill(samples, source);
                let scratch = sized(&mut work.scratch, plan.get_scratch_len());
                plan.process_with_scratch(samples, spectrum, scratch)
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("fft: {error}")))?;
            }
        }
        Ok(())
    }
}

/// The bins of a half as long transform, to become those of the real line.
struct Apart<'a, T>(&'a Halved<T>, &'a mut [Complex<T>]);

impl<T: Float> NullaryFnOnce for Apart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self(Halved { half, factors, .. }, spectrum) = self;
        let (length, [re, im]) = (half.len(), factors);
        let first = spectrum[0];
        spectrum[0] = Complex::new(first.re + first.im, T::zero());
        spectrum[length] = Complex::new(first.re - first.im, T::zero());
        if length.is_multiple_of(2) {
            spectrum[length / 2].im = -spectrum[length / 2].im;
        }
        let (front, back) = spectrum[1..length].split_at_mut(re.len());
        let (_, back) = back.split_at_mut(back.len() - re.len());
        let ((re, re_rest), (im, im_rest)) = (re.as_chunks::<WIDTH>(), im.as_chunks::<WIDTH>());
        let (front, front_rest) = front.as_chunks_mut::<WIDTH>();
        let (back_rest, back) = back.as_rchunks_mut::<WIDTH>();
        for (((re, im), front), back) in re.iter().zip(im).zip(front).zip(back.iter_mut().rev()) {
            apart(re, im, front, back);
        }
        for (((re, im), front), back) in re_rest
            .iter()
            .zip(im_rest)
            .zip(front_rest)
            .zip(back_rest.iter_mut().rev())
        {
            apart(&[*re], &[*im], std::array::from_mut(front), std::array::from_mut(back));
        }
    }
}

/// Makes the bins of some pairs; those of `back` count down while those of `front` count up.
#[inline(always)]
fn apart<T: Float, const W: usize>(re: &[T; W], im: &[T; W], front: &mut [Complex<T>; W], back: &mut [Complex<T>; W]) {
    let half = T::of(0.5);
    let (mut near, mut far) = ([Complex::default(); W], [Complex::default(); W]);
    for lane in 0..W {
        let (one, other) = (front[lane], back[W - 1 - lane]);
        let (sum_re, sum_im) = ((one.re + other.re) * half, (one.im - other.im) * half);
        let (apart_re, apart_im) = (one.re - other.re, one.im + other.im);
        let turned_re = re[lane] * apart_re - im[lane] * apart_im;
        let turned_im = re[lane] * apart_im + im[lane] * apart_re;
        near[lane] = Complex::new(sum_re + turned_re, turned_im + sum_im);
        far[W - 1 - lane] = Complex::new(sum_re - turned_re, turned_im - sum_im);
    }
    (*front, *back) = (near, far);
}
