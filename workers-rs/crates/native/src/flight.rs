//! One request in flight and, once it is done, its reply.

use std::mem::take;
use std::sync::{Arc, Weak, atomic::AtomicBool};

use bytes::Bytes;
use npufleet_client::{Outcome, Reply};
use npufleet_wire::{Error, ErrorKind, header};
use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict};

use crate::content::Content;
use crate::errors::{from_asyncio, no_reply, raise};
use crate::hub::{Hub, alive};
use crate::payloads::Frame;
use crate::views::Views;

/// A request in flight; awaited like an asyncio future, it is its own reply once it is done.
///
/// asyncio's futures schedule everybody who waits for them through the loop's queue of Python objects, which costs more
/// than the rest of a call. This one follows the same protocol and continues a waiting task at once.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Flight {
    hub: Weak<Hub>,
    sequence: u64,
    /// What the caller wants back at half-time.
    #[pyo3(get)]
    origin: Py<PyAny>,
    /// When it must have been answered, in unix microseconds.
    #[pyo3(get)]
    deadline_us: u64,
    /// The further headers that it was sent with, or None.
    #[pyo3(get)]
    headers: Option<Py<PyDict>>,
    is_claimed: bool,
    learns: Option<Arc<AtomicBool>>,
    /// Whether it goes to a stream instead of to workers.
    is_stored: bool,
    state: Mutex<State>,
}

/// What a new flight is made of.
pub(crate) struct Start {
    pub(crate) sequence: u64,
    pub(crate) origin: Py<PyAny>,
    pub(crate) deadline_us: u64,
    pub(crate) headers: Option<Py<PyDict>>,
    pub(crate) frame: Frame,
    pub(crate) learns: Option<Arc<AtomicBool>>,
    pub(crate) is_stored: bool,
}

struct State {
    /// Kept until there is a good reply: another engine may have to be asked with it.
    frame: Frame,
    end: Option<End>,
    /// Who waits, each with the context to run in.
    waiting: Vec<(Py<PyAny>, Py<PyAny>)>,
    /// Set while a task is about to wait for this: asyncio's sign that it was awaited and not just yielded.
    blocking: bool,
}

enum End {
    Replied {
        reply: Reply,
        payload: Content,
        /// How the payload's tensors are viewed, or why it is no frame.
        views: Result<Arc<Views>, Error>,
        plain: bool,
    },
    Failed(Error),
    Cancelled,
}

impl Flight {
    pub(crate) fn new(hub: Weak<Hub>, start: Start) -> Self {
        Self {
            hub,
            sequence: start.sequence,
            origin: start.origin,
            deadline_us: start.deadline_us,
            headers: start.headers,
            is_claimed: start.frame.claim().is_some(),
            learns: start.learns,
            is_stored: start.is_stored,
            state: Mutex::new(State {
                frame: start.frame,
                end: None,
                waiting: Vec::new(),
                blocking: false,
            }),
        }
    }

    /// When it must have been answered, in unix microseconds.
    pub(crate) fn deadline_us(&self) -> u64 {
        self.deadline_us
    }

    /// Ends the flight and lets everybody who waits go on; nothing when it has ended already.
    pub(crate) fn complete(flight: &Bound<'_, Self>, outcome: Outcome, hub: &Hub) -> PyResult<()> {
        let py = flight.py();
        let end = match outcome {
            Outcome::Reply(reply) => Self::replied(flight, reply, hub),
            Outcome::Failed(error) => End::Failed(error),
            Outcome::HalfTime => return Ok(()),
        };
        let Some(waiting) = flight.get().end(py, end) else {
            return Ok(());
        };
        let mut failed = Ok(());
        for (callback, context) in waiting {
            let (callback, context) = (callback.bind(py), context.bind(py));
            // A task's own wake-up is a built-in function. It may run here and now, since no task runs while the loop
            // resolves; anybody else gets the turn of the loop that a future would give.
            let went_on = if callback.is_exact_instance_of::<PyCFunction>() {
                context.call_method1(intern!(py, "run"), (callback, flight))
            } else {
                flight.get().call_soon(callback, context, flight)
            };
            if let Err(error) = went_on {
                failed = Err(error);
            }
        }
        failed
    }

    fn replied(flight: &Bound<'_, Self>, mut reply: Reply, hub: &Hub) -> End {
        let (py, content) = (flight.py(), take(&mut reply.payload));
        if flight.get().is_stored {
            return End::Replied {
                plain: reply.is_stored,
                reply,
                payload: Content::copied(py, &content),
                views: Err(Error::new(ErrorKind::InvalidFrame, "an acknowledgement is no frame")),
            };
        }
        let [claim, placement, engine, reason] = reply.header_each([
            header::CLAIM,
            header::PLACEMENT,
            header::ENGINE,
            header::FALLBACK_REASON,
        ]);
        if flight.get().is_claimed && placement == Some(header::ZEROMQ) {
            hub.payloads().avoid_channel();
        }
        match Content::of(py, &reply, claim, &content, flight.get().learns.as_deref(), hub) {
            Ok(payload) => {
                let views = hub.views(py, payload.bytes(py));
                let plain = views.is_ok() && engine == Some("rust") && reason.is_none();
                End::Replied {
                    reply,
                    payload,
                    views,
                    plain,
                }
            }
            Err(error) => End::Failed(error),
        }
    }

    /// Sets how it ended and returns who waits, or nothing when it had ended before.
    fn end(&self, py: Python<'_>, end: End) -> Option<Vec<(Py<PyAny>, Py<PyAny>)>> {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return None;
        }
        // Without a frame in the reply, or when it is not stored, it may be wanted again.
        let is_over = match &end {
            End::Replied { plain, .. } if self.is_stored => *plain,
            End::Replied { payload, .. } => !payload.bytes(py).is_empty(),
            End::Failed(_) => !self.is_stored,
            End::Cancelled => true,
        };
        if is_over {
            state.frame = Frame::Inline(Bytes::new());
        }
        state.end = Some(end);
        Some(take(&mut state.waiting))
    }

    fn call_soon<'py>(
        &self,
        callback: &Bound<'py, PyAny>,
        context: &Bound<'py, PyAny>,
        flight: &Bound<'py, Self>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = flight.py();
        let named = PyDict::new(py);
        named.set_item(intern!(py, "context"), context)?;
        let hub = self.hub()?;
        hub.event_loop(py)?
            .call_method(intern!(py, "call_soon"), (callback, flight), Some(&named))
    }

    fn hub(&self) -> PyResult<Arc<Hub>> {
        alive(&self.hub)
    }

    fn reply<T>(&self, read: impl FnOnce(&Reply, &Content) -> T) -> PyResult<T> {
        match &self.state.lock().end {
            Some(End::Replied { reply, payload, .. }) => Ok(read(reply, payload)),
            _ => Err(no_reply()),
        }
    }
}

#[pymethods]
impl Flight {
    /// 0 for a worker's reply, 503 when nobody subscribes to the subject.
    #[getter]
    fn status(&self) -> PyResult<u16> {
        self.reply(|reply, _| reply.status)
    }

    /// The reply's frame; empty when the worker answers with an error.
    #[getter]
    fn payload(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.reply(|_, payload| payload.clone_ref(py))?.into_python(py)
    }

    /// The reply's arrays by name, as read-only views of its frame; raises how it is none.
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        // Arrays are made without the lock: that may run Python code, which may come back here.
        let (payload, views) = match &self.state.lock().end {
            Some(End::Replied { payload, views, .. }) => (payload.clone_ref(py), views.clone()),
            _ => return Err(no_reply()),
        };
        let views = views.map_err(|error| raise(py, &error))?;
        views.arrays(payload.bytes(py), payload.owner(py))
    }

    /// Where the frame that was sent lies: `inline` or `arena`.
    #[getter]
    fn placement(&self) -> &'static str {
        if self.is_claimed { "arena" } else { "inline" }
    }

    /// One header of the reply, or None.
    fn header(&self, name: &str) -> PyResult<Option<String>> {
        self.reply(|reply, _| reply.header(name).map(str::to_owned))
    }

    /// Whether a Rust worker answered with a valid frame, and without a fallback: nothing about it needs a look.
    #[getter]
    fn plain(&self) -> bool {
        matches!(self.state.lock().end, Some(End::Replied { plain: true, .. }))
    }

    /// The frame that was sent; empty once there is a good reply.
    #[getter]
    fn frame<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.state.lock().frame.bytes())
    }

    /// Take over the reply of another flight, which has one, and forget the work that this one asked for.
    fn answer(slf: &Bound<'_, Self>, other: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let outcome = other.get().reply(|reply, payload| {
            let payload = Bytes::copy_from_slice(payload.bytes(py));
            Outcome::Reply(Reply {
                status: reply.status,
                headers: reply.headers.clone(),
                payload,
                is_stored: false,
            })
        })?;
        let hub = slf.get().hub()?;
        hub.forget(slf.get().sequence);
        Self::complete(slf, outcome, &hub)
    }

    /// Forget the request and tell the workers; returns whether it was in flight.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let _ = msg; // asyncio's signature; a cancelled call has nothing to say but that
        let flight = slf.get();
        let Some(waiting) = flight.end(slf.py(), End::Cancelled) else {
            return Ok(false);
        };
        if let Some(hub) = flight.hub.upgrade() {
            hub.forget(flight.sequence);
        }
        for (callback, context) in waiting {
            flight.call_soon(callback.bind(slf.py()), context.bind(slf.py()), slf)?;
        }
        Ok(true)
    }

    /// Whether it has ended.
    fn done(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// Whether it was cancelled.
    fn cancelled(&self) -> bool {
        matches!(self.state.lock().end, Some(End::Cancelled))
    }

    /// Return the flight itself once there is a reply; raise how it ended otherwise.
    fn result(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        match slf.get().exception(slf.py())? {
            Some(error) => Err(error),
            None => Ok(slf),
        }
    }

    /// Return how it failed, or None when there is a reply.
    #[pyo3(name = "exception")]
    fn exception_of(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(self.exception(py)?.map(|error| error.into_value(py).into_any()))
    }

    /// Have `callback(flight)` called when it has ended.
    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Bound<'_, PyAny>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let context = match context {
            Some(context) => context,
            None => py
                .import(intern!(py, "contextvars"))?
                .call_method0(intern!(py, "copy_context"))?,
        };
        let mut state = slf.get().state.lock();
        if state.end.is_none() {
            state.waiting.push((callback.unbind(), context.unbind()));
            return Ok(());
        }
        drop(state);
        slf.get().call_soon(&callback, &context, slf).map(drop)
    }

    /// Take a callback back; returns how many there were.
    fn remove_done_callback(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<usize> {
        let waiting = take(&mut self.state.lock().waiting);
        let before = waiting.len();
        let mut kept = Vec::new();
        for (each, context) in waiting {
            if !each.bind(py).eq(callback)? {
                kept.push((each, context));
            }
        }
        let removed = before - kept.len();
        self.state.lock().waiting.extend(kept);
        Ok(removed)
    }

    /// The event loop that resolves it.
    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.hub()?.event_loop(py)?.unbind())
    }

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.state.lock().blocking
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.state.lock().blocking = blocking;
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: Bound<'_, Self>) -> PyResult<Option<Bound<'_, Self>>> {
        let mut state = slf.get().state.lock();
        if state.end.is_none() {
            state.blocking = true;
            drop(state);
            return Ok(Some(slf));
        }
        drop(state);
        Self::result(slf).map(|_| None)
    }
}

impl Flight {
    fn exception(&self, py: Python<'_>) -> PyResult<Option<PyErr>> {
        // Exceptions are made without the lock: that runs Python code, which may come back here.
        let error = match &self.state.lock().end {
            Some(End::Replied { .. }) => return Ok(None),
            Some(End::Failed(error)) => Some(error.clone()),
            Some(End::Cancelled) => None,
            None => return Err(from_asyncio(py, "InvalidStateError")?),
        };
        match error {
            Some(error) => Ok(Some(raise(py, &error))),
            None => from_asyncio(py, "CancelledError").map(Some),
        }
    }
}
