//! A frame being put together from its chunks.

use bytes::Bytes;
use npufleet_zeromq::{Message, Socket};

use super::message::CHUNK_BYTES;

const ALIGNMENT: usize = 8;

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
    /// In words: tensors need an alignment.
    Parts(Vec<u64>),
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

    /// Takes the bytes that wait in the socket; `None` when they are none or too many.
    pub(super) fn take(&mut self, socket: &Socket) -> npufleet_zeromq::Result<Option<()>> {
        if self.length <= CHUNK_BYTES && self.received == 0 {
            let message = socket.receive()?;
            self.received = message.as_ref().len();
            self.held = Held::Whole(message);
            return Ok((self.received == self.length).then_some(()));
        }
        if let Held::Nothing = self.held {
            self.held = Held::Parts(vec![0; self.length.div_ceil(size_of::<u64>())]);
        }
        let Held::Parts(words) = &mut self.held else {
            return Ok(None);
        };
        let room = &mut bytemuck::cast_slice_mut::<u64, u8>(words)[self.received..self.length];
        let possible = 1..=room.len();
        let size = socket.receive_into(room)?;
        self.received += size;
        Ok(possible.contains(&size).then_some(()))
    }

    pub(super) fn is_complete(&self) -> bool {
        self.received == self.length && !matches!(self.held, Held::Nothing)
    }

    pub(super) fn chunks_left(&self) -> usize {
        (self.length - self.received).div_ceil(CHUNK_BYTES)
    }

    /// The frame, aligned as tensors need it.
    pub(super) fn finish(self) -> Bytes {
        match self.held {
            Held::Nothing => Bytes::new(),
            Held::Whole(message) if message.as_ref().as_ptr().align_offset(ALIGNMENT) == 0 => {
                Bytes::from_owner(message)
            }
            Held::Whole(message) => {
                let mut words = vec![0_u64; self.length.div_ceil(size_of::<u64>())];
                bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..self.length].copy_from_slice(message.as_ref());
                Bytes::from_owner(Words(words)).slice(..self.length)
            }
            Held::Parts(words) => Bytes::from_owner(Words(words)).slice(..self.length),
        }
    }
}

struct Words(Vec<u64>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
