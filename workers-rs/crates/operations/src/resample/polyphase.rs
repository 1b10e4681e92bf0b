//! By a low-pass filter between zeros put in and samples left out, of which only what is kept is computed.

use std::f64::consts::PI;
use std::sync::Arc;

use npufleet_wire::Result;

use crate::Context;
use crate::common::{Float, Pace, Sample, Sweep, Window, Work, fill, mean, median, sized};

/// Half the filter's length, in samples of the lower rate.
const HALF_LENGTH: usize = 10;

/// How a line goes on beyond its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    Zeros,
    Line,
    Edge,
    Symmetric,
    Reflect,
    Wrap,
    /// With this value, taken off before and put back behind the filter.
    Background(Background),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Background {
    Mean,
    Median,
    Maximum,
    Minimum,
}

impl Padding {
    pub(super) fn of(word: Option<&str>) -> Self {
        match word {
            Some("line") => Self::Line,
            Some("edge") => Self::Edge,
            Some("symmetric") => Self::Symmetric,
            Some("reflect") => Self::Reflect,
            Some("wrap") => Self::Wrap,
            Some("mean") => Self::Background(Background::Mean),
            Some("median") => Self::Background(Background::Median),
            Some("maximum") => Self::Background(Background::Maximum),
            Some("minimum") => Self::Background(Background::Minimum),
            _ => Self::Zeros,
        }
    }

    /// Whether a single sample does not say how it goes on.
    pub(super) fn needs_two(self) -> bool {
        matches!(self, Self::Line | Self::Reflect)
    }

    /// The sample at a place beyond the ends of a line.
    fn beyond<T: Float>(self, line: &[T], place: isize) -> T {
        let length = line.len().cast_signed();
        let folded = |period: isize, twice: isize| {
            let at = place.rem_euclid(period);
            line[(if at < length { at } else { period - twice - at }) as usize]
        };
        match self {
            Self::Zeros | Self::Background(_) => T::default(),
            Self::Edge => line[if place < 0 { 0 } else { line.len() - 1 }],
            Self::Wrap => line[place.rem_euclid(length) as usize],
            Self::Symmetric => folded(2 * length, 1),
            Self::Reflect => folded(2 * length - 2, 0),
            Self::Line => {
                let (first, last) = (line[0], line[line.len() - 1]);
                let slope = (last - first) / T::of((length - 1) as f64);
                if place < 0 {
                    first + slope * T::of(place as f64)
                } else {
                    last + slope * T::of((place - length + 1) as f64)
                }
            }
        }
    }
}

pub(super) struct Polyphase {
    up: usize,
    down: usize,
    window: Window,
    padding: Padding,
    /// Zeros in front of the filter, which bring its middle onto a sample.
    front: usize,
    /// Outputs before the first that is kept.
    skipped: usize,
    /// Filter weights of each phase.
    taps: usize,
    /// Samples of a line after the last of which the filter looks at.
    behind: usize,
}

impl Polyphase {
    /// From lines of so many `samples` to so many to be `given`.
    pub(super) fn new(up: usize, down: usize, window: Window, padding: Padding, samples: usize, given: usize) -> Self {
        let half = HALF_LENGTH * up.max(down);
        let front = down - half % down;
        let skipped = (half + front) / down;
        // As many zeros behind the filter as SciPy puts there: a NaN in the line meets them, too.
        let needed = (given + skipped - 1) * down + 1;
        let length = (front + 2 * half + 1).max(needed.saturating_sub((samples - 1) * up));
        let last = (given + skipped - 1) * down / up;
        Self {
            up,
            down,
            window,
            padding,
            front,
            skipped,
            taps: length.div_ceil(up),
            behind: last.saturating_sub(samples - 1),
        }
    }

    pub(super) fn run<T: Float + Sample<Float = T>>(
        &self,
        sweep: Sweep,
        data: &[u8],
        output: &mut [T],
        context: &Context<'_>,
    ) -> Result<()> {
        T::with_plans(|plans| {
            let key = (self.window, self.up, self.down, self.taps);
            let phases: Arc<[T]> = plans.filter(key, || self.design(context))?;
            let Work {
                sweep: buffers,
                signals: [signal, values],
                ..
            } = &mut plans.work;
            let before = self.taps - 1;
            let signal = sized(signal, before + sweep.kept + self.behind);
            let values = sized(values, sweep.kept);
            sweep.run::<1, T, _, _>([data], output, buffers, context, |[source], output, pace| {
                let (front, rest) = signal.split_at_mut(before);
                let (line, behind) = rest.split_at_mut(sweep.kept);
                fill(line, source);
                let background = self.background(line, values);
                for (place, value) in front.iter_mut().rev().enumerate() {
                    *value = self.padding.beyond(line, -1 - place.cast_signed());
                }
                for (place, value) in behind.iter_mut().enumerate() {
                    *value = self.padding.beyond(line, (sweep.kept + place).cast_signed());
                }
                let (mut first, mut phase) = divided(self.skipped * self.down, self.up);
                let (samples, phases_on) = divided(self.down, self.up);
                for place in output {
                    pace.step(self.taps)?;
                    let weights = &phases[phase * self.taps..][..self.taps];
                    *place = dot(&signal[first..][..self.taps], weights) + background;
                    // A division for every sample would cost as much as the filter.
                    first += samples;
                    phase += phases_on;
                    if phase >= self.up {
                        phase -= self.up;
                        first += 1;
                    }
                }
                Ok(())
            })
        })
    }

    /// The weights of each phase, the last first: what is multiplied with the samples as they lie.
    fn design<T: Float>(&self, context: &Context<'_>) -> Result<Arc<[T]>> {
        let half = HALF_LENGTH * self.up.max(self.down);
        let cutoff = (self.up.max(self.down) as f64).recip();
        let mut weights = vec![0.0; 2 * half + 1];
        self.window.fill(&mut weights, false, &mut Pace::new(context))?;
        for (at, weight) in weights.iter_mut().enumerate() {
            let angle = PI * cutoff * (at as f64 - half as f64);
            *weight *= if at == half { 1.0 } else { angle.sin() / angle };
        }
        let scale = self.up as f64 / weights.iter().sum::<f64>();
        let mut phases = vec![T::default(); self.up * self.taps];
        for (at, weight) in weights.iter().enumerate() {
            let place = self.front + at;
            let (phase, tap) = (place % self.up, place / self.up);
            phases[phase * self.taps + self.taps - 1 - tap] = T::of(weight * scale);
        }
        Ok(phases.into())
    }

    /// Takes the background off a line and returns it.
    fn background<T: Float + Sample<Float = T>>(&self, line: &mut [T], values: &mut [T]) -> T {
        let Padding::Background(background) = self.padding else {
            return T::default();
        };
        let value = match background {
            Background::Mean => mean(line),
            Background::Median => median(values, line.iter().copied()),
            Background::Maximum => extreme(line, |one, other| one > other),
            Background::Minimum => extreme(line, |one, other| one < other),
        };
        for sample in line {
            *sample = *sample - value;
        }
        value
    }
}

/// The value that comes before all others, NaN if one of them is.
fn extreme<T: Float>(line: &[T], before: impl Fn(T, T) -> bool) -> T {
    let nan = |value: T| value.partial_cmp(&value).is_none();
    let better = |found: T, value: T| {
        if nan(found) || !(nan(value) || before(value, found)) {
            found
        } else {
            value
        }
    };
    line.iter().copied().reduce(better).unwrap_or_default()
}

const fn divided(number: usize, by: usize) -> (usize, usize) {
    (number / by, number % by)
}

/// The sum of products, in lanes that the processor adds side by side.
fn dot<T: Float>(samples: &[T], weights: &[T]) -> T {
    const LANES: usize = 8;
    let mut sums = [T::default(); LANES];
    let (mut samples, mut weights) = (samples.chunks_exact(LANES), weights.chunks_exact(LANES));
    for (samples, weights) in (&mut samples).zip(&mut weights) {
        for lane in 0..LANES {
            sums[lane] = sums[lane] + samples[lane] * weights[lane];
        }
    }
    for (lane, (sample, weight)) in samples.remainder().iter().zip(weights.remainder()).enumerate() {
        sums[lane] = sums[lane] + *sample * *weight;
    }
    sums.into_iter().fold(T::default(), |total, sum| total + sum)
}
