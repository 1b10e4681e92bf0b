//! Which servers there are, and which one is next.

use std::net::IpAddr;

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
    /// The name that its certificate must hold.
    pub(crate) name: String,
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
                return Err(unusable(&format!("its scheme is {other:?}; allowed: nats, tls")));
            }
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| unusable("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port().unwrap_or(DEFAULT_PORT);
        let name = host.clone();
        Ok((Self { host, port, tls, name }, url))
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
pub(crate) struct Servers {
    known: Vec<Server>,
    next: usize,
}

impl Servers {
    pub(crate) fn new(known: Vec<Server>) -> Self {
        Self { known, next: 0 }
    }

    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// Adds the servers of a cluster that `teller`, one of them, told of.
    pub(crate) fn learn(&mut self, addresses: &[String], teller: &Server) {
        for address in addresses {
            // What cannot be read cannot be used; there are the others.
            let Ok((mut server, _)) = Server::parse(address) else {
                continue;
            };
            let is_same = |known: &Server| known.host == server.host && known.port == server.port;
            if !self.known.iter().any(is_same) {
                server.tls = teller.tls;
                if server.host.parse::<IpAddr>().is_ok() {
                    // Clusters tell bare numbers, which their certificates seldom hold.
                    server.name.clone_from(&teller.name);
                }
                self.known.push(server);
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
        for text in ["", "http://user:secret@host", "nats://user:secret@host:port", "nats://"] {
            let error = Server::parse(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(!error.message.contains("secret"), "{}", error.message);
        }
    }

    #[test]
    fn a_cluster_is_learnt_once_and_taken_in_turn() {
        let first = Server::parse("tls://a:1").unwrap().0;
        let mut servers = Servers::new(vec![first.clone()]);
        let told = ["a:1", "b:2", "10.0.0.3:3", "b:2", "not an address"].map(str::to_owned);
        servers.learn(&told, &first);
        let turn: Vec<_> = (0..4)
            .filter_map(|_| servers.next())
            .map(|server| (server.shown(), server.name))
            .collect();
        let expected = [
            ("tls://a:1", "a"),
            ("tls://b:2", "b"),
            ("tls://10.0.0.3:3", "a"),
            ("tls://a:1", "a"),
        ];
        assert_eq!(turn, expected.map(|(shown, name)| (shown.to_owned(), name.to_owned())));
    }
}
