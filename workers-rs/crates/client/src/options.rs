//! Where the broker is and who is asking.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use npufleet_wire::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// A dead broker is noticed after at most two unanswered pings.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// Messages between the connection and the driver. More than can be in flight: a full one would lose answers.
const INBOX_CAPACITY: usize = 1 << 24;

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
    /// File with a user's JWT and seed.
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
    pub(crate) fn inbox(&self) -> &str {
        self.inbox_prefix.as_deref().unwrap_or("_INBOX")
    }

    pub(crate) fn fleet_prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("npu")
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(5))
    }

    /// Returns the addresses without any credentials in them.
    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>> {
        let addresses = self.parse()?.into_iter().map(|address| {
            let mut url = address.into_inner();
            // These fail only for addresses that cannot have credentials, and then there is nothing to remove.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            ServerAddr::from_url(url).map_err(|error| unusable(&error.to_string()))
        });
        addresses.collect()
    }

    fn parse(&self) -> Result<Vec<ServerAddr>> {
        if self.url.trim().is_empty() {
            return Err(unusable("it is empty"));
        }
        let addresses = self.url.split(',').map(|part| part.trim().parse::<ServerAddr>());
        addresses
            .map(|address| address.map_err(|error| unusable(&error.to_string())))
            .collect()
    }

    /// Fails `unavailable` when the address, the credentials file or the TLS files cannot be used.
    pub(crate) async fn to_nats(&self) -> Result<ConnectOptions> {
        let mut nats = self.authenticate(ConnectOptions::new()).await?;
        nats = nats
            .name(self.name.as_deref().unwrap_or("npufleet"))
            .ping_interval(PING_INTERVAL)
            .connection_timeout(self.connect_timeout())
            .custom_inbox_prefix(self.inbox())
            .subscription_capacity(INBOX_CAPACITY)
            .reconnect_delay_callback(reconnect_delay);
        if let Some(path) = &self.tls_ca {
            nats = nats.add_root_certificates(path.clone()).require_tls(true);
        }
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                nats = nats
                    .add_client_certificate(certificate.clone(), key.clone())
                    .require_tls(true);
            }
            (None, None) => {}
            _ => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "tls_certificate and tls_key need each other",
                ));
            }
        }
        Ok(nats)
    }

    async fn authenticate(&self, nats: ConnectOptions) -> Result<ConnectOptions> {
        if let Some(path) = &self.credentials {
            return nats.credentials_file(path).await.map_err(|error| {
                let message = format!("cannot use the credentials file {}: {error}", path.display());
                Error::new(ErrorKind::Unavailable, message)
            });
        }
        if let Some(token) = &self.token {
            return Ok(nats.token(token.clone()));
        }
        if let Some(user) = &self.user {
            return Ok(nats.user_and_password(user.clone(), self.password.clone().unwrap_or_default()));
        }
        // The library leaves the credentials in an address alone, so they are read here: `user:password@` or `token@`.
        for address in self.parse()? {
            match (address.username(), address.password()) {
                (Some(user), Some(password)) => {
                    return Ok(nats.user_and_password(decode(user)?, decode(password)?));
                }
                (Some(token), None) => return Ok(nats.token(decode(token)?)),
                _ => {}
            }
        }
        Ok(nats)
    }
}

fn decode(part: &str) -> Result<String> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| unusable("its credentials are not UTF-8"))
}

fn unusable(why: &str) -> Error {
    // The address itself is left out: it may hold a password.
    Error::new(
        ErrorKind::Unavailable,
        format!("the broker's url cannot be used: {why}"),
    )
}

fn reconnect_delay(attempts: usize) -> Duration {
    let doubled = Duration::from_millis(1) * 2u32.saturating_pow(attempts.min(16) as u32);
    if attempts <= 1 {
        Duration::ZERO
    } else {
        doubled.min(LONGEST_RECONNECT_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> Options {
        Options {
            url: url.into(),
            ..Options::default()
        }
    }

    #[test]
    fn addresses_lose_their_credentials() {
        let addresses = options("nats://a:b@one:1, tls://token@two:2,three")
            .addresses()
            .unwrap();
        let shown: Vec<_> = addresses.iter().map(ServerAddr::as_url_str).collect();
        assert_eq!(shown, ["nats://one:1", "tls://two:2", "nats://three"]);
    }

    #[test]
    fn unusable_addresses_are_refused_without_being_shown() {
        for url in ["", " ", "http://user:secret@host", "nats://user:secret@host:port"] {
            let error = options(url).addresses().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("p%40ss%3A").unwrap(), "p@ss:");
        assert!(decode("%ff").is_err());
    }

    #[test]
    fn reconnecting_starts_at_once_and_slows_down() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(3), Duration::from_millis(8));
        assert_eq!(reconnect_delay(usize::MAX), LONGEST_RECONNECT_DELAY);
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(serde_json::from_str::<Options>(r#"{"uri": "x"}"#).is_err());
    }
}
