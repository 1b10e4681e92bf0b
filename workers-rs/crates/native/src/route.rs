//! A way for requests to one subject, with the headers of the frames that go there most.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use npufleet_client::Subject;
use npufleet_payload::INLINE_BYTES;
use npufleet_wire::frame::MAX_HEADER_BYTES;
use parking_lot::Mutex;
use pyo3::buffer::{Element, PyUntypedBuffer};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyType};

use crate::flight::Flight;
use crate::fork::Generation;
use crate::hub::{Asked, Hub, alive};
use crate::payloads::{Frame, Payloads};

/// Larger frames are joined by Python, which borrows them to us without another copy, in bytes.
const JOINED_BELOW: usize = 16 * 1024;
/// Layouts remembered; a program with more gains nothing from remembering.
const LAYOUTS: usize = 1024;
/// Parameters that are nested deeper, or longer, are looked at by Python each time.
const PARAMS_DEPTH: usize = 8;
const KEY_BYTES: usize = 4096;
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
    /// The name of the tensor that a bare array is.
    main_input: Option<String>,
    origin: Py<PyAny>,
    headers: Mutex<HashMap<Vec<u8>, Bytes>>,
    /// Keys with parameters that came once, by their hashes.
    seen: Mutex<HashSet<u64>>,
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
            main_input,
            origin,
            headers: Mutex::default(),
            seen: Mutex::default(),
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
        let Some(layout) = self.layout(py, tensors, params).filter(|_| in_time) else {
            return Ok(None);
        };
        let Some(header) = self.headers.lock().get(&layout.key).cloned() else {
            return Ok(None);
        };
        let hub = alive(&self.hub)?;
        let Some(frame) = layout.frame(py, &header, hub.payloads()) else {
            return Ok(None);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let asked = Asked {
            subject: self.subject.clone(),
            frame,
            accepts: self.accepts.load(Ordering::Relaxed),
            learns: Some(Arc::clone(&self.accepts)),
            deadline_us: (now.as_micros() as f64 + seconds * 1e6) as u64,
            headers,
            origin: self.origin.clone_ref(py),
            half_time: true,
        };
        hub.start(py, asked).map(Some)
    }

    /// Remember the header of a frame that Python made of these tensors, if all such frames are made alike.
    fn learn(&self, py: Python<'_>, tensors: &Bound<'_, PyAny>, params: &Bound<'_, PyAny>, frame: &Bound<'_, PyBytes>) {
        let frame = frame.as_bytes();
        let Some(layout) = self.layout(py, tensors, params) else {
            return;
        };
        if layout.key.len() > KEY_BYTES || !(params.is_none() || self.came_before(&layout)) {
            return;
        }
        // The widest elements come first in a frame: only tensors that are in that order are simply joined.
        let in_order = layout.arrays.is_sorted_by(|one, next| one.item_size >= next.item_size);
        let Some(header) = frame.len().checked_sub(layout.bytes()).map(|size| &frame[..size]) else {
            return;
        };
        if in_order && layout.join(py, header).is_some_and(|joined| joined == frame) {
            let mut headers = self.headers.lock();
            if headers.len() >= LAYOUTS {
                headers.clear();
            }
            let is_large = layout.bytes() >= INLINE_BYTES;
            let header = if is_large {
                aligned(header)
            } else {
                Bytes::copy_from_slice(header)
            };
            headers.insert(layout.key, header);
        }
    }
}

/// The tensors of a request, and what tells requests apart whose frames have different headers.
struct Layout {
    arrays: Vec<Array>,
    key: Vec<u8>,
}

/// Copies an array's elements to a place of its size; false when it cannot.
type Copier = fn(Python<'_>, &PyUntypedBuffer, &mut [u8]) -> bool;

struct Array {
    buffer: PyUntypedBuffer,
    item_size: usize,
    copy: Copier,
}

impl Layout {
    fn bytes(&self) -> usize {
        self.arrays.iter().map(|array| array.buffer.len_bytes()).sum()
    }

    /// The frame with a header: where its array lies already, in a slot if it is large, or on the heap.
    fn frame(&self, py: Python<'_>, header: &[u8], payloads: &Payloads) -> Option<Frame> {
        let size = header.len() + self.bytes();
        if size >= payloads.inline_below() {
            if let [array] = &self.arrays[..]
                && let Some(memory) = payloads.made(array.buffer.buf_ptr() as usize, array.buffer.len_bytes())
                && let Some(frame) = memory.frame(header)
            {
                return Some(Frame::Prefixed(Arc::new(frame)));
            }
            let placed = payloads.write(size, |place| self.write(py, header, place));
            if placed.is_some() {
                return placed;
            }
        }
        (size < JOINED_BELOW).then(|| self.join(py, header))?.map(Frame::Inline)
    }

    fn join(&self, py: Python<'_>, header: &[u8]) -> Option<Bytes> {
        let mut frame = vec![0; header.len() + self.bytes()];
        self.write(py, header, &mut frame).then(|| frame.into())
    }

    /// Writes the frame to a place of its size; false when an array cannot be copied.
    fn write(&self, py: Python<'_>, header: &[u8], place: &mut [u8]) -> bool {
        let (front, mut rest) = place.split_at_mut(header.len());
        front.copy_from_slice(header);
        for array in &self.arrays {
            let (place, further) = rest.split_at_mut(array.buffer.len_bytes());
            if !(array.copy)(py, &array.buffer, place) {
                return false;
            }
            rest = further;
        }
        true
    }

    fn push(&mut self, py: Python<'_>, name: &str, array: &Bound<'_, PyAny>) -> Option<()> {
        if !array.get_type().is(ndarray(py)?) {
            return None;
        }
        let buffer = PyUntypedBuffer::get(array).ok()?;
        let copy = copier(buffer.format())?;
        if !buffer.is_c_contiguous() {
            return None;
        }
        self.key.extend_from_slice(name.as_bytes());
        self.key.push(0);
        self.key.extend_from_slice(buffer.format().to_bytes_with_nul());
        for length in buffer.shape() {
            self.key.extend_from_slice(&length.to_ne_bytes());
        }
        self.key.push(0);
        self.arrays.push(Array {
            item_size: buffer.item_size(),
            buffer,
            copy,
        });
        Some(())
    }
}

impl Route {
    /// Whether such a request came before: a program whose parameters are others each time gains nothing from learning.
    fn came_before(&self, layout: &Layout) -> bool {
        let mut seen = self.seen.lock();
        if seen.len() >= LAYOUTS {
            seen.clear();
        }
        let hash = seen.hasher().hash_one(&layout.key);
        !seen.insert(hash)
    }

    fn layout(&self, py: Python<'_>, tensors: &Bound<'_, PyAny>, params: &Bound<'_, PyAny>) -> Option<Layout> {
        let mut layout = Layout {
            arrays: Vec::with_capacity(1),
            key: Vec::with_capacity(64),
        };
        // In front: it says itself where it ends, which the shapes of any number of tensors do not.
        tell_apart(params, &mut layout.key, 0)?;
        if let Ok(named) = tensors.cast_exact::<PyDict>() {
            for (name, array) in named {
                layout.push(py, name.cast_exact::<PyString>().ok()?.to_str().ok()?, &array)?;
            }
        } else {
            layout.push(py, self.main_input.as_deref()?, tensors)?;
        }
        Some(layout)
    }
}

/// Writes parameters so that others are written otherwise, other types included: 1, 1.0 and True are not equally valid.
/// None for what is no plain JSON, and for what is nested deeper than parameters are.
fn tell_apart(value: &Bound<'_, PyAny>, key: &mut Vec<u8>, depth: usize) -> Option<()> {
    if value.is_none() {
        key.push(b'n');
        return Some(());
    }
    let mut write = |kind: u8, bytes: &[u8]| {
        key.push(kind);
        key.extend_from_slice(&bytes.len().to_ne_bytes());
        key.extend_from_slice(bytes);
    };
    if let Ok(text) = value.cast_exact::<PyString>() {
        write(b's', text.to_str().ok()?.as_bytes());
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        write(b'f', &number.value().to_bits().to_ne_bytes());
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        write(b'b', &[u8::from(flag.is_true())]);
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        write(b'i', &number.extract::<i64>().ok()?.to_ne_bytes());
    } else if depth == PARAMS_DEPTH {
        return None;
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        write(b'l', &list.len().to_ne_bytes());
        for item in list {
            tell_apart(&item, key, depth + 1)?;
        }
    } else if let Ok(named) = value.cast_exact::<PyDict>() {
        write(b'd', &named.len().to_ne_bytes());
        for (name, item) in named {
            tell_apart(name.cast_exact::<PyString>().ok()?, key, depth + 1)?;
            tell_apart(&item, key, depth + 1)?;
        }
    } else {
        return None;
    }
    Some(())
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

/// How elements of a native format are copied to a frame, which is little-endian as every machine we run on.
fn copier(format: &CStr) -> Option<Copier> {
    Some(match format.to_bytes() {
        b"d" => copy::<f64>,
        b"f" => copy::<f32>,
        b"l" | b"q" => copy::<i64>,
        b"i" => copy::<i32>,
        b"B" => copy::<u8>,
        _ => return None,
    })
}

fn copy<T: Element + bytemuck::Pod>(py: Python<'_>, buffer: &PyUntypedBuffer, place: &mut [u8]) -> bool {
    let (Ok(typed), Ok(place)) = (buffer.as_typed::<T>(), bytemuck::try_cast_slice_mut(place)) else {
        return false;
    };
    typed.copy_to_slice(py, place).is_ok()
}

fn ndarray(py: Python<'_>) -> Option<&Bound<'_, PyType>> {
    static CLASS: pyo3::sync::PyOnceLock<Py<PyType>> = pyo3::sync::PyOnceLock::new();
    CLASS.import(py, "numpy", "ndarray").ok()
}
