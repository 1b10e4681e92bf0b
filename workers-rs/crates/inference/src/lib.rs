//! OpenVINO: devices, models and pools of inference requests.
//!
//! # Layout
//! In the order in which a model meets them:
//! - `openvino`: safe handles over OpenVINO's C library, found and loaded at run time; but for `memory`, which talks to
//!   the system, the only unsafe code.
//! - [`Runtime`]: the library and its one core; lists every [`Device`], absent ones with the reason.
//! - [`ModelOptions`]: what to compile and how; `settings` turns it into OpenVINO's properties.
//!   `seal` keeps the compiled forms, and the `facts` that were measured.
//! - `build` chooses the device, `attempt` tries one; `ladder` and `bucket` compile it for several row counts and
//!   measure them; `independence` finds out whether rows may be joined at all, `quiet` whether inferences can fail.
//! - `fixed` and `flexible`: execution with static shapes (buckets of rows, used as `plan` says) and with dynamic ones
//!   (`usual` compiles for the shape that most requests have), on requests that run side by side (`lane`), as far as the
//!   `budget` of threads goes.
//! - [`Model`]: checks frames (`check`), joins and splits them (`batch`), and answers with frames (`reply`).
//!
//! Inference is synchronous on the calling thread: callers bring the threads, so no callback is ever registered.

mod attempt;
mod batch;
mod bucket;
mod budget;
mod build;
mod check;
mod device;
mod facts;
mod fixed;
mod flexible;
mod independence;
mod ladder;
mod lane;
#[allow(
    unsafe_code,
    reason = "asks the C library to give memory back; the block states why it is sound"
)]
mod memory;
mod model;
#[allow(
    unsafe_code,
    reason = "calls OpenVINO's C library; every block states why it is sound"
)]
mod openvino;
mod options;
mod plan;
mod port;
mod quiet;
mod reply;
mod runtime;
mod seal;
mod settings;
mod usual;

pub use budget::Budget;
pub use device::Device;
pub use memory::keep_one_arena;
pub use model::{Joint, Model};
pub use options::{Hint, ModelOptions};
pub use port::Port;
pub use runtime::Runtime;
