//! Signal operations, one pure function per file.
//!
//! # Layout
//! - [`Operation`]: what every operation is; [`registry`] lists them, [`run`] does one from bytes to bytes.
//! - [`common`]: lines along an axis, and what else several operations share.
//! - [`adaptive`]: LMS, NLMS and RLS.
//! - [`echo`]: gives back what it gets, to measure and to rehearse.
//! - [`fft`], [`ifft`]: discrete Fourier transform along one axis, and back.
//! - [`filter`]: Butterworth and Chebyshev I filters along one axis.
//! - [`kalman`]: Kalman filter and Rauch-Tung-Striebel smoother.
//! - [`resample`]: another sampling rate.
//! - [`spectral`]: power spectra, cross spectra and coherence.
//! - [`stft`]: short-time Fourier transform.
//! - [`pipeline`]: operations one after the other.
//! - [`wavelet`]: multilevel discrete wavelet transform and denoising.
//! - [`window`]: window functions.
//!
//! An operation meets a frame whose parameters and tensors the contract has already passed; it checks only what the
//! contract's rows cannot say, and answers [`ErrorKind::Unsupported`] where the other engine can do more.

pub mod adaptive;
pub mod common;
pub mod echo;
pub mod fft;
pub mod filter;
pub mod ifft;
pub mod kalman;
pub mod pipeline;
pub mod resample;
pub mod spectral;
pub mod stft;
pub mod wavelet;
pub mod window;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use npufleet_wire::frame::{self, Draft, HeaderCache, Heap, Room, Spec};
use npufleet_wire::{Error, ErrorKind, Frame, Layout, Result, contract};
use serde_json::{Map, Value};

/// A named function over tensors with parameters.
pub trait Operation: Send + Sync {
    /// Its name in the contract.
    fn name(&self) -> &'static str;

    /// How much work a frame is, in the operation's own unit; at least 1.
    fn rows(&self, layout: &Layout) -> usize;

    /// Does the work; `params` are checked and have their defaults.
    ///
    /// # Errors
    /// Those of the operation; [`ErrorKind::Cancelled`] when the context told it to stop.
    fn execute(&self, frame: &Frame, params: &Map<String, Value>, context: &Context<'_>) -> Result<Bytes>;

    /// Does the work inside a worker, which has more than operations.
    ///
    /// # Errors
    /// As [`Operation::execute`].
    fn execute_in(
        &self,
        _worker: &dyn Worker,
        frame: &Frame,
        params: &Map<String, Value>,
        context: &Context<'_>,
    ) -> Result<Bytes> {
        self.execute(frame, params, context)
    }
}

/// What a worker offers to the operations that run in it.
pub trait Worker {
    /// Runs a model on a checked request.
    ///
    /// # Errors
    /// Those of the model; `unknown_model` when it is not served here.
    fn infer(&self, model: &str, frame: &Frame, params: &Map<String, Value>) -> Result<Bytes>;

    /// Hears of a step that was executed.
    fn step(&self, step: &pipeline::Step<'_>, start: Instant, error: Option<&Error>);
}

/// What an operation may ask and tell while it works.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// True once the answer is no longer wanted (cancelled, or past the deadline): long work asks now and then.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Hears how much of the work is done, 0 to 1: long work says it now and then.
    pub progress: &'a (dyn Fn(f64) + Sync),
    /// Where the result is written.
    pub room: &'a dyn Room,
}

impl Context<'static> {
    /// A context that never stops the work.
    pub const fn never() -> Self {
        Self::stopping(&|| false)
    }
}

impl<'a> Context<'a> {
    /// A context in which nobody hears how much is done, and results are on the heap.
    pub const fn stopping(stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self {
            stop,
            progress: &|_| {},
            room: &Heap,
        }
    }

    /// A result with these tensors, each byte of which is to be written, and where each of them is.
    ///
    /// # Errors
    /// As [`frame::draft`].
    pub(crate) fn draft(&self, tensors: &[Spec<'_>]) -> Result<(Draft<'a>, Vec<Range<usize>>)> {
        frame::draft(self.room, tensors)
    }

    /// Says that the share `done` (0 to 1) of the work is done.
    pub fn report(&self, done: f64) {
        (self.progress)(done);
    }

    /// Ends the work when it is no longer wanted.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`]; whoever set `stop` knows whether it was the deadline.
    pub fn check(&self) -> Result<()> {
        if (self.stop)() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "the work was stopped: its answer is no longer wanted",
            ));
        }
        Ok(())
    }
}

/// Every operation of this engine but `infer`, which needs models.
pub fn registry() -> &'static [&'static dyn Operation] {
    &[
        &adaptive::Adaptive,
        &echo::Echo,
        &fft::Fft,
        &filter::Filter,
        &ifft::Ifft,
        &kalman::Kalman,
        &pipeline::Pipeline,
        &resample::Resample,
        &spectral::Spectral,
        &stft::Stft,
        &wavelet::Wavelet,
        &window::Window,
    ]
}

/// The operation of a name.
pub fn find(name: &str) -> Option<&'static dyn Operation> {
    registry().iter().copied().find(|operation| operation.name() == name)
}

/// A header that has passed an operation's checks, as a worker remembers it too.
struct Checked {
    layout: Arc<Layout>,
    params: Map<String, Value>,
}

thread_local! {
    static CHECKED: RefCell<HashMap<&'static str, HeaderCache<Checked>>> = RefCell::default();
}

/// Does one operation from frame to frame, checks included; what a header says is checked once per thread.
///
/// # Errors
/// Everything that a worker would answer for this frame.
pub fn run(name: &str, frame: Bytes) -> Result<Bytes> {
    let (Some(operation), Some(row)) = (find(name), contract::operation(name)) else {
        return Err(Error::new(
            ErrorKind::UnknownOperation,
            format!("unknown operation '{name}'"),
        ));
    };
    let header = frame::header(&frame)?;
    let checked = CHECKED.with_borrow_mut(|known| {
        known.entry(operation.name()).or_default().get_or_make(header, || {
            let layout = Layout::parse(header)?;
            let params = row.check_params(&layout.params)?;
            row.check_inputs(&layout)?;
            let layout = Arc::new(layout);
            Ok(Checked { layout, params })
        })
    })?;
    let frame = Frame::new(Arc::clone(&checked.layout), frame)?;
    operation.execute(&frame, &checked.params, &Context::never())
}
