//! `OpenVINO`, loaded in the background, and compiled models as engines.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use npufleet_inference::{Device, Model, ModelOptions, Port, Runtime};
use npufleet_wire::{Error, ErrorKind, Frame, Layout, Result};
use serde_json::{Value, json};

use super::entry::Entry;
use crate::Config;
use crate::endpoint::{Engine, Network};

const DEVICES: [&str; 3] = ["NPU", "GPU", "CPU"];

/// Loads the library once and models with it, each on a thread of its own.
pub(crate) struct Loader {
    library: Option<PathBuf>,
    options: ModelOptions,
}

/// A model that is ready to be served.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    /// What its status tells: device, inputs, outputs.
    pub(crate) details: Value,
}

impl Loader {
    pub(crate) fn new(config: &Config) -> Self {
        let mut options = ModelOptions::new("");
        options.devices.clone_from(&config.devices);
        options.cache_dir = Some(config.cache_directory().join("compiled"));
        options.threads = config.threads;
        options.parallel = config.executor_count();
        Self {
            library: config.openvino_library.clone(),
            options,
        }
    }

    /// The devices of this machine; loads the library.
    pub(crate) async fn devices(&self) -> Value {
        let library = self.library.clone();
        let devices =
            tokio::task::spawn_blocking(move || Ok(devices_json(&Runtime::load(library.as_deref())?.devices())));
        let devices: Result<Value> = devices.await.unwrap_or_else(|error| Err(defect(&error)));
        devices.unwrap_or_else(|error| without_library(&error.message))
    }

    /// Compiles and warms up a model.
    ///
    /// # Errors
    /// `unavailable` without the library or a device, `internal` when the model cannot be compiled.
    pub(crate) async fn load(&self, entry: &Entry, path: PathBuf) -> Result<Loaded> {
        let library = self.library.clone();
        let mut options = self.options.clone();
        options.path = path;
        options.max_batch = entry.max_batch;
        options.precision.clone_from(&entry.precision);
        if let Some(devices) = &entry.devices {
            options.devices.clone_from(devices);
        }
        let compiled = tokio::task::spawn_blocking(move || Runtime::load(library.as_deref())?.compile(&options)).await;
        let model = compiled.unwrap_or_else(|error| Err(defect(&error)))?;
        let details = json!({
            "device": kind_of(model.device()),
            "inputs": ports(model.inputs()),
            "outputs": ports(model.outputs()),
            "max_batch": model.max_batch(),
            "notes": model.device_notes(),
        });
        let delay = Duration::from_micros(entry.max_queue_delay_us);
        let engine = Engine::Model {
            network: Arc::new(model),
            version: entry.version,
            delay,
        };
        Ok(Loaded { engine, details })
    }
}

impl Network for Model {
    fn device(&self) -> &str {
        kind_of(Model::device(self))
    }

    fn max_rows(&self) -> usize {
        // Requests that must not be mixed go one by one, each with as many rows as it has.
        if self.joins() { self.max_batch() } else { 1 }
    }

    fn check(&self, layout: &Layout) -> Result<usize> {
        Model::check(self, layout)
    }

    fn infer(&self, members: &[Frame]) -> Vec<Result<Bytes>> {
        Model::infer(self, members)
    }
}

/// `GPU.0` is a `GPU`.
fn kind_of(device: &str) -> &str {
    device.split_once('.').map_or(device, |(kind, _)| kind)
}

fn ports(ports: &[Port]) -> Value {
    ports
        .iter()
        .map(|port| json!({"name": port.name, "dtype": port.dtype.numpy(), "shape": port.shape}))
        .collect()
}

fn defect(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, format!("OpenVINO failed: {error}"))
}

fn devices_json(devices: &[Device]) -> Value {
    let row = |device: &Device| {
        let Device {
            name,
            available,
            reason,
            full_name,
        } = device;
        json!({"name": name, "available": available, "reason": reason, "full_name": full_name})
    };
    devices.iter().map(row).collect()
}

/// The devices while `OpenVINO` is loading.
pub(crate) fn unknown_devices() -> Value {
    without_library("OpenVINO is still loading")
}

/// Signal operations need no library: the CPU is always there, for them.
fn without_library(reason: &str) -> Value {
    let row = |name| match name {
        "CPU" => {
            json!({"name": name, "available": true, "reason": format!("for signal operations only: {reason}")})
        }
        _ => json!({"name": name, "available": false, "reason": reason}),
    };
    DEVICES.into_iter().map(row).collect()
}
