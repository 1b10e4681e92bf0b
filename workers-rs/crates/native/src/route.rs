//! A way for requests to one subject, with the headers of the frames that go there most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use npufleet_client::Subject;
use npufleet_payload::INLINE_BYTES;
use npufleet_wire::frame::MAX_HEADER_BYTES;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::flight::Flight;
use crate::fork::Generation;
use crate::hub::{Asked, Hub, alive, now_us};
use crate::layout::{Layout, Layouts};
use crate::payloads::{Frame, Payloads};

/// Larger frames are joined by Python, which borrows them to us without another copy, in bytes.
const JOINED_BELOW: usize = 16 * 1024;
/// What the data of a frame in a slot is aligned to, in bytes; slots begin at a page.
const ALIGNMENT: usize = 64;
const PREFIX: usize = size_of::<u64>();
const TIMEOUT_LIMIT_S: f64 = 7.0 * 24.0 * 3600.0;

/// Where the requests for one operation, model and lane go.
///
/// The contract is checked in Python. What passed there once, as the names, types and shapes of its tensors say, is
/// begun here without another look: its frame is the same header followed by other data.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Route {
    hub: Weak<Hub>,
    generation: Generation,
    subject: Subject,
    origin: Py<PyAny>,
    layouts: Layouts,
    /// Set when a reply was large enough to come by claim the next time.
    accepts: Arc<AtomicBool>,
}

impl Route {
    pub(crate) fn new(
        hub: &Arc<Hub>,
        generation: Generation,
        subject: &str,
        main_input: Option<String>,
        origin: Py<PyAny>,
    ) -> Self {
        Self {
            hub: Arc::downgrade(hub),
            generation,
            subject: subject.into(),
            origin,
            layouts: Layouts::new(main_input),
            accepts: Arc::default(),
        }
    }
}

#[pymethods]
impl Route {
    /// Send tensors; None when that is for Python to look at, which then raises or calls `learn`.
    fn begin(
        &self,
        py: Python<'_>,
        tensors: &Bound<'_, PyAny>,
        params: &Bound<'_, PyAny>,
        timeout: &Bound<'_, PyAny>,
        headers: Option<Py<PyDict>>,
    ) -> PyResult<Option<Py<Flight>>> {
        self.generation.check()?;
        let seconds = timeout.extract::<f64>().unwrap_or(0.0);
        let in_time = seconds > 0.0 && seconds <= TIMEOUT_LIMIT_S;
        let Some((layout, header)) = self.layouts.find(py, tensors, params).filter(|_| in_time) else {
            return Ok(None);
        };
        let hub = alive(&self.hub)?;
        let Some(frame) = framed(py, &layout, &header, hub.payloads()) else {
            return Ok(None);
        };
        let asked = Asked {
            subject: self.subject.clone(),
            frame,
            accepts: self.accepts.load(Ordering::Relaxed),
            learns: Some(Arc::clone(&self.accepts)),
            store: None,
            deadline_us: now_us() + (seconds * 1e6) as u64,
            headers,
            origin: self.origin.clone_ref(py),
            half_time: true,
        };
        hub.start(py, asked).map(Some)
    }

    /// Remember the header of a frame that Python made of these tensors, if all such frames are made alike.
    fn learn(&self, py: Python<'_>, tensors: &Bound<'_, PyAny>, params: &Bound<'_, PyAny>, frame: &Bound<'_, PyBytes>) {
        self.layouts
            .learn(py, tensors, params, frame.as_bytes(), |layout, header| {
                if layout.bytes() >= INLINE_BYTES {
                    aligned(header)
                } else {
                    Bytes::copy_from_slice(header)
                }
            });
    }
}

/// The frame with a header: where its array lies already, in a slot if it is large, or on the heap.
fn framed(py: Python<'_>, layout: &Layout, header: &[u8], payloads: &Payloads) -> Option<Frame> {
    let size = header.len() + layout.bytes();
    if size >= payloads.inline_below() {
        if let [array] = &layout.arrays[..]
            && let Some(memory) = payloads.made(array.buffer.buf_ptr() as usize, array.buffer.len_bytes())
            && let Some(frame) = memory.frame(header)
        {
            return Some(Frame::Prefixed(Arc::new(frame)));
        }
        let placed = payloads.write(size, |place| layout.write(py, header, place));
        if placed.is_some() {
            return placed;
        }
    }
    (size < JOINED_BELOW)
        .then(|| layout.join(py, header))?
        .map(Frame::Inline)
}

/// A header with spaces at its end, so that what follows begins where vector instructions and `OpenVINO` like it.
fn aligned(header: &[u8]) -> Bytes {
    let mut padded = header.to_vec();
    padded.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    let json = padded.len() - PREFIX;
    if json <= MAX_HEADER_BYTES {
        padded[..PREFIX].copy_from_slice(&(json as u64).to_le_bytes());
    } else {
        padded.truncate(header.len());
    }
    padded.into()
}
