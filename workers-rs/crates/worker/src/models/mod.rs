//! Which models this worker serves: the versions of each that its policy picks, loaded one after the other.
//!
//! - `entry`: what the registry says about a version of a model; `policy`: which versions are served;
//! - `registry`: the buckets: what is registered, what this worker says about it;
//! - `files`: model files in the cache directory, checked against the registry;
//! - `network`: the library and the devices, loaded in the background, and compiled models as engines;
//! - `carrier`: a model on its device, and on the next one when that fails; `lost` and `failover` decide which.

mod carrier;
mod coming;
mod entry;
mod failover;
mod files;
mod lost;
mod network;
mod policy;
mod registry;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::Config;
use crate::core::{Core, ENGINE};
use crate::endpoint::{Endpoint, Engine};
use crate::events::{Event, log};
use carrier::{Carrier, Failure};
pub(crate) use coming::Coming;
use entry::Entry;
use files::Files;
use lost::LostDevices;
use network::Loader;
pub(crate) use network::unknown_devices;
use policy::Policy;
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
    registered: HashMap<String, Registered>,
    served: HashMap<String, Served>,
    /// What could not be loaded, by key, so that it is not tried again until it changes.
    failed: HashMap<String, Entry>,
    /// The devices as they were found.
    devices: Value,
    lost: LostDevices,
    failures: UnboundedReceiver<Failure>,
}

/// What the registry says about a model.
#[derive(Clone, Default)]
struct Registered {
    versions: BTreeMap<u32, Entry>,
    policy: Policy,
}

/// A model that is served, in one version or several.
struct Served {
    versions: BTreeMap<u32, Version>,
    endpoint: Arc<Endpoint>,
}

/// A version of it.
struct Version {
    entry: Entry,
    carrier: Arc<Carrier>,
}

impl Models {
    pub(crate) fn new(core: &Arc<Core>, registry: &Arc<Registry>, config: &Config) -> Self {
        let (sender, failures) = mpsc::unbounded_channel();
        Self {
            core: Arc::clone(core),
            registry: Arc::clone(registry),
            files: Files::new(&config.cache_directory()),
            loader: Loader::new(config, sender),
            registered: HashMap::new(),
            served: HashMap::new(),
            failed: HashMap::new(),
            devices: Value::Null,
            lost: LostDevices::new(config.device_rest()),
            failures,
        }
    }

    /// The buckets of the registry, which outlive this follower: at the end they take back what was said.
    pub(crate) fn registry(core: &Core) -> Arc<Registry> {
        Arc::new(Registry::new(core.control.clone(), core.id.clone()))
    }

    /// Loads the library, then follows the registry for ever.
    pub(crate) async fn run(mut self) {
        self.devices = self.loader.devices().await;
        self.tell_devices();
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
        self.core.coming.look_through(&watch.keys);
        loop {
            for name in std::mem::take(&mut changed) {
                self.settle(&name).await;
                self.core.coming.settled(&name);
            }
            let first = tokio::select! {
                change = watch.next() => change,
                () = self.core.reconnected.notified() => None,
                Some(failure) = self.failures.recv() => {
                    self.fail_over(failure).await;
                    continue;
                }
                () = at(self.lost.next_due()) => {
                    self.try_again().await;
                    continue;
                }
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
        let Some((name, part)) = key.rsplit_once('.') else {
            log(format_args!("registry key '{key}' is none of ours"));
            return None;
        };
        self.core.coming.expect(name);
        if part == policy::KEY {
            let read = value.map_or(Ok(Policy::Latest), |value| Policy::parse(&key, &value));
            match read {
                Ok(policy) => self.registered.entry(name.to_owned()).or_default().policy = policy,
                Err(reason) => log(format_args!("{reason}")),
            }
            return Some(name.to_owned());
        }
        let Ok(version) = part.parse() else {
            log(format_args!("registry key '{key}' is none of ours"));
            return None;
        };
        let versions = &mut self.registered.entry(name.to_owned()).or_default().versions;
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
        for (name, Registered { versions, policy }) in &mut self.registered {
            let before = (versions.len(), policy.clone());
            versions.retain(|version, _| keys.contains(&format!("{name}.{version}")));
            if !keys.contains(&format!("{name}.{}", policy::KEY)) {
                *policy = Policy::Latest;
            }
            if (versions.len(), &*policy) != (before.0, &before.1) {
                changed.push(name.clone());
            }
        }
        changed
    }

    /// Makes what is served agree with what is registered.
    async fn settle(&mut self, name: &str) {
        let empty = Registered::default();
        let Registered { versions, policy } = self.registered.get(name).unwrap_or(&empty).clone();
        let still_there = |entry: &Entry| versions.get(&entry.version) == Some(entry);
        self.failed.retain(|_, entry| entry.name != name || still_there(entry));
        // What does not load is as good as not registered: of two versions the older one is then the latest.
        let wanted = loop {
            let mut loadable = versions.clone();
            loadable.retain(|_, entry| self.failed.get(&entry.key()) != Some(entry));
            let wanted = policy.pick(&loadable);
            let served = self.served.get(name);
            let is_served = |entry: &Entry| {
                let version = served.and_then(|served| served.versions.get(&entry.version));
                version.is_some_and(|version| version.entry == *entry)
            };
            match wanted.iter().find(|entry| !is_served(entry)) {
                Some(entry) => drop(self.load(entry.clone()).await),
                None => break wanted,
            }
        };
        let none_loads = wanted.is_empty() && !policy.pick(&versions).is_empty();
        self.retire_others(name, &wanted, none_loads.then_some(&versions)).await;
        // Only now, so that whoever hears it finds what is served instead.
        self.registry
            .withdraw(|entry| entry.name == name && !still_there(entry))
            .await;
        if versions.is_empty() && policy == Policy::Latest {
            self.registered.remove(name);
        }
    }

    /// Stops serving what is no longer wanted, after what is wanted has come up, so that no caller finds a gap.
    ///
    /// When nothing of it loads, one that is still among `registered` goes on serving.
    async fn retire_others(&mut self, name: &str, wanted: &[Entry], registered: Option<&BTreeMap<u32, Entry>>) {
        let Some(served) = self.served.get(name) else {
            return;
        };
        let now = || served.versions.values().map(|version| &version.entry);
        let mut kept: Vec<_> = now().filter(|entry| wanted.contains(entry)).collect();
        if let Some(registered) = registered {
            kept.extend(now().rev().find(|entry| registered.get(&entry.version) == Some(entry)));
        }
        let gone: Vec<_> = now()
            .filter(|entry| !kept.contains(entry))
            .map(|entry| entry.version)
            .collect();
        for version in gone {
            self.retire(name, version).await;
        }
    }

    /// Stops serving a version; the last one takes its subject with it.
    async fn retire(&mut self, name: &str, version: u32) {
        let Some(served) = self.served.get_mut(name) else {
            return;
        };
        if served.versions.remove(&version).is_none() {
            return;
        }
        let endpoint = Arc::clone(&served.endpoint);
        if served.versions.is_empty() {
            self.served.remove(name);
            self.core.withdraw(&endpoint.name).await;
            self.core.events.emit(&Event::Model {
                name: name.to_owned(),
                version,
                state: "removed",
                device: None,
                error: None,
            });
        }
        discard(endpoint.take(version));
        let failed = self.failed.contains_key(&format!("{name}.{version}"));
        self.registry
            .withdraw(|entry| entry.name == name && entry.version == version && !failed)
            .await;
    }

    /// Loads a version and serves it; what is served meanwhile stays.
    async fn load(&mut self, entry: Entry) -> Option<Arc<Carrier>> {
        self.say(&entry, "loading", None, json!({})).await;
        let devices = self.lost.without(self.loader.devices_for(&entry));
        match self.load_on(&entry, devices).await {
            Ok(carrier) => Some(carrier),
            Err(error) => {
                self.say(&entry, "failed", Some(error.message), json!({})).await;
                self.failed.insert(entry.key(), entry);
                None
            }
        }
    }

    /// Loads a version on the first of `devices` that takes it, and serves it.
    async fn load_on(&mut self, entry: &Entry, devices: Vec<String>) -> npufleet_wire::Result<Arc<Carrier>> {
        let started = Instant::now();
        let path = self.files.fetch(&self.registry, entry).await?;
        let loaded = self.loader.load(entry, path, devices.clone()).await?;
        let carrier = Arc::clone(&loaded.carrier);
        let mut details = self.serve(entry, loaded).await?;
        details["load_ms"] = json!(started.elapsed().as_secs_f64() * 1e3);
        let others = self
            .loader
            .devices_for(entry)
            .iter()
            .filter(|name| !devices.contains(name));
        let reasons = others.filter_map(|name| self.lost.reason(name).map(|text| format!("{name}: {text}")));
        if let Some(notes) = details["notes"].as_array_mut() {
            notes.extend(reasons.map(Value::from));
        }
        self.failed.remove(&entry.key());
        self.say(entry, "ready", None, details).await;
        Ok(carrier)
    }

    /// Lets requests reach a loaded model; gives what the status tells about it.
    async fn serve(&mut self, entry: &Entry, loaded: network::Loaded) -> npufleet_wire::Result<Value> {
        let network::Loaded {
            engine,
            carrier,
            details,
        } = loaded;
        let version = Version {
            entry: entry.clone(),
            carrier,
        };
        if let Some(served) = self.served.get_mut(&entry.name) {
            discard(served.endpoint.put(engine));
            served.versions.insert(entry.version, version);
            return Ok(details);
        }
        let refused = |reason: String| npufleet_wire::Error::new(npufleet_wire::ErrorKind::Unavailable, reason);
        let endpoint = Endpoint::new(&self.core.prefix, OPERATION, Some(&entry.name), engine)
            .ok_or_else(|| refused("the contract knows no models".to_owned()))?;
        let endpoint = Arc::new(endpoint);
        self.core.serve(&endpoint)?;
        // `ready` means that the broker routes requests here, not that it has been asked to.
        self.core.confirm().await;
        let versions = BTreeMap::from([(entry.version, version)]);
        self.served.insert(entry.name.clone(), Served { versions, endpoint });
        Ok(details)
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

/// Lets a model go on a thread of its own: freeing a large one takes a while. Requests that still use it keep it.
fn discard(engine: Option<Arc<Engine>>) {
    if let Some(engine) = engine {
        tokio::task::spawn_blocking(move || drop(engine));
    }
}

/// Waits until a moment; for ever when there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
