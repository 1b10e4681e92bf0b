//! What to compile, and how.

use std::path::PathBuf;
use std::time::Duration;

use crate::Budget;

/// What a model is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The shortest time of one inference.
    Latency,
    /// The most rows per second, by inferences side by side.
    Throughput,
}

/// How a model is compiled.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// The model: `*.onnx`, or `*.xml` with its weights (`*.bin`) beside it.
    pub path: PathBuf,
    /// Devices to try, in order. Default: NPU, GPU, CPU.
    pub devices: Vec<String>,
    /// Most rows in one batch, where the model's first dimension is open. Default: 32.
    pub max_batch: usize,
    /// `INFERENCE_PRECISION_HINT`, such as `f32` or `f16`. Default: the device's own choice.
    pub precision: Option<String>,
    /// `PERFORMANCE_HINT`. Default: measured on the CPU, latency elsewhere.
    pub hint: Option<Hint>,
    /// Inferences side by side. Default: as many as threads call, where that pays.
    pub instances: Option<usize>,
    /// Where compiled models are kept; folders in it are keyed by OpenVINO version, device and instruction set.
    pub cache_dir: Option<PathBuf>,
    /// Names the folder of this model's compiled forms below that; equal for equal files only.
    pub digest: Option<String>,
    /// Threads per inference on the CPU; 0 measures one thread against OpenVINO's choice. Default: 0.
    pub threads: usize,
    /// How many threads will call `infer` at the same time. Default: 1.
    pub parallel: usize,
    /// Threads on the CPU, shared with the other models. Default: one per core, for this model alone.
    pub budget: Budget,
    /// How long a device other than the CPU may be silent until it counts as lost. Default: 10 s.
    pub patience: Duration,
}

impl ModelOptions {
    /// The defaults for one model file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            devices: ["NPU", "GPU", "CPU"].map(str::to_owned).to_vec(),
            max_batch: 32,
            precision: None,
            hint: None,
            instances: None,
            cache_dir: None,
            digest: None,
            threads: 0,
            parallel: 1,
            budget: Budget::new(0),
            patience: Duration::from_secs(10),
        }
    }
}
