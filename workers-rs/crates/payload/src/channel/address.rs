//! Where an owner can be asked: the value of the header `Npu-Channel`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use npufleet_wire::{Error, ErrorKind, Result};

const KEY_LENGTH: usize = 40;

/// `tcp://<address>:<port>`, and behind a semicolon the owner's public CURVE key when it wants CURVE.
///
/// It is untrusted input: an address literal, so that nobody resolves names for a header, and nothing but tcp.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    socket: SocketAddr,
    key: Option<String>,
}

impl Address {
    pub(crate) fn new(socket: SocketAddr, key: Option<String>) -> Self {
        Self { socket, key }
    }

    /// The endpoint to connect to, in ZeroMQ's words.
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.socket)
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// The owner's public CURVE key in Z85; none where it speaks plainly.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether the endpoint is one of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.socket.is_ipv6()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tcp://{}", self.socket)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(formatter, ";{key}"))
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(120).collect();
            let message = format!("channel is {shown:?}; allowed: tcp://<IP address>:<port>[;<CURVE key>]");
            Error::new(ErrorKind::InvalidFrame, message)
        })
    }
}

fn parse(text: &str) -> Option<Address> {
    let rest = text.strip_prefix("tcp://")?;
    let (place, key) = match rest.split_once(';') {
        Some((place, key)) => (place, Some(key)),
        None => (rest, None),
    };
    let (host, port) = place.rsplit_once(':')?;
    let socket = SocketAddr::new(ip(host)?, self::port(port)?);
    if key.is_some_and(|key| key.len() != KEY_LENGTH || !key.bytes().all(is_z85)) {
        return None;
    }
    Some(Address::new(socket, key.map(str::to_owned)))
}

fn ip(host: &str) -> Option<std::net::IpAddr> {
    let Some(inner) = host.strip_prefix('[') else {
        return host.parse::<Ipv4Addr>().ok().map(Into::into);
    };
    let inner = inner.strip_suffix(']')?;
    // One spelling, as everywhere in the contract: lower case, and no scope.
    let plain = inner
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b':' | b'.'));
    plain.then(|| inner.parse::<Ipv6Addr>().ok()).flatten().map(Into::into)
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

fn is_z85(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-:+=^!/*?&<>()[]{}@%$#".contains(&byte)
}
