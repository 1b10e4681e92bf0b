//! Where an owner listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

use npufleet_wire::{Error, ErrorKind, Result};

/// An interface's address and a port, 0 for any free one: `tcp://<IP address>:<port>`, `*` for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to listen.
    pub socket: SocketAddr,
    /// The address by which others reach it, when it is not the one to listen at.
    pub advertised: Option<IpAddr>,
}

impl Endpoint {
    /// Any free port of the loopback interface: for peers on this host.
    pub const LOOPBACK: Self = Self {
        socket: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
        advertised: None,
    };

    /// Any free port of the interface from which `peer` is reached; nothing is sent to it.
    ///
    /// # Errors
    /// `unavailable` when there is no way to it.
    pub fn towards(peer: SocketAddr) -> Result<Self> {
        let any: SocketAddr = if peer.is_ipv6() {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        };
        let local = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(peer)?;
            socket.local_addr()
        });
        let local = local.map_err(|error| Error::new(ErrorKind::Unavailable, format!("no way to {peer}: {error}")))?;
        Ok(Self {
            socket: SocketAddr::new(local.ip(), 0),
            advertised: None,
        })
    }

    /// In ZeroMQ's words.
    pub(crate) fn to_bind(self) -> String {
        match (self.socket.port(), self.socket) {
            (0, SocketAddr::V4(socket)) => format!("tcp://{}:*", socket.ip()),
            (0, SocketAddr::V6(socket)) => format!("tcp://[{}]:*", socket.ip()),
            (_, socket) => format!("tcp://{socket}"),
        }
    }

    /// Why nobody can listen there.
    pub(crate) fn refused(self, why: &dyn std::fmt::Display) -> Error {
        let message = format!("payload channel: cannot listen at {}: {why}", self.to_bind());
        Error::new(ErrorKind::Unavailable, message)
    }

    /// The address that others are told.
    pub(crate) fn host(self) -> Result<IpAddr> {
        let host = self.advertised.unwrap_or(self.socket.ip());
        if host.is_unspecified() {
            return Err(Error::new(
                ErrorKind::InvalidParameter,
                format!(
                    "channel endpoint is {}, which nobody can connect to; advertise an address with it",
                    self.to_bind()
                ),
            ));
        }
        Ok(host)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (host, port) = text.strip_prefix("tcp://")?.rsplit_once(':')?;
            let host: IpAddr = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(inner) => inner.parse::<Ipv6Addr>().ok()?.into(),
                None if host == "*" => Ipv4Addr::UNSPECIFIED.into(),
                None => host.parse::<Ipv4Addr>().ok()?.into(),
            };
            let port = if port == "*" {
                0
            } else {
                port.parse().ok().filter(|&port| port > 0)?
            };
            Some(SocketAddr::new(host, port))
        };
        let socket = parse().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidParameter,
                format!("channel endpoint is '{text:.120}'; allowed: tcp://<IP address>:<port>, * for any"),
            )
        })?;
        Ok(Self {
            socket,
            advertised: None,
        })
    }
}
