//! What a call gave.

use npufleet_client::{Headers, Message};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The answer of a worker, or of the broker when nobody listens.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct Reply {
    payload: Py<PyBytes>,
    headers: Box<[u8]>,
}

impl Reply {
    /// Copies what it needs: the message would keep the whole receive buffer alive for as long as the reply.
    pub(crate) fn new(py: Python<'_>, message: &Message) -> Self {
        let payload = PyBytes::new(py, message.payload_bytes()).unbind();
        let headers = message.headers().as_bytes().into();
        Self { payload, headers }
    }
}

#[pymethods]
impl Reply {
    /// 0 for a worker's reply, 503 when nobody subscribes to the subject.
    #[getter]
    fn status(&self) -> u16 {
        Headers::new(&self.headers).status()
    }

    /// The frame; empty when a worker answers with an error.
    #[getter]
    fn payload(&self, py: Python<'_>) -> Py<PyBytes> {
        self.payload.clone_ref(py)
    }

    /// Returns one header of the reply, or None.
    fn header(&self, name: &str) -> Option<&str> {
        Headers::new(&self.headers).get(name)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let size = self.payload.bind(py).as_bytes().len();
        format!("Reply(status={}, payload=<{size} bytes>)", self.status())
    }
}
