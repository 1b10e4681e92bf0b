//! What a worker can be told: the same names on the command line and in JSON.

use std::path::PathBuf;
use std::time::Duration;

use npufleet_link::Options;
use serde::{Deserialize, Deserializer};

/// Options of a worker; every field has a default, unknown fields are refused.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the broker, or several separated by commas; may carry `user:password@`.
    pub url: String,
    /// User name for the broker.
    pub user: Option<String>,
    /// Password that goes with `user`.
    pub password: Option<String>,
    /// Token for the broker.
    pub token: Option<String>,
    /// Path of a NATS credentials file (JWT and seed).
    pub credentials: Option<PathBuf>,
    /// PEM file with the authorities that may sign the broker's certificate; its presence requires TLS.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this worker's certificate.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the key of `tls_certificate`.
    pub tls_key: Option<PathBuf>,
    /// First token of this worker's own reply subjects; absent means `_INBOX_<user>`, or `_INBOX` without a user.
    pub inbox_prefix: Option<String>,
    /// First token of every subject of the fleet.
    pub prefix: String,
    /// Requests that may wait; one more is answered `overloaded`.
    pub queue_limit: usize,
    /// Threads that execute; 0 means one per core.
    pub executors: usize,
    /// Devices for models, in order of preference.
    #[serde(deserialize_with = "list")]
    pub devices: Vec<String>,
    /// Threads on the CPU that the inferences of all models take together; 0 means one per core.
    pub threads: usize,
    /// Directory for model files and compiled models; absent means a directory of the user.
    pub cache_dir: Option<PathBuf>,
    /// Path of `libopenvino_c.so*`; absent means it is searched.
    pub openvino_library: Option<PathBuf>,
    /// Write events to stdout as JSON lines.
    pub json: bool,
    /// Seconds that accepted requests may take to finish once the worker is told to stop.
    pub drain_timeout: f64,
    /// Seconds after which a silent NPU or GPU counts as lost.
    pub device_timeout: f64,
    /// Seconds after which a lost NPU or GPU is tried again; each failure in a row doubles them.
    pub device_retry: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            user: None,
            password: None,
            token: None,
            credentials: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            inbox_prefix: None,
            prefix: "npu".to_owned(),
            queue_limit: 4096,
            executors: 0,
            devices: ["NPU", "GPU", "CPU"].map(str::to_owned).to_vec(),
            threads: 0,
            cache_dir: None,
            openvino_library: None,
            json: false,
            drain_timeout: 30.0,
            device_timeout: 10.0,
            device_retry: 30.0,
        }
    }
}

impl Config {
    /// Where the broker is and who is asking, for a connection that the broker shows under `name`.
    pub(crate) fn connection(&self, name: String) -> Options {
        Options {
            url: self.url.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
            token: self.token.clone(),
            credentials: self.credentials.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_certificate: self.tls_certificate.clone(),
            tls_key: self.tls_key.clone(),
            inbox_prefix: self.inbox_prefix.clone(),
            prefix: Some(self.prefix.clone()),
            name: Some(name),
            connect_timeout: None,
        }
    }

    /// The number of executor threads to start.
    pub(crate) fn executor_count(&self) -> usize {
        match self.executors {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        }
    }

    /// How long a drain may take; a nonsensical number counts as zero.
    pub(crate) fn drain_limit(&self) -> Duration {
        duration(self.drain_timeout)
    }

    /// How long a device may be silent.
    pub(crate) fn device_patience(&self) -> Duration {
        duration(self.device_timeout)
    }

    /// How long a device that was lost rests.
    pub(crate) fn device_rest(&self) -> Duration {
        duration(self.device_retry)
    }

    /// The configured cache directory, or the user's, or one below the system's temporary directory.
    pub(crate) fn cache_directory(&self) -> PathBuf {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        self.cache_dir
            .clone()
            .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("npufleet")))
            .or_else(|| variable("HOME").map(|path| path.join(".cache/npufleet")))
            .unwrap_or_else(|| std::env::temp_dir().join("npufleet"))
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// Splits `NPU,GPU,CPU`; empty parts are dropped.
pub(crate) fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Words::deserialize(deserializer)? {
        Words::Text(text) => split_list(&text),
        Words::List(list) => list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_default() {
        let config: Config = serde_json::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        assert!(config.executor_count() >= 1);
    }

    #[test]
    fn devices_come_as_text_or_list() {
        let text: Config = serde_json::from_str(r#"{"devices": "GPU, CPU"}"#).unwrap();
        let list: Config = serde_json::from_str(r#"{"devices": ["GPU", "CPU"]}"#).unwrap();
        assert_eq!(text.devices, ["GPU", "CPU"]);
        assert_eq!(text, list);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let error = serde_json::from_str::<Config>(r#"{"colour": "red"}"#).unwrap_err();
        assert!(error.to_string().contains("colour"));
    }

    #[test]
    fn a_nonsensical_drain_timeout_counts_as_zero() {
        let config = Config {
            drain_timeout: -1.0,
            ..Config::default()
        };
        assert_eq!(config.drain_limit(), Duration::ZERO);
    }
}
