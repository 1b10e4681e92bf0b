//! Window functions, with the numbers and names of `scipy.signal.get_window`.

use std::f64::consts::PI;

use npufleet_wire::Result;

use super::{Pace, Params, invalid_parameter, number, text};

/// The words of the parameter `window`, with what each is.
const KINDS: [(&str, Kind); 13] = [
    ("boxcar", Kind::Cosines(&[1.0])),
    ("hann", Kind::Cosines(&[0.5, 0.5])),
    ("hamming", Kind::Cosines(&[0.54, 0.46])),
    ("blackman", Kind::Cosines(&[0.42, 0.5, 0.08])),
    ("blackmanharris", Kind::Cosines(&[0.35875, 0.48829, 0.14128, 0.01168])),
    ("bartlett", Kind::Bartlett),
    (
        "flattop",
        Kind::Cosines(&[0.215_578_95, 0.416_631_58, 0.277_263_158, 0.083_578_947, 0.006_947_368]),
    ),
    (
        "nuttall",
        Kind::Cosines(&[0.363_581_9, 0.489_177_5, 0.136_599_5, 0.010_641_1]),
    ),
    ("kaiser", Kind::Kaiser),
    ("gaussian", Kind::Gaussian),
    ("tukey", Kind::Tukey),
    ("triang", Kind::Triangle),
    ("cosine", Kind::Cosine),
];

/// The parameter that shapes a window, with what its absence means: a value, or that it is missing.
const SHAPES: [(&str, &str, Option<f64>); 3] = [
    ("beta", "kaiser", None),
    ("std", "gaussian", None),
    ("alpha", "tukey", Some(0.5)),
];

#[derive(Clone, Copy)]
enum Kind {
    /// A sum of cosines, by weights.
    Cosines(&'static [f64]),
    Bartlett,
    Kaiser,
    Gaussian,
    Tukey,
    Triangle,
    Cosine,
}

/// A window function with the parameter that shapes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Its place in `KINDS`.
    kind: usize,
    /// The bits of its beta, std or alpha.
    shape: u64,
}

impl Window {
    /// No weighting at all.
    pub(crate) const BOXCAR: Self = Self { kind: 0, shape: 0 };
    /// The usual window.
    pub(crate) const HANN: Self = Self { kind: 1, shape: 0 };
    /// The usual window of a filter.
    pub(crate) const KAISER_5: Self = Self {
        kind: 8,
        shape: 5.0_f64.to_bits(),
    };
    /// A window whose ends are tapered over an eighth each.
    pub(crate) const QUARTER_TUKEY: Self = Self {
        kind: 10,
        shape: 0.25_f64.to_bits(),
    };

    /// A window by name, with its beta, std or alpha if it has one.
    pub(crate) fn named(name: &str, shape: f64) -> Option<Self> {
        let kind = KINDS.iter().position(|(word, _)| *word == name)?;
        Some(Self {
            kind,
            shape: shape.to_bits(),
        })
    }

    /// The window that `window`, `beta`, `std` and `alpha` name; none when they are absent.
    ///
    /// # Errors
    /// `invalid_parameter` when the parameter that shapes the window is missing, or shapes another.
    pub(crate) fn of(params: &Params) -> Result<Option<Self>> {
        let name = text(params, "window");
        let mut shape = 0.0;
        for (parameter, window, default) in SHAPES {
            let value = number(params, parameter);
            if name == Some(window) {
                let message = || format!("parameter '{parameter}' is missing; allowed: a number with window {window}");
                shape = value.or(default).ok_or_else(|| invalid_parameter(message()))?;
            } else if let Some(value) = value {
                let message = format!("parameter '{parameter}' is {value}; allowed: only with window {window}");
                return Err(invalid_parameter(message));
            }
        }
        let unknown = |name| invalid_parameter(format!("parameter 'window' is '{name}'"));
        name.map(|name| Self::named(name, shape).ok_or_else(|| unknown(name)))
            .transpose()
    }

    /// Writes the weights: those of a periodic window for spectra (`fftbins`), of a symmetric one for filters.
    ///
    /// # Errors
    /// `cancelled` when the context stops it.
    pub(crate) fn fill(self, weights: &mut [f64], fftbins: bool, pace: &mut Pace<'_>) -> Result<()> {
        if weights.len() <= 1 {
            weights.fill(1.0);
            return Ok(());
        }
        // A periodic window is a symmetric one that is a point longer, without that point.
        let points = weights.len() + usize::from(fftbins);
        let shape = f64::from_bits(self.shape);
        let (last, half) = ((points - 1) as f64, (points - 1) as f64 / 2.0);
        let centred = |at: usize| (at as f64 - half) / half;
        match KINDS[self.kind].1 {
            Kind::Cosines(cosines) => each(weights, pace, |at| {
                let angle = PI * centred(at);
                cosines
                    .iter()
                    .enumerate()
                    .map(|(order, weight)| weight * (order as f64 * angle).cos())
                    .sum()
            }),
            Kind::Bartlett => each(weights, pace, |at| 1.0 - centred(at).abs()),
            Kind::Kaiser => {
                let scale = bessel_i0(shape).recip();
                each(weights, pace, |at| {
                    bessel_i0(shape * (1.0 - centred(at).powi(2)).max(0.0).sqrt()) * scale
                })
            }
            Kind::Gaussian => each(weights, pace, |at| (-0.5 * ((at as f64 - half) / shape).powi(2)).exp()),
            Kind::Tukey => {
                let flank = shape * last / 2.0;
                each(weights, pace, |at| {
                    let edge = at.min(points - 1 - at) as f64;
                    if edge < flank {
                        0.5 * (1.0 - (PI * edge / flank).cos())
                    } else {
                        1.0
                    }
                })
            }
            Kind::Triangle => {
                // An even number of points has its first half a step inside the base, an odd one a whole step.
                let (base, step) = (
                    points.div_ceil(2) as f64,
                    if points.is_multiple_of(2) { 0.5 } else { 1.0 },
                );
                each(weights, pace, |at| (at.min(points - 1 - at) as f64 + step) / base)
            }
            Kind::Cosine => each(weights, pace, |at| (PI / points as f64 * (at as f64 + 0.5)).sin()),
        }
    }
}

fn each(weights: &mut [f64], pace: &mut Pace<'_>, weight: impl Fn(usize) -> f64) -> Result<()> {
    for (at, place) in weights.iter_mut().enumerate() {
        pace.step(1)?;
        *place = weight(at);
    }
    Ok(())
}

/// The modified Bessel function of the first kind and order zero (Abramowitz and Stegun, 9.6.12 and 9.7.1).
fn bessel_i0(x: f64) -> f64 {
    /// From here on the asymptotic series is exact to the last bits.
    const FAR: f64 = 40.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for order in 1..400 {
        let order = f64::from(order);
        let factor = if x < FAR {
            (x / (2.0 * order)).powi(2)
        } else {
            (2.0 * order - 1.0).powi(2) / (8.0 * order * x)
        };
        term *= factor;
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    if x < FAR {
        sum
    } else {
        sum * x.exp() / (2.0 * PI * x).sqrt()
    }
}
