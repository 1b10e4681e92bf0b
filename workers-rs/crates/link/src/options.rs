//! Where the broker is and who is asking.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio_rustls::rustls::ClientConfig;

use crate::login::Login;
use crate::server::Server;
use crate::tls;

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
    /// Token; wins over a user.
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

    /// Reads the addresses, the credentials and the files that they name.
    ///
    /// # Errors
    /// `unavailable` naming what cannot be used and why, without anything that is secret.
    pub fn access(&self) -> Result<Access> {
        let parsed = self.url.split(',').map(Server::parse).collect::<Result<Vec<_>>>()?;
        let (servers, urls): (Vec<_>, Vec<_>) = parsed.into_iter().unzip();
        let timeout = self
            .connect_timeout
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Access {
            servers,
            login: Login::new(self, &urls)?,
            tls: tls::of_files(self).map_err(|why| Error::new(ErrorKind::Unavailable, why))?,
            name: self.name.clone().unwrap_or_else(|| "npufleet".to_owned()),
            timeout: timeout.unwrap_or(Duration::from_secs(5)),
        })
    }
}

/// What it takes to connect: options that were checked, with their files read.
#[derive(Clone)]
pub struct Access {
    pub(crate) servers: Vec<Server>,
    pub(crate) login: Login,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) name: String,
    pub(crate) timeout: Duration,
}

impl Access {
    /// Returns the addresses without credentials.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::shown).collect()
    }

    /// Returns who is asking.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Returns whom we trust and our certificate, when files were named for them; the connection must be encrypted then.
    pub fn tls(&self) -> Option<&Arc<ClientConfig>> {
        self.tls.as_ref()
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
                url: "host".into(),
                connect_timeout,
                ..Options::default()
            };
            assert_eq!(options.access().unwrap().timeout, Duration::from_secs(5));
        }
    }

    #[test]
    fn half_a_pair_of_options_is_refused() {
        let half = |change: fn(&mut Options)| {
            let mut options = Options {
                url: "host".into(),
                ..Options::default()
            };
            change(&mut options);
            options.access().err().map(|error| error.kind)
        };
        let refused = Some(ErrorKind::Unavailable);
        assert_eq!(half(|options| options.password = Some("x".into())), refused);
        assert_eq!(half(|options| options.tls_key = Some("k.pem".into())), refused);
        assert_eq!(half(|options| options.tls_ca = Some("/nowhere.pem".into())), refused);
        assert_eq!(half(|options| options.credentials = Some("/nowhere".into())), refused);
        assert_eq!(half(|_| ()), None);
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        let options = Options {
            url: "nats://a:b@one:1, tls://token@two:2,three".into(),
            ..Options::default()
        };
        let addresses = options.access().unwrap().addresses();
        assert_eq!(addresses, ["nats://one:1", "tls://two:2", "nats://three:4222"]);
    }
}
