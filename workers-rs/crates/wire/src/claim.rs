//! A reference to a frame that lies elsewhere (the claim-check pattern).

use std::fmt;
use std::str::FromStr;

use crate::header::shortened;
use crate::{Error, ErrorKind, Result};

/// The greatest length that a claim may state, in bytes.
pub const MAX_LENGTH: u64 = 1 << 40;

const PREFIX: &str = "npu1:";
const DIGITS: &[u8; 16] = b"0123456789abcdef";

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
        const NUMBER: usize = ":18446744073709551615".len();
        const ARENA_END: usize = PREFIX.len() + 32;
        // One write: each costs as much as the rest, and every large frame has a claim.
        let mut text = [0; ARENA_END + 3 * NUMBER];
        text[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        let (pairs, _) = text[PREFIX.len()..].as_chunks_mut();
        for (pair, byte) in pairs.iter_mut().zip(self.arena) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        let mut end = ARENA_END;
        for number in [self.slot.into(), self.generation, self.length] {
            text[end] = b':';
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(number).as_bytes();
            text[end + 1..][..digits.len()].copy_from_slice(digits);
            end += 1 + digits.len();
        }
        formatter.write_str(std::str::from_utf8(&text[..end]).map_err(|_| fmt::Error)?)
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
    let (digits, rest) = text.as_bytes().strip_prefix(PREFIX.as_bytes())?.split_first_chunk()?;
    let mut numbers = rest.strip_prefix(b":")?.split(|byte| *byte == b':');
    let claim = Claim {
        arena: read_arena(digits)?,
        slot: u32::try_from(number(numbers.next()?, 10)?).ok()?,
        generation: number(numbers.next()?, 20)?,
        length: number(numbers.next()?, 20)?,
    };
    (numbers.next().is_none() && claim.length <= MAX_LENGTH).then_some(claim)
}

/// Reads an arena's id: lower-case hexadecimal digits.
pub fn read_arena(digits: &[u8; 32]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
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

fn number(text: &[u8], digits: usize) -> Option<u64> {
    let digit = |number: u64, byte: &u8| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    (1..=digits)
        .contains(&text.len())
        .then(|| text.iter().try_fold(0, digit))
        .flatten()
}
