//! A device for tests only: an NPU that is OpenVINO's CPU plugin behind what an NPU demands, and that fails when told.
//!
//! It is there when `NPUFLEET_DEVICE_DOUBLE` names a file, and accepts static shapes only. The word in the file says how
//! it is: nothing (it works), `lost`, `error` (every inference fails), or `hang` (no inference ends).

use std::env;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::{Failure, Graph};

pub(super) const NAME: &str = "NPU";
/// What does its work.
pub(super) const SUBSTITUTE: &str = "CPU";
pub(super) const FULL_NAME: &str = "a test double on the CPU";

static FILE: LazyLock<Option<PathBuf>> = LazyLock::new(|| env::var_os("NPUFLEET_DEVICE_DOUBLE").map(PathBuf::from));

/// Whether a device is the double.
pub(super) fn is(device: &str) -> bool {
    device == NAME && FILE.is_some()
}

/// Refuses what it does not compile.
pub(super) fn compile(graph: &Graph) -> Result<(), Failure> {
    if graph.is_dynamic() {
        return Err(Failure::new("to_shape was called on a dynamic shape"));
    }
    work(Duration::ZERO)
}

/// Fails as it was told.
pub(super) fn work(patience: Duration) -> Result<(), Failure> {
    let Some(file) = &*FILE else { return Ok(()) };
    let word = std::fs::read_to_string(file).unwrap_or_default();
    match word.trim() {
        "lost" => Err(Failure::new(
            "L0 zeFenceHostSynchronize result: ZE_RESULT_ERROR_DEVICE_LOST",
        )),
        "error" => Err(Failure::new(
            "L0 zeCommandQueueExecuteCommandLists result: ZE_RESULT_ERROR_UNKNOWN",
        )),
        "hang" => {
            std::thread::sleep(patience);
            Err(Failure::hangs(patience))
        }
        _ => Ok(()),
    }
}
