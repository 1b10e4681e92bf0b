//! Models that move to the next device when theirs fails, and back when it works again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::carrier::{Carrier, Failure};
use super::entry::Entry;
use super::{Models, Version};
use crate::events::{Event, log};

impl Models {
    /// Gives every model of a device that failed to the next device.
    pub(super) async fn fail_over(&mut self, failure: Failure) {
        let Failure { carrier, reason } = failure;
        let device = carrier.own_device();
        if !self.lost.contains(device) {
            log(format_args!("{device} is lost: {reason}"));
            self.lost.add(device, reason);
            self.tell_devices();
        }
        let mut moved: Vec<(Entry, Arc<Carrier>)> = Vec::new();
        for served in self.served.values() {
            let on_it = served
                .versions
                .values()
                .filter(|version| version.carrier.own_device() == device);
            for Version { entry, carrier } in on_it {
                served.endpoint.statistics.device_failed(device);
                moved.push((entry.clone(), Arc::clone(carrier)));
            }
        }
        // The one that callers wait for comes first.
        moved.sort_by_key(|(_, it)| !Arc::ptr_eq(it, &carrier));
        for (entry, old) in moved {
            let (name, version) = (entry.name.clone(), entry.version);
            old.succeed(self.load(entry).await);
            if self.failed.contains_key(&format!("{name}.{version}")) {
                self.retire(&name, version).await;
            }
        }
        // Where it had been replaced already, nobody needs to wait.
        carrier.succeed(None);
    }

    /// Tries the lost devices whose rest is over, each with the models that would rather be there.
    pub(super) async fn try_again(&mut self) {
        for device in self.lost.due() {
            let mut trouble = None;
            for entry in self.rather_on(&device) {
                if let Err(error) = self.load_on(&entry, vec![device.clone()]).await {
                    trouble = Some(error.message);
                    break;
                }
            }
            if let Some(reason) = trouble {
                self.lost.add(&device, reason);
            } else {
                log(format_args!("{device} works again"));
                self.lost.found(&device);
            }
            self.tell_devices();
        }
    }

    /// What should be served and prefers this device to the one where it is.
    fn rather_on(&self, device: &str) -> Vec<Entry> {
        let wanted = self.registered.values().flat_map(|it| it.policy.pick(&it.versions));
        wanted
            .filter(|entry| {
                let order = self.loader.devices_for(entry);
                let place = |name: &str| order.iter().position(|each| each == name);
                let served = self
                    .served
                    .get(&entry.name)
                    .and_then(|it| it.versions.get(&entry.version));
                let now = served.and_then(|it| place(it.carrier.own_device()));
                place(device).is_some_and(|there| now.is_none_or(|now| there < now))
            })
            .collect()
    }

    /// Shows the devices as they are now to whoever looks at the fleet.
    pub(super) fn tell_devices(&self) {
        let mut devices = self.devices.clone();
        for row in devices.as_array_mut().into_iter().flatten() {
            if let Some(reason) = row["name"].as_str().and_then(|name| self.lost.reason(name)) {
                row["available"] = json!(false);
                row["reason"] = Value::String(reason);
            }
        }
        self.core.devices.lock().clone_from(&devices);
        self.core.events.emit(&Event::Devices { devices });
    }
}
