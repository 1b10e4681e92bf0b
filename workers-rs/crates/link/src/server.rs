//! Which servers there are, and which one is next.

use npufleet_wire::{Error, ErrorKind, Result};
use url::Url;

const DEFAULT_PORT: u16 = 4222;

/// One server of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether its address asks for TLS.
    pub(crate) tls: bool,
}

impl Server {
    /// Reads an address and the user information in it.
    pub(crate) fn parse(text: &str) -> Result<(Self, Url)> {
        let text = text.trim();
        let url = if text.contains("://") {
            Url::parse(text)
        } else {
            Url::parse(&format!("nats://{text}"))
        };
        let url = url.map_err(|error| unusable(&error.to_string()))?;
        let tls = match url.scheme() {
            "nats" => false,
            "tls" => true,
            other => {
                return Err(unusable(&format!(
                    "its scheme is {other:?}; allowed: nats, tls"
                )));
            }
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| unusable("it names no host"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = url.port().unwrap_or(DEFAULT_PORT);
        Ok((Self { host, port, tls }, url))
    }

    /// Returns the address without credentials.
    pub(crate) fn shown(&self) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        if self.host.contains(':') {
            format!("{scheme}://[{}]:{}", self.host, self.port)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// The address itself is left out of the message: it may hold a password.
pub(crate) fn unusable(why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the broker's url cannot be used: {why}"),
    )
}

/// The servers of the broker: those that were named, and those that they told of.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) known: Vec<Server>,
    next: usize,
}

impl Servers {
    pub(crate) fn new(known: Vec<Server>) -> Self {
        Self { known, next: 0 }
    }

    /// Adds the servers of a cluster that one of them told of.
    pub(crate) fn learn(&mut self, addresses: &[String]) {
        let tls = self.known.iter().any(|server| server.tls);
        for address in addresses {
            let Ok((server, _)) = Server::parse(address) else {
                continue;
            };
            if !self
                .known
                .iter()
                .any(|known| known.host == server.host && known.port == server.port)
            {
                self.known.push(Server { tls, ..server });
            }
        }
    }

    /// Returns the servers in turn.
    pub(crate) fn next(&mut self) -> Option<Server> {
        let server = self.known.get(self.next % self.known.len().max(1)).cloned();
        self.next = self.next.wrapping_add(1);
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("nats://a:b@one:1", "nats://one:1"),
            (" tls://token@two ", "tls://two:4222"),
            ("three", "nats://three:4222"),
            ("nats://[::1]:7", "nats://[::1]:7"),
        ] {
            assert_eq!(Server::parse(text).unwrap().0.shown(), shown);
        }
    }

    #[test]
    fn unusable_addresses_are_not_shown() {
        for text in [
            "",
            "http://user:secret@host",
            "nats://user:secret@host:port",
            "nats://",
        ] {
            let error = Server::parse(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }

    #[test]
    fn a_cluster_is_learnt_once_and_taken_in_turn() {
        let mut servers = Servers::new(vec![Server::parse("tls://a:1").unwrap().0]);
        servers.learn(&[
            "a:1".into(),
            "b:2".into(),
            "b:2".into(),
            "not an address".into(),
        ]);
        let shown: Vec<_> = servers.known.iter().map(Server::shown).collect();
        assert_eq!(shown, ["tls://a:1", "tls://b:2"]);
        let turn: Vec<_> = (0..3)
            .filter_map(|_| servers.next())
            .map(|server| server.port)
            .collect();
        assert_eq!(turn, [1, 2, 1]);
    }
}
