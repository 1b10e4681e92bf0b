//! A connection with its flights, and the event loop that resolves them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use npufleet_client::{BySequence, Client, HeaderBlock, Outcome, Request, Store, Subject};
use npufleet_payload::{HEADER_ROOM, INLINE_BYTES};
use npufleet_wire::frame::{self, HeaderCache};
use npufleet_wire::{Error, ErrorKind, Layout, header};
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::refused;
use crate::flight::{Flight, Start};
use crate::headers::push_all;
use crate::payloads::{Frame, Payloads};
use crate::views::Views;
use crate::wake::Wake;

/// For how many turns of the loop what was submitted waits for those who go on in the next one, because something came
/// back meanwhile: more calls then leave together.
const ROUNDS: usize = 4;

/// What only one thread uses, the one that runs the event loop; the locks are for a Python program's mistakes.
///
/// The connection knows calls by their numbers and has no Python objects, so that its thread never needs the
/// interpreter.
pub(crate) struct Hub {
    core: Client,
    wake: Arc<Wake>,
    flights: Mutex<BySequence<Py<Flight>>>,
    views: Mutex<HeaderCache<Views>>,
    payloads: Payloads,
    attached: Mutex<Option<Attached>>,
    /// Set while flights are completed: what the tasks that go on submit is sent at the end of that, or of one of the next
    /// [`ROUNDS`] turns.
    resolving: AtomicBool,
    /// Turns in a row that ended without sending.
    rounds: AtomicUsize,
    /// Set from when `flush` was asked for until it comes.
    flushing: AtomicBool,
}

/// The event loop, and what is called on it.
pub(crate) struct Attached {
    pub(crate) event_loop: Py<PyAny>,
    /// Has `flush` called at the end of this turn of the loop.
    pub(crate) flush_soon: Py<PyAny>,
    /// Is called with a flight that half of its time has passed for.
    pub(crate) half_time: Py<PyAny>,
}

/// A request as Python gives it.
pub(crate) struct Asked {
    pub(crate) subject: Subject,
    pub(crate) frame: Frame,
    /// Whether the caller takes results by claim, learnt from earlier ones like it.
    pub(crate) accepts: bool,
    /// Is told when a result was large enough for that.
    pub(crate) learns: Option<Arc<AtomicBool>>,
    /// Present when a stream is to store it.
    pub(crate) store: Option<Store>,
    pub(crate) deadline_us: u64,
    pub(crate) headers: Option<Py<PyDict>>,
    pub(crate) origin: Py<PyAny>,
    pub(crate) half_time: bool,
}

impl Hub {
    pub(crate) fn new(core: Client, wake: Arc<Wake>, payloads: Payloads) -> Self {
        Self {
            core,
            wake,
            flights: Mutex::default(),
            views: Mutex::default(),
            payloads,
            attached: Mutex::new(None),
            resolving: AtomicBool::new(false),
            rounds: AtomicUsize::new(0),
            flushing: AtomicBool::new(false),
        }
    }

    pub(crate) fn core(&self) -> &Client {
        &self.core
    }

    pub(crate) fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    pub(crate) fn wake(&self) -> &Wake {
        &self.wake
    }

    pub(crate) fn attach(&self, attached: Attached) {
        *self.attached.lock() = Some(attached);
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.with_attached(|attached| attached.event_loop.bind(py).clone())
    }

    /// Reads something out of what is attached; Python code runs after the lock is free again.
    fn with_attached<T>(&self, read: impl FnOnce(&Attached) -> T) -> PyResult<T> {
        let attached = self.attached.lock();
        let attached = attached.as_ref();
        attached
            .map(read)
            .ok_or_else(|| PyRuntimeError::new_err("no event loop is attached"))
    }

    /// Takes a request to send: at the end of the loop's turn, or where tasks go on one after the other a few turns later.
    pub(crate) fn start(self: &Arc<Self>, py: Python<'_>, asked: Asked) -> PyResult<Py<Flight>> {
        let mut headers = HeaderBlock::default();
        if let Some(further) = &asked.headers {
            push_all(py, &mut headers, further.bind(py))?;
        }
        let claim = asked.frame.claim();
        if claim.is_some() || asked.accepts {
            let claim = claim.map(|claim| claim.to_string());
            let placement = [
                (header::ACCEPT, self.payloads.accept()),
                (header::CHANNEL, self.payloads.channel()),
                (header::CLAIM, claim.as_deref()),
            ];
            for (name, value) in placement {
                if let Some(value) = value {
                    headers.push(name, value);
                }
            }
        }
        let is_stored = asked.store.is_some();
        let request = Request {
            subject: asked.subject,
            deadline_us: asked.deadline_us,
            headers,
            payload: asked.frame.body(),
            half_time: asked.half_time,
            store: asked.store,
        };
        let way = if claim.is_some() {
            &self.payloads.placed
        } else {
            &self.payloads.inline
        };
        if !is_stored {
            way.fetch_add(1, Ordering::Relaxed);
        }
        let sequence = self.core.submit(request).map_err(|refusal| refused(py, refusal))?;
        let start = Start {
            sequence,
            origin: asked.origin,
            deadline_us: asked.deadline_us,
            headers: asked.headers,
            frame: asked.frame,
            learns: asked.learns,
            is_stored,
        };
        let flight = Py::new(py, Flight::new(Arc::downgrade(self), start))?;
        self.flights.lock().insert(sequence, flight.clone_ref(py));
        if !self.resolving.load(Ordering::Relaxed) && !self.flushing.swap(true, Ordering::Relaxed) {
            self.with_attached(|attached| attached.flush_soon.clone_ref(py))?
                .call0(py)?;
        }
        Ok(flight)
    }

    /// A frame that Python made, in a slot if it is large and there is one.
    pub(crate) fn place(&self, frame: Bytes) -> Frame {
        let fits = || frame.len() + HEADER_ROOM <= self.core.max_payload();
        if frame.len() < INLINE_BYTES || (frame.len() < self.payloads.inline_below() && fits()) {
            return Frame::Inline(frame);
        }
        let copy = |place: &mut [u8]| {
            place.copy_from_slice(&frame);
            true
        };
        let placed = self.payloads.write(frame.len(), copy);
        placed.unwrap_or(Frame::Inline(frame))
    }

    /// Sends what was submitted since the last time.
    pub(crate) fn flush(&self) {
        self.flushing.store(false, Ordering::Relaxed);
        self.core.flush();
    }

    /// Completes what came back since the last time; the first error of a callback is returned after all of it.
    pub(crate) fn resolve(&self, py: Python<'_>) -> PyResult<()> {
        // In this order: what completes in between signals again.
        self.wake.reset();
        // What was submitted before must not wait for what those do who go on now.
        if self.flushing.load(Ordering::Relaxed) {
            self.flush();
        }
        let mut result = Ok(());
        self.resolving.store(true, Ordering::Relaxed);
        for (sequence, outcome) in self.core.drain() {
            if let Err(error) = self.settle(py, sequence, outcome)
                && result.is_ok()
            {
                result = Err(error);
            }
        }
        self.resolving.store(false, Ordering::Relaxed);
        // What came meanwhile has signalled. Whoever else is ready has a turn before that.
        if self.core.has_outcomes() && self.rounds.fetch_add(1, Ordering::Relaxed) < ROUNDS {
            return result;
        }
        self.rounds.store(0, Ordering::Relaxed);
        self.core.flush();
        result
    }

    fn settle(&self, py: Python<'_>, sequence: u64, mut outcome: Outcome) -> PyResult<()> {
        if matches!(outcome, Outcome::HalfTime) {
            let flight = self.flights.lock().get(&sequence).map(|flight| flight.clone_ref(py));
            let Some(flight) = flight else { return Ok(()) };
            let half_time = self.with_attached(|attached| attached.half_time.clone_ref(py))?;
            return half_time.call1(py, (flight,)).map(drop);
        }
        if let Outcome::Reply(reply) = &outcome
            && reply.payload.is_empty()
        {
            // An answer to a call that was cancelled is left where it is: the lease ends it.
            let deadline_us = self
                .flights
                .lock()
                .get(&sequence)
                .map(|flight| flight.get().deadline_us());
            let fetch = deadline_us.and_then(|deadline_us| self.payloads.elsewhere(reply, deadline_us));
            if let Some(fetch) = fetch {
                if self.core.finish(sequence, fetch) {
                    return Ok(());
                }
                outcome = Outcome::closed();
            }
        }
        let flight = self.flights.lock().remove(&sequence);
        match flight {
            Some(flight) => Flight::complete(flight.bind(py), outcome, self),
            None => Ok(()), // it was cancelled
        }
    }

    /// How a frame's tensors are viewed, if it is one; those with a header like one before cost a look-up.
    pub(crate) fn views(&self, py: Python<'_>, bytes: &[u8]) -> Result<Arc<Views>, Error> {
        let failed = |error: PyErr| Error::new(ErrorKind::Internal, error.to_string());
        let header = frame::header(bytes)?;
        let make = || Views::new(py, Layout::parse(header)?).map_err(failed);
        let views = self.views.lock().get_or_make(header, make)?;
        views.check_length(bytes.len())?;
        Ok(views)
    }

    /// Gives a request up: its answer goes nowhere, and the workers are told.
    pub(crate) fn forget(&self, sequence: u64) {
        let known = self.flights.lock().remove(&sequence);
        if known.is_some() {
            self.core.cancel(sequence);
        }
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(attached) = self.attached.try_lock() else {
            return Ok(());
        };
        if let Some(attached) = attached.as_ref() {
            visit.call(&attached.event_loop)?;
            visit.call(&attached.flush_soon)?;
            visit.call(&attached.half_time)?;
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let attached = self.attached.lock().take();
        drop(attached);
    }
}

/// What routes and flights have of a hub: it ends with the client that Python holds.
pub(crate) fn alive(hub: &Weak<Hub>) -> PyResult<Arc<Hub>> {
    hub.upgrade()
        .ok_or_else(|| PyRuntimeError::new_err("the connection was dropped"))
}

/// Now, in unix microseconds, as deadlines are.
pub(crate) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as u64
}
