//! What the worker tells whoever started it: one line per event on stdout, as text or JSON. Logs go to stderr.

use std::io::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

/// Something that the starter of a worker wants to know.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// Requests are being served.
    Ready {
        id: String,
        engine: &'static str,
        pid: u32,
        devices: Value,
    },
    /// The devices became known; `ready` does not wait for them.
    Devices { devices: Value },
    /// The broker connection changed.
    Broker { state: &'static str },
    /// Durable jobs are taken.
    Jobs { state: &'static str },
    /// A model changed its state.
    Model {
        name: String,
        version: u32,
        state: &'static str,
        device: Option<String>,
        error: Option<String>,
    },
    /// No new requests are taken.
    Draining,
    /// The worker ends.
    Stopped { served: u64 },
}

/// The line writer; cheap to clone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Events {
    json: bool,
}

impl Events {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Writes one line. A reader that went away is no reason to stop serving, so that is only logged.
    pub(crate) fn emit(self, event: &Event) {
        let line = if self.json {
            serde_json::to_string(event)
                .unwrap_or_else(|error| json!({"event": "error", "error": error.to_string()}).to_string())
        } else {
            readable(event)
        };
        let mut stdout = std::io::stdout().lock();
        if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            log(format_args!("cannot write an event: {error}: {line}"));
        }
    }
}

/// Writes a line to stderr.
pub(crate) fn log(message: std::fmt::Arguments<'_>) {
    eprintln!("npufleet-worker: {message}");
}

fn readable(event: &Event) -> String {
    match event {
        Event::Ready {
            id,
            engine,
            pid,
            devices,
        } => {
            format!(
                "ready: {engine} worker {id}, process {pid}; {}",
                readable_devices(devices)
            )
        }
        Event::Devices { devices } => readable_devices(devices),
        Event::Broker { state } => format!("broker {state}"),
        Event::Jobs { state } => format!("jobs {state}"),
        Event::Model {
            name,
            version,
            state,
            device,
            error,
        } => {
            let device = device.as_ref().map_or(String::new(), |device| format!(" on {device}"));
            let error = error.as_ref().map_or(String::new(), |error| format!(": {error}"));
            format!("model {name} version {version} {state}{device}{error}")
        }
        Event::Draining => "draining: no new requests are taken".to_owned(),
        Event::Stopped { served } => format!("stopped after {served} requests"),
    }
}

fn readable_devices(devices: &Value) -> String {
    let rows = devices.as_array().map_or(&[][..], Vec::as_slice);
    let word = |row: &Value| {
        let name = row["name"].as_str().unwrap_or("?").to_owned();
        match row["reason"].as_str() {
            Some(reason) if row["available"] != true => format!("{name} not available ({reason})"),
            _ => name,
        }
    };
    format!("devices: {}", rows.iter().map(word).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_carry_their_name() {
        let event = Event::Stopped { served: 3 };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"stopped","served":3}"#
        );
        let event = Event::Broker { state: "connected" };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"broker","state":"connected"}"#
        );
    }

    #[test]
    fn readable_text_names_absent_devices_with_the_reason() {
        let devices =
            json!([{"name": "NPU", "available": false, "reason": "no driver"}, {"name": "CPU", "available": true}]);
        assert_eq!(
            readable(&Event::Devices { devices }),
            "devices: NPU not available (no driver), CPU"
        );
    }
}
