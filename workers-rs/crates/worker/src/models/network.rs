//! `OpenVINO`, loaded in the background, and compiled models as engines.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use npufleet_inference::{Budget, Device, Hint, ModelOptions, Port, Runtime};
use npufleet_wire::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::carrier::{Carrier, Failure};
use super::entry::{self, Entry};
use crate::Config;
use crate::endpoint::{Engine, Network};

const DEVICES: [&str; 3] = ["NPU", "GPU", "CPU"];

/// Loads the library once and models with it, each on a thread of its own.
pub(crate) struct Loader {
    library: Option<PathBuf>,
    options: ModelOptions,
    failures: UnboundedSender<Failure>,
}

/// A model that is ready to be served.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) carrier: Arc<Carrier>,
    /// What its status tells: device, inputs, outputs.
    pub(crate) details: Value,
}

impl Loader {
    /// `failures` hears when a device fails later.
    pub(crate) fn new(config: &Config, failures: UnboundedSender<Failure>) -> Self {
        let mut options = ModelOptions::new("");
        options.devices.clone_from(&config.devices);
        options.cache_dir = Some(config.cache_directory().join("compiled"));
        options.parallel = config.executor_count();
        options.budget = Budget::new(config.threads);
        options.patience = config.device_patience();
        Self {
            library: config.openvino_library.clone(),
            options,
            failures,
        }
    }

    /// The devices of a model in order of preference.
    pub(crate) fn devices_for<'a>(&'a self, entry: &'a Entry) -> &'a [String] {
        entry.devices.as_ref().unwrap_or(&self.options.devices)
    }

    /// The devices of this machine; loads the library.
    pub(crate) async fn devices(&self) -> Value {
        let library = self.library.clone();
        let devices =
            tokio::task::spawn_blocking(move || Ok(devices_json(&Runtime::load(library.as_deref())?.devices())));
        let devices: Result<Value> = devices.await.unwrap_or_else(|error| Err(defect(&error)));
        devices.unwrap_or_else(|error| without_library(&error.message))
    }

    /// Compiles and warms up a model for the first of `devices` that takes it.
    ///
    /// # Errors
    /// `unavailable` without the library or a device, `internal` when the model cannot be compiled.
    pub(crate) async fn load(&self, entry: &Entry, path: PathBuf, devices: Vec<String>) -> Result<Loaded> {
        let library = self.library.clone();
        let mut options = self.options.clone();
        options.path = path;
        options.digest = Some(super::files::digest(entry));
        options.max_batch = entry.max_batch;
        options.precision.clone_from(&entry.precision);
        options.instances = entry.instances;
        options.hint = entry.performance_hint.map(|hint| match hint {
            entry::Hint::Latency => Hint::Latency,
            entry::Hint::Throughput => Hint::Throughput,
        });
        options.devices = devices;
        let compiled = tokio::task::spawn_blocking(move || Runtime::load(library.as_deref())?.compile(&options)).await;
        let model = compiled.unwrap_or_else(|error| Err(defect(&error)))?;
        let carrier = Carrier::new(model, self.failures.clone());
        let model = carrier.model();
        let details = json!({
            "device": carrier.own_device(),
            "inputs": ports(model.inputs()),
            "outputs": ports(model.outputs()),
            "max_batch": model.max_batch(),
            "notes": model.device_notes(),
        });
        let delay = Duration::from_micros(entry.max_queue_delay_us);
        let engine = Engine::Model {
            network: Arc::clone(&carrier) as Arc<dyn Network>,
            version: entry.version,
            delay,
        };
        Ok(Loaded {
            engine,
            carrier,
            details,
        })
    }
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
