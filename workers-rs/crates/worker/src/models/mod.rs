//! Which models this worker serves: the highest registered version of each, loaded one after the other.
//!
//! - `entry`: what the registry says about a model;
//! - `registry`: the buckets: what is registered, what this worker says about it;
//! - `files`: model files in the cache directory, checked against the registry;
//! - `network`: the library and the devices, loaded in the background, and compiled models as engines.

mod entry;
mod files;
mod network;
mod registry;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Config;
use crate::core::{Core, ENGINE};
use crate::endpoint::Endpoint;
use crate::events::{Event, log};
use entry::Entry;
use files::Files;
use network::Loader;
pub(crate) use network::unknown_devices;
pub(crate) use registry::Registry;
use registry::{Change, Watch};

const OPERATION: &str = "infer";
/// After a failure the registry is asked again, ever more rarely.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Follows the registry and serves what it says.
pub(crate) struct Models {
    core: Arc<Core>,
    registry: Arc<Registry>,
    files: Files,
    loader: Loader,
    registered: HashMap<String, BTreeMap<u32, Entry>>,
    served: HashMap<String, Served>,
    /// What could not be loaded, so that it is not tried again until it changes.
    failed: HashMap<String, Entry>,
}

/// A model that is served.
struct Served {
    entry: Entry,
    endpoint: Arc<Endpoint>,
}

impl Models {
    pub(crate) fn new(core: &Arc<Core>, registry: &Arc<Registry>, config: &Config) -> Self {
        Self {
            core: Arc::clone(core),
            registry: Arc::clone(registry),
            files: Files::new(&config.cache_directory()),
            loader: Loader::new(config),
            registered: HashMap::new(),
            served: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    /// The buckets of the registry, which outlive this follower: at the end they take back what was said.
    pub(crate) fn registry(core: &Core) -> Arc<Registry> {
        Arc::new(Registry::new(core.control.clone(), core.id.clone()))
    }

    /// Loads the library, then follows the registry for ever.
    pub(crate) async fn run(mut self) {
        let devices = self.loader.devices().await;
        self.core.devices.lock().clone_from(&devices);
        self.core.events.emit(&Event::Devices { devices });
        let mut retry = FIRST_RETRY;
        loop {
            match self.registry.watch().await {
                Ok(mut watch) => {
                    retry = FIRST_RETRY;
                    self.registry.repeat().await;
                    self.follow(&mut watch).await;
                }
                Err(reason) => {
                    self.registry.complain(&reason);
                    tokio::time::sleep(retry).await;
                    retry = (2 * retry).min(LAST_RETRY);
                }
            }
        }
    }

    /// Follows one watch until it ends or the connection was lost.
    async fn follow(&mut self, watch: &mut Watch) {
        let mut changed = self.forget_all_but(&watch.keys);
        loop {
            for name in std::mem::take(&mut changed) {
                self.settle(&name).await;
            }
            let first = tokio::select! {
                change = watch.next() => change,
                () = self.core.reconnected.notified() => None,
            };
            let Some(first) = first else { return };
            // Everything that is there already is taken first, so that only the latest version is loaded.
            changed.extend(self.apply(first));
            while let Some(change) = watch.next_now() {
                changed.extend(self.apply(change));
            }
            changed.dedup();
        }
    }

    /// Notes a change of the registry; gives the model that it concerns.
    fn apply(&mut self, change: Change) -> Option<String> {
        let Change { key, value } = change;
        let Some((name, version)) = key
            .rsplit_once('.')
            .and_then(|(name, version)| Some((name, version.parse().ok()?)))
        else {
            log(format_args!("registry key '{key}' is none of ours"));
            return None;
        };
        let versions = self.registered.entry(name.to_owned()).or_default();
        match value.map(|value| Entry::parse(&key, &value)) {
            Some(Ok(entry)) => drop(versions.insert(version, entry)),
            Some(Err(reason)) => {
                log(format_args!("{reason}"));
                versions.remove(&version);
            }
            None => drop(versions.remove(&version)),
        }
        Some(name.to_owned())
    }

    /// Drops what vanished while nobody watched; gives the models concerned.
    fn forget_all_but(&mut self, keys: &[String]) -> Vec<String> {
        let mut changed = Vec::new();
        for (name, versions) in &mut self.registered {
            let before = versions.len();
            versions.retain(|version, _| keys.contains(&format!("{name}.{version}")));
            if versions.len() != before {
                changed.push(name.clone());
            }
        }
        changed
    }

    /// Makes what is served agree with what is registered.
    async fn settle(&mut self, name: &str) {
        let versions = self.registered.get(name).filter(|versions| !versions.is_empty());
        let still_there = |entry: &Entry| versions.is_some_and(|versions| versions.get(&entry.version) == Some(entry));
        self.registry
            .withdraw(|entry| entry.name == name && !still_there(entry))
            .await;
        let Some((_, wanted)) = versions.and_then(BTreeMap::last_key_value) else {
            self.registered.remove(name);
            self.remove(name).await;
            return;
        };
        let wanted = wanted.clone();
        let served = self.served.get(name).map(|served| &served.entry);
        if served != Some(&wanted) && self.failed.get(name) != Some(&wanted) {
            self.load(wanted).await;
        }
    }

    /// Loads a version; if that fails, the version served before goes on serving.
    async fn load(&mut self, entry: Entry) {
        self.say(&entry, "loading", None, json!({})).await;
        let started = Instant::now();
        let loaded = match self.files.fetch(&self.registry, &entry).await {
            Ok(path) => self.loader.load(&entry, path).await,
            Err(error) => Err(error),
        };
        let loaded = match loaded {
            Ok(loaded) => self.serve(&entry, loaded).await,
            Err(error) => Err(error),
        };
        match loaded {
            Ok(mut details) => {
                details["load_ms"] = json!(started.elapsed().as_secs_f64() * 1e3);
                self.failed.remove(&entry.name);
                self.say(&entry, "ready", None, details).await;
                // The version that was served until now is no longer.
                self.registry
                    .withdraw(|other| other.name == entry.name && *other != entry)
                    .await;
            }
            Err(error) => {
                self.say(&entry, "failed", Some(error.message), json!({})).await;
                self.failed.insert(entry.name.clone(), entry);
            }
        }
    }

    /// Lets requests reach a loaded model; gives what the status tells about it.
    async fn serve(&mut self, entry: &Entry, loaded: network::Loaded) -> npufleet_wire::Result<Value> {
        let network::Loaded { engine, details } = loaded;
        if let Some(served) = self.served.get_mut(&entry.name) {
            served.endpoint.swap(engine);
            served.entry = entry.clone();
            return Ok(details);
        }
        let refused = |reason: String| npufleet_wire::Error::new(npufleet_wire::ErrorKind::Unavailable, reason);
        let endpoint = Endpoint::new(&self.core.prefix, OPERATION, Some(&entry.name), engine)
            .ok_or_else(|| refused("the contract knows no models".to_owned()))?;
        let endpoint = Arc::new(endpoint);
        self.core.serve(&endpoint)?;
        // `ready` means that the broker routes requests here, not that it has been asked to.
        self.core.confirm().await;
        self.served.insert(
            entry.name.clone(),
            Served {
                entry: entry.clone(),
                endpoint,
            },
        );
        Ok(details)
    }

    async fn remove(&mut self, name: &str) {
        self.failed.remove(name);
        let Some(Served { entry, endpoint }) = self.served.remove(name) else {
            return;
        };
        self.core.withdraw(&endpoint.name).await;
        let Entry { name, version, .. } = entry;
        self.core.events.emit(&Event::Model {
            name,
            version,
            state: "removed",
            device: None,
            error: None,
        });
    }

    async fn say(&self, entry: &Entry, state: &'static str, error: Option<String>, details: Value) {
        let mut status = json!({
            "state": state, "engine": ENGINE, "device": null, "error": error, "load_ms": null, "inputs": [], "outputs": [],
        });
        if let (Value::Object(status), Value::Object(details)) = (&mut status, details) {
            status.extend(details);
        }
        let device = status["device"].as_str().map(str::to_owned);
        self.registry.say(entry, status).await;
        let (name, version) = (entry.name.clone(), entry.version);
        self.core.events.emit(&Event::Model {
            name,
            version,
            state,
            device,
            error,
        });
    }
}
