//! The buckets of the model registry, which may appear, vanish and come back at any time.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::kv::{self, Operation, Store};
use async_nats::jetstream::object_store::Object;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use npufleet_wire::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use super::entry::Entry;
use crate::events::log;

const MODELS: &str = "npu_models";
const STATUS: &str = "npu_model_status";
const FILES: &str = "npu_model_files";
/// How long the broker may take to answer about a bucket.
const PATIENCE: Duration = Duration::from_secs(5);

/// The registry as this worker uses it.
pub(crate) struct Registry {
    context: Context,
    worker: String,
    /// What this worker says about models, by key of the status bucket; the bucket does not survive the broker.
    said: Mutex<HashMap<String, (Entry, Value)>>,
    complaint: Mutex<String>,
}

/// A change of the registry: a new value under a key, or none when it was removed.
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) value: Option<Bytes>,
}

/// What is registered, first as it is and then as it changes.
pub(crate) struct Watch {
    /// The keys that were there when the watch began.
    pub(crate) keys: Vec<String>,
    entries: kv::Watch,
}

impl Registry {
    pub(crate) fn new(client: Client, worker: String) -> Self {
        let (said, complaint) = (Mutex::default(), Mutex::default());
        Self {
            context: jetstream::new(client),
            worker,
            said,
            complaint,
        }
    }

    /// Opens the registry.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) async fn watch(&self) -> std::result::Result<Watch, String> {
        let open = async {
            let store = self.bucket(MODELS).await?;
            let entries = store.watch_with_history(">").await.map_err(|error| error.to_string())?;
            let keys = store.keys().await.map_err(|error| error.to_string())?;
            let keys = keys.try_collect().await.map_err(|error| error.to_string())?;
            Ok(Watch { keys, entries })
        };
        let watch = timeout(PATIENCE, open)
            .await
            .unwrap_or_else(|_| Err("the broker does not answer".to_owned()))?;
        self.complaint.lock().clear();
        Ok(watch)
    }

    /// Says why there is no registry; once, not every two seconds.
    pub(crate) fn complain(&self, reason: &str) {
        let mut complaint = self.complaint.lock();
        if *complaint != reason {
            log(format_args!("no models are served: {reason}"));
            reason.clone_into(&mut complaint);
        }
    }

    /// A file of a model.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn object(&self, name: &str) -> Result<Object> {
        let unavailable = |error: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::Unavailable,
                format!("file '{name}' cannot be fetched: {error}"),
            )
        };
        let store = self
            .context
            .get_object_store(FILES)
            .await
            .map_err(|error| unavailable(&error))?;
        store.get(name).await.map_err(|error| unavailable(&error))
    }

    /// Writes what this worker says about a model.
    pub(crate) async fn say(&self, entry: &Entry, status: Value) {
        let key = format!("{}.{}", entry.key(), self.worker);
        self.said.lock().insert(key.clone(), (entry.clone(), status.clone()));
        self.write(&key, Some(status)).await;
    }

    /// Writes everything again, after the connection was lost or the buckets appeared.
    pub(crate) async fn repeat(&self) {
        let said: Vec<_> = self
            .said
            .lock()
            .iter()
            .map(|(key, (_, status))| (key.clone(), status.clone()))
            .collect();
        for (key, status) in said {
            self.write(&key, Some(status)).await;
        }
    }

    /// Takes back what was said about the models that `gone` tells.
    pub(crate) async fn withdraw(&self, gone: impl Fn(&Entry) -> bool) {
        let keys: Vec<_> = self
            .said
            .lock()
            .extract_if(|_, (entry, _)| gone(entry))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.write(&key, None).await;
        }
    }

    /// A status that cannot be written stops nothing, so that is only logged.
    async fn write(&self, key: &str, status: Option<Value>) {
        let write = async {
            let store = self.bucket(STATUS).await?;
            match status {
                Some(status) => store
                    .put(key, status.to_string().into())
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string()),
                None => store.delete(key).await.map_err(|error| error.to_string()),
            }
        };
        let written = timeout(PATIENCE, write)
            .await
            .unwrap_or_else(|_| Err("the broker does not answer".to_owned()));
        if let Err(reason) = written {
            log(format_args!("cannot write the status {key}: {reason}"));
        }
    }

    async fn bucket(&self, name: &str) -> std::result::Result<Store, String> {
        self.context.get_key_value(name).await.map_err(|error| {
            let reason = error.to_string();
            // The client library's words for a request that nobody answers.
            if reason.contains("requested JetStream resource does not exist") {
                return "the broker has no JetStream".to_owned();
            }
            format!("bucket {name}: {reason}")
        })
    }
}

impl Watch {
    /// The next change; none when the watch ended, after which a new one tells everything again.
    pub(crate) async fn next(&mut self) -> Option<Change> {
        match self.entries.next().await? {
            Ok(entry) => Some(Change::from(entry)),
            Err(error) => {
                log(format_args!("watching the registry: {error}"));
                None
            }
        }
    }

    /// The next change that is there already.
    pub(crate) fn next_now(&mut self) -> Option<Change> {
        // An error comes again from `next`.
        self.entries.next().now_or_never()??.ok().map(Change::from)
    }
}

impl From<kv::Entry> for Change {
    fn from(entry: kv::Entry) -> Self {
        let value = (entry.operation == Operation::Put).then_some(entry.value);
        Self { key: entry.key, value }
    }
}
