//! A wavelet's filters as a lattice of rotations: half the multiplications of the filters themselves.
//!
//! The filters of an orthogonal wavelet are a product of plane rotations, between which one of the two components waits
//! for the next pair (Vaidyanathan and Hoang, 1988).

use super::filters::{Bank, MAX_HALF};

/// A lattice may give taps that are so far from the wavelet's own.
const TOLERANCE: f64 = 1e-15;

/// Rotations whose cosines are all in the first one.
#[derive(Debug)]
pub(super) struct Lattice {
    /// What each pair of samples is multiplied with: rows of a matrix.
    pub(super) first: [[f64; 2]; 2],
    /// The tangents of the rotations behind it, [`Self::half`] less one.
    pub(super) tangents: [f64; MAX_HALF - 1],
    /// Rotations, as many as the filters have pairs of taps.
    pub(super) half: usize,
}

/// The taps that meet one pair: those of the low-pass filter, then those of the high-pass one.
type Taps = [[f64; 2]; 2];

impl Lattice {
    /// The lattice of a bank; none where its filters are no rotations but for rounding, as those of some tables are not,
    /// nor where there is only one, which is no less work.
    pub(super) fn new(bank: &Bank<f64>) -> Option<Self> {
        let half = bank.half;
        let mut taps = [[[0.0; 2]; 2]; MAX_HALF];
        for (pair, taps) in taps.iter_mut().enumerate().take(half) {
            *taps = [bank.low, bank.high].map(|[even, odd]| [even[pair], odd[pair]]);
        }
        let mut lattice = Self {
            first: [[0.0; 2]; 2],
            tangents: [0.0; MAX_HALF - 1],
            half,
        };
        let (mut rest, mut scale) = (taps, 1.0);
        for last in (1..half).rev() {
            // Turning back takes the pair that came last out of the low-pass filter, and the first out of the other, which
            // then need not wait.
            let [low, high] = rest[last];
            let column = usize::from(low[1].hypot(high[1]) > low[0].hypot(high[0]));
            let tangent = low[column] / high[column];
            let cosine = tangent.mul_add(tangent, 1.0).sqrt().recip();
            for taps in &mut rest[..=last] {
                *taps = rotated(*taps, -tangent).map(|row| row.map(|tap| tap * cosine));
            }
            for pair in 0..last {
                rest[pair][1] = rest[pair + 1][1];
            }
            lattice.tangents[last - 1] = tangent;
            scale *= cosine;
        }
        lattice.first = rest[0].map(|row| row.map(|tap| tap * scale));
        (half > 1 && lattice.gives(&taps[..half])).then_some(lattice)
    }

    /// Whether its own taps are these.
    fn gives(&self, taps: &[Taps]) -> bool {
        let mut own = [[[0.0; 2]; 2]; MAX_HALF];
        own[0] = self.first;
        for (rotation, tangent) in self.tangents[..self.half - 1].iter().enumerate() {
            for pair in (0..=rotation).rev() {
                own[pair + 1][1] = own[pair][1];
            }
            own[0][1] = [0.0; 2];
            for taps in &mut own {
                *taps = rotated(*taps, *tangent);
            }
        }
        let (own, taps) = (own.as_flattened().as_flattened(), taps.as_flattened().as_flattened());
        own.iter().zip(taps).all(|(own, tap)| (own - tap).abs() < TOLERANCE)
    }
}

/// Both components turned by an angle of this tangent, longer by its cosine.
fn rotated([low, high]: Taps, tangent: f64) -> Taps {
    let add = |to: [f64; 2], tangent: f64, other: [f64; 2]| [0, 1].map(|at: usize| to[at] + tangent * other[at]);
    [add(low, tangent, high), add(high, -tangent, low)]
}
