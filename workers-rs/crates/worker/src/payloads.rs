//! Frames beside the broker: where a request's is read, and where a result's goes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_payload::arena::View;
use npufleet_payload::exchange::{Exchange, Offer, Reader};
use npufleet_wire::{Claim, Error, ErrorKind, Result, header};

use crate::events::log;

/// How long a worker that leaves waits for whoever reads its last results, and how often it looks.
const LAST_READERS: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// A request's frame; nothing is copied.
pub(crate) struct Payload {
    pub(crate) bytes: Bytes,
    way: Way,
}

/// Which way a frame came.
enum Way {
    /// In the message, or in what a job's message names.
    Inline,
    /// In its caller's arena, read where it lies.
    Arena(View),
    /// Fetched over the channel, which took so long.
    Fetched(Duration),
}

impl Payload {
    /// A frame that is nobody else's memory.
    pub(crate) fn inline(bytes: Bytes) -> Self {
        Self {
            bytes,
            way: Way::Inline,
        }
    }

    /// A frame in its caller's arena.
    pub(crate) fn arena(view: View) -> Self {
        Self {
            bytes: view.bytes(),
            way: Way::Arena(view),
        }
    }

    /// A frame that came over the channel, in so long.
    pub(crate) fn fetched(bytes: Bytes, took: Duration) -> Self {
        Self {
            bytes,
            way: Way::Fetched(took),
        }
    }

    /// How long it took to fetch it over the channel, if it came that way.
    pub(crate) fn fetching(&self) -> Option<Duration> {
        match self.way {
            Way::Fetched(took) => Some(took),
            _ => None,
        }
    }

    /// Which way it came, as spans say it.
    pub(crate) fn placement(&self) -> &'static str {
        match self.way {
            Way::Inline => "inline",
            Way::Arena(_) => "arena",
            Way::Fetched(_) => header::ZEROMQ,
        }
    }

    /// Whether what was read is what was claimed.
    ///
    /// # Errors
    /// `payload_lost` when the caller took the frame back meanwhile.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.way {
            Way::Arena(view) if !view.is_intact() => Err(Error::new(
                ErrorKind::PayloadLost,
                "the frame was taken back while it was read",
            )),
            _ => Ok(()),
        }
    }
}

/// This worker's arena, made when the first result goes there, those of others, and the channel.
pub(crate) struct Payloads {
    exchange: Exchange,
}

impl Payloads {
    /// `broker` is the broker's URL.
    ///
    /// # Errors
    /// As `Exchange::from_environment`.
    pub(crate) fn new(broker: &str) -> Result<Self> {
        Ok(Self {
            exchange: Exchange::from_environment(broker)?,
        })
    }

    /// The frame that a claim names, read where it lies; none when its arena cannot be opened here.
    ///
    /// # Errors
    /// `invalid_frame` for what is no claim, `payload_lost` when the frame is not there any more.
    pub(crate) fn look(&self, claim: &str) -> Result<Option<View>> {
        self.exchange.peers().look(&claim.parse()?)
    }

    /// The frame that a claim names, from the process at `channel`; blocks until it is there or not `wanted` any longer.
    ///
    /// # Errors
    /// As `Remote::fetch`.
    pub(crate) fn fetch(
        &self,
        claim: &str,
        channel: &str,
        deadline: Instant,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Bytes> {
        let claim: Claim = claim.parse()?;
        self.exchange.remote().fetch(&claim, channel, deadline, false, wanted)
    }

    /// A slot for a result of `size` bytes for its reader; none when it is to go inline, if a message takes so many.
    pub(crate) fn offer(&self, size: usize, inline: usize, reader: Reader) -> Option<Offer<'_>> {
        self.exchange.offer(size, inline, reader, |error| {
            log(format_args!("large results go inline: {}", error.message));
        })
    }

    /// Waits until the last results were read, but not for long, and removes the arena.
    pub(crate) async fn close(&self) {
        let Some(arena) = self.exchange.made() else { return };
        let since = Instant::now();
        while arena.usage().slots > 0 && since.elapsed() < LAST_READERS {
            tokio::time::sleep(LOOK).await;
            arena.sweep();
        }
        arena.unlink();
    }
}

/// What is said of a claim that there is no way to.
pub(crate) fn out_of_reach(claim: &str) -> Error {
    let message = format!("{claim} is in an arena that this worker cannot open");
    Error::new(ErrorKind::PayloadLost, message)
}
