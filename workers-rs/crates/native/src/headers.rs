//! Headers as Python gives them.

use npufleet_client::{HeaderBlock, fits};
use npufleet_wire::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::errors::raise;

/// Adds headers to a block; raises `invalid_parameter` for one that would break the protocol.
pub(crate) fn push_all(py: Python<'_>, block: &mut HeaderBlock, headers: &Bound<'_, PyDict>) -> PyResult<()> {
    for (name, value) in headers {
        let (name, value) = (name.cast::<PyString>()?, value.cast::<PyString>()?);
        let (name, value) = (name.to_str()?, value.to_str()?);
        if !fits(name, value) {
            let message =
                format!("header {name:?} is {value:?}; allowed: one line of text under a name without colons");
            return Err(raise(py, &Error::new(ErrorKind::InvalidParameter, message)));
        }
        block.push(name, value);
    }
    Ok(())
}
