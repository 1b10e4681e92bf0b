//! By the spectrum of a whole line, which is taken to be periodic: cropped or padded with zeros.

use npufleet_wire::{Error, ErrorKind, Result};
use num_complex::Complex;

use crate::Context;
use crate::common::{Float, Pace, Sample, Sweep, Window, Work, sized};

pub(super) struct Fourier {
    /// What weights the spectrum, if anything.
    pub window: Option<Window>,
    /// Samples of a line.
    pub samples: usize,
    /// Samples to give.
    pub num: usize,
}

impl Fourier {
    pub(super) fn run<T: Float + Sample<Float = T>>(
        &self,
        sweep: Sweep,
        data: &[u8],
        output: &mut [T],
        context: &Context<'_>,
    ) -> Result<()> {
        let (bins, given) = (self.samples / 2 + 1, self.num / 2 + 1);
        // The spectra's common part, whose last bin is its own mirror when their shorter length is even.
        let shorter = self.samples.min(self.num);
        let kept = shorter / 2 + 1;
        T::with_plans(|plans| {
            let window = match self.window {
                Some(window) => Some(plans.window(window, self.samples, &mut Pace::new(context))?),
                None => None,
            };
            let plan = T::plan(plans, self.samples);
            let inverse = plans.real_inverse(self.num);
            let Work {
                line,
                sweep: buffers,
                spectrum,
                segment: gains,
                ..
            } = &mut plans.work;
            let gains = sized(gains, kept);
            for (bin, gain) in gains.iter_mut().enumerate() {
                let weight = window.as_ref().map_or(1.0, |window| self.weight(window, bin));
                *gain = T::of(weight / self.samples as f64);
            }
            if shorter.is_multiple_of(2) && self.num != self.samples {
                let both = if self.num < self.samples { 2.0 } else { 0.5 };
                gains[kept - 1] = gains[kept - 1] * T::of(both);
            }
            let spectrum = sized(spectrum, bins.max(given));
            sweep.run::<1, T, _, _>([data], output, buffers, context, |[source], output, _| {
                T::line(&plan, source, &mut spectrum[..bins], line)?;
                let spectrum = &mut spectrum[..given];
                for (bin, gain) in spectrum.iter_mut().zip(&*gains) {
                    *bin = *bin * *gain;
                }
                spectrum[kept..].fill(Complex::default());
                spectrum[0].im = T::default();
                if self.num.is_multiple_of(2) {
                    spectrum[given - 1].im = T::default();
                }
                let scratch = sized(&mut line.scratch, inverse.get_scratch_len());
                inverse
                    .process_with_scratch(spectrum, output, scratch)
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("resample: {error}")))
            })
        })
    }

    /// The weight of a bin and of its mirror, on average: `SciPy`'s window begins at the spectrum's middle.
    fn weight<T: Float>(&self, window: &[T], bin: usize) -> f64 {
        let (samples, shift) = (self.samples, self.samples - self.samples / 2);
        let at = |bin: usize| window[(bin + shift) % samples].wide();
        f64::midpoint(at(bin), at((samples - bin) % samples))
    }
}
