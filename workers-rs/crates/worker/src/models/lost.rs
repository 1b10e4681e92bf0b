//! Devices that failed while they served: why, how often, and when each is tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const LONGEST_REST: Duration = Duration::from_secs(600);

/// The devices of this worker that are not used for now.
pub(crate) struct LostDevices {
    /// How long the first rest is; each later one doubles.
    rest: Duration,
    lost: HashMap<String, Lost>,
}

struct Lost {
    reason: String,
    /// In a row.
    failures: u32,
    rest: Duration,
    until: Instant,
}

impl Lost {
    fn text(&self) -> String {
        format!(
            "lost at run time, failure {}: {}; tried again after {} s",
            self.failures,
            self.reason,
            self.rest.as_secs_f64()
        )
    }
}

impl LostDevices {
    pub(crate) fn new(rest: Duration) -> Self {
        Self {
            rest,
            lost: HashMap::new(),
        }
    }

    /// Whether a device is not to be used.
    pub(crate) fn contains(&self, device: &str) -> bool {
        self.lost.contains_key(device)
    }

    /// Notes that a device failed, or failed again when it was tried.
    pub(crate) fn add(&mut self, device: &str, reason: String) {
        let failures = self.lost.get(device).map_or(1, |before| before.failures + 1);
        let doubled = self.rest.saturating_mul(1 << (failures - 1).min(16));
        let rest = doubled.min(LONGEST_REST.max(self.rest));
        let until = Instant::now() + rest;
        let lost = Lost {
            reason,
            failures,
            rest,
            until,
        };
        self.lost.insert(device.to_owned(), lost);
    }

    /// Notes that a device works again.
    pub(crate) fn found(&mut self, device: &str) {
        self.lost.remove(device);
    }

    /// The devices that are to be tried again now.
    pub(crate) fn due(&self) -> Vec<String> {
        let now = Instant::now();
        let due = self.lost.iter().filter(|(_, lost)| lost.until <= now);
        due.map(|(device, _)| device.clone()).collect()
    }

    /// When one is to be tried again; none when none is lost.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.lost.values().map(|lost| lost.until).min()
    }

    /// Those of the devices that are to be used.
    pub(crate) fn without(&self, devices: &[String]) -> Vec<String> {
        devices
            .iter()
            .filter(|device| !self.contains(device))
            .cloned()
            .collect()
    }

    /// Why a device is not used, if it is not.
    pub(crate) fn reason(&self, device: &str) -> Option<String> {
        self.lost.get(device).map(Lost::text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_rest() {
        let mut lost = LostDevices::new(Duration::from_millis(40));
        let devices = ["NPU", "CPU"].map(str::to_owned);
        assert_eq!((lost.next_due(), lost.due()), (None, Vec::new()));
        lost.add("NPU", "gone".to_owned());
        assert_eq!(lost.without(&devices), ["CPU"]);
        let first = lost.lost["NPU"].rest;
        lost.add("NPU", "still gone".to_owned());
        assert_eq!(lost.lost["NPU"].rest, 2 * first);
        assert!(lost.reason("NPU").unwrap().contains("failure 2: still gone"));
        lost.found("NPU");
        assert_eq!(lost.without(&devices), devices);
        lost.add("NPU", "again".to_owned());
        assert_eq!(lost.lost["NPU"].rest, first, "a device that worked begins anew");
    }
}
