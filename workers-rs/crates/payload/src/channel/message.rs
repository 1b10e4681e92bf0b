//! What asker and owner say to each other: fixed little-endian layouts, decoded as untrusted input.
//!
//! Every message begins with 16 bytes: the magic number, the kind, three zero bytes, and the transfer, a number that
//! the asker chooses. Reserved bytes are zero, and a message has exactly the size of its kind.

use std::time::Duration;

use npufleet_wire::{Claim, ErrorKind, claim};

/// How every message begins.
pub const MAGIC: [u8; 4] = *b"npz1";
/// The most bytes of a frame in one message.
pub const CHUNK_BYTES: usize = 1 << 20;
/// How many chunks an asker is ready for at first.
pub const CREDIT: u32 = 8;
/// The most chunks that an asker may be ready for.
pub const CREDIT_LIMIT: u32 = 64;
/// The longest text of a refusal.
pub const TEXT_BYTES: usize = 512;
/// The longest time that an asker may say it waits, in microseconds.
pub const PATIENCE_LIMIT_US: u64 = 3_600_000_000;
/// The most transfers that an owner has open at once.
pub const TRANSFERS_LIMIT: usize = 1024;
/// An owner forgets a transfer that gets no credit for so long.
pub const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// How often each side asks the other for a sign of life, how long it waits for one, and for the handshake.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// See [`HEARTBEAT`].
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// See [`HEARTBEAT`].
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The kinds by the contract's words, with their number and the size of their first part.
pub const KINDS: [(&str, u8, usize); 6] = [
    ("fetch", FETCH, 72),
    ("more", MORE, 24),
    ("stop", STOP, 16),
    ("release", RELEASE, 48),
    ("data", DATA, 32),
    ("refused", REFUSED, 24),
];
/// What an owner may refuse a transfer with.
pub const REFUSALS: [ErrorKind; 3] = [ErrorKind::InvalidFrame, ErrorKind::PayloadLost, ErrorKind::Overloaded];

const FETCH: u8 = 1;
const MORE: u8 = 2;
const STOP: u8 = 3;
const RELEASE: u8 = 4;
const DATA: u8 = 129;
const REFUSED: u8 = 130;

/// The longest request, in bytes.
pub(crate) const REQUEST_BYTES: usize = 72;

/// What an asker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send a claimed frame from `offset` on, `credit` chunks for now; nobody waits for it after `patience_us`.
    Fetch {
        /// The asker's number for it.
        transfer: u64,
        /// The frame.
        claim: Claim,
        /// How many chunks may be sent.
        credit: u32,
        /// Where to begin, in bytes.
        offset: u64,
        /// How long the asker waits, in microseconds.
        patience_us: u64,
    },
    /// So many chunks more may be sent.
    More {
        /// Which transfer.
        transfer: u64,
        /// How many chunks.
        credit: u32,
    },
    /// Send no more of it.
    Stop {
        /// Which transfer.
        transfer: u64,
    },
    /// The frame is not needed any more: its slot may be used again. There is no answer.
    Release {
        /// The arena's id.
        arena: [u8; 16],
        /// The slot.
        slot: u32,
        /// The generation that was claimed.
        generation: u64,
    },
}

/// What an owner says; a second part follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Bytes of the frame; the second part.
    Data {
        /// Which transfer.
        transfer: u64,
        /// Where in the frame they belong.
        offset: u64,
        /// The whole frame's length, as it was asked for.
        length: u64,
    },
    /// It will not be sent; why is in the second part, as a text.
    Refused {
        /// Which transfer.
        transfer: u64,
        /// One of [`REFUSALS`].
        kind: ErrorKind,
    },
}

impl Request {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Fetch {
                transfer,
                claim,
                credit,
                offset,
                patience_us,
            } => {
                let mut bytes = head(FETCH, transfer);
                bytes.extend_from_slice(&claim.arena);
                bytes.extend_from_slice(&claim.slot.to_le_bytes());
                bytes.extend_from_slice(&credit.to_le_bytes());
                for number in [claim.generation, claim.length, offset, patience_us] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes
            }
            Self::More { transfer, credit } => {
                let mut bytes = head(MORE, transfer);
                bytes.extend_from_slice(&u64::from(credit).to_le_bytes());
                bytes
            }
            Self::Stop { transfer } => head(STOP, transfer),
            Self::Release {
                arena,
                slot,
                generation,
            } => {
                let mut bytes = head(RELEASE, 0);
                bytes.extend_from_slice(&arena);
                bytes.extend_from_slice(&u64::from(slot).to_le_bytes());
                bytes.extend_from_slice(&generation.to_le_bytes());
                bytes
            }
        }
    }

    /// Reads a message; none when it is not one that an asker may send.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(bytes)?;
        let (kind, transfer) = (fields.kind, fields.transfer);
        let request = match kind {
            FETCH => {
                let (arena, slot, credit) = (fields.take()?, fields.u32()?, fields.u32()?);
                let (generation, length) = (fields.u64()?, fields.u64()?);
                let (offset, patience_us) = (fields.u64()?, fields.u64()?);
                let possible = length <= claim::MAX_LENGTH
                    && offset <= length
                    && is_credit(credit)
                    && (1..=PATIENCE_LIMIT_US).contains(&patience_us);
                let claim = Claim {
                    arena,
                    slot,
                    generation,
                    length,
                };
                possible.then_some(Self::Fetch {
                    transfer,
                    claim,
                    credit,
                    offset,
                    patience_us,
                })?
            }
            MORE => {
                let credit = fields.u32()?;
                (is_credit(credit) && fields.u32()? == 0).then_some(Self::More { transfer, credit })?
            }
            STOP => Self::Stop { transfer },
            RELEASE => {
                let (arena, slot, reserved) = (fields.take()?, fields.u32()?, fields.u32()?);
                let generation = fields.u64()?;
                (transfer == 0 && reserved == 0).then_some(Self::Release {
                    arena,
                    slot,
                    generation,
                })?
            }
            _ => return None,
        };
        fields.is_empty().then_some(request)
    }
}

impl Answer {
    /// The bytes of the message's first part.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Data {
                transfer,
                offset,
                length,
            } => {
                let mut bytes = head(DATA, transfer);
                bytes.extend_from_slice(&offset.to_le_bytes());
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes
            }
            Self::Refused { transfer, kind } => {
                let mut bytes = head(REFUSED, transfer);
                bytes.extend_from_slice(&u64::from(kind.code()).to_le_bytes());
                bytes
            }
        }
    }

    /// Reads the first part of a message; none when it is not one that an owner may send.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::of(bytes)?;
        let (kind, transfer) = (fields.kind, fields.transfer);
        let answer = match kind {
            DATA => {
                let (offset, length) = (fields.u64()?, fields.u64()?);
                let possible = offset <= length && length <= claim::MAX_LENGTH;
                possible.then_some(Self::Data {
                    transfer,
                    offset,
                    length,
                })?
            }
            REFUSED => {
                let code = fields.u64()?;
                let kind = REFUSALS.into_iter().find(|kind| u64::from(kind.code()) == code)?;
                Self::Refused { transfer, kind }
            }
            _ => return None,
        };
        fields.is_empty().then_some(answer)
    }
}

/// The transfer that a malformed request is about, as far as it says so.
pub fn transfer_of(bytes: &[u8]) -> u64 {
    Fields::of(bytes).map_or(0, |fields| fields.transfer)
}

fn is_credit(credit: u32) -> bool {
    (1..=CREDIT_LIMIT).contains(&credit)
}

fn head(kind: u8, transfer: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(&transfer.to_le_bytes());
    bytes
}

/// A message being read, field by field.
struct Fields<'a> {
    kind: u8,
    transfer: u64,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Self {
            kind: 0,
            transfer: 0,
            rest: bytes,
        };
        let (magic, [kind, 0, 0, 0]) = (fields.take::<4>()?, fields.take::<4>()?) else {
            return None;
        };
        fields.kind = kind;
        fields.transfer = fields.u64()?;
        (magic == MAGIC).then_some(fields)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
