//! When an owner wants CURVE.

use std::net::IpAddr;
use std::str::FromStr;

use npufleet_wire::{Error, ErrorKind, Result};
use npufleet_zeromq::{KeyPair, has_curve};

/// How an owner protects what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// CURVE, except on the loopback interface, which only this host can read.
    #[default]
    Auto,
    /// CURVE, everywhere.
    Curve,
    /// None, everywhere: whoever can read the network can read the frames.
    Plain,
}

impl Security {
    /// The keys with which to serve at an address; none where no CURVE is wanted.
    ///
    /// # Errors
    /// `unsupported` when CURVE is wanted and this build has none.
    pub(crate) fn keys(self, host: IpAddr) -> Result<Option<KeyPair>> {
        if self == Self::Plain || (self == Self::Auto && host.is_loopback()) {
            return Ok(None);
        }
        if !has_curve() {
            return Err(without_curve(&format!("serving {host}")));
        }
        let keys =
            KeyPair::new().map_err(|error| Error::new(ErrorKind::Internal, format!("no CURVE keys: {error}")))?;
        Ok(Some(keys))
    }
}

/// What is said where CURVE is needed and libzmq was built without it.
pub(crate) fn without_curve(what: &str) -> Error {
    let message =
        format!("{what} needs CURVE, which this build of libzmq does not have; allowed: loopback, or security 'plain'");
    Error::new(ErrorKind::Unsupported, message)
}

impl FromStr for Security {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "auto" => Ok(Self::Auto),
            "curve" => Ok(Self::Curve),
            "plain" => Ok(Self::Plain),
            _ => Err(Error::new(
                ErrorKind::InvalidParameter,
                format!("channel security is '{word:.80}'; allowed: auto, curve, plain"),
            )),
        }
    }
}
