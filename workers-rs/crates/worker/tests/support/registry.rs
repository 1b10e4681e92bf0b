//! The model registry as whoever adds models fills it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context, kv, object_store, stream::StorageType};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub const MODELS: &str = "npu_models";
pub const STATUS: &str = "npu_model_status";
pub const FILES: &str = "npu_model_files";

pub struct Registry {
    pub models: kv::Store,
    pub status: kv::Store,
    pub files: object_store::ObjectStore,
}

impl Registry {
    /// Makes the buckets, or opens them.
    pub async fn new(client: &Client) -> Self {
        let context: Context = jetstream::new(client.clone());
        let bucket = |name: &str, storage| kv::Config {
            bucket: name.to_owned(),
            storage,
            ..Default::default()
        };
        let files = object_store::Config {
            bucket: FILES.to_owned(),
            ..Default::default()
        };
        Self {
            models: context
                .create_key_value(bucket(MODELS, StorageType::File))
                .await
                .unwrap(),
            status: context
                .create_key_value(bucket(STATUS, StorageType::Memory))
                .await
                .unwrap(),
            files: context.create_object_store(files).await.unwrap(),
        }
    }

    /// Uploads a model of the inference crate's tests and registers it; `changes` replace fields of the entry.
    pub async fn add(&self, name: &str, version: u32, files: &[&str], changes: Value) {
        let mut rows = Vec::new();
        for file in files {
            let content = std::fs::read(path(file)).unwrap();
            let extension = file.rsplit_once('.').unwrap().1;
            let (stored, sha256) = (format!("model.{extension}"), hex(&Sha256::digest(&content)));
            let object = format!("{name}/{version}/{stored}");
            self.files.put(object.as_str(), &mut content.as_slice()).await.unwrap();
            rows.push(json!({"name": stored, "object": object, "size": content.len(), "sha256": sha256}));
        }
        let format = if path(files[0]).extension() == Some("onnx".as_ref()) {
            "onnx"
        } else {
            "ir"
        };
        let mut entry = json!({
            "name": name, "version": version, "format": format, "files": rows, "max_batch": 16,
            "precision": "f32", "devices": ["CPU"], "max_queue_delay_us": 0, "added": "2026-01-01T00:00:00Z",
        });
        entry
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        self.models
            .put(format!("{name}.{version}"), entry.to_string().into())
            .await
            .unwrap();
    }

    /// What a worker says about a version; none when it says nothing.
    pub async fn said(&self, name: &str, version: u32, worker: &str) -> Option<Value> {
        let value = self.status.get(format!("{name}.{version}.{worker}")).await.unwrap();
        value.map(|value| serde_json::from_slice(&value).unwrap())
    }

    /// Waits until a worker says that it serves a version on a device.
    pub async fn serves_on(&self, name: &str, version: u32, worker: &str, device: &str) {
        let moved = async {
            while self
                .said(name, version, worker)
                .await
                .is_none_or(|said| said["device"] != device)
            {}
        };
        tokio::time::timeout(Duration::from_secs(30), moved).await.unwrap();
    }

    /// Waits until a worker says nothing about a version any more.
    pub async fn withdrawn(&self, name: &str, version: u32, worker: &str) {
        let gone = async { while self.said(name, version, worker).await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    }
}

/// A file of the inference crate's tests.
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../inference/tests/models")
        .join(file)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}
