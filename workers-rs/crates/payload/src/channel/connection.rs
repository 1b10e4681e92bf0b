//! One DEALER, connected to one owner: carries one transfer at a time.

use std::time::{Duration, Instant};

use npufleet_wire::{Claim, Error, ErrorKind, Result};
use npufleet_zeromq::{Event, Interest, KeyPair, Kind, Message, Setting, Socket, has_curve, poll};

use super::incoming::Incoming;
use super::message::{Answer, CREDIT, PATIENCE_LIMIT_US, Request};
use super::{Address, context, security};

const CONNECT_TIMEOUT_MS: i32 = 5_000;
/// Never more than the credit that is given: memory is bounded by what was asked for.
const HIGH_WATER: i32 = 16;
/// A chunk, or a step of CURVE's handshake.
const LARGEST_ANSWER: i64 = (1 << 20) + 1024;
/// How often it is asked whether a frame is still wanted, at least.
const LOOK: Duration = Duration::from_millis(100);
/// Answers that are taken before the clock is looked at.
const AT_ONCE: usize = 64;

/// Why a transfer over a connection failed.
pub(super) enum Failure {
    /// The connection is gone; over another one the transfer may go on.
    Lost,
    /// The owner said no; the connection is as good as before.
    Refused(Error),
    /// There is no use in going on.
    Final(Error),
}

pub(super) struct Connection {
    socket: Socket,
    address: Address,
    transfer: u64,
}

impl Connection {
    /// Begins to connect; whether somebody is there is found out by the first transfer.
    pub(super) fn open(address: &Address) -> Result<Self> {
        let short = |error: npufleet_zeromq::Error| context::short(&error);
        let mut socket = context::context()?.socket(Kind::Dealer).map_err(short)?;
        context::limit(&socket, address.is_ipv6(), HIGH_WATER, LARGEST_ANSWER).map_err(short)?;
        // A lost connection is replaced by a new one: what it had been told is lost with it.
        socket.set(Setting::ReconnectInterval, -1).map_err(short)?;
        socket.set(Setting::ConnectTimeout, CONNECT_TIMEOUT_MS).map_err(short)?;
        if let Some(key) = address.key() {
            if !has_curve() {
                return Err(security::without_curve(&format!(
                    "fetching from {}",
                    address.endpoint()
                )));
            }
            KeyPair::new()
                .and_then(|own| socket.use_curve(key, &own))
                .map_err(|error| {
                    Error::new(
                        ErrorKind::InvalidFrame,
                        format!("the key of {address} is none: {error}"),
                    )
                })?;
        }
        socket.watch().map_err(short)?;
        socket.connect(&address.endpoint()).map_err(short)?;
        Ok(Self {
            socket,
            address: address.clone(),
            transfer: 0,
        })
    }

    /// Fetches what is missing of a frame.
    pub(super) fn fetch(
        &mut self,
        claim: &Claim,
        incoming: &mut Incoming,
        deadline: Instant,
        wanted: &dyn Fn() -> bool,
    ) -> std::result::Result<(), Failure> {
        self.transfer += 1;
        let patience = deadline.saturating_duration_since(Instant::now()).as_micros();
        self.say(&Request::Fetch {
            transfer: self.transfer,
            claim: *claim,
            credit: CREDIT,
            offset: incoming.received() as u64,
            patience_us: u64::try_from(patience).unwrap_or(u64::MAX).clamp(1, PATIENCE_LIMIT_US),
        })?;
        let mut outstanding = CREDIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Final(self.too_late(incoming)));
            }
            if !wanted() {
                let error = Error::new(ErrorKind::Cancelled, format!("{claim} is wanted no longer"));
                return Err(Failure::Final(error));
            }
            let waiting = [Interest::Socket(&self.socket), Interest::Events(&self.socket)];
            let [_, happened] = poll(waiting, left.min(LOOK)).map_err(|error| self.broken(error))?;
            // Answers first: what arrived before the connection went counts.
            for _ in 0..AT_ONCE {
                let Some(chunks) = self.answer(claim, incoming)? else {
                    break;
                };
                if incoming.is_complete() {
                    return Ok(());
                }
                outstanding = outstanding.saturating_sub(chunks);
                outstanding += self.give(outstanding, incoming)?;
            }
            if happened {
                self.look()?;
            }
        }
    }

    /// Gives credit for as many chunks as still come, when half of it is used up; says for how many.
    fn give(&self, outstanding: u32, incoming: &Incoming) -> std::result::Result<u32, Failure> {
        let left = u32::try_from(incoming.chunks_left()).unwrap_or(u32::MAX);
        let credit = left.min(CREDIT).saturating_sub(outstanding);
        if outstanding > CREDIT / 2 || credit == 0 {
            return Ok(0);
        }
        self.say(&Request::More {
            transfer: self.transfer,
            credit,
        })?;
        Ok(credit)
    }

    /// Takes one answer, if there is one: 1 for a chunk, 0 for an answer to an earlier transfer.
    fn answer(&self, claim: &Claim, incoming: &mut Incoming) -> std::result::Result<Option<u32>, Failure> {
        let head = match self.socket.receive() {
            Ok(head) => head,
            Err(error) if error.would_block() => return Ok(None),
            Err(error) => return Err(self.broken(error)),
        };
        let more = |socket: &Socket| socket.more().map_err(|error| self.broken(error));
        let answer = Answer::decode(head.as_ref());
        let mine = match answer {
            Some(Answer::Data { transfer, .. } | Answer::Refused { transfer, .. }) => transfer == self.transfer,
            None => return Err(Failure::Final(self.nonsense())),
        };
        if !more(&self.socket)? {
            return Err(Failure::Final(self.nonsense()));
        }
        let taken = match answer {
            Some(Answer::Data { offset, length, .. }) if mine => {
                if length != claim.length || offset != incoming.received() as u64 {
                    return Err(Failure::Final(self.nonsense()));
                }
                let taken = incoming.take(&self.socket).map_err(|error| self.broken(error))?;
                taken.ok_or_else(|| Failure::Final(self.nonsense()))?;
                1
            }
            other => {
                let text = self.socket.receive().map_err(|error| self.broken(error))?;
                if let Some(Answer::Refused { kind, .. }) = other
                    && mine
                {
                    let text = String::from_utf8_lossy(text.as_ref()).into_owned();
                    let message = format!("{}: {text}", self.address.endpoint());
                    return Err(Failure::Refused(Error::new(kind, message)));
                }
                0
            }
        };
        if more(&self.socket)? {
            return Err(Failure::Final(self.nonsense()));
        }
        Ok(Some(taken))
    }

    /// Looks at what happened to the connection.
    fn look(&self) -> std::result::Result<(), Failure> {
        while let Some(event) = self.socket.event().map_err(|error| self.broken(error))? {
            let reason = match event {
                Event::Connected | Event::Ready | Event::Other => continue,
                Event::Disconnected => return Err(Failure::Lost),
                Event::Refused => "nobody listens there",
                Event::Silent => "no answer to the handshake",
                Event::Rejected if self.address.key().is_none() => {
                    "it refused the handshake, as it does when it wants CURVE"
                }
                Event::Rejected => "it refused the handshake: the key is not its key, or it does not speak CURVE",
                Event::Mismatch => "one side speaks CURVE and the other does not, or it is no channel at all",
            };
            return Err(Failure::Final(self.lost(reason)));
        }
        Ok(())
    }

    /// Sends a request; it is lost where there is no connection, or none on which anything moves.
    pub(super) fn say(&self, request: &Request) -> std::result::Result<(), Failure> {
        let sent = Message::copy(&request.encode()).and_then(|message| self.socket.send(message, false));
        match sent {
            Err(error) if error.would_block() => {
                self.look()?;
                Err(Failure::Lost)
            }
            sent => sent.map_err(|error| self.broken(error)),
        }
    }

    /// Tells the owner not to go on.
    pub(super) fn stop(&self) {
        // The owner forgets it by itself when this does not arrive.
        let _ = self.say(&Request::Stop {
            transfer: self.transfer,
        });
    }

    fn broken(&self, error: npufleet_zeromq::Error) -> Failure {
        Failure::Final(self.lost(&error.to_string()))
    }

    fn nonsense(&self) -> Error {
        self.lost("its answer is not one to what was asked")
    }

    pub(super) fn lost(&self, reason: &str) -> Error {
        Error::new(
            ErrorKind::PayloadLost,
            format!("no frame from {}: {reason}", self.address.endpoint()),
        )
    }

    fn too_late(&self, incoming: &Incoming) -> Error {
        let received = incoming.received();
        let message = format!(
            "{received} bytes of the frame came from {} in time",
            self.address.endpoint()
        );
        Error::new(ErrorKind::DeadlineExceeded, message)
    }
}
