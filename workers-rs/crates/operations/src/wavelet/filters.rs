//! The wavelets' filters: a table written from `PyWavelets`, and banks of them as the kernel multiplies.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

#[cfg(target_arch = "x86_64")]
use super::lattice::Lattice;
use super::work::Real;

/// The most pairs of taps that a filter of the table has.
pub(super) const MAX_HALF: usize = 9;

static TABLE: LazyLock<HashMap<String, Filters, RandomState>> = LazyLock::new(|| {
    let read: serde_json::Result<HashMap<String, Vec<f64>>> = serde_json::from_str(include_str!("filters.json"));
    match read {
        Ok(rows) => rows
            .into_iter()
            .map(|(name, taps)| (name, Filters::new(taps)))
            .collect(),
        // The text is part of the program and a test reads it: this is a defect of the build, not of a request.
        Err(error) => panic!("filters.json: {error}"),
    }
});

/// The filters of one wavelet.
#[derive(Debug)]
pub(super) struct Filters {
    /// Low-pass decomposition; an orthogonal wavelet's other three filters follow from it.
    taps: Vec<f64>,
    /// The same as a lattice, where they are one.
    #[cfg(target_arch = "x86_64")]
    pub(super) lattice: Option<Lattice>,
}

impl Filters {
    fn new(taps: Vec<f64>) -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            lattice: Lattice::new(&bank(&taps)),
            taps,
        }
    }

    /// The filters of a wavelet by its name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        TABLE.get(name)
    }

    /// How many taps each filter has; an even number.
    pub(super) fn length(&self) -> usize {
        self.taps.len()
    }

    /// The filters in the precision of the samples.
    pub(super) fn bank<T: Real>(&self) -> Bank<T> {
        bank(&self.taps)
    }
}

fn bank<T: Real>(taps: &[f64]) -> Bank<T> {
    let length = taps.len();
    let mut bank = Bank {
        half: length / 2,
        low: [[T::default(); MAX_HALF]; 2],
        high: [[T::default(); MAX_HALF]; 2],
    };
    for (index, &tap) in taps.iter().enumerate() {
        // Correlating with a filter is convolving with it backwards; the high-pass filter is the low-pass one
        // backwards with every other sign turned.
        let backwards = length - 1 - index;
        bank.low[backwards % 2][backwards / 2] = T::from_f64(tap);
        bank.high[index % 2][index / 2] = T::from_f64(if index % 2 == 0 { tap } else { -tap });
    }
    bank
}

/// A wavelet's decomposition filters backwards, which are its reconstruction filters: the taps that meet elements of
/// even and of odd numbers apart.
#[derive(Debug)]
pub(super) struct Bank<T> {
    /// Pairs of taps.
    pub(super) half: usize,
    pub(super) low: [[T; MAX_HALF]; 2],
    pub(super) high: [[T; MAX_HALF]; 2],
}

impl<T: Real> Bank<T> {
    /// The taps as synthesis multiplies them: each row backwards.
    pub(super) fn backwards(&self) -> Self {
        let turn = |rows: &[[T; MAX_HALF]; 2]| {
            rows.map(|row| {
                let mut turned = row;
                turned[..self.half].reverse();
                turned
            })
        };
        Self {
            half: self.half,
            low: turn(&self.low),
            high: turn(&self.high),
        }
    }
}
