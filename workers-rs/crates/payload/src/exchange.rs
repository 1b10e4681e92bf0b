//! Frames beside the broker as one process uses them: its own arena, made when it is first needed, those of others, and
//! the channel to processes that do not see the same memory.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use npufleet_wire::{Claim, Error, ErrorKind, Result};

use crate::arena::{Arena, Caller, Folder, Peers, Slot};
use crate::remote::Remote;
use crate::{CHANNEL_BYTES, INLINE_BYTES};

/// How long after its deadline a result that nobody took is kept.
pub const GRACE: Duration = Duration::from_secs(1);

const CHANNEL_BYTES_VARIABLE: &str = "NPUFLEET_CHANNEL_BYTES";

/// The arenas in the folder that the environment names, and the channel as it says.
pub struct Exchange {
    folder: Option<Folder>,
    peers: Peers,
    own: OnceLock<Option<Arena>>,
    remote: Remote,
    /// From how many bytes on a frame goes over the channel.
    channel_bytes: usize,
}

/// Who is to have a result, as far as the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The reader's arena: who can open it shares the reader's memory, and sees whether the reader lives.
    pub arena: [u8; 16],
    /// Whether the reader asks over the channel for what it cannot open.
    pub has_channel: bool,
}

/// A slot for a result, still to be written.
pub struct Offer<'a> {
    /// What the result is written to.
    pub slot: Slot,
    /// How its reader gets at it.
    pub way: Way<'a>,
}

/// How a reader gets at a slot.
pub struct Way<'a> {
    caller: Option<Caller>,
    channel: Option<&'a str>,
}

impl<'a> Way<'a> {
    /// Leaves a result, which is written now, to its reader.
    pub fn lend(self, mut slot: Slot, deadline: Instant) -> Loan<'a> {
        slot.publish();
        Loan {
            claim: slot.lend(deadline + GRACE, self.caller),
            channel: self.channel,
        }
    }
}

/// A result that waits for its reader.
#[derive(Clone, Copy, Debug)]
pub struct Loan<'a> {
    /// What the reader finds it by.
    pub claim: Claim,
    /// Where the reader asks for it, when it cannot open our arena.
    pub channel: Option<&'a str>,
}

impl Exchange {
    /// Looks up folder and settings; no file is made and nothing listens yet. `broker` is the broker's URL.
    ///
    /// # Errors
    /// `invalid_parameter` when `NPUFLEET_CHANNEL_BYTES` is no number.
    pub fn from_environment(broker: &str) -> Result<Self> {
        let folder = Folder::from_environment();
        Ok(Self {
            peers: Peers::new(folder.clone()),
            folder,
            own: OnceLock::new(),
            remote: Remote::from_environment(broker),
            channel_bytes: channel_bytes(std::env::var(CHANNEL_BYTES_VARIABLE).ok().as_deref())?,
        })
    }

    /// From how many bytes on a frame goes over the channel to who does not see this memory; never below
    /// [`INLINE_BYTES`].
    pub fn channel_bytes(&self) -> usize {
        self.channel_bytes
    }

    /// The arenas of others.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The channel.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// This process's arena, made if need be. Where it cannot be made, `refused` hears once why; where the environment
    /// wants none there is none.
    pub fn own(&self, refused: impl FnOnce(&Error)) -> Option<&Arena> {
        let make = || Arena::create(self.folder.as_ref()?, None).inspect_err(refused).ok();
        self.own.get_or_init(make).as_ref()
    }

    /// This process's arena, if it was made.
    pub fn made(&self) -> Option<&Arena> {
        self.own.get()?.as_ref()
    }

    /// Where others can ask for frames of this process, once it has an arena; see [`Remote::address`].
    pub fn address(&self, refused: impl FnOnce(&Error)) -> Option<&str> {
        self.remote.address(self.made()?, refused)
    }

    /// A slot for a result of `size` bytes for a reader; none when it is small, when the reader could not get at it, or when
    /// there is no room. A message takes `inline` bytes. `refused` hears once why there is no arena or no channel.
    pub fn offer(&self, size: usize, inline: usize, reader: Reader, refused: impl Fn(&Error)) -> Option<Offer<'_>> {
        if size < INLINE_BYTES {
            return None;
        }
        let caller = self.peers.caller(reader.arena);
        if caller.is_none() && (!reader.has_channel || size < self.channel_bytes.min(inline)) {
            return None;
        }
        let own = self.own(&refused)?;
        let channel = match caller {
            Some(_) => None,
            // Nothing shows whether the reader lives, so the lease ends it.
            None => Some(self.address(&refused)?),
        };
        let slot = own.take(size)?;
        let way = Way { caller, channel };
        Some(Offer { slot, way })
    }
}

/// What the variable says.
fn channel_bytes(text: Option<&str>) -> Result<usize> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(CHANNEL_BYTES);
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let bytes: Option<usize> = text.parse().ok().filter(|_| digits);
    let bytes = bytes.ok_or_else(|| {
        let message = format!("{CHANNEL_BYTES_VARIABLE} is '{text:.80}'; allowed: a number of bytes");
        Error::new(ErrorKind::InvalidParameter, message)
    })?;
    Ok(bytes.max(INLINE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channel_s_threshold_is_a_number_of_bytes() {
        for (text, bytes) in [
            (None, CHANNEL_BYTES),
            (Some(""), CHANNEL_BYTES),
            (Some("0"), INLINE_BYTES),
        ] {
            assert_eq!(channel_bytes(text).ok(), Some(bytes));
        }
        assert_eq!(channel_bytes(Some("65536")).ok(), Some(65_536));
        for text in ["64k", "-1", "+1", " 1", "99999999999999999999999"] {
            let refused = channel_bytes(Some(text)).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidParameter, "{text}");
        }
    }
}
