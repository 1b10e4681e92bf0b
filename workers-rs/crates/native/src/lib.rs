//! The Python extension `npufleet._native`: client and worker, thin.
//!
//! In the order that data flows:
//! - [`client`]: `Client`, a connection
//! - [`route`]: `Route`, the short way for requests like those before; [`layout`]: what those have in common
//! - [`job_route`]: `JobRoute`, the same for jobs; [`job_batch`]: `JobBatch`, many that are stored together
//! - [`flight`]: `Flight`, a request in flight and its reply; [`content`]: the reply's frame; [`views`]: its arrays
//! - [`payloads`]: frames beside the broker; [`block`]: memory in a slot
//! - [`hub`]: a connection with its flights, and the event loop that resolves them
//! - [`kernel`]: `execute`, one operation on one frame without a broker
//! - [`channel`]: `ChannelOwner` and `ChannelAsker`, frames over ZeroMQ
//! - [`worker`]: `run_worker`, a whole worker that serves until it is told to stop
//! - [`errors`]: error kinds as the exceptions of `npufleet.errors`
//! - [`headers`]: headers as Python gives them
//! - [`fork`]: noticing that this process is a forked child
//! - [`wake`]: the event descriptor

mod block;
mod channel;
mod client;
mod content;
mod errors;
mod flight;
mod fork;
mod headers;
mod hub;
mod job_batch;
mod job_route;
mod kernel;
mod layout;
mod payloads;
mod route;
mod views;
mod wake;
mod worker;

use pyo3::prelude::*;

/// Returns the version of the compiled core.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<channel::ChannelAsker>()?;
    module.add_class::<channel::ChannelOwner>()?;
    module.add_class::<client::Client>()?;
    module.add_class::<block::Block>()?;
    module.add_class::<flight::Flight>()?;
    module.add_class::<route::Route>()?;
    module.add_class::<job_route::JobRoute>()?;
    module.add_class::<job_batch::JobBatch>()?;
    module.add_function(wrap_pyfunction!(kernel::execute, module)?)?;
    module.add_function(wrap_pyfunction!(worker::run_worker, module)?)?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    fork::watch(module.py())
}
