//! One operation on one frame, without a broker.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::block::Block;
use crate::errors::raise;

/// Run the Rust engine's `operation` on a frame and return the reply frame, in memory of its own.
///
/// Checks the contract first and raises what a worker would answer. Lets other Python threads run meanwhile.
#[pyfunction]
pub(crate) fn execute(py: Python<'_>, operation: &str, frame: Bound<'_, PyBytes>) -> PyResult<Block> {
    let frame = PyBackedBytes::from(frame);
    let reply = py
        .detach(|| npufleet_operations::run(operation, Bytes::from_owner(frame)))
        .map_err(|error| raise(py, &error))?;
    Ok(Block::held(reply))
}
