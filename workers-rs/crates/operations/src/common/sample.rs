//! The element types that signals have, and the transform of one line of each.

use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use bytemuck::Pod;
use npufleet_wire::Result;
use num_complex::Complex;
use rustfft::Fft;

use super::one_sided::OneSided;
use super::plans::{Float, LineWork, Plans};
use super::sized;

/// What a signal consists of: `f32`, `f64`, `Complex<f32>`, `Complex<f64>`.
pub trait Sample:
    Pod + Default + Add<Output = Self> + Sub<Output = Self> + Mul<<Self as Sample>::Float, Output = Self>
{
    /// The precision it is computed in.
    type Float: Float;
    /// A prepared transform.
    #[doc(hidden)]
    type Plan;
    /// Whether its spectrum has two sides that differ.
    const COMPLEX: bool;

    /// The same number as a complex one.
    fn complex(self) -> Complex<Self::Float>;

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
            type Plan = Arc<OneSided<$float>>;
            const COMPLEX: bool = false;

            fn complex(self) -> Complex<$float> {
                Complex::new(self, 0.0)
            }

            fn plan(plans: &mut Plans<$float>, points: usize) -> Self::Plan {
                plans.real(points)
            }

            fn line(
                plan: &Self::Plan,
                source: &[u8],
                spectrum: &mut [Complex<$float>],
                work: &mut LineWork<$float>,
            ) -> Result<()> {
                let points = plan.points();
                let bins = points / 2 + 1;
                plan.line(source, &mut spectrum[..bins], work)?;
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
            const COMPLEX: bool = true;

            fn complex(self) -> Complex<$float> {
                self
            }

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

/// Copies a line to the front of `samples`, as bytes since it may be unaligned, and pads it with zeros.
pub(crate) fn fill<S: Pod>(samples: &mut [S], source: &[u8]) {
    let (front, rest) = bytemuck::cast_slice_mut(samples).split_at_mut(source.len());
    front.copy_from_slice(source);
    rest.fill(0);
}
