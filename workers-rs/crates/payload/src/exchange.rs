//! Frames beside the broker as one process uses them: its own arena, made when it is first needed, those of others, and
//! the channel to processes that do not see the same memory.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use npufleet_wire::{Claim, Error};

use crate::INLINE_BYTES;
use crate::arena::{Arena, Folder, Peers};
use crate::remote::Remote;

/// How long after its deadline a result that nobody took is kept.
pub const GRACE: Duration = Duration::from_secs(1);

/// The arenas in the folder that the environment names, and the channel as it says.
pub struct Exchange {
    folder: Option<Folder>,
    peers: Peers,
    own: OnceLock<Option<Arena>>,
    remote: Remote,
}

/// Who is to have a result, as far as the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The reader's arena: who can open it shares the reader's memory, and sees whether the reader lives.
    pub arena: [u8; 16],
    /// Whether the reader asks over the channel for what it cannot open.
    pub has_channel: bool,
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
    pub fn from_environment(broker: &str) -> Self {
        let folder = Folder::from_environment();
        Self {
            peers: Peers::new(folder.clone()),
            folder,
            own: OnceLock::new(),
            remote: Remote::from_environment(broker),
        }
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

    /// Puts a result into a slot for a reader; none when it is small, when the reader could not get at it, or when there
    /// is no room. `refused` hears once why there is no arena or no channel.
    pub fn lend(&self, frame: &[u8], reader: Reader, deadline: Instant, refused: impl Fn(&Error)) -> Option<Loan<'_>> {
        if frame.len() < INLINE_BYTES {
            return None;
        }
        let caller = self.peers.caller(reader.arena);
        if caller.is_none() && !reader.has_channel {
            return None;
        }
        let own = self.own(&refused)?;
        let channel = match caller {
            Some(_) => None,
            // Nothing shows whether the reader lives, so the lease ends it.
            None => Some(self.address(&refused)?),
        };
        let claim = own.put(&[frame])?.lend(deadline + GRACE, caller);
        Some(Loan { claim, channel })
    }
}
