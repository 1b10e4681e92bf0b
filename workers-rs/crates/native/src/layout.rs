//! What frames have in common that differ in their data only: a header, found by names, types and shapes.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use pyo3::buffer::{Element, PyUntypedBuffer};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyType};

/// Layouts remembered; a program with more gains nothing from remembering.
const LAYOUTS: usize = 1024;
/// Parameters that are nested deeper, or longer, are looked at by Python each time.
const PARAMS_DEPTH: usize = 8;
const KEY_BYTES: usize = 4096;

/// The headers of the frames that go one way, each learnt from one that was checked.
pub(crate) struct Layouts {
    /// The name of the tensor that a bare array is.
    main_input: Option<String>,
    headers: Mutex<HashMap<Vec<u8>, Bytes, RandomState>>,
    /// Keys with parameters that came once, by their hashes.
    seen: Mutex<HashSet<u64>>,
}

impl Layouts {
    pub(crate) fn new(main_input: Option<String>) -> Self {
        Self {
            main_input,
            headers: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Tensors with the header of their frame, if frames like that were learnt.
    pub(crate) fn find(
        &self,
        py: Python<'_>,
        tensors: &Bound<'_, PyAny>,
        params: &Bound<'_, PyAny>,
    ) -> Option<(Layout, Bytes)> {
        let layout = self.layout(py, tensors, params)?;
        let header = self.headers.lock().get(&layout.key).cloned()?;
        Some((layout, header))
    }

    /// Remembers the header of a frame that Python made of these tensors, if all such frames are made alike; `keep` makes
    /// what is to be remembered of it.
    pub(crate) fn learn(
        &self,
        py: Python<'_>,
        tensors: &Bound<'_, PyAny>,
        params: &Bound<'_, PyAny>,
        frame: &[u8],
        keep: impl FnOnce(&Layout, &[u8]) -> Bytes,
    ) {
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
            let header = keep(&layout, header);
            let mut headers = self.headers.lock();
            if headers.len() >= LAYOUTS {
                headers.clear();
            }
            headers.insert(layout.key, header);
        }
    }

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

/// The tensors of a request, and what tells requests apart whose frames have different headers.
pub(crate) struct Layout {
    pub(crate) arrays: Vec<Array>,
    key: Vec<u8>,
}

/// Copies an array's elements to a place of its size; false when it cannot.
type Copier = fn(Python<'_>, &PyUntypedBuffer, &mut [u8]) -> bool;

pub(crate) struct Array {
    pub(crate) buffer: PyUntypedBuffer,
    item_size: usize,
    copy: Copier,
}

impl Layout {
    pub(crate) fn bytes(&self) -> usize {
        self.arrays.iter().map(|array| array.buffer.len_bytes()).sum()
    }

    pub(crate) fn join(&self, py: Python<'_>, header: &[u8]) -> Option<Bytes> {
        let mut frame = vec![0; header.len() + self.bytes()];
        self.write(py, header, &mut frame).then(|| frame.into())
    }

    /// Writes the frame to a place of its size; false when an array cannot be copied.
    pub(crate) fn write(&self, py: Python<'_>, header: &[u8], place: &mut [u8]) -> bool {
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
