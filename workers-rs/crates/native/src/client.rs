//! Calls in flight over one connection, completed through an event descriptor.

use std::collections::HashMap;
use std::mem::forget;
use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;
use npufleet_client::{Options, Outcome, Request, Subject};
use npufleet_wire::{Error, ErrorKind};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::errors::{raise, refused};
use crate::fork::Generation;
use crate::reply::Reply;
use crate::wake::Wake;

/// Frames from this size on are sent from Python's memory instead of being copied, in bytes.
const BORROWED_FROM: usize = 16 * 1024;

type Core = npufleet_client::Client<Py<PyAny>>;

/// A connection to the broker. Connecting raises `UnavailableError` when it cannot be made.
///
/// Nothing here blocks but construction and `close`, and both let other Python threads run meanwhile. In a child
/// that was forked after construction every method raises `RuntimeError`.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Client {
    /// Present until the object is dropped.
    core: Option<Core>,
    /// The subject of the last call: most calls go where the one before went.
    subject: Mutex<Subject>,
    /// The number of each call in flight by the address of its future, which lives as long as the call.
    sequences: Mutex<HashMap<usize, u64>>,
    wake: Arc<Wake>,
    generation: Generation,
}

impl Client {
    fn subject(&self, text: &str) -> Subject {
        let mut last = self.subject.lock();
        if last.as_str() != text {
            *last = text.into();
        }
        last.clone()
    }

    fn core(&self) -> PyResult<&Core> {
        self.generation.check()?;
        self.core
            .as_ref()
            .ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("the client was dropped"))
    }
}

#[pymethods]
impl Client {
    /// Connect with options as a JSON object: the fields of `ConnectOptions`.
    #[new]
    fn new(py: Python<'_>, options_json: &str) -> PyResult<Self> {
        let options: Options = serde_json::from_str(options_json).map_err(|error| {
            raise(
                py,
                &Error::new(
                    ErrorKind::InvalidParameter,
                    format!("connect options cannot be read: {error}"),
                ),
            )
        })?;
        let wake = Arc::new(Wake::new()?);
        let signal = Arc::clone(&wake);
        let core = py
            .detach(|| Core::connect(options, move || signal.signal()))
            .map_err(|error| raise(py, &error))?;
        Ok(Self {
            core: Some(core),
            subject: Mutex::new(Subject::from_static("")),
            sequences: Mutex::default(),
            wake,
            generation: Generation::current(),
        })
    }

    /// The descriptor that becomes readable when `drain` has something.
    fn fileno(&self) -> PyResult<RawFd> {
        self.core()?;
        Ok(self.wake.fileno())
    }

    /// Take a frame to send, at `flush` at the latest; `future` comes back from `drain` with the outcome.
    ///
    /// `future` may be any object that is in flight only once. `deadline_us` is in unix microseconds.
    /// Raises `PayloadTooLargeError` (`size`, `limit`) when the broker would not take the message, `UnavailableError`
    /// after `close`.
    #[pyo3(signature = (subject, frame, deadline_us, headers, future))]
    fn submit(
        &self,
        py: Python<'_>,
        subject: &str,
        frame: Bound<'_, PyBytes>,
        deadline_us: u64,
        headers: Option<&Bound<'_, PyDict>>,
        future: Py<PyAny>,
    ) -> PyResult<()> {
        let core = self.core()?;
        let bytes = frame.as_bytes();
        let payload = if bytes.len() < BORROWED_FROM {
            Bytes::copy_from_slice(bytes)
        } else {
            Bytes::from_owner(PyBackedBytes::from(frame))
        };
        let headers = headers
            .filter(|headers| !headers.is_empty())
            .map(|headers| {
                headers
                    .iter()
                    .map(|(name, value)| Ok((name.extract()?, value.extract()?)))
                    .collect()
            })
            .transpose()
            .map_err(|error: PyErr| error)?;
        let request = Request {
            subject: self.subject(subject),
            deadline_us,
            headers,
            payload,
        };
        let address = future.as_ptr().addr();
        let sequence = core.submit(request, future).map_err(|refusal| refused(py, refusal))?;
        self.sequences.lock().insert(address, sequence);
        Ok(())
    }

    /// Take what came back since the last time: a list of `(future, Reply)` or `(future, (kind, message))`.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let core = self.core()?;
        // In this order: what completes in between signals again.
        self.wake.reset();
        let completions = core.drain();
        let mut sequences = self.sequences.lock();
        for (future, _) in &completions {
            sequences.remove(&future.as_ptr().addr());
        }
        drop(sequences);
        let pairs: Vec<Bound<'py, PyTuple>> = completions
            .into_iter()
            .map(|(future, outcome)| match outcome {
                Outcome::Reply(reply) => (future, Reply::new(py, reply)).into_pyobject(py),
                Outcome::Failed(error) => (future, (error.kind.as_str(), error.message)).into_pyobject(py),
            })
            .collect::<PyResult<_>>()?;
        PyList::new(py, pairs)
    }

    /// Send what was submitted; to be called once after each burst of calls.
    fn flush(&self) -> PyResult<()> {
        self.core()?.flush();
        Ok(())
    }

    /// Forget a call and tell the workers; `future` does not come back. One that has come back is ignored.
    fn cancel(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        let core = self.core()?;
        let known = self.sequences.lock().remove(&future.as_ptr().addr());
        if let Some(sequence) = known {
            core.cancel(sequence);
        }
        Ok(())
    }

    /// Bytes that the broker takes in one message, headers included.
    #[getter]
    fn max_payload(&self) -> PyResult<usize> {
        Ok(self.core()?.max_payload())
    }

    /// `connected`, `reconnecting` or `closed`.
    #[getter]
    fn state(&self) -> PyResult<&'static str> {
        Ok(self.core()?.state())
    }

    /// End the connection; calls in flight come back as `unavailable`. Closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let core = self.core()?;
        py.detach(|| core.close());
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let core = self.core.take();
        if self.generation == Generation::current() {
            Python::attach(|py| py.detach(|| drop(core)));
        } else {
            // The connection belongs to the parent, and its thread is not here to be joined.
            forget(core);
        }
    }
}
