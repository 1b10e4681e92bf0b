//! Lends frames of this process's arenas to whoever asks: one thread and one ROUTER.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use npufleet_zeromq::{Interest, Kind, Message, Setting, Socket, poll};
use parking_lot::RwLock;
use rustix::event::{EventfdFlags, eventfd};

use super::message::{Answer, Request, TEXT_BYTES, transfer_of};
use super::transfer::{Transfer, Transfers};
use super::{Address, Endpoint, Security, Source, context};

/// Largest message that an asker may send: a request, or a step of CURVE's handshake.
const LARGEST_REQUEST: i64 = 1024;
/// Messages that may wait for or from one asker: shares of slots, and requests.
const HIGH_WATER: i32 = 256;
/// Requests that are taken before the next chunks are sent.
const AT_ONCE: usize = 64;
/// How often transfers are looked at that nobody goes on with.
const LOOK: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_secs(60);

type Sources = Arc<RwLock<HashMap<[u8; 16], Arc<dyn Source>>>>;

/// The asked side of the channel. It ends when it is dropped.
pub struct Owner {
    address: Address,
    sources: Sources,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    process: u32,
}

impl Owner {
    /// Listens at an endpoint.
    ///
    /// # Errors
    /// `invalid_parameter` when others could not connect to it, `unavailable` when it is taken or not of this
    /// machine, `unsupported` when CURVE is wanted and this build has none, `overloaded` without descriptors.
    pub fn open(endpoint: Endpoint, security: Security) -> Result<Self> {
        let host = endpoint.host()?;
        let keys = security.keys(host)?;
        let context = context::context()?;
        let socket = context.socket(Kind::Router).map_err(|error| context::short(&error))?;
        let bound = context::limit(&socket, endpoint.socket.is_ipv6(), HIGH_WATER, LARGEST_REQUEST)
            .and_then(|()| socket.set(Setting::RouterMandatory, 1))
            .and_then(|()| keys.as_ref().map_or(Ok(()), |keys| socket.serve_curve(keys)))
            .and_then(|()| socket.bind(&endpoint.to_bind()));
        let bound = bound.map_err(|error| unavailable(&format!("cannot listen at {}: {error}", endpoint.to_bind())))?;
        let port = bound.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let port = port.ok_or_else(|| unavailable(&format!("listens at {bound}, which has no port")))?;
        let sources = Sources::default();
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(stop.map_err(|error| context::short(&error))?);
        let serving = Serving {
            socket,
            sources: sources.clone(),
            transfers: Transfers::default(),
        };
        let told = stop.clone();
        let thread = thread::Builder::new()
            .name("npufleet-channel".to_owned())
            .spawn(move || serving.run(&told));
        Ok(Self {
            address: Address::new(SocketAddr::new(host, port), keys.map(|keys| keys.public)),
            sources,
            stop,
            thread: Some(thread.map_err(|error| context::short(&error))?),
            process: std::process::id(),
        })
    }

    /// Where others can ask: the value of `Npu-Channel`.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lends frames from an arena from now on.
    pub fn add(&self, source: Arc<dyn Source>) {
        self.sources.write().insert(source.arena(), source);
    }

    /// Lends none of an arena any more; what is on its way still arrives.
    pub fn remove(&self, arena: &[u8; 16]) {
        self.sources.write().remove(arena);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if self.process != std::process::id() {
            // A forked child: the thread is the parent's, and so is the descriptor that would tell it to stop.
            return;
        }
        // It can only fail when it was told before.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        let _ = thread.join();
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("payload channel: {message}"))
}

/// The thread's own.
struct Serving {
    socket: Socket,
    sources: Sources,
    transfers: Transfers,
}

impl Serving {
    fn run(mut self, stop: &OwnedFd) {
        let mut goes_on = false;
        loop {
            let wait = match (goes_on, self.transfers.is_empty()) {
                (true, _) => Duration::ZERO,
                (false, false) => LOOK,
                (false, true) => QUIET,
            };
            let ready = poll(
                [Interest::Socket(&self.socket), Interest::Descriptor(stop.as_fd())],
                wait,
            );
            let Ok([asked, false]) = ready else { return };
            if asked && self.take().is_err() {
                return;
            }
            match self.transfers.turn(&self.socket) {
                Ok(any) => goes_on = any,
                Err(_) => return,
            }
            self.transfers.forget_old();
        }
    }

    /// Takes the requests that wait, not all of them when there are many.
    fn take(&mut self) -> npufleet_zeromq::Result<()> {
        for _ in 0..AT_ONCE {
            let peer = match self.socket.receive() {
                Ok(peer) => Bytes::copy_from_slice(peer.as_ref()),
                Err(error) if error.would_block() => break,
                Err(error) => return Err(error),
            };
            let mut parts = Vec::new();
            while self.socket.more()? {
                parts.push(self.socket.receive()?);
            }
            match &parts[..] {
                [only] => self.obey(peer, only.as_ref())?,
                _ => self.refuse(&peer, 0, &malformed())?,
            }
        }
        Ok(())
    }

    fn obey(&mut self, peer: Bytes, bytes: &[u8]) -> npufleet_zeromq::Result<()> {
        match Request::decode(bytes) {
            Some(Request::Fetch {
                transfer,
                claim,
                credit,
                offset,
                patience_us,
            }) => match self.borrow(&peer, transfer, &claim, offset) {
                Ok((frame, sent)) => {
                    let heard = Instant::now();
                    let gives_up = heard + Duration::from_micros(patience_us);
                    self.transfers.add(Transfer {
                        peer,
                        number: transfer,
                        frame,
                        sent,
                        credit,
                        heard,
                        gives_up,
                    });
                }
                Err(error) => self.refuse(&peer, transfer, &error)?,
            },
            Some(Request::More { transfer, credit }) => self.transfers.give(&peer, transfer, credit),
            Some(Request::Stop { transfer }) => self.transfers.stop(&peer, transfer),
            Some(Request::Release {
                arena,
                slot,
                generation,
            }) => {
                let source = self.sources.read().get(&arena).cloned();
                if let Some(source) = source {
                    source.release(slot, generation);
                }
            }
            None => self.refuse(&peer, transfer_of(bytes), &malformed())?,
        }
        Ok(())
    }

    fn borrow(&self, peer: &[u8], transfer: u64, claim: &Claim, offset: u64) -> Result<(Bytes, usize)> {
        if self.transfers.has(peer, transfer) {
            let message = format!("transfer {transfer} is on its way already");
            return Err(Error::new(ErrorKind::InvalidFrame, message));
        }
        if self.transfers.is_full() {
            let message = "too many transfers are on their way from here";
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let source = self.sources.read().get(&claim.arena).cloned();
        let source = source.ok_or_else(|| Error::new(ErrorKind::PayloadLost, "no such arena here"))?;
        let frame = source.borrow(claim)?;
        if frame.len() as u64 != claim.length {
            return Err(Error::new(
                ErrorKind::InvalidFrame,
                format!("the frame has {} bytes", frame.len()),
            ));
        }
        // The request was decoded with `offset <= length`.
        Ok((frame, offset as usize))
    }

    fn refuse(&self, peer: &[u8], transfer: u64, error: &Error) -> npufleet_zeromq::Result<()> {
        let kind = match error.kind {
            ErrorKind::InvalidFrame | ErrorKind::Overloaded => error.kind,
            _ => ErrorKind::PayloadLost,
        };
        let text: String = error.message.chars().take(TEXT_BYTES / 4).collect();
        match self.socket.send(Message::copy(peer)?, true) {
            Ok(()) => {}
            // An asker that does not read what it asked for, or that left.
            Err(error) if error.would_block() || error.is_unreachable() => return Ok(()),
            Err(error) => return Err(error),
        }
        self.socket
            .send(Message::copy(&Answer::Refused { transfer, kind }.encode())?, true)?;
        self.socket.send(Message::copy(text.as_bytes())?, false)
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidFrame, "not a request of the payload channel")
}
