//! The connection that Python holds.

use std::mem::forget;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use npufleet_client::{Client as Core, Options, Subject};
use npufleet_wire::{Error, ErrorKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

use crate::block::Block;
use crate::errors::raise;
use crate::flight::Flight;
use crate::fork::Generation;
use crate::hub::{Asked, Attached, Hub};
use crate::job_route::JobRoute;
use crate::payloads::{Frame, Payloads};
use crate::route::Route;
use crate::wake::Wake;

/// Frames from this size on are sent from Python's memory instead of being copied, in bytes.
const BORROWED_FROM: usize = 16 * 1024;

/// A connection to the broker. Connecting raises `UnavailableError` when it cannot be made.
///
/// Nothing here blocks but construction and `close`, and both let other Python threads run meanwhile. In a child
/// that was forked after construction every method raises `RuntimeError`.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Client {
    /// Present until the object is dropped.
    hub: Option<Arc<Hub>>,
    generation: Generation,
}

impl Client {
    fn hub(&self) -> PyResult<&Arc<Hub>> {
        self.generation.check()?;
        self.hub
            .as_ref()
            .ok_or_else(|| PyRuntimeError::new_err("the client was dropped"))
    }
}

#[pymethods]
impl Client {
    /// Connect with options as a JSON object: the fields of `ConnectOptions`.
    #[new]
    fn new(py: Python<'_>, options_json: &str) -> PyResult<Self> {
        let options: Options = serde_json::from_str(options_json).map_err(|error| {
            let message = format!("connect options cannot be read: {error}");
            raise(py, &Error::new(ErrorKind::InvalidParameter, message))
        })?;
        let payloads = Payloads::new(&options.url).map_err(|error| raise(py, &error))?;
        let wake = Arc::new(Wake::new()?);
        let signal = Arc::clone(&wake);
        let core = py
            .detach(|| Core::connect(options, move || signal.signal()))
            .map_err(|error| raise(py, &error))?;
        Ok(Self {
            hub: Some(Arc::new(Hub::new(core, wake, payloads))),
            generation: Generation::current(),
        })
    }

    /// Name the event loop that calls `resolve`, what has `flush` called soon, and what takes flights at half-time.
    fn attach(&self, event_loop: Py<PyAny>, flush_soon: Py<PyAny>, half_time: Py<PyAny>) -> PyResult<()> {
        self.hub()?.attach(Attached {
            event_loop,
            flush_soon,
            half_time,
        });
        Ok(())
    }

    /// The descriptor that becomes readable when `resolve` has something to do.
    fn fileno(&self) -> PyResult<RawFd> {
        Ok(self.hub()?.wake().fileno())
    }

    /// Take a frame to send, at `flush` at the latest, and return its flight.
    ///
    /// `deadline_us` is in unix microseconds; `origin` is the flight's attribute of that name. Without `by_claim` the
    /// frame and its reply go through the broker whatever their size. Raises
    /// `PayloadTooLargeError` (`size`, `limit`) when the broker would not take the message, `UnavailableError` after
    /// `close`.
    #[pyo3(signature = (subject, frame, deadline_us, headers=None, origin=None, half_time=false, by_claim=true))]
    #[allow(clippy::too_many_arguments, reason = "they are Python's, by name")]
    fn request(
        &self,
        py: Python<'_>,
        subject: &str,
        frame: Bound<'_, PyBytes>,
        deadline_us: u64,
        headers: Option<Py<PyDict>>,
        origin: Option<Py<PyAny>>,
        half_time: bool,
        by_claim: bool,
    ) -> PyResult<Py<Flight>> {
        let hub = self.hub()?;
        let bytes = frame.as_bytes();
        let frame = if bytes.len() < BORROWED_FROM {
            Bytes::copy_from_slice(bytes)
        } else {
            Bytes::from_owner(PyBackedBytes::from(frame))
        };
        let asked = Asked {
            subject: Subject::from(subject),
            frame: if by_claim {
                hub.place(frame)
            } else {
                Frame::Inline(frame)
            },
            accepts: by_claim,
            learns: None,
            store: None,
            deadline_us,
            headers,
            origin: origin.unwrap_or_else(|| py.None()),
            half_time,
        };
        let flight = hub.start(py, asked)?;
        if !by_claim {
            // Asked for when a worker could not read one.
            hub.payloads().avoid();
        }
        Ok(flight)
    }

    /// Have results come by claim from now on where they can; false when this process has no shared memory.
    fn accept(&self) -> PyResult<bool> {
        Ok(self.hub()?.payloads().arena().is_some())
    }

    /// Memory for an array that is to be sent, in shared memory; None without room.
    fn make(&self, length: usize) -> PyResult<Option<Block>> {
        Ok(self.hub()?.payloads().make(length).map(Block::made))
    }

    /// How many requests went inline and by arena.
    #[getter]
    fn placements(&self) -> PyResult<(usize, usize)> {
        let payloads = self.hub()?.payloads();
        Ok((
            payloads.inline.load(Ordering::Relaxed),
            payloads.placed.load(Ordering::Relaxed),
        ))
    }

    /// Bytes of shared memory behind this process's slots, and how many slots are in use.
    fn usage(&self) -> PyResult<(u64, usize)> {
        let arena = self.hub()?.payloads().made_arena();
        Ok(arena.map_or((0, 0), |arena| (arena.usage().bytes, arena.usage().slots)))
    }

    /// Make a way for requests to one subject; flights that it begins have `origin` and half-times.
    fn route(&self, subject: &str, main_input: Option<String>, origin: Py<PyAny>) -> PyResult<Route> {
        Ok(Route::new(self.hub()?, self.generation, subject, main_input, origin))
    }

    /// Make a way for jobs to one subject, all with these headers.
    fn job_route(
        &self,
        py: Python<'_>,
        subject: &str,
        main_input: Option<String>,
        headers: &Bound<'_, PyDict>,
    ) -> PyResult<JobRoute> {
        JobRoute::new(py, self.hub()?, self.generation, subject, main_input, headers)
    }

    /// Send what was submitted; to be called once after each burst of calls.
    fn flush(&self) -> PyResult<()> {
        self.hub()?.flush();
        Ok(())
    }

    /// Complete the flights that came back since the last time, and let the tasks that wait for them go on.
    fn resolve(&self, py: Python<'_>) -> PyResult<()> {
        self.hub()?.resolve(py)
    }

    /// Bytes that the broker takes in one message, headers included.
    #[getter]
    fn max_payload(&self) -> PyResult<usize> {
        Ok(self.hub()?.core().max_payload())
    }

    /// `connected`, `reconnecting` or `closed`.
    #[getter]
    fn state(&self) -> PyResult<&'static str> {
        Ok(self.hub()?.core().state())
    }

    /// End the connection; flights fail as `unavailable` at the next `resolve`. Closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let hub = self.hub()?;
        py.detach(|| hub.core().close());
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hub.as_ref().map_or(Ok(()), |hub| hub.traverse(&visit))
    }

    fn __clear__(&self) {
        if let Some(hub) = &self.hub {
            hub.clear();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let hub = self.hub.take();
        if self.generation == Generation::current() {
            Python::attach(|py| py.detach(|| drop(hub)));
        } else {
            // The connection belongs to the parent, and its thread is not here to be joined.
            forget(hub);
        }
    }
}
