//! Plans, windows and work space, kept per thread: the steady state allocates nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use bytemuck::Pod;
use foldhash::fast::RandomState;
use npufleet_wire::{Dtype, Result};
use num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner};
use rustfft::{Fft, FftNum, FftPlanner};

use super::one_sided::{Halved, OneSided, RealLine};
use super::{Pace, Window, give_back};

/// All plans of a thread are dropped when they cover more points than this (some tens of megabytes): lengths come from
/// the network, and every new one would otherwise stay for ever.
const MAX_POINTS: usize = 1 << 20;

/// Real lines up to this long are transformed from where they are; reading longer ones twice costs more than a copy.
const HALVED_POINTS: usize = 1 << 13;

/// A floating-point type with plans of its own.
pub trait Float: FftNum + Pod + Default + PartialOrd {
    /// Its word in the contract.
    const DTYPE: Dtype;
    /// The word of complex numbers of it.
    const COMPLEX_DTYPE: Dtype;

    /// The nearest number of this type.
    fn of(value: f64) -> Self;

    /// The same number in double precision.
    fn wide(self) -> f64;

    /// A transform of real lines that needs what not every type, length and processor has.
    #[doc(hidden)]
    fn own_line(_planner: &mut FftPlanner<Self>, _points: usize) -> Option<Box<dyn RealLine<Self>>> {
        None
    }

    /// Calls `body` with this thread's plans.
    #[doc(hidden)]
    fn with_plans<R>(body: impl FnOnce(&mut Plans<Self>) -> R) -> R;
}

macro_rules! float {
    ($type:ty, $dtype:expr, $complex:expr $(, $more:item)?) => {
        impl Float for $type {
            const DTYPE: Dtype = $dtype;
            const COMPLEX_DTYPE: Dtype = $complex;

            fn of(value: f64) -> Self {
                value as $type
            }

            fn wide(self) -> f64 {
                self.into()
            }

            $($more)?

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
float!(f32, Dtype::F32, Dtype::C64);
float!(
    f64,
    Dtype::F64,
    Dtype::C128,
    #[cfg(target_arch = "x86_64")]
    fn own_line(planner: &mut FftPlanner<f64>, points: usize) -> Option<Box<dyn RealLine<f64>>> {
        super::sixteenths::sixteenths(planner, points).or_else(|| {
            let is_long = points > HALVED_POINTS;
            Some(Box::new(
                is_long.then(|| super::quarters::Quarters::new(planner, points))??,
            ))
        })
    }
);

/// The window, the two rates and the length of a resampling filter.
type FilterKey = (Window, usize, usize, usize);

type ByLength<P> = HashMap<usize, Arc<P>, RandomState>;

/// One thread's plans and work space.
#[doc(hidden)]
pub struct Plans<T: FftNum> {
    real_planner: RealFftPlanner<T>,
    complex_planner: FftPlanner<T>,
    real: ByLength<OneSided<T>>,
    real_inverse: ByLength<dyn ComplexToReal<T>>,
    complex: ByLength<dyn Fft<T>>,
    complex_inverse: ByLength<dyn Fft<T>>,
    windows: HashMap<(Window, usize), Arc<[T]>, RandomState>,
    filters: HashMap<FilterKey, Arc<[T]>, RandomState>,
    points: usize,
    pub(crate) work: Work<T>,
}

/// Buffers that grow to what is needed.
#[derive(Default)]
pub(crate) struct Work<T> {
    pub(crate) line: LineWork<T>,
    pub(crate) sweep: SweepWork<T>,
    /// The spectrum of one line, or those of some segments.
    pub(crate) spectrum: Vec<Complex<T>>,
    /// The spectrum of a segment of a second tensor.
    pub(crate) other_spectrum: Vec<Complex<T>>,
    /// A line of each of two tensors.
    pub(crate) signals: [Vec<T>; 2],
    /// One segment of a line.
    pub(crate) segment: Vec<T>,
    /// What the segments of one line gave.
    pub(crate) table: Vec<T>,
}

/// What the transform of one line needs.
#[doc(hidden)]
#[derive(Default)]
pub struct LineWork<T> {
    /// One line of real samples; a transform overwrites it.
    pub(crate) samples: Vec<T>,
    /// What the transforms themselves need.
    pub(crate) scratch: Vec<Complex<T>>,
}

/// What a sweep over strided lines needs.
#[derive(Default)]
pub(crate) struct SweepWork<T> {
    /// Samples of a block of lines, taken out of a strided array.
    pub(crate) gathered: Vec<T>,
    /// What became of that block.
    pub(crate) results: Vec<T>,
}

impl<T: Float> Plans<T> {
    fn new() -> Self {
        Self {
            real_planner: RealFftPlanner::new(),
            complex_planner: FftPlanner::new(),
            real: HashMap::default(),
            real_inverse: HashMap::default(),
            complex: HashMap::default(),
            complex_inverse: HashMap::default(),
            windows: HashMap::default(),
            filters: HashMap::default(),
            points: 0,
            work: Work::default(),
        }
    }

    /// The plan for real lines of a length.
    pub(crate) fn real(&mut self, points: usize) -> Arc<OneSided<T>> {
        if let Some(plan) = self.real.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = Arc::new(if let Some(line) = T::own_line(&mut self.complex_planner, points) {
            OneSided::Own(line)
        } else if points.is_multiple_of(2) && points <= HALVED_POINTS {
            let half = self.complex_planner.plan_fft_forward(points / 2);
            OneSided::Own(Box::new(Halved::new(half)))
        } else {
            OneSided::Other(self.real_planner.plan_fft_forward(points))
        });
        self.real.insert(points, Arc::clone(&plan));
        plan
    }

    /// The plan back to real lines of a length.
    pub(crate) fn real_inverse(&mut self, points: usize) -> Arc<dyn ComplexToReal<T>> {
        if let Some(plan) = self.real_inverse.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = self.real_planner.plan_fft_inverse(points);
        self.real_inverse.insert(points, Arc::clone(&plan));
        plan
    }

    /// The plan for complex lines of a length.
    pub(crate) fn complex(&mut self, points: usize) -> Arc<dyn Fft<T>> {
        if let Some(plan) = self.complex.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = self.complex_planner.plan_fft_forward(points);
        self.complex.insert(points, Arc::clone(&plan));
        plan
    }

    /// The plan back to complex lines of a length.
    pub(crate) fn complex_inverse(&mut self, points: usize) -> Arc<dyn Fft<T>> {
        if let Some(plan) = self.complex_inverse.get(&points) {
            return Arc::clone(plan);
        }
        self.make_room(points);
        let plan = self.complex_planner.plan_fft_inverse(points);
        self.complex_inverse.insert(points, Arc::clone(&plan));
        plan
    }

    /// The periodic window of a length.
    ///
    /// # Errors
    /// `cancelled` when the context stops its computation.
    pub(crate) fn window(&mut self, window: Window, points: usize, pace: &mut Pace<'_>) -> Result<Arc<[T]>> {
        if let Some(known) = self.windows.get(&(window, points)) {
            return Ok(Arc::clone(known));
        }
        self.make_room(points);
        let mut weights = vec![0.0; points];
        window.fill(&mut weights, true, pace)?;
        let weights: Arc<[T]> = weights.into_iter().map(T::of).collect();
        self.windows.insert((window, points), Arc::clone(&weights));
        Ok(weights)
    }

    /// The resampling filter of a key, made by `design` if it is new.
    ///
    /// # Errors
    /// Those of `design`.
    pub(crate) fn filter(&mut self, key: FilterKey, design: impl FnOnce() -> Result<Arc<[T]>>) -> Result<Arc<[T]>> {
        if let Some(known) = self.filters.get(&key) {
            return Ok(Arc::clone(known));
        }
        let weights = design()?;
        self.make_room(weights.len());
        self.filters.insert(key, Arc::clone(&weights));
        Ok(weights)
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
        give_back(&mut self.line.samples);
        give_back(&mut self.line.scratch);
        give_back(&mut self.sweep.gathered);
        give_back(&mut self.sweep.results);
        give_back(&mut self.spectrum);
        give_back(&mut self.other_spectrum);
        self.signals.iter_mut().for_each(give_back);
        give_back(&mut self.segment);
        give_back(&mut self.table);
    }
}
