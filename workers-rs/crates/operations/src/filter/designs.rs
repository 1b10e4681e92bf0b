//! Filters that were designed before, and work space, kept per thread: the steady state allocates nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use npufleet_wire::Result;

use super::design::{Band, Design, Family};
use super::kernel::{Filter, LANES};
use crate::common::{give_back, invalid_parameter};

/// All filters of a thread are dropped when there are more than this (a megabyte or two).
const MAX_FILTERS: usize = 64;

/// A design in numbers that can be compared: which family and band, the order, and the bits of ripple and cutoffs.
type Key = ([usize; 3], [u64; 3]);

#[derive(Default)]
struct Designs {
    filters: HashMap<Key, Rc<Filter>, RandomState>,
    work: Work,
}

/// Buffers that grow to what is needed.
#[derive(Default)]
pub(super) struct Work {
    /// The states of a group of lines.
    pub(super) states: Vec<f64>,
    /// Their samples.
    pub(super) rows: Vec<f64>,
    /// The segments of one line, side by side.
    pub(super) turned: Vec<[f64; LANES]>,
}

/// Calls `body` with the filter of a design and this thread's work space.
///
/// # Errors
/// Those of `body`, `invalid_parameter` when double precision cannot hold a stable filter of this design.
pub(super) fn with_filter<R>(design: &Design, body: impl FnOnce(&Filter, &mut Work) -> Result<R>) -> Result<R> {
    thread_local! {
        static DESIGNS: RefCell<Designs> = RefCell::default();
    }
    DESIGNS.with_borrow_mut(|Designs { filters, work }| {
        let key = key(design);
        let filter = if let Some(filter) = filters.get(&key) {
            Rc::clone(filter)
        } else {
            let sections = design.make().ok_or_else(|| unstable(design))?;
            if filters.len() >= MAX_FILTERS {
                filters.clear();
            }
            let filter = Rc::new(Filter::new(sections));
            filters.insert(key, Rc::clone(&filter));
            filter
        };
        let result = body(&filter, work);
        give_back(&mut work.rows);
        result
    })
}

fn key(design: &Design) -> Key {
    let (family, ripple) = match design.family {
        Family::Butterworth => (0, 0.0),
        Family::Chebyshev(ripple) => (1, ripple),
    };
    let (band, low, high) = match design.band {
        Band::Low(cutoff) => (0, cutoff, 0.0),
        Band::High(cutoff) => (1, cutoff, 0.0),
        Band::Pass(low, high) => (2, low, high),
        Band::Stop(low, high) => (3, low, high),
    };
    let bits = [ripple, low, high].map(f64::to_bits);
    ([family, band, design.order], bits)
}

fn unstable(design: &Design) -> npufleet_wire::Error {
    invalid_parameter(format!(
        "parameter 'order' is {}; allowed: an order at which {:?} is stable in double precision",
        design.order, design.band
    ))
}
