//! The payload channel for Python programs: what lends frames, and what fetches them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use npufleet_payload::channel::{Asker, Endpoint, Owner, Source};
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::raise;

/// The asked side of the channel; end it with `close`.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct ChannelOwner {
    address: String,
    owner: Mutex<Option<Owner>>,
}

#[pymethods]
impl ChannelOwner {
    #[new]
    #[pyo3(signature = (endpoint = None, security = "auto"))]
    fn new(py: Python<'_>, endpoint: Option<&str>, security: &str) -> PyResult<Self> {
        let open = || {
            let endpoint = endpoint.map_or(Ok(Endpoint::LOOPBACK), str::parse)?;
            Owner::open(endpoint, security.parse()?)
        };
        let owner = py.detach(open).map_err(|error| raise(py, &error))?;
        Ok(Self {
            address: owner.address().to_string(),
            owner: Mutex::new(Some(owner)),
        })
    }

    /// Where others can ask: the value of `Npu-Channel`.
    #[getter]
    fn address(&self) -> &str {
        &self.address
    }

    /// Lend frames from an arena from now on: an object with `arena`, `borrow(slot, generation, length) -> bytes` and
    /// `release(slot, generation)`, which the channel's thread calls.
    fn add(&self, source: Bound<'_, PyAny>) -> PyResult<()> {
        let arena = source.getattr("arena")?.extract()?;
        let source = Arc::new(Lender {
            arena,
            source: source.unbind(),
        });
        if let Some(owner) = &*self.owner.lock() {
            owner.add(source);
        }
        Ok(())
    }

    /// End it; closing again does nothing.
    fn close(&self, py: Python<'_>) {
        // Its thread may be waiting to run Python.
        py.detach(|| drop(self.owner.lock().take()));
    }
}

impl Drop for ChannelOwner {
    fn drop(&mut self) {
        Python::attach(|py| self.close(py));
    }
}

/// A Python object that lends frames.
struct Lender {
    arena: [u8; 16],
    source: Py<PyAny>,
}

impl Source for Lender {
    fn arena(&self) -> [u8; 16] {
        self.arena
    }

    fn borrow(&self, claim: &Claim) -> Result<Bytes> {
        Python::attach(|py| {
            let lent = self
                .source
                .call_method1(py, "borrow", (claim.slot, claim.generation, claim.length));
            let frame = lent.and_then(|lent| Ok(lent.extract::<PyBackedBytes>(py)?));
            frame.map(Bytes::from_owner).map_err(|error| refusal(py, &error))
        })
    }

    fn release(&self, slot: u32, generation: u64) {
        Python::attach(|py| {
            if let Err(error) = self.source.call_method1(py, "release", (slot, generation)) {
                error.write_unraisable(py, None);
            }
        });
    }
}

/// An exception of `npufleet.errors` as the error it stands for.
fn refusal(py: Python<'_>, error: &PyErr) -> Error {
    let kind = error
        .value(py)
        .getattr("kind")
        .and_then(|kind| kind.extract::<String>());
    let kind = kind.ok().and_then(|kind| ErrorKind::parse(&kind));
    Error::new(kind.unwrap_or(ErrorKind::PayloadLost), error.value(py).to_string())
}

/// The asking side of the channel, for any number of threads.
#[pyclass(frozen, module = "npufleet._native")]
pub(crate) struct ChannelAsker(Asker);

#[pymethods]
impl ChannelAsker {
    #[new]
    fn new() -> Self {
        Self(Asker::default())
    }

    /// Fetch the frame of a claim from an address; both are header values. Lets other Python threads run meanwhile.
    ///
    /// Raises what the `fetch` of `npufleet.payload.channel.asker` raises.
    #[pyo3(signature = (address, claim, *, limit, timeout, release = false))]
    fn fetch<'py>(
        &self,
        py: Python<'py>,
        address: &str,
        claim: &str,
        limit: u64,
        timeout: f64,
        release: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let fetched = py.detach(|| {
            let (address, claim) = (address.parse()?, claim.parse()?);
            let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::MAX);
            self.0.fetch(&address, &claim, limit, timeout, release)
        });
        fetched
            .map(|frame| PyBytes::new(py, &frame))
            .map_err(|error| raise(py, &error))
    }
}
