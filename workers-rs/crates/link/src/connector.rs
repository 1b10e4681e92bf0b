//! Everything that it takes to connect, and to connect again.

use std::sync::Arc;
use std::time::Duration;

use npufleet_wire::{Error, ErrorKind, Result};

use crate::handshake::open;
use crate::link::Link;
use crate::login::Login;
use crate::options::Options;
use crate::server::{Server, Servers, unusable};

const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// Opens connections to the broker, each with the same subscriptions.
pub struct Connector {
    pub(crate) options: Arc<Options>,
    pub(crate) login: Login,
    pub(crate) subscriptions: Vec<String>,
    servers: Servers,
}

impl Connector {
    /// Reads the options and the files that they name.
    ///
    /// # Errors
    /// `unavailable` when an address or the credentials file cannot be used.
    pub fn new(options: Arc<Options>) -> Result<Self> {
        let parsed = options
            .url
            .split(',')
            .map(Server::parse)
            .collect::<Result<Vec<_>>>()?;
        let (servers, urls): (Vec<_>, Vec<_>) = parsed.into_iter().unzip();
        let login = Login::new(&options, &urls)?;
        Ok(Self {
            options,
            login,
            subscriptions: Vec::new(),
            servers: Servers::new(servers),
        })
    }

    /// Adds a subject to listen to from the next connection on; messages carry the number returned.
    ///
    /// # Errors
    /// `unavailable` for what is no subject.
    pub fn subscribe(&mut self, subject: String) -> Result<u64> {
        if subject
            .split('.')
            .any(|token| token.is_empty() || token.contains(char::is_whitespace))
        {
            let message = format!(
                "cannot listen to {subject:?}; allowed: tokens without white space between dots"
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        self.subscriptions.push(subject);
        Ok(self.subscriptions.len() as u64 - 1)
    }

    /// Tries every known server once.
    ///
    /// # Errors
    /// `unavailable` with the address and what the last of them said.
    pub async fn connect(&mut self) -> Result<Link> {
        let mut last = unusable("it names no server");
        for _ in 0..self.servers.known.len() {
            match self.try_next().await {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Tries one server after the other until one takes us, slower and slower.
    pub async fn reconnect(&mut self) -> Link {
        for attempt in 0u32.. {
            // The first round goes without a pause: another server of the cluster may be there at once.
            let rounds = attempt / (self.servers.known.len().max(1) as u32);
            tokio::time::sleep(delay(rounds)).await;
            if let Ok(link) = self.try_next().await {
                return link;
            }
        }
        std::future::pending().await
    }

    async fn try_next(&mut self) -> Result<Link> {
        let server = self
            .servers
            .next()
            .ok_or_else(|| unusable("it names no server"))?;
        let timeout = self.options.timeout();
        let opened = tokio::time::timeout(timeout, open(&server, self)).await;
        let reason = match opened {
            Ok(Ok(link)) => {
                self.servers.learn(link.cluster());
                return Ok(link);
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {} s", timeout.as_secs_f64()),
        };
        let message = format!(
            "cannot connect to the broker at {}: {reason}",
            server.shown()
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}

fn delay(rounds: u32) -> Duration {
    match rounds {
        0 => Duration::ZERO,
        rounds => {
            (Duration::from_millis(1) * 2u32.saturating_pow(rounds.min(16))).min(LONGEST_DELAY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_starts_at_once_and_slows_down() {
        assert_eq!(delay(0), Duration::ZERO);
        assert_eq!(delay(3), Duration::from_millis(8));
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }

    #[test]
    fn subscriptions_cannot_smuggle_protocol() {
        let mut connector = Connector::new(Arc::new(Options {
            url: "host".into(),
            ..Options::default()
        }))
        .unwrap();
        assert_eq!(connector.subscribe("a.*".into()).unwrap(), 0);
        assert_eq!(connector.subscribe("b.>".into()).unwrap(), 1);
        for subject in ["", "a..b", "a b", "a\r\nPUB x 0", ".a"] {
            assert!(connector.subscribe(subject.into()).is_err(), "{subject:?}");
        }
    }
}
