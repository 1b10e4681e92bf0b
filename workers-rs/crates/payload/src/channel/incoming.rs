//! A frame being put together from its chunks.

use std::mem::MaybeUninit;

use bytes::Bytes;
use memmap2::{Advice, MmapMut};
use npufleet_zeromq::Message;

use super::message::CHUNK_BYTES;

const ALIGNMENT: usize = 8;
/// From here on an allocator has fresh memory from the system for every frame; below it uses the last one's again, which
/// is quicker than any fresh memory.
const PAGES_FROM: usize = 32 << 20;

/// What has arrived of a frame. Memory is taken when its first chunk is there, not because a claim says so.
pub(super) struct Incoming {
    length: usize,
    received: usize,
    held: Held,
}

enum Held {
    Nothing,
    /// A frame in one chunk, as libzmq received it.
    Whole(Message),
    /// Not written to before its chunks: its pages are touched once.
    Parts(Vec<u8>),
    Pages(MmapMut),
}

impl Incoming {
    pub(super) fn new(length: usize) -> Self {
        Self {
            length,
            received: 0,
            held: Held::Nothing,
        }
    }

    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Whether a chunk of so many bytes may come next: a frame that fits in one comes in one.
    pub(super) fn expects(&self, size: usize) -> bool {
        let left = self.length - self.received;
        if self.length <= CHUNK_BYTES {
            size == left
        } else {
            (1..=left).contains(&size)
        }
    }

    /// Takes an expected chunk as libzmq received it.
    pub(super) fn take(&mut self, message: Message) {
        if message.as_ref().len() == self.length {
            self.received = self.length;
            self.held = Held::Whole(message);
        } else {
            self.put(message.as_ref());
        }
    }

    /// Takes bytes of an expected chunk.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.make_room();
        let end = self.received + bytes.len();
        match &mut self.held {
            Held::Nothing | Held::Whole(_) => {}
            Held::Parts(parts) => parts.extend_from_slice(bytes),
            Held::Pages(pages) => pages[self.received..end].copy_from_slice(bytes),
        }
        self.received = end;
    }

    /// Where the frame's next bytes belong. Only bytes are written there, never what is uninitialised.
    #[allow(unsafe_code)]
    pub(super) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        self.make_room();
        match &mut self.held {
            Held::Nothing | Held::Whole(_) => &mut [],
            Held::Parts(parts) => parts.spare_capacity_mut(),
            Held::Pages(pages) => {
                let place: *mut [u8] = &raw mut pages[self.received..];
                // SAFETY: the same memory, borrowed as long; bytes that are written leave bytes.
                unsafe { &mut *(place as *mut [MaybeUninit<u8>]) }
            }
        }
    }

    fn make_room(&mut self) {
        if let Held::Nothing | Held::Whole(_) = self.held {
            self.held = room(self.length);
        }
    }

    /// Counts bytes in.
    ///
    /// # Safety
    /// So many bytes at the beginning of [`Incoming::room`] were written.
    #[allow(unsafe_code)]
    pub(super) unsafe fn filled(&mut self, count: usize) {
        if let Held::Parts(parts) = &mut self.held {
            // SAFETY: the caller's promise.
            unsafe { parts.set_len(self.received + count) };
        }
        self.received += count;
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received == self.length && !matches!(self.held, Held::Nothing)
    }

    pub(super) fn chunks_left(&self) -> usize {
        (self.length - self.received).div_ceil(CHUNK_BYTES)
    }

    /// The frame, aligned as tensors need it.
    pub(super) fn finish(self) -> Bytes {
        let bytes = match self.held {
            Held::Nothing => Bytes::new(),
            Held::Whole(message) => Bytes::from_owner(message),
            Held::Parts(parts) => Bytes::from(parts),
            Held::Pages(pages) => Bytes::from_owner(pages),
        };
        if bytes.as_ptr().align_offset(ALIGNMENT) == 0 {
            return bytes;
        }
        let mut words = vec![0_u64; self.length.div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..self.length].copy_from_slice(&bytes);
        Bytes::from_owner(Words(words)).slice(..self.length)
    }
}

/// Memory for a frame of several chunks; where it is fresh, in huge pages, which are there sooner.
fn room(length: usize) -> Held {
    let pages = (length >= PAGES_FROM).then(|| MmapMut::map_anon(length));
    match pages {
        Some(Ok(pages)) => {
            // Where there are none they are small ones.
            let _ = pages.advise(Advice::HugePage);
            Held::Pages(pages)
        }
        _ => Held::Parts(Vec::with_capacity(length)),
    }
}

struct Words(Vec<u64>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
