//! Lends frames of this process's arenas to whoever asks: one thread and one ROUTER.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use npufleet_wire::{Claim, Error, ErrorKind, Result};
use parking_lot::RwLock;
use rustix::event::{EventfdFlags, eventfd};

use super::curve::CurveDoor;
use super::door::{Closed, Door, Said};
use super::message::{Answer, Request, TEXT_BYTES, transfer_of};
use super::plain::PlainDoor;
use super::transfer::{Transfer, Transfers};
use super::{Address, Endpoint, Security, Source, context};

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
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(stop.map_err(|error| context::short(&error))?);
        let (door, port): (Box<dyn Door>, u16) = match &keys {
            Some(keys) => boxed(CurveDoor::open(endpoint, keys, stop.clone())?),
            None => boxed(PlainDoor::open(endpoint, stop.clone())?),
        };
        let sources = Sources::default();
        let serving = Serving {
            door,
            sources: sources.clone(),
            transfers: Transfers::default(),
        };
        let thread = thread::Builder::new()
            .name("npufleet-channel".to_owned())
            .spawn(move || serving.run());
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

fn boxed(opened: (impl Door + 'static, u16)) -> (Box<dyn Door>, u16) {
    (Box::new(opened.0), opened.1)
}

/// The thread's own.
struct Serving {
    door: Box<dyn Door>,
    sources: Sources,
    transfers: Transfers,
}

impl Serving {
    /// Serves until it is told to stop, or cannot.
    fn run(mut self) {
        let mut goes_on = false;
        loop {
            let wait = match (goes_on, self.transfers.is_empty()) {
                (true, _) => Duration::ZERO,
                (false, false) => LOOK,
                (false, true) => QUIET,
            };
            let Ok(true) = self.door.wait(wait) else { return };
            let Ok(any) = self.take().and_then(|()| self.transfers.turn(&mut *self.door)) else {
                return;
            };
            goes_on = any;
            self.transfers.forget_old();
        }
    }

    /// Takes the requests that wait, not all of them when there are many.
    fn take(&mut self) -> std::result::Result<(), Closed> {
        for _ in 0..AT_ONCE {
            let Some(Said { peer, request }) = self.door.hear()? else {
                break;
            };
            match request {
                Some(request) => self.obey(peer, &request)?,
                None => self.refuse(&peer, 0, &malformed())?,
            }
        }
        Ok(())
    }

    fn obey(&mut self, peer: Bytes, bytes: &[u8]) -> std::result::Result<(), Closed> {
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

    fn refuse(&mut self, peer: &[u8], transfer: u64, error: &Error) -> std::result::Result<(), Closed> {
        let kind = match error.kind {
            ErrorKind::InvalidFrame | ErrorKind::Overloaded => error.kind,
            _ => ErrorKind::PayloadLost,
        };
        let text: String = error.message.chars().take(TEXT_BYTES / 4).collect();
        let head = Answer::Refused { transfer, kind }.encode();
        // An asker that does not read what it asked for, or that left, is not told.
        self.door.send(peer, &head, text.into()).map(drop)
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidFrame, "not a request of the payload channel")
}
