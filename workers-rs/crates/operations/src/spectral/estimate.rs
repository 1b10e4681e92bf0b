//! The bare estimates: lines of samples in, averaged spectra out.

use npufleet_wire::Result;
use num_complex::Complex;

use super::{Method, Request};
use crate::Context;
use crate::common::{Float, LineWork, Pace, Sample, Transform, Work, fill, median, sized, tabulate};

impl Request<'_> {
    /// The power of x: averaged, or for a spectrogram of each segment.
    pub(super) fn power<S: Sample>(&self, output: &mut [S::Float], context: &Context<'_>) -> Result<()> {
        S::Float::with_plans(|plans| {
            let transform = Transform::<S>::new(plans, self.segments, context)?;
            let scale = transform.scale(self.density, self.fs);
            let Work {
                line,
                sweep,
                spectrum,
                signals: [signal, _],
                segment,
                table,
                ..
            } = &mut plans.work;
            let bins = self.segments.bins();
            let signal = self.signal::<S>(signal);
            self.sweep
                .run::<1, S, _, _>([self.x], output, sweep, context, |[source], output, pace| {
                    fill(signal, source);
                    let mut row = |index, spectrum: &mut [_]| {
                        pace.step(self.segments.points)?;
                        transform.segment(signal, index, spectrum, segment, line)
                    };
                    let power = |bin: Complex<S::Float>| bin.norm_sqr();
                    if self.method == Method::Spectrogram {
                        tabulate(bins, spectrum, output, row, power)?;
                    } else if self.median {
                        let table = sized(table, self.count * (bins + 1));
                        let (table, values) = table.split_at_mut(self.count * bins);
                        tabulate(bins, spectrum, table, row, power)?;
                        for (place, powers) in output.iter_mut().zip(table.chunks_exact(self.count)) {
                            *place = median(values, powers.iter().copied());
                        }
                    } else {
                        output.fill(S::Float::default());
                        let spectrum = sized(spectrum, bins);
                        for index in 0..self.count {
                            row(index, spectrum)?;
                            for (sum, bin) in output.iter_mut().zip(&*spectrum) {
                                *sum = *sum + power(*bin);
                            }
                        }
                    }
                    for (bin, cell) in output.chunks_exact_mut(self.sweep.cell).enumerate() {
                        let factor = self.factor(scale, bin);
                        for value in cell {
                            *value = *value * factor;
                        }
                    }
                    Ok(())
                })
        })
    }

    /// The cross spectrum of x and y, `conj(X) * Y`.
    pub(super) fn cross<S: Sample>(&self, output: &mut [Complex<S::Float>], context: &Context<'_>) -> Result<()> {
        S::Float::with_plans(|plans| {
            let transform = Transform::<S>::new(plans, self.segments, context)?;
            let scale = transform.scale(self.density, self.fs);
            let Work {
                line,
                sweep,
                spectrum,
                other_spectrum,
                signals: [one, other],
                segment,
                table,
            } = &mut plans.work;
            let bins = self.segments.bins();
            let (one, other) = (self.signal::<S>(one), self.signal::<S>(other));
            let other_spectrum = sized(other_spectrum, bins);
            let inputs = [self.x, self.y];
            self.sweep
                .run::<2, S, _, _>(inputs, output, sweep, context, |[x, y], output, pace| {
                    fill(one, x);
                    fill(other, y);
                    let mut row = |index, spectrum: &mut [_]| {
                        self.pair(
                            &transform,
                            [one, other],
                            index,
                            [&mut *spectrum, other_spectrum],
                            segment,
                            line,
                            pace,
                        )?;
                        for (bin, other) in spectrum.iter_mut().zip(&*other_spectrum) {
                            *bin = bin.conj() * *other;
                        }
                        Ok(())
                    };
                    if self.median {
                        let table = sized(table, self.count * (2 * bins + 1));
                        let (table, values) = table.split_at_mut(self.count * 2 * bins);
                        let table: &mut [Complex<S::Float>] = bytemuck::cast_slice_mut(table);
                        tabulate(bins, spectrum, table, row, |bin| bin)?;
                        for (place, products) in output.iter_mut().zip(table.chunks_exact(self.count)) {
                            place.re = median(values, products.iter().map(|product| product.re));
                            place.im = median(values, products.iter().map(|product| product.im));
                        }
                    } else {
                        output.fill(Complex::default());
                        let spectrum = sized(spectrum, bins);
                        for index in 0..self.count {
                            row(index, spectrum)?;
                            for (sum, bin) in output.iter_mut().zip(&*spectrum) {
                                *sum = *sum + *bin;
                            }
                        }
                    }
                    for (bin, value) in output.iter_mut().enumerate() {
                        *value = *value * self.factor::<S::Float>(scale, bin);
                    }
                    Ok(())
                })
        })
    }

    /// The magnitude-squared coherence of x and y.
    pub(super) fn coherence<S: Sample>(&self, output: &mut [S::Float], context: &Context<'_>) -> Result<()> {
        S::Float::with_plans(|plans| {
            let transform = Transform::<S>::new(plans, self.segments, context)?;
            let scale = S::Float::of(transform.scale(self.density, self.fs) / self.count as f64);
            let Work {
                line,
                sweep,
                spectrum,
                other_spectrum,
                signals: [one, other],
                segment,
                table,
            } = &mut plans.work;
            let bins = self.segments.bins();
            let (one, other) = (self.signal::<S>(one), self.signal::<S>(other));
            let other_spectrum = sized(other_spectrum, bins);
            let (spectrum, products) = sized(spectrum, 2 * bins).split_at_mut(bins);
            let (powers, other_powers) = sized(table, 2 * bins).split_at_mut(bins);
            let inputs = [self.x, self.y];
            self.sweep
                .run::<2, S, _, _>(inputs, output, sweep, context, |[x, y], output, pace| {
                    fill(one, x);
                    fill(other, y);
                    products.fill(Complex::default());
                    powers.fill(S::Float::default());
                    other_powers.fill(S::Float::default());
                    for index in 0..self.count {
                        let spectra = [&mut *spectrum, &mut *other_spectrum];
                        self.pair(&transform, [one, other], index, spectra, segment, line, pace)?;
                        let bins = spectrum.iter().zip(&*other_spectrum);
                        let sums = products.iter_mut().zip(powers.iter_mut().zip(other_powers.iter_mut()));
                        for ((bin, other), (product, (power, other_power))) in bins.zip(sums) {
                            *product = *product + bin.conj() * *other;
                            *power = *power + bin.norm_sqr();
                            *other_power = *other_power + other.norm_sqr();
                        }
                    }
                    let sums = products.iter().zip(powers.iter().zip(&*other_powers));
                    for (place, (product, (power, other_power))) in output.iter_mut().zip(sums) {
                        *place = (*product * scale).norm_sqr() / (*power * scale) / (*other_power * scale);
                    }
                    Ok(())
                })
        })
    }

    /// Transforms a segment of two signals.
    #[expect(
        clippy::too_many_arguments,
        reason = "work space comes in pieces that are borrowed one by one"
    )]
    fn pair<S: Sample>(
        &self,
        transform: &Transform<S>,
        signals: [&[S]; 2],
        index: usize,
        spectra: [&mut [Complex<S::Float>]; 2],
        segment: &mut Vec<S::Float>,
        line: &mut LineWork<S::Float>,
        pace: &mut Pace<'_>,
    ) -> Result<()> {
        pace.step(2 * self.segments.points)?;
        for (signal, spectrum) in signals.into_iter().zip(spectra) {
            transform.segment(signal, index, spectrum, segment, line)?;
        }
        Ok(())
    }

    /// The place of one line's samples.
    fn signal<'a, S: Sample>(&self, buffer: &'a mut Vec<S::Float>) -> &'a mut [S] {
        let floats = size_of::<S>() / size_of::<S::Float>();
        bytemuck::cast_slice_mut(sized(buffer, self.sweep.kept * floats))
    }

    /// What the sum, median or power of a bin is multiplied with.
    fn factor<T: Float>(&self, scale: f64, bin: usize) -> T {
        // A one-sided spectrum has the power of both sides, but for the bins that are their own mirror.
        let twice = self.segments.one_sided && bin > 0 && 2 * bin != self.segments.points;
        T::of(if twice { 2.0 * scale } else { scale } / self.average)
    }
}

/// How much larger the median of so many periodograms is than their mean (arXiv:gr-qc/0509116, appendix B).
pub(super) fn median_bias(count: usize) -> f64 {
    let terms = (1..=(count - 1) / 2).map(|half| 2.0 * half as f64);
    1.0 + terms.map(|even| (even + 1.0).recip() - even.recip()).sum::<f64>()
}
