//! A connection with CURVE: a DEALER of libzmq.

use npufleet_wire::{Error, ErrorKind, Result};
use npufleet_zeromq::{Event, Interest, KeyPair, Kind, Message, Setting, Socket, has_curve, poll};

use crate::channel::incoming::Incoming;
use crate::channel::line::{Cut, Line, Patience};
use crate::channel::message::Answer;
use crate::channel::{Address, context, security};

const CONNECT_TIMEOUT_MS: i32 = 5_000;
/// Never more than the credit that is given: memory is bounded by what was asked for.
const HIGH_WATER: i32 = 16;
/// A chunk, or a step of CURVE's handshake.
const LARGEST_ANSWER: i64 = (1 << 20) + 1024;

pub(crate) struct CurveLine(Socket);

impl CurveLine {
    pub(crate) fn open(address: &Address, key: &str) -> Result<Self> {
        let short = |error: npufleet_zeromq::Error| context::short(&error);
        let mut socket = context::context()?.socket(Kind::Dealer).map_err(short)?;
        context::limit(&socket, address.is_ipv6(), HIGH_WATER, LARGEST_ANSWER).map_err(short)?;
        // A lost connection is replaced by a new one: what it had been told is lost with it.
        socket.set(Setting::ReconnectInterval, -1).map_err(short)?;
        socket.set(Setting::ConnectTimeout, CONNECT_TIMEOUT_MS).map_err(short)?;
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
        socket.watch().map_err(short)?;
        socket.connect(&address.endpoint()).map_err(short)?;
        Ok(Self(socket))
    }

    fn receive(&self) -> std::result::Result<Option<Message>, Cut> {
        match self.0.receive() {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.would_block() => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    /// The second part, which is the last, and arrives with the first.
    fn second(&self) -> std::result::Result<Message, Cut> {
        let message = self.receive()?.ok_or_else(Cut::nonsense)?;
        if self.0.more().map_err(broken)? {
            return Err(Cut::nonsense());
        }
        Ok(message)
    }

    /// Looks at what happened to the connection.
    fn look(&self) -> std::result::Result<(), Cut> {
        while let Some(event) = self.0.event().map_err(broken)? {
            let reason = match event {
                Event::Connected | Event::Ready | Event::Other => continue,
                Event::Disconnected => return Err(Cut::Lost),
                Event::Refused => "nobody listens there",
                Event::Silent => "no answer to the handshake",
                Event::Rejected => "it refused the handshake: the key is not its key, or it does not speak CURVE",
                Event::Mismatch => "one side speaks CURVE and the other does not, or it is no channel at all",
            };
            return Err(Cut::Useless(reason.to_owned()));
        }
        Ok(())
    }
}

impl Line for CurveLine {
    fn prepare(&mut self, _patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        // libzmq keeps what is said until the handshake is over.
        Ok(())
    }

    fn say(&mut self, request: &[u8]) -> std::result::Result<(), Cut> {
        match Message::copy(request).and_then(|message| self.0.send(message, false)) {
            Err(error) if error.would_block() => {
                self.look()?;
                Err(Cut::Lost)
            }
            sent => sent.map_err(broken),
        }
    }

    fn head(&mut self, patience: &Patience<'_>) -> std::result::Result<Answer, Cut> {
        loop {
            let time = patience.look()?;
            // Answers first: what arrived before the connection went counts.
            if let Some(head) = self.receive()? {
                let answer = Answer::decode(head.as_ref()).ok_or_else(Cut::nonsense)?;
                let more = self.0.more().map_err(broken)?;
                return more.then_some(answer).ok_or_else(Cut::nonsense);
            }
            let waiting = [Interest::Socket(&self.0), Interest::Events(&self.0)];
            if let [false, true] = poll(waiting, time).map_err(broken)? {
                self.look()?;
            }
        }
    }

    fn chunk(&mut self, incoming: &mut Incoming, _patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        let message = self.second()?;
        if !incoming.expects(message.as_ref().len()) {
            return Err(Cut::nonsense());
        }
        incoming.take(message);
        Ok(())
    }

    fn text(&mut self, _patience: &Patience<'_>) -> std::result::Result<String, Cut> {
        Ok(String::from_utf8_lossy(self.second()?.as_ref()).into_owned())
    }

    fn is_open(&self) -> bool {
        // What happened to it is found out by the next transfer.
        true
    }
}

fn broken(error: npufleet_zeromq::Error) -> Cut {
    Cut::Useless(error.to_string())
}
