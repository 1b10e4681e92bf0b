//! The bare kernel: bytes of samples in, spectra out.

use npufleet_wire::Result;
use num_complex::Complex;

use crate::Context;
use crate::common::{Float, Lines, Norm, Sample, Sweep};

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
    let sweep = Sweep {
        lines,
        kept: lines.length.min(spec.points),
        cells: spec.bins(),
        cell: 1,
        work: spec.points,
    };
    S::Float::with_plans(|plans| {
        let plan = S::plan(plans, spec.points);
        let work = &mut plans.work;
        sweep.run::<1, S, _, _>([input], spectra, &mut work.sweep, context, |[source], spectrum, _| {
            S::line(&plan, source, spectrum, &mut work.line)
        })
    })?;
    spec.norm.scale::<S::Float, _>(spectra, spec.points);
    Ok(())
}
