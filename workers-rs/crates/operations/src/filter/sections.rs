//! Second-order sections: how zeros and poles are paired into them, and what follows from their coefficients.

use num_complex::Complex;

type Root = Complex<f64>;

/// A root whose imaginary part is a smaller part of it than this is real, as in `scipy.signal.zpk2sos`.
const REAL: f64 = 100.0 * f64::EPSILON;

/// Distances closer than this are equal: only the last bits of rounding tell them apart, and those are no promise.
const TIE: f64 = 1e-12;

/// `y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Section {
    /// The coefficients of the input.
    pub(super) b: [f64; 3],
    /// The coefficients of the output but for the first, which is 1.
    pub(super) a: [f64; 2],
}

/// Pairs zeros and poles as `scipy.signal.zpk2sos` does: the poles closest to the unit circle come last and take the
/// zeros closest to them. Of equally close ones, which are common where a band is symmetric, the one with the smaller
/// real part (then imaginary part) counts as closer, so that every engine has the same sections.
pub(super) fn assemble(zeros: Vec<Root>, poles: Vec<Root>, gain: f64) -> Vec<Section> {
    let (mut zeros, mut poles) = (halves(zeros), halves(poles));
    let mut sections = Vec::new();
    let from_circle = |root: &Root| (1.0 - root.norm()).abs();
    while let Some(first) = closest(&poles, from_circle, |_| true) {
        let first = poles.swap_remove(first);
        let second = if first.im == 0.0 {
            let next = closest(&poles, from_circle, |root| root.im == 0.0);
            next.map_or(Complex::ZERO, |next| poles.swap_remove(next))
        } else {
            first.conj()
        };
        let distance = |root: &Root| (root - first).norm();
        let nearest = closest(&zeros, distance, |_| true);
        let zero = nearest.map_or(Complex::ZERO, |nearest| zeros.swap_remove(nearest));
        let other = if zero.im == 0.0 {
            let next = closest(&zeros, distance, |root| root.im == 0.0);
            next.map_or(Complex::ZERO, |next| zeros.swap_remove(next))
        } else {
            zero.conj()
        };
        sections.push(Section {
            b: [1.0, -(zero + other).re, (zero * other).re],
            a: [-(first + second).re, (first * second).re],
        });
    }
    sections.reverse();
    if let Some(first) = sections.first_mut() {
        first.b = first.b.map(|coefficient| coefficient * gain);
    }
    sections
}

/// One root of each conjugate pair, the real ones exactly real, and a zero where they are odd in number.
fn halves(mut roots: Vec<Root>) -> Vec<Root> {
    let odd = !roots.len().is_multiple_of(2);
    for root in &mut roots {
        if root.im.abs() <= REAL * root.norm() {
            root.im = 0.0;
        }
    }
    roots.retain(|root| root.im >= 0.0);
    if odd {
        roots.push(Complex::ZERO);
    }
    roots
}

fn closest(roots: &[Root], distance: impl Fn(&Root) -> f64, wanted: impl Fn(&Root) -> bool) -> Option<usize> {
    let precedes = |root: &Root, best: &Root| {
        let keys = [distance(root) - distance(best), root.re - best.re, root.im - best.im];
        keys.into_iter()
            .find(|key| key.abs() > TIE)
            .is_some_and(|key| key < 0.0)
    };
    let candidates = roots.iter().enumerate().filter(|(_, root)| wanted(root));
    let best = candidates.reduce(|best, next| if precedes(next.1, best.1) { next } else { best });
    best.map(|(index, _)| index)
}

/// Whether all coefficients are finite and all poles inside the unit circle (the conditions of Jury).
pub(super) fn is_stable(sections: &[Section]) -> bool {
    sections.iter().all(|Section { b, a: [a1, a2] }| {
        b.iter().all(|coefficient| coefficient.is_finite()) && a2.abs() < 1.0 && a1.abs() < 1.0 + a2
    })
}

/// The state of each section after an endless input of ones, as `scipy.signal.sosfilt_zi` has it.
pub(super) fn steady_states(sections: &[Section]) -> Vec<[f64; 2]> {
    let mut scale = 1.0;
    let steady = |Section { b, a }: &Section| {
        let (first, second) = (b[1] - a[0] * b[0], b[2] - a[1] * b[0]);
        let head = (first + second) / (1.0 + a[0] + a[1]);
        let state = [scale * head, scale * ((1.0 + a[0]) * head - first)];
        scale *= b.iter().sum::<f64>() / (1.0 + a[0] + a[1]);
        state
    };
    sections.iter().map(steady).collect()
}
