//! The door of askers that speak CURVE: a ROUTER of libzmq.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use npufleet_zeromq::{Interest, KeyPair, Kind, Message, Setting, Socket, poll};

use crate::channel::door::{Closed, Door, Said, Sent};
use crate::channel::{Endpoint, context};

/// Largest message that an asker may send: a request, or a step of CURVE's handshake.
const LARGEST_REQUEST: i64 = 1024;
/// Messages that may wait for or from one asker: shares of slots, and requests.
const HIGH_WATER: i32 = 256;

pub(crate) struct CurveDoor {
    socket: Socket,
    /// Can be read when the owner is to stop.
    stop: Arc<OwnedFd>,
}

impl CurveDoor {
    /// Opens it, and says at which port. The owner is to stop when `stop` can be read.
    pub(crate) fn open(endpoint: Endpoint, keys: &KeyPair, stop: Arc<OwnedFd>) -> npufleet_wire::Result<(Self, u16)> {
        let context = context::context()?;
        let socket = context.socket(Kind::Router).map_err(|error| context::short(&error))?;
        let bound = context::limit(&socket, endpoint.socket.is_ipv6(), HIGH_WATER, LARGEST_REQUEST)
            .and_then(|()| socket.set(Setting::RouterMandatory, 1))
            .and_then(|()| socket.serve_curve(keys))
            .and_then(|()| socket.bind(&endpoint.to_bind()));
        let bound = bound.map_err(|error| endpoint.refused(&error))?;
        let port = bound.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.ok_or_else(|| endpoint.refused(&format!("{bound} has no port")))?;
        Ok((Self { socket, stop }, port))
    }
}

impl Door for CurveDoor {
    fn wait(&mut self, time: Duration) -> Result<bool, Closed> {
        let interests = [Interest::Socket(&self.socket), Interest::Descriptor(self.stop.as_fd())];
        let [_, told] = poll(interests, time).map_err(closed)?;
        Ok(!told)
    }

    fn hear(&mut self) -> Result<Option<Said>, Closed> {
        let peer = match self.socket.receive() {
            Ok(peer) => Bytes::copy_from_slice(peer.as_ref()),
            Err(error) if error.would_block() => return Ok(None),
            Err(error) => return Err(closed(error)),
        };
        let mut parts = Vec::new();
        while self.socket.more().map_err(closed)? {
            parts.push(self.socket.receive().map_err(closed)?);
        }
        let request = match &parts[..] {
            [only] => Some(only.as_ref().to_vec()),
            _ => None,
        };
        Ok(Some(Said { peer, request }))
    }

    fn send(&mut self, peer: &[u8], head: &[u8], second: Bytes) -> Result<Sent, Closed> {
        let part =
            |message: npufleet_zeromq::Result<Message>, more| message.and_then(|part| self.socket.send(part, more));
        match part(Message::copy(peer), true) {
            Ok(()) => {}
            Err(error) if error.would_block() => return Ok(Sent::Full),
            Err(error) if error.is_unreachable() => return Ok(Sent::Gone),
            Err(error) => return Err(closed(error)),
        }
        part(Message::copy(head), true).map_err(closed)?;
        // The slot's own bytes: libzmq drops this share of them when they have been sent.
        part(Message::borrow(second), false).map_err(closed)?;
        Ok(Sent::Yes)
    }
}

fn closed(_error: npufleet_zeromq::Error) -> Closed {
    Closed
}
