//! Frames beside the broker: this process's arena, the arenas of others, and the channel to other hosts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use foldhash::fast::RandomState;
use npufleet_client::{Outcome, Reply};
use npufleet_payload::INLINE_BYTES;
use npufleet_payload::arena::{Arena, Slot, View};
use npufleet_payload::exchange::Exchange;
use npufleet_wire::{Claim, Error, ErrorKind, Result, header};
use parking_lot::Mutex;

use crate::block::{Memory, Prefixed};

/// Results that may be views of workers' slots at once; what is more is copied, so that a program that keeps all its
/// results does not keep the workers' memory.
const VIEWS: usize = 256;
const VIEWED_BYTES: usize = 256 << 20;
/// For so long frames go through the broker, if they fit, after a worker could not read one in the arena; and those
/// that are too small for the channel, after a worker had to fetch one.
const INLINE_FOR: Duration = Duration::from_secs(10);

/// A request's frame, wherever it lies.
pub(crate) enum Frame {
    Inline(Bytes),
    /// In a slot of its own.
    Placed(Arc<Slot>),
    /// Behind an array that was made in a slot.
    Prefixed(Arc<Prefixed>),
}

impl Frame {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Placed(slot) => slot.bytes(),
            Self::Prefixed(frame) => frame.bytes(),
        }
    }

    /// What stands for it in the message, if it is not there itself.
    pub(crate) fn claim(&self) -> Option<Claim> {
        match self {
            Self::Inline(_) => None,
            Self::Placed(slot) => Some(slot.claim()),
            Self::Prefixed(frame) => Some(frame.claim()),
        }
    }

    /// What the message carries.
    pub(crate) fn body(&self) -> Bytes {
        match self {
            Self::Inline(bytes) => bytes.clone(),
            _ => Bytes::new(),
        }
    }
}

/// This process's arena, made when it is first needed, and those of others.
pub(crate) struct Payloads {
    exchange: Arc<Exchange>,
    /// Until when frames below so many bytes go through the broker.
    avoided: Mutex<Option<(Instant, usize)>>,
    /// Memory that arrays were made in, by where the arrays begin.
    made: Mutex<HashMap<usize, Weak<Memory>, RandomState>>,
    viewed: Arc<Viewed>,
    /// How many requests went inline and by arena.
    pub(crate) inline: AtomicUsize,
    pub(crate) placed: AtomicUsize,
}

#[derive(Default)]
struct Viewed {
    views: AtomicUsize,
    bytes: AtomicUsize,
}

/// A reply's frame that is read where it lies.
pub(crate) struct Lent {
    view: View,
    /// By our arena the owner sees that somebody still reads: a result may outlive the client that it came by.
    _ours: Option<Arena>,
    viewed: Arc<Viewed>,
}

impl Lent {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.view.as_ref()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.viewed.views.fetch_sub(1, Ordering::Relaxed);
        self.viewed.bytes.fetch_sub(self.view.as_ref().len(), Ordering::Relaxed);
    }
}

impl Payloads {
    /// `broker` is the broker's URL.
    ///
    /// # Errors
    /// As `Exchange::from_environment`.
    pub(crate) fn new(broker: &str) -> Result<Self> {
        Ok(Self {
            exchange: Arc::new(Exchange::from_environment(broker)?),
            avoided: Mutex::new(None),
            made: Mutex::default(),
            viewed: Arc::default(),
            inline: AtomicUsize::default(),
            placed: AtomicUsize::default(),
        })
    }

    /// The arena; none where there can be none. Whoever wants to know why asks for one itself.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        self.exchange.own(|_| {})
    }

    /// The arena, if it was needed yet.
    pub(crate) fn made_arena(&self) -> Option<&Arena> {
        self.exchange.made()
    }

    /// Its id as text, if it was needed yet.
    pub(crate) fn accept(&self) -> Option<&str> {
        self.made_arena().map(Arena::name)
    }

    /// Where others ask for what they cannot open, if there is an arena. Whoever wants to know why not asks for a channel
    /// itself.
    pub(crate) fn channel(&self) -> Option<&str> {
        self.exchange.address(|_| {})
    }

    /// Has frames go through the broker for a while, if they fit: a worker cannot read our arena.
    pub(crate) fn avoid(&self) {
        self.avoid_below(usize::MAX);
    }

    /// Has frames go through the broker for a while that are too small for the channel: a worker fetched one over it.
    pub(crate) fn avoid_channel(&self) {
        self.avoid_below(self.exchange.channel_bytes());
    }

    fn avoid_below(&self, bytes: usize) {
        if bytes >= self.inline_below() {
            *self.avoided.lock() = Some((Instant::now() + INLINE_FOR, bytes));
        }
    }

    /// Below how many bytes frames that fit are to go through the broker.
    pub(crate) fn inline_below(&self) -> usize {
        match *self.avoided.lock() {
            Some((until, bytes)) if Instant::now() < until => bytes,
            _ => INLINE_BYTES,
        }
    }

    /// A slot that `write` fills with a frame of so many bytes; none without room, or when `write` says that it failed.
    pub(crate) fn write(&self, length: usize, write: impl FnOnce(&mut [u8]) -> bool) -> Option<Frame> {
        let mut slot = self.arena()?.take(length)?;
        if !write(slot.bytes_mut()) {
            return None;
        }
        slot.publish();
        Some(Frame::Placed(Arc::new(slot)))
    }

    /// Memory for an array of so many bytes; none without room.
    pub(crate) fn make(&self, length: usize) -> Option<Arc<Memory>> {
        let memory = Arc::new(Memory::new(self.arena()?, length)?);
        let mut made = self.made.lock();
        made.retain(|_, memory| memory.strong_count() > 0);
        made.insert(memory.address(), Arc::downgrade(&memory));
        Some(memory)
    }

    /// The memory of an array that begins at an address and has so many bytes, if it was made here.
    pub(crate) fn made(&self, address: usize, length: usize) -> Option<Arc<Memory>> {
        if !self.made_arena()?.contains(address) {
            return None;
        }
        let memory = self.made.lock().get(&address)?.upgrade()?;
        (memory.len() == length).then_some(memory)
    }

    /// How to get at a reply's frame that is on another host, before a deadline in unix microseconds; none when the frame
    /// is not there. It blocks, and is the reply with the frame in it.
    pub(crate) fn elsewhere(
        &self,
        reply: &Reply,
        deadline_us: u64,
    ) -> Option<impl FnOnce(&dyn Fn() -> bool) -> Outcome + use<>> {
        let claim: Claim = reply.header(header::CLAIM)?.parse().ok()?;
        if self.exchange.peers().can_open(claim.arena) {
            return None;
        }
        let channel = reply.header(header::CHANNEL)?.to_owned();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_micros(deadline_us).saturating_sub(now);
        let exchange = Arc::clone(&self.exchange);
        let (status, headers) = (reply.status, reply.headers.clone());
        Some(move |wanted: &dyn Fn() -> bool| {
            let fetched = exchange.remote().fetch(&claim, &channel, deadline, true, wanted);
            match fetched {
                Ok(payload) => Outcome::Reply(Reply {
                    status,
                    headers,
                    payload,
                    is_stored: false,
                }),
                Err(error) => Outcome::Failed(error),
            }
        })
    }

    /// A reply's frame: to be read where it lies, or as a copy when much is read there already.
    ///
    /// # Errors
    /// `invalid_frame` for what is no claim, `payload_lost` when the frame is not to be had.
    pub(crate) fn take(&self, claim: &str) -> Result<Taken> {
        let claim: Claim = claim.parse()?;
        let lost = || Error::new(ErrorKind::PayloadLost, format!("{claim} cannot be opened here"));
        let view = self.exchange.peers().take(&claim)?.ok_or_else(lost)?;
        let length = view.as_ref().len();
        let views = self.viewed.views.fetch_add(1, Ordering::Relaxed);
        let bytes = self.viewed.bytes.fetch_add(length, Ordering::Relaxed);
        let lent = Lent {
            view,
            _ours: self.made_arena().cloned(),
            viewed: Arc::clone(&self.viewed),
        };
        if views < VIEWS && bytes + length <= VIEWED_BYTES {
            return Ok(Taken::Lent(lent));
        }
        let copy = Bytes::copy_from_slice(lent.bytes());
        if lent.view.is_intact() {
            return Ok(Taken::Copy(copy));
        }
        Err(Error::new(ErrorKind::PayloadLost, format!("{claim} was taken back")))
    }
}

/// A reply's frame.
pub(crate) enum Taken {
    Lent(Lent),
    Copy(Bytes),
}
