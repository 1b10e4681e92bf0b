//! One operation on one frame, without a broker.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::raise;

/// Run the Rust engine's `operation` on a frame and return the reply frame.
///
/// Checks the contract first and raises what a worker would answer. Lets other Python threads run meanwhile.
#[pyfunction]
pub(crate) fn execute<'py>(
    py: Python<'py>,
    operation: &str,
    frame: Bound<'py, PyBytes>,
) -> PyResult<Bound<'py, PyBytes>> {
    let frame = PyBackedBytes::from(frame);
    let reply = py
        .detach(|| npufleet_operations::run(operation, Bytes::from_owner(frame)))
        .map_err(|error| raise(py, &error))?;
    Ok(PyBytes::new(py, &reply))
}
