//! The bare kernel: bytes of samples in, spectra out.

use std::fmt::Display;
use std::sync::Arc;

use bytemuck::Pod;
use npufleet_wire::{Error, ErrorKind, Result};
use num_complex::Complex;
use realfft::RealToComplex;
use rustfft::Fft;

use super::plans::{Float, LineWork, Plans, Work, sized};
use crate::Context;
use crate::common::{Lines, POINTS_PER_CHECK, Pace};

/// Strided lines are transformed in blocks of up to this many neighbours, so that memory is read in whole cache lines.
const BLOCK_LINES: usize = 16;

/// Where to scale; the words are those of `scipy.fft`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Not at all.
    Backward,
    /// By the square root of 1/points.
    Ortho,
    /// By 1/points.
    Forward,
}

/// What to compute of each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The transform length: lines are cropped or padded with zeros to it.
    pub points: usize,
    /// Give only the bins from 0 to points / 2; for real samples.
    pub one_sided: bool,
    /// Where to scale.
    pub norm: Norm,
}

impl Spec {
    /// The length of a spectrum.
    pub const fn bins(&self) -> usize {
        if self.one_sided {
            self.points / 2 + 1
        } else {
            self.points
        }
    }
}

/// What a transform takes: `f32`, `f64`, `Complex<f32>`, `Complex<f64>`.
pub trait Sample: Pod {
    /// The precision it is computed in.
    type Float: Float;
    /// A prepared transform.
    #[doc(hidden)]
    type Plan;

    #[doc(hidden)]
    fn plan(plans: &mut Plans<Self::Float>, points: usize) -> Self::Plan;

    /// Transforms one line of at most as many samples as the plan has points.
    #[doc(hidden)]
    fn line(
        plan: &Self::Plan,
        source: &[u8],
        spectrum: &mut [Complex<Self::Float>],
        work: &mut LineWork<Self::Float>,
    ) -> Result<()>;
}

macro_rules! sample {
    ($float:ty) => {
        impl Sample for $float {
            type Float = $float;
            type Plan = Arc<dyn RealToComplex<$float>>;

            fn plan(plans: &mut Plans<$float>, points: usize) -> Self::Plan {
                plans.real(points)
            }

            fn line(
                plan: &Self::Plan,
                source: &[u8],
                spectrum: &mut [Complex<$float>],
                work: &mut LineWork<$float>,
            ) -> Result<()> {
                let points = plan.len();
                let samples = sized(&mut work.samples, points);
                fill(samples, source);
                let scratch = sized(&mut work.scratch, plan.get_scratch_len());
                let bins = plan.complex_len();
                plan.process_with_scratch(samples, &mut spectrum[..bins], scratch)
                    .map_err(|error| defect(&error))?;
                // The other half of a real signal's two-sided spectrum mirrors the first.
                for bin in bins..spectrum.len() {
                    spectrum[bin] = spectrum[points - bin].conj();
                }
                Ok(())
            }
        }

        impl Sample for Complex<$float> {
            type Float = $float;
            type Plan = Arc<dyn Fft<$float>>;

            fn plan(plans: &mut Plans<$float>, points: usize) -> Self::Plan {
                plans.complex(points)
            }

            fn line(
                plan: &Self::Plan,
                source: &[u8],
                spectrum: &mut [Complex<$float>],
                work: &mut LineWork<$float>,
            ) -> Result<()> {
                fill(spectrum, source);
                plan.process_with_scratch(spectrum, sized(&mut work.scratch, plan.get_inplace_scratch_len()));
                Ok(())
            }
        }
    };
}
sample!(f32);
sample!(f64);

/// Transforms every line of `input` (bytes of `S`, little-endian, aligned or not) into `spectra`, which has the shape
/// `[outer, bins, inner]`.
///
/// # Errors
/// `internal` when a length does not fit the others, `cancelled` when the context stops it.
pub fn transform<S: Sample>(
    input: &[u8],
    lines: Lines,
    spec: &Spec,
    spectra: &mut [Complex<S::Float>],
    context: &Context<'_>,
) -> Result<()> {
    let Lines { outer, length, inner } = lines;
    let size = |length| {
        let factors = [outer, length, inner];
        factors.into_iter().try_fold(1, usize::checked_mul)
    };
    let fits = input.len().is_multiple_of(size_of::<S>())
        && Some(input.len() / size_of::<S>()) == size(length)
        && Some(spectra.len()) == size(spec.bins());
    if !fits {
        return Err(defect(&format_args!(
            "{} bytes, {} bins for {lines:?}, {spec:?}",
            input.len(),
            spectra.len()
        )));
    }
    if spectra.is_empty() {
        return Ok(());
    }
    S::Float::with_plans(|plans| {
        let plan = S::plan(plans, spec.points);
        let mut pace = Pace::new(context);
        if inner == 1 {
            contiguous::<S>(&plan, input, length, spec, spectra, &mut plans.work, &mut pace)?;
        } else {
            strided::<S>(&plan, input, lines, spec, spectra, &mut plans.work, &mut pace)?;
        }
        scale(spectra, spec);
        Ok(())
    })
}

fn contiguous<S: Sample>(
    plan: &S::Plan,
    input: &[u8],
    length: usize,
    spec: &Spec,
    spectra: &mut [Complex<S::Float>],
    work: &mut Work<S::Float>,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let (line, kept) = (length * size_of::<S>(), length.min(spec.points) * size_of::<S>());
    for (index, spectrum) in spectra.chunks_exact_mut(spec.bins()).enumerate() {
        pace.step(spec.points)?;
        S::line(plan, &input[index * line..][..kept], spectrum, &mut work.line)?;
    }
    Ok(())
}

fn strided<S: Sample>(
    plan: &S::Plan,
    input: &[u8],
    lines: Lines,
    spec: &Spec,
    spectra: &mut [Complex<S::Float>],
    work: &mut Work<S::Float>,
    pace: &mut Pace<'_>,
) -> Result<()> {
    let Lines { outer, length, inner } = lines;
    let (size, bins, kept) = (size_of::<S>(), spec.bins(), length.min(spec.points));
    let block = (POINTS_PER_CHECK / spec.points).clamp(1, BLOCK_LINES).min(inner);
    let gathered = sized(&mut work.gathered, block * kept * (size / size_of::<S::Float>()));
    let gathered: &mut [S] = bytemuck::cast_slice_mut(gathered);
    let transformed = sized(&mut work.spectra, block * bins);
    for slab in 0..outer {
        for first in (0..inner).step_by(block) {
            pace.step(block * spec.points)?;
            let width = block.min(inner - first);
            for sample in 0..kept {
                let row = &input[((slab * length + sample) * inner + first) * size..][..width * size];
                for (column, bytes) in row.chunks_exact(size).enumerate() {
                    gathered[column * kept + sample] = bytemuck::pod_read_unaligned(bytes);
                }
            }
            for column in 0..width {
                let source = bytemuck::cast_slice(&gathered[column * kept..][..kept]);
                S::line(plan, source, &mut transformed[column * bins..][..bins], &mut work.line)?;
            }
            for bin in 0..bins {
                let row = &mut spectra[(slab * bins + bin) * inner + first..][..width];
                for (column, value) in row.iter_mut().enumerate() {
                    *value = transformed[column * bins + bin];
                }
            }
        }
    }
    Ok(())
}

fn scale<T: Float>(spectra: &mut [Complex<T>], spec: &Spec) {
    let points = spec.points as f64;
    let factor = match spec.norm {
        Norm::Backward => return,
        Norm::Ortho => points.sqrt().recip(),
        Norm::Forward => points.recip(),
    };
    if let Some(factor) = T::from_f64(factor) {
        for value in spectra {
            *value = *value * factor;
        }
    }
}

/// Copies a line to the front of `samples`, as bytes since it may be unaligned, and pads it with zeros.
fn fill<S: Pod>(samples: &mut [S], source: &[u8]) {
    let (front, rest) = bytemuck::cast_slice_mut(samples).split_at_mut(source.len());
    front.copy_from_slice(source);
    rest.fill(0);
}

fn defect(error: &impl Display) -> Error {
    Error::new(ErrorKind::Internal, format!("fft kernel: {error}"))
}
