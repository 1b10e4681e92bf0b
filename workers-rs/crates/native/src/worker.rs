//! A Rust worker inside a Python process.

use npufleet_wire::{Error, ErrorKind};
use npufleet_worker::Config;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::raise;

/// Serve calls with the options in `config_json` until SIGTERM or SIGINT, then finish what was accepted.
///
/// Blocks, lets other Python threads run, and takes both signals over from Python meanwhile. Raises
/// `InvalidParameterError` for options that it does not know or cannot read and `UnavailableError` when it could not
/// start.
#[pyfunction]
pub(crate) fn run_worker(py: Python<'_>, config_json: &str) -> PyResult<()> {
    let config: Config = serde_json::from_str(config_json).map_err(|error| {
        let message = format!("worker options cannot be read: {error}");
        raise(py, &Error::new(ErrorKind::InvalidParameter, message))
    })?;
    let handlers = Handlers::set_aside(py)?;
    let ended = py.detach(|| npufleet_worker::run(config));
    handlers.restore(py)?;
    ended.map_err(|error| {
        let kind = match error {
            npufleet_worker::Error::Configuration(_) => ErrorKind::InvalidParameter,
            _ => ErrorKind::Unavailable,
        };
        raise(py, &Error::new(kind, error.to_string()))
    })
}

/// Python's own signal handlers. They would raise `KeyboardInterrupt` after a drain that ended well.
struct Handlers(Vec<(Py<PyAny>, Py<PyAny>)>);

impl Handlers {
    /// Gives SIGTERM and SIGINT their defaults. Python does this only on the main thread; on another one it does
    /// nothing here.
    fn set_aside(py: Python<'_>) -> PyResult<Self> {
        let threading = py.import("threading")?;
        let current = threading.call_method0("current_thread")?;
        let mut handlers = Vec::new();
        if current.is(&threading.call_method0("main_thread")?) {
            let signal = py.import("signal")?;
            for name in ["SIGTERM", "SIGINT"] {
                let number = signal.getattr(name)?;
                let handler = signal.call_method1("signal", (&number, signal.getattr("SIG_DFL")?))?;
                handlers.push((number.unbind(), handler.unbind()));
            }
        }
        Ok(Self(handlers))
    }

    fn restore(self, py: Python<'_>) -> PyResult<()> {
        let signal = py.import("signal")?;
        for (number, handler) in self.0 {
            // None stands for a handler that was not set from Python, which cannot be set from there either.
            if !handler.is_none(py) {
                signal.call_method1("signal", PyTuple::new(py, [number, handler])?)?;
            }
        }
        Ok(())
    }
}
