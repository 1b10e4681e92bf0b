//! A frame's tensors as `NumPy` arrays.

use std::ptr::null_mut;

use npufleet_wire::{Error, Layout, TensorInfo};
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, PyArrayObject, get_type_object, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// What `NumPy` needs to view the tensors of frames with one header.
pub(crate) struct Views {
    layout: Layout,
    tensors: Vec<View>,
}

struct View {
    name: Py<PyString>,
    dtype: Py<PyArrayDescr>,
    shape: Vec<npy_intp>,
    start: usize,
}

impl Views {
    pub(crate) fn new(py: Python<'_>, layout: Layout) -> PyResult<Self> {
        let tensors = layout.tensors.iter().map(|info| View::new(py, info));
        let tensors = tensors.collect::<PyResult<_>>()?;
        Ok(Self { layout, tensors })
    }

    /// Checks that a frame has as many bytes as its header says.
    pub(crate) fn check_length(&self, bytes: usize) -> Result<(), Error> {
        self.layout.check_length(bytes)
    }

    /// The arrays by name, as read-only views of a frame that `owner` keeps in memory.
    pub(crate) fn arrays<'py>(&self, frame: &[u8], owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        assert_eq!(frame.len(), self.layout.total, "views are of frames with their header");
        let arrays = PyDict::new(owner.py());
        for view in &self.tensors {
            arrays.set_item(&view.name, view.array(frame, owner)?)?;
        }
        Ok(arrays)
    }
}

impl View {
    fn new(py: Python<'_>, info: &TensorInfo) -> PyResult<Self> {
        Ok(Self {
            name: PyString::new(py, &info.name).unbind(),
            dtype: PyArrayDescr::new(py, info.dtype.numpy())?.unbind(),
            shape: info.shape.iter().map(|length| length.cast_signed()).collect(),
            start: info.start,
        })
    }

    #[allow(unsafe_code, clippy::cast_possible_wrap, reason = "NumPy's interface for C")]
    fn array<'py>(&self, frame: &[u8], owner: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = owner.py();
        let dtype = self.dtype.bind(py).clone().into_dtype_ptr();
        let data = frame[self.start..].as_ptr().cast_mut().cast();
        let shape = self.shape.as_ptr().cast_mut();
        // SAFETY: the tensor lies within the frame, as its layout was checked, and the array keeps the frame's owner.
        // Without flags nobody can write to it. NumPy takes the references to `dtype` and `owner`, and only reads
        // `shape`, which has at most 8 dimensions.
        unsafe {
            let class = get_type_object(py, NpyTypes::PyArray_Type);
            let dimensions = self.shape.len() as _;
            let array =
                PY_ARRAY_API.PyArray_NewFromDescr(py, class, dtype, dimensions, shape, null_mut(), data, 0, null_mut());
            let array = Bound::from_owned_ptr_or_err(py, array)?;
            let set = PY_ARRAY_API.PyArray_SetBaseObject(
                py,
                array.as_ptr().cast::<PyArrayObject>(),
                owner.clone().into_ptr(),
            );
            if set == -1 { Err(PyErr::fetch(py)) } else { Ok(array) }
        }
    }
}
