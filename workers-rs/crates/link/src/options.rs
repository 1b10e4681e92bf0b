//! Where the broker is and who is asking.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// How to reach the broker. Every field but `url` may be left out.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// One address or several with commas between, such as `nats://user:password@host:4222`.
    pub url: String,
    /// User name; wins over the one in the address.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<String>,
    /// Token, instead of a user.
    pub token: Option<String>,
    /// File with a user's JWT and seed; wins over user and token.
    pub credentials: Option<PathBuf>,
    /// Certificate authority that the broker's certificate is checked against; the system's when absent.
    pub tls_ca: Option<PathBuf>,
    /// Client certificate; needs `tls_key`.
    pub tls_certificate: Option<PathBuf>,
    /// Key of the client certificate.
    pub tls_key: Option<PathBuf>,
    /// First part of the reply subjects, `_INBOX` when absent. A user may be allowed only one of their own.
    pub inbox_prefix: Option<String>,
    /// First token of every subject of the fleet, `npu` when absent.
    pub prefix: Option<String>,
    /// Name that the broker shows for this connection.
    pub name: Option<String>,
    /// How long connecting may take, in seconds; 5 when absent.
    pub connect_timeout: Option<f64>,
}

impl Options {
    /// Returns the first part of the reply subjects.
    pub fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }

    /// Returns the first token of every subject of the fleet.
    pub fn fleet_prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("npu")
    }

    pub(crate) fn timeout(&self) -> Duration {
        let given = self
            .connect_timeout
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        given.unwrap_or(Duration::from_secs(5))
    }

    /// Whether a connection must be encrypted, whatever the server says.
    pub(crate) fn wants_tls(&self) -> bool {
        self.tls_ca.is_some() || self.tls_certificate.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"uri": "x"}"#).is_err());
    }

    #[test]
    fn a_timeout_that_makes_no_sense_is_the_default() {
        for connect_timeout in [None, Some(f64::NAN), Some(-1.0)] {
            let options = Options {
                connect_timeout,
                ..Options::default()
            };
            assert_eq!(options.timeout(), Duration::from_secs(5));
        }
    }
}
