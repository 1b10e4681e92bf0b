//! What a call gave.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The answer of a worker, or of the broker when nobody listens.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Reply {
    inner: npufleet_client::Reply,
    payload: Py<PyBytes>,
}

impl Reply {
    pub(crate) fn new(py: Python<'_>, mut inner: npufleet_client::Reply) -> Self {
        // Copied at once: a slice would keep the whole receive buffer alive for as long as the reply.
        let payload = PyBytes::new(py, &std::mem::take(&mut inner.payload)).unbind();
        Self { inner, payload }
    }
}

#[pymethods]
impl Reply {
    /// 0 for a worker's reply, 503 when nobody subscribes to the subject.
    #[getter]
    fn status(&self) -> u16 {
        self.inner.status
    }

    /// The frame; empty when a worker answers with an error.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyBytes> {
        self.payload.clone_ref(py)
    }

    /// Returns one header of the reply, or None.
    fn header(&self, name: &str) -> Option<&str> {
        self.inner.header(name)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!(
            "Reply(status={}, payload=<{} bytes>)",
            self.inner.status,
            self.payload.bind(py).as_bytes().len()
        )
    }
}
