//! One connection to one owner: carries one transfer at a time.

use std::time::Instant;

use npufleet_wire::{Claim, Error, ErrorKind, Result};

use super::Address;
use super::incoming::Incoming;
use super::line::{self, Cut, Line, Patience};
use super::message::{Answer, CREDIT, PATIENCE_LIMIT_US, Request};

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
    line: Box<dyn Line>,
    address: Address,
    transfer: u64,
}

impl Connection {
    /// Begins to connect; whether somebody is there is found out by the first transfer.
    pub(super) fn open(address: &Address) -> Result<Self> {
        Ok(Self {
            line: line::open(address)?,
            address: address.clone(),
            transfer: 0,
        })
    }

    /// Whether it is worth another transfer, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.line.is_open()
    }

    /// Fetches what is missing of a frame.
    pub(super) fn fetch(
        &mut self,
        claim: &Claim,
        incoming: &mut Incoming,
        patience: &Patience<'_>,
    ) -> std::result::Result<(), Failure> {
        let fetched = self.go_on(claim, incoming, patience);
        fetched.map_err(|stop| match stop {
            Stop::Refused(error) => Failure::Refused(error),
            Stop::Cut(Cut::Lost) => Failure::Lost,
            Stop::Cut(Cut::Useless(reason)) => {
                let message = format!("no frame from {}: {reason}", self.address.endpoint());
                Failure::Final(Error::new(ErrorKind::PayloadLost, message))
            }
            Stop::Cut(Cut::Late) => {
                let (received, place) = (incoming.received(), self.address.endpoint());
                let message = format!("{received} bytes of the frame came from {place} in time");
                Failure::Final(Error::new(ErrorKind::DeadlineExceeded, message))
            }
            Stop::Cut(Cut::Unwanted) => {
                Failure::Final(Error::new(ErrorKind::Cancelled, format!("{claim} is wanted no longer")))
            }
        })
    }

    fn go_on(
        &mut self,
        claim: &Claim,
        incoming: &mut Incoming,
        patience: &Patience<'_>,
    ) -> std::result::Result<(), Stop> {
        self.line.prepare(patience)?;
        self.transfer += 1;
        let left = patience.deadline.saturating_duration_since(Instant::now());
        let patience_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        self.line.say(
            &Request::Fetch {
                transfer: self.transfer,
                claim: *claim,
                credit: CREDIT,
                offset: incoming.received() as u64,
                patience_us: patience_us.clamp(1, PATIENCE_LIMIT_US),
            }
            .encode(),
        )?;
        let mut outstanding = CREDIT;
        while !incoming.is_complete() {
            match self.line.head(patience)? {
                Answer::Data {
                    transfer,
                    offset,
                    length,
                } if transfer == self.transfer => {
                    if length != claim.length || offset != incoming.received() as u64 {
                        return Err(Cut::nonsense().into());
                    }
                    self.line.chunk(incoming, patience)?;
                    outstanding = outstanding.saturating_sub(1);
                    outstanding += self.give(outstanding, incoming)?;
                }
                Answer::Refused { transfer, kind } if transfer == self.transfer => {
                    let text = self.line.text(patience)?;
                    let message = format!("{}: {text}", self.address.endpoint());
                    return Err(Stop::Refused(Error::new(kind, message)));
                }
                // To an earlier transfer.
                _ => drop(self.line.text(patience)?),
            }
        }
        Ok(())
    }

    /// Gives credit for as many chunks as still come, when half of it is used up; says for how many.
    fn give(&mut self, outstanding: u32, incoming: &Incoming) -> std::result::Result<u32, Cut> {
        let left = u32::try_from(incoming.chunks_left()).unwrap_or(u32::MAX);
        let credit = left.min(CREDIT).saturating_sub(outstanding);
        if outstanding > CREDIT / 2 || credit == 0 {
            return Ok(0);
        }
        let more = Request::More {
            transfer: self.transfer,
            credit,
        };
        self.line.say(&more.encode())?;
        Ok(credit)
    }

    /// Tells the owner that a frame's slot may be used again; whether that could be sent.
    pub(super) fn release(&mut self, claim: &Claim, patience: &Patience<'_>) -> bool {
        let release = Request::Release {
            arena: claim.arena,
            slot: claim.slot,
            generation: claim.generation,
        };
        let said = self
            .line
            .prepare(patience)
            .and_then(|()| self.line.say(&release.encode()));
        said.is_ok()
    }

    /// Tells the owner not to go on.
    pub(super) fn stop(&mut self) {
        let stop = Request::Stop {
            transfer: self.transfer,
        };
        // The owner forgets it by itself when this does not arrive.
        let _ = self.line.say(&stop.encode());
    }
}

/// Why [`Connection::go_on`] does not.
enum Stop {
    Refused(Error),
    Cut(Cut),
}

impl From<Cut> for Stop {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}
