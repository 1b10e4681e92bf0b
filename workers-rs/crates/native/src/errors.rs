//! Error kinds as the exceptions of `npufleet.errors`.

use npufleet_client::Refusal;
use npufleet_client::outcome::too_large;
use npufleet_wire::{Error, ErrorKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Builds the exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let details = PyDict::new(py);
    let filled = match error.retry_after {
        Some(after) => details.set_item("retry_after", after.as_secs_f64()),
        None => Ok(()),
    };
    filled.map_or_else(
        |failed| failed,
        |()| from_kind(py, error.kind, &error.message, &details),
    )
}

/// Builds the exception for a call that was not taken.
pub(crate) fn refused(py: Python<'_>, refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::TooLarge { size, limit } => {
            let details = PyDict::new(py);
            let filled = details
                .set_item("size", size)
                .and_then(|()| details.set_item("limit", limit));
            let message = too_large(size, limit);
            filled.map_or_else(
                |failed| failed,
                |()| from_kind(py, ErrorKind::PayloadTooLarge, &message, &details),
            )
        }
        Refusal::Error(error) => raise(py, &error),
    }
}

fn from_kind(py: Python<'_>, kind: ErrorKind, message: &str, details: &Bound<'_, PyDict>) -> PyErr {
    let built = py
        .import("npufleet.errors")
        .and_then(|errors| errors.getattr("from_kind"))
        .and_then(|from_kind| from_kind.call((kind.as_str(), message), Some(details)));
    built.map_or_else(|failed| failed, PyErr::from_value)
}

/// What asking for the reply of a flight raises that has none.
pub(crate) fn no_reply() -> PyErr {
    PyRuntimeError::new_err("there is no reply")
}

/// One of asyncio's exceptions.
pub(crate) fn from_asyncio(py: Python<'_>, name: &str) -> PyResult<PyErr> {
    Ok(PyErr::from_value(py.import("asyncio")?.getattr(name)?.call0()?))
}
