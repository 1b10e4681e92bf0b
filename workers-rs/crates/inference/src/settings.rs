//! OpenVINO's properties for a model on a device.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ladder::is_heavy;
use crate::openvino::Failure;
use crate::{Hint, ModelOptions};

/// How many threads an inference on the CPU gets.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum Threads {
    /// So many of OpenVINO's.
    Count(usize),
    /// The calling one, and OpenVINO's as helpers for large nodes.
    Caller,
    /// So many inferences of one compiled model side by side, each with one of OpenVINO's.
    Streams(usize),
}

/// Compile properties of one device, but for the number of threads.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) device: String,
    precision: Option<String>,
    hint: Hint,
    cache: Option<PathBuf>,
    /// Whether OpenVINO keeps compiled forms there.
    blobs: bool,
}

impl Settings {
    /// The settings that `options` ask for on `device`; creates the cache folder.
    pub(crate) fn new(options: &ModelOptions, device: &str, version: &str) -> Result<Self, Failure> {
        let cache = options
            .cache_dir
            .as_deref()
            .map(|root| cache_folder(root, device, version, options.digest.as_deref()))
            .transpose()?;
        Ok(Self {
            device: device.to_owned(),
            precision: options.precision.clone(),
            hint: options.hint.unwrap_or(Hint::Latency),
            cache,
            // The CPU's form of a large IR is its weights once more, which take longer to check than to prepare.
            blobs: !(device == "CPU" && is_ir(&options.path) && is_heavy(options)),
        })
    }

    /// Key and value pairs; `threads` matters on the CPU only.
    pub(crate) fn properties(&self, threads: Threads) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if self.is_cpu() {
            // Several workers, and several threads of one, would be pinned to the same cores.
            pairs.push(("ENABLE_CPU_PINNING", "NO".to_owned()));
        }
        match threads {
            Threads::Caller if self.is_cpu() => pairs.push(("NUM_STREAMS", "0".to_owned())),
            Threads::Count(count) if self.is_cpu() => {
                pairs.push(("PERFORMANCE_HINT", "LATENCY".to_owned()));
                pairs.push(("INFERENCE_NUM_THREADS", count.to_string()));
            }
            Threads::Streams(count) if self.is_cpu() => {
                pairs.push(("NUM_STREAMS", count.to_string()));
                pairs.push(("INFERENCE_NUM_THREADS", count.to_string()));
            }
            Threads::Caller | Threads::Count(_) | Threads::Streams(_) => {
                let hint = match self.hint {
                    Hint::Latency => "LATENCY",
                    Hint::Throughput => "THROUGHPUT",
                };
                pairs.push(("PERFORMANCE_HINT", hint.to_owned()));
            }
        }
        if let Some(precision) = &self.precision {
            pairs.push(("INFERENCE_PRECISION_HINT", precision.clone()));
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| self.blobs) {
            pairs.push(("CACHE_DIR", cache.to_string_lossy().into_owned()));
        }
        pairs
    }

    /// The same, keeping no compiled form.
    pub(crate) fn without_cache(&self) -> Self {
        Self {
            cache: None,
            ..self.clone()
        }
    }

    /// The folder of compiled models.
    pub(crate) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    pub(crate) fn is_cpu(&self) -> bool {
        self.device == "CPU"
    }

    /// Whether results carry fewer digits than 32-bit floats.
    pub(crate) fn is_coarse(&self) -> bool {
        !self.is_cpu() || self.precision.as_deref().is_some_and(|word| word != "f32")
    }
}

fn is_ir(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "xml")
}

/// A folder that only this OpenVINO on this kind of device reads: blobs are not portable between them.
fn cache_folder(root: &Path, device: &str, version: &str, digest: Option<&str>) -> Result<PathBuf, Failure> {
    let key: String = format!("{version}-{device}-{}", instruction_set())
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let folder = root.join(key).join(digest.unwrap_or_default());
    // Compiled models are code: only their owner may write them.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Failure::new(format!("cache folder {}: {error}", folder.display())))?;
    Ok(folder)
}

/// The widest instruction set that OpenVINO's CPU plugin would use here.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return "avx2";
        }
    }
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_set_on_the_cpu_only() {
        let options = ModelOptions {
            precision: Some("f16".to_owned()),
            ..ModelOptions::new("model.xml")
        };
        let cpu = Settings::new(&options, "CPU", "1")
            .unwrap()
            .properties(Threads::Count(2));
        assert!(cpu.contains(&("INFERENCE_NUM_THREADS", "2".to_owned())));
        assert!(cpu.contains(&("INFERENCE_PRECISION_HINT", "f16".to_owned())));
        let npu = Settings::new(&options, "NPU", "1")
            .unwrap()
            .properties(Threads::Count(2));
        assert!(npu.iter().all(|(key, _)| *key != "INFERENCE_NUM_THREADS"));
    }

    #[test]
    fn the_cache_is_keyed_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let root = std::env::temp_dir().join(format!("npufleet-cache-{}", std::process::id()));
        let folder = cache_folder(&root, "GPU.0", "2026.4.1-1/x", None).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("2026.4.1-1-x-GPU.0-"), "{name}");
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
