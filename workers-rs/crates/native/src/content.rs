//! A reply's frame as Python has it.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use npufleet_client::Reply;
use npufleet_payload::INLINE_BYTES;
use npufleet_wire::{Error, ErrorKind, header};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

use crate::block::Block;
use crate::hub::Hub;
use crate::payloads::Taken;

/// A reply's frame: copied out of the message, or where its worker put it, or where it was fetched to.
pub(crate) enum Content {
    Copied(Py<PyBytes>),
    Block(Py<Block>),
}

impl Content {
    /// Gets at a reply's bytes: its payload, or what it has a claim to. `learns` is told when the next one like it had
    /// better come by claim.
    pub(crate) fn of(
        py: Python<'_>,
        reply: &Reply,
        claim: Option<&str>,
        payload: &Bytes,
        learns: Option<&AtomicBool>,
        hub: &Hub,
    ) -> Result<Self, Error> {
        let Some(claim) = claim else {
            let too_large =
                payload.is_empty() && reply.header(header::ERROR_KIND) == Some(ErrorKind::PayloadTooLarge.as_str());
            if (payload.len() >= INLINE_BYTES || too_large)
                && let Some(learns) = learns
                && hub.payloads().arena().is_some()
            {
                learns.store(true, Ordering::Relaxed);
            }
            // Copied at once: a slice would keep the whole receive buffer alive for as long as the reply.
            return Ok(Self::copied(py, payload));
        };
        let block = |block: Block| {
            let failed = |error: PyErr| Error::new(ErrorKind::Internal, error.to_string());
            Ok(Self::Block(Py::new(py, block).map_err(failed)?))
        };
        if !payload.is_empty() {
            return block(Block::held(payload.clone()));
        }
        match hub.payloads().take(claim)? {
            Taken::Lent(lent) => block(Block::lent(lent)),
            Taken::Copy(copy) => Ok(Self::copied(py, &copy)),
        }
    }

    pub(crate) fn copied(py: Python<'_>, bytes: &[u8]) -> Self {
        Self::Copied(PyBytes::new(py, bytes).unbind())
    }

    pub(crate) fn bytes<'a>(&'a self, py: Python<'a>) -> &'a [u8] {
        match self {
            Self::Copied(bytes) => bytes.as_bytes(py),
            Self::Block(block) => block.get().bytes(),
        }
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Copied(bytes) => Self::Copied(bytes.clone_ref(py)),
            Self::Block(block) => Self::Block(block.clone_ref(py)),
        }
    }

    /// The object that keeps the bytes.
    pub(crate) fn owner<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        match self {
            Self::Copied(bytes) => bytes.bind(py).as_any(),
            Self::Block(block) => block.bind(py).as_any(),
        }
    }

    /// `bytes`, or a `memoryview` of a block.
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Copied(bytes) => Ok(bytes.into_any()),
            Self::Block(block) => Ok(PyMemoryView::from(block.bind(py))?.into_any().unbind()),
        }
    }
}
