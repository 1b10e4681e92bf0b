//! What to compile, and how.

use std::path::PathBuf;

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
    /// Where compiled models are kept; folders in it are keyed by OpenVINO version, device and instruction set.
    pub cache_dir: Option<PathBuf>,
    /// Threads per inference on the CPU; 0 measures one thread against OpenVINO's choice. Default: 0.
    pub threads: usize,
    /// How many threads will call `infer` at the same time. Default: 1.
    pub parallel: usize,
}

impl ModelOptions {
    /// The defaults for one model file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            devices: ["NPU", "GPU", "CPU"].map(str::to_owned).to_vec(),
            max_batch: 32,
            precision: None,
            cache_dir: None,
            threads: 0,
            parallel: 1,
        }
    }
}
