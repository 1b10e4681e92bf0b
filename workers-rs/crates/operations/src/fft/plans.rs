//! Plans and work space, kept per thread: the steady state allocates nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use bytemuck::Pod;
use foldhash::fast::RandomState;
use num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftNum, FftPlanner};

/// All plans of a thread are dropped when they cover more points than this (some tens of megabytes): lengths come from
/// the network, and every new one would otherwise stay for ever.
const MAX_POINTS: usize = 1 << 20;

/// Work space of more elements than this is given back after use.
const MAX_KEPT: usize = 1 << 20;

/// A floating-point type with plans of its own.
pub trait Float: FftNum + Pod + Default {
    /// Calls `body` with this thread's plans.
    #[doc(hidden)]
    fn with_plans<R>(body: impl FnOnce(&mut Plans<Self>) -> R) -> R;
}

macro_rules! float {
    ($type:ty) => {
        impl Float for $type {
            fn with_plans<R>(body: impl FnOnce(&mut Plans<Self>) -> R) -> R {
                thread_local! {
                    static PLANS: RefCell<Plans<$type>> = RefCell::new(Plans::new());
                }
                PLANS.with_borrow_mut(|plans| {
                    let result = body(plans);
                    plans.work.give_back();
                    result
                })
            }
        }
    };
}
float!(f32);
float!(f64);

/// One thread's plans and work space.
#[doc(hidden)]
pub struct Plans<T: FftNum> {
    real_planner: RealFftPlanner<T>,
    complex_planner: FftPlanner<T>,
    real: HashMap<usize, Arc<dyn RealToComplex<T>>, RandomState>,
    complex: HashMap<usize, Arc<dyn Fft<T>>, RandomState>,
    points: usize,
    pub(super) work: Work<T>,
}

/// Buffers that grow to what is needed.
#[derive(Default)]
pub(super) struct Work<T> {
    pub(super) line: LineWork<T>,
    /// Samples of a block of lines, taken out of a strided array.
    pub(super) gathered: Vec<T>,
    /// The spectra of that block.
    pub(super) spectra: Vec<Complex<T>>,
}

/// What the transform of one line needs.
#[doc(hidden)]
#[derive(Default)]
pub struct LineWork<T> {
    /// One line of real samples; a transform overwrites it.
    pub(super) samples: Vec<T>,
    /// What the transforms themselves need.
    pub(super) scratch: Vec<Complex<T>>,
}

impl<T: Float> Plans<T> {
    fn new() -> Self {
        Self {
            real_planner: RealFftPlanner::new(),
            complex_planner: FftPlanner::new(),
            real: HashMap::default(),
            complex: HashMap::default(),
            points: 0,
            work: Work::default(),
        }
    }

    /// The plan for real lines of a length.
    pub(super) fn real(&mut self, points: usize) -> Arc<dyn RealToComplex<T>> {
        if let Some(plan) = self.real.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = self.real_planner.plan_fft_forward(points);
        self.real.insert(points, Arc::clone(&plan));
        plan
    }

    /// The plan for complex lines of a length.
    pub(super) fn complex(&mut self, points: usize) -> Arc<dyn Fft<T>> {
        if let Some(plan) = self.complex.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = self.complex_planner.plan_fft_forward(points);
        self.complex.insert(points, Arc::clone(&plan));
        plan
    }

    fn make_room(&mut self, points: usize) {
        if self.points.saturating_add(points) > MAX_POINTS {
            *self = Self::new();
        }
        self.points += points;
    }
}

impl<T> Work<T> {
    fn give_back(&mut self) {
        fn trim<U>(buffer: &mut Vec<U>) {
            if buffer.capacity() > MAX_KEPT {
                *buffer = Vec::new();
            }
        }
        trim(&mut self.line.samples);
        trim(&mut self.line.scratch);
        trim(&mut self.gathered);
        trim(&mut self.spectra);
    }
}

/// The first `length` elements of a buffer that grows when it must.
pub(super) fn sized<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) -> &mut [T] {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
    &mut buffer[..length]
}
