//! The channel as one process uses it: what it lends to processes that cannot open its arena, and fetches from theirs.
//!
//! Three variables of the environment say how: `NPUFLEET_CHANNEL` is `auto` (the default: the interface from which the
//! broker is reached, or the loopback one), `off`, or an endpoint such as `tcp://10.0.0.7:*`;
//! `NPUFLEET_CHANNEL_ADVERTISE` the address that others reach it by, if that is another one;
//! `NPUFLEET_CHANNEL_SECURITY` is `auto`, `curve` or `plain`.

use std::net::ToSocketAddrs as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use npufleet_wire::frame::MAX_RESULT_BYTES;
use npufleet_wire::{Claim, Error, ErrorKind, Result};

use crate::arena::Arena;
use crate::channel::{Asker, Endpoint, Owner, Security};

const BROKER_PORT: &str = "4222";

/// Both sides of the channel; nothing is opened before it is needed.
pub struct Remote {
    /// What the variables say, read once.
    channel: String,
    advertise: Option<String>,
    security: String,
    /// The broker's URL.
    broker: String,
    asker: Asker,
    listening: OnceLock<Option<Listening>>,
}

struct Listening {
    address: String,
    /// Serves as long as it lives.
    _owner: Owner,
}

impl Remote {
    /// Reads the variables. `broker` is the broker's URL, or several with commas between, to find the interface that
    /// other hosts reach us by.
    pub fn from_environment(broker: &str) -> Self {
        let variable = |name| std::env::var(name).ok().filter(|word| !word.is_empty());
        Self {
            channel: variable("NPUFLEET_CHANNEL").unwrap_or_else(|| "auto".to_owned()),
            advertise: variable("NPUFLEET_CHANNEL_ADVERTISE"),
            security: variable("NPUFLEET_CHANNEL_SECURITY").unwrap_or_else(|| "auto".to_owned()),
            broker: broker.to_owned(),
            asker: Asker::default(),
            listening: OnceLock::new(),
        }
    }

    /// Where others can ask for frames of `arena`, the value of `Npu-Channel`; the first one that is asked about is
    /// served. None where the channel is off, and where it cannot listen: `refused` hears once why.
    pub fn address(&self, arena: &Arena, refused: impl FnOnce(&Error)) -> Option<&str> {
        let listen = || self.listen(arena).inspect_err(refused).ok().flatten();
        self.listening.get_or_init(listen).as_ref().map(|all| &*all.address)
    }

    /// The frame of a claim, from the process at `channel`; blocks until it is there. With `release` that process may
    /// use the slot again. It ends soon when the frame is `wanted` no longer.
    ///
    /// # Errors
    /// As [`Asker::fetch_while`], `invalid_frame` for no address, `payload_lost` where the channel is off.
    pub fn fetch(
        &self,
        claim: &Claim,
        channel: &str,
        deadline: Instant,
        release: bool,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Bytes> {
        if self.channel == "off" {
            let message = format!("{claim} is in an arena that this process cannot open, and its channel is off");
            return Err(Error::new(ErrorKind::PayloadLost, message));
        }
        let timeout = deadline.saturating_duration_since(Instant::now());
        let limit = MAX_RESULT_BYTES as u64;
        self.asker
            .fetch_while(wanted, &channel.parse()?, claim, limit, timeout, release)
    }

    fn listen(&self, arena: &Arena) -> Result<Option<Listening>> {
        let Some(endpoint) = self.endpoint()? else {
            return Ok(None);
        };
        let owner = Owner::open(endpoint, self.security.parse::<Security>()?)?;
        owner.add(Arc::new(arena.clone()));
        Ok(Some(Listening {
            address: owner.address().to_string(),
            _owner: owner,
        }))
    }

    fn endpoint(&self) -> Result<Option<Endpoint>> {
        match &*self.channel {
            "off" => Ok(None),
            "auto" => {
                let place = host_and_port(&self.broker);
                let no_way = |why: &str| Error::new(ErrorKind::Unavailable, format!("no way to {place}: {why}"));
                let mut found = place.to_socket_addrs().map_err(|error| no_way(&error.to_string()))?;
                found
                    .next()
                    .ok_or_else(|| no_way("it has no address"))
                    .and_then(Endpoint::towards)
                    .map(Some)
            }
            place => {
                let mut endpoint: Endpoint = place.parse()?;
                endpoint.advertised = self.advertise.as_deref().map(advertised).transpose()?;
                Ok(Some(endpoint))
            }
        }
    }
}

fn advertised(text: &str) -> Result<std::net::IpAddr> {
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::InvalidParameter,
            format!("NPUFLEET_CHANNEL_ADVERTISE is '{text:.120}'; allowed: an IP address"),
        )
    })
}

/// Where the first of the broker's servers is, without what else its URL says.
fn host_and_port(url: &str) -> String {
    let first = url.split(',').next().unwrap_or_default().trim();
    let rest = first.split_once("://").map_or(first, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    // The colons of an IPv6 address are inside brackets.
    let has_port = place.rsplit(']').next().is_some_and(|end| end.contains(':'));
    if has_port {
        place.to_owned()
    } else {
        format!("{place}:{BROKER_PORT}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_s_first_server_is_asked_for_a_way() {
        for (url, place) in [
            ("nats://127.0.0.1:1", "127.0.0.1:1"),
            ("host", "host:4222"),
            (" tls://user:p@ss@host:7/x,nats://other", "host:7"),
            ("nats://[::1]", "[::1]:4222"),
            ("nats://token@[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(host_and_port(url), place);
        }
    }
}
