//! A reference to a frame that lies elsewhere (the claim-check pattern).

use std::fmt;
use std::str::FromStr;

use crate::header::shortened;
use crate::{Error, ErrorKind, Result};

/// The greatest length that a claim may state, in bytes.
pub const MAX_LENGTH: u64 = 1 << 40;

const VERSION: &str = "npu1";

/// A frame in a slot of an arena: `npu1:<arena>:<slot>:<generation>:<length>`.
///
/// A claim is untrusted input: whoever follows it checks slot, generation and length against the arena itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The arena's random id; 32 lower-case hexadecimal digits in text.
    pub arena: [u8; 16],
    /// The slot's number in the arena.
    pub slot: u32,
    /// The owner's generation of the slot when the frame was put there.
    pub generation: u64,
    /// The frame's length in bytes.
    pub length: u64,
}

impl fmt::Display for Claim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{VERSION}:")?;
        for byte in self.arena {
            write!(formatter, "{byte:02x}")?;
        }
        write!(formatter, ":{}:{}:{}", self.slot, self.generation, self.length)
    }
}

impl FromStr for Claim {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidFrame,
                format!(
                    "claim '{}' is malformed; expected: npu1:<arena>:<slot>:<generation>:<length>",
                    shortened(text)
                ),
            )
        })
    }
}

fn parse(text: &str) -> Option<Claim> {
    let mut parts = text.split(':');
    if parts.next()? != VERSION {
        return None;
    }
    let claim = Claim {
        arena: arena(parts.next()?)?,
        slot: u32::try_from(number(parts.next()?, 10)?).ok()?,
        generation: number(parts.next()?, 20)?,
        length: number(parts.next()?, 20)?,
    };
    (parts.next().is_none() && claim.length <= MAX_LENGTH).then_some(claim)
}

fn arena(text: &str) -> Option<[u8; 16]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 16];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = hex(pair[0])? << 4 | hex(pair[1])?;
    }
    Some(bytes)
}

/// Lower case only: one spelling per claim, so that texts can be compared.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
