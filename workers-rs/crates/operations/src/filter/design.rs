//! Butterworth and Chebyshev I designs as zeros, poles and gain, step by step as `scipy.signal.iirfilter` makes them:
//! an analogue lowpass of cutoff 1, moved to the wanted band, then the bilinear transform.

use std::f64::consts::PI;

use num_complex::Complex;

use super::sections::{Section, assemble, is_stable};

type Root = Complex<f64>;

/// The sample rate at which `SciPy` designs; cutoffs are scaled to it.
const RATE: f64 = 2.0;

/// Which prototype.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    /// Maximally flat.
    Butterworth,
    /// Equal ripple of so many decibels in the passband.
    Chebyshev(f64),
}

/// Which band passes; cutoffs are fractions of the Nyquist frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Band {
    /// Below the cutoff.
    Low(f64),
    /// Above the cutoff.
    High(f64),
    /// Between the cutoffs.
    Pass(f64, f64),
    /// Outside the cutoffs.
    Stop(f64, f64),
}

/// What identifies a design.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Design {
    /// The prototype.
    pub(super) family: Family,
    /// The band.
    pub(super) band: Band,
    /// Poles of the prototype.
    pub(super) order: usize,
}

/// Zeros, poles and gain.
struct Roots {
    zeros: Vec<Root>,
    poles: Vec<Root>,
    gain: f64,
}

impl Design {
    /// How many poles the filter has: a band has two edges, and so twice as many.
    pub(super) const fn poles(&self) -> usize {
        match self.band {
            Band::Low(_) | Band::High(_) => self.order,
            Band::Pass(..) | Band::Stop(..) => 2 * self.order,
        }
    }

    /// How many second-order sections the filter has.
    pub(super) const fn sections(&self) -> usize {
        self.poles().div_ceil(2)
    }

    /// The second-order sections; none when double precision cannot hold a stable filter of this design.
    pub(super) fn make(&self) -> Option<Vec<Section>> {
        let warp = |cutoff: f64| 2.0 * RATE * (PI * cutoff / RATE).tan();
        let prototype = self.prototype();
        let analogue = match self.band {
            Band::Low(cutoff) => lowpass(prototype, warp(cutoff)),
            Band::High(cutoff) => highpass(prototype, warp(cutoff)),
            Band::Pass(low, high) => bandpass(prototype, warp(low), warp(high)),
            Band::Stop(low, high) => bandstop(prototype, warp(low), warp(high)),
        };
        let Roots { zeros, poles, gain } = bilinear(analogue);
        let sections = assemble(zeros, poles, gain);
        is_stable(&sections).then_some(sections)
    }

    fn prototype(&self) -> Roots {
        let count = self.order as f64;
        let angles = (0..self.order).map(|index| PI * (2.0 * index as f64 + 1.0 - count) / (2.0 * count));
        let zeros = Vec::new();
        match self.family {
            Family::Butterworth => {
                let poles = angles.map(|angle| -Complex::from_polar(1.0, angle)).collect();
                Roots {
                    zeros,
                    poles,
                    gain: 1.0,
                }
            }
            Family::Chebyshev(ripple) => {
                let epsilon = (10.0_f64.powf(0.1 * ripple) - 1.0).sqrt();
                let mu = epsilon.recip().asinh() / count;
                let poles: Vec<_> = angles.map(|angle| -Complex::new(mu, angle).sinh()).collect();
                let even = self.order.is_multiple_of(2);
                let gain = real_product(poles.iter().map(|pole| -pole));
                let gain = if even {
                    gain / epsilon.mul_add(epsilon, 1.0).sqrt()
                } else {
                    gain
                };
                Roots { zeros, poles, gain }
            }
        }
    }
}

fn lowpass(prototype: Roots, cutoff: f64) -> Roots {
    let Roots { zeros, poles, gain } = prototype;
    let gain = gain * cutoff.powf(poles.len() as f64);
    let poles = poles.iter().map(|pole| pole * cutoff).collect();
    Roots { zeros, poles, gain }
}

fn highpass(prototype: Roots, cutoff: f64) -> Roots {
    let Roots { poles, gain, .. } = prototype;
    let gain = gain / real_product(poles.iter().map(|pole| -pole));
    let zeros = vec![Complex::ZERO; poles.len()];
    let poles = poles.iter().map(|pole| cutoff / pole).collect();
    Roots { zeros, poles, gain }
}

fn bandpass(prototype: Roots, low: f64, high: f64) -> Roots {
    let Roots { poles, gain, .. } = prototype;
    let (width, center) = (high - low, (low * high).sqrt());
    let gain = gain * width.powf(poles.len() as f64);
    let zeros = vec![Complex::ZERO; poles.len()];
    let poles = both_edges(poles.iter().map(|pole| pole * width / 2.0), center);
    Roots { zeros, poles, gain }
}

fn bandstop(prototype: Roots, low: f64, high: f64) -> Roots {
    let Roots { poles, gain, .. } = prototype;
    let (width, center) = (high - low, (low * high).sqrt());
    let gain = gain / real_product(poles.iter().map(|pole| -pole));
    let middle = [Complex::new(0.0, center), Complex::new(0.0, -center)];
    let zeros = middle.iter().copied().cycle().take(2 * poles.len()).collect();
    let poles = both_edges(poles.iter().map(|pole| (width / 2.0) / pole), center);
    Roots { zeros, poles, gain }
}

/// A lowpass pole becomes one at either edge of a band.
fn both_edges(poles: impl Iterator<Item = Root>, center: f64) -> Vec<Root> {
    poles
        .flat_map(|pole| {
            let shift = (pole * pole - center * center).sqrt();
            [pole + shift, pole - shift]
        })
        .collect()
}

fn bilinear(analogue: Roots) -> Roots {
    let Roots { zeros, poles, gain } = analogue;
    let rate = 2.0 * RATE;
    let numerator: Root = zeros.iter().map(|zero| rate - zero).product();
    let denominator: Root = poles.iter().map(|pole| rate - pole).product();
    let digital = |root: &Root| (rate + root) / (rate - root);
    let mut digital_zeros: Vec<_> = zeros.iter().map(digital).collect();
    // Zeros at infinity move to the Nyquist frequency.
    digital_zeros.resize(poles.len(), Complex::new(-1.0, 0.0));
    Roots {
        zeros: digital_zeros,
        poles: poles.iter().map(digital).collect(),
        gain: gain * (numerator / denominator).re,
    }
}

fn real_product(roots: impl Iterator<Item = Root>) -> f64 {
    roots.product::<Root>().re
}
