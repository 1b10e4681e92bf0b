//! Noticing that this process is a forked child, where no thread of ours runs and any lock may be held for ever.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

static FORKS: AtomicU32 = AtomicU32::new(0);

/// How often this process is a child of itself, when something was created.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) fn current() -> Self {
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Fails with `RuntimeError` in a child that was forked since.
    pub(crate) fn check(self) -> PyResult<()> {
        if self == Self::current() {
            return Ok(());
        }
        Err(PyRuntimeError::new_err(
            "this client was opened before a fork and does not work in the child; open a new one there",
        ))
    }
}

#[pyfunction]
fn _forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Counts forks from now on. Asking for the process id instead would cost a system call for every call sent.
pub(crate) fn watch(py: Python<'_>) -> PyResult<()> {
    let hook = PyDict::new(py);
    hook.set_item("after_in_child", wrap_pyfunction!(_forked, py)?)?;
    py.import("os")?.getattr("register_at_fork")?.call((), Some(&hook))?;
    Ok(())
}
