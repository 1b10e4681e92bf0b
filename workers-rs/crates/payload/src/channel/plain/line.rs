//! An asker's connection: a DEALER that the thread which waits for the frame reads from itself.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use npufleet_wire::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, sockopt};

use super::zmtp::{self, Command, Head};
use crate::channel::incoming::Incoming;
use crate::channel::line::{Cut, LOOK, Line, Patience};
use crate::channel::message::{Answer, CHUNK_BYTES, HANDSHAKE_TIMEOUT, HEARTBEAT, HEARTBEAT_TIMEOUT, TEXT_BYTES};
use crate::channel::{Address, context};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: usize = 32;
/// A first part, and how the second one begins: no more, so that a chunk's bytes go where they belong at once.
const HEADS: usize = zmtp::SHORT_BYTES + LONGEST_ANSWER + zmtp::LONG_BYTES;

pub(crate) struct PlainLine {
    socket: OwnedFd,
    state: State,
    /// Bytes that were received ahead of their turn.
    ahead: Vec<u8>,
    /// How many bytes of a second part wait.
    body: usize,
    heard: Instant,
    /// When it was asked for a sign of life, if it gave none since.
    asked: Option<Instant>,
}

#[derive(PartialEq)]
enum State {
    Connecting,
    Ready,
    Broken,
}

impl PlainLine {
    pub(crate) fn open(address: &Address) -> Result<Self> {
        let short = |error: Errno| context::short(&error);
        let family = if address.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(short)?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(short)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LOOK)).map_err(short)?;
        let to: SocketAddr = address.socket();
        let state = match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => State::Connecting,
            Err(_) => State::Broken,
        };
        Ok(Self {
            socket,
            state,
            ahead: Vec::new(),
            body: 0,
            heard: Instant::now(),
            asked: None,
        })
    }

    fn connect(&mut self, patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        let nobody = || Cut::Useless("nobody listens there".to_owned());
        let begun = Instant::now();
        while self.state == State::Connecting && !self.wait(PollFlags::OUT, patience.look()?)? {
            if begun.elapsed() > CONNECT_TIMEOUT {
                return Err(nobody());
            }
        }
        match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) if self.state == State::Connecting => {}
            _ => return Err(nobody()),
        }
        rustix::io::ioctl_fionbio(&self.socket, false).map_err(broken)
    }

    /// Says who we are, and hears that an owner is there that speaks plainly as well.
    fn greet(&mut self, patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        self.send(&[&zmtp::greeting()[..], &zmtp::ready("DEALER")].concat())?;
        let hasty = Patience {
            deadline: patience.deadline.min(Instant::now() + HANDSHAKE_TIMEOUT),
            wanted: patience.wanted,
        };
        let mut heard = || {
            let greeting = self.bytes(zmtp::GREETING_BYTES, &hasty)?;
            zmtp::check(&greeting).map_err(|why| Cut::Useless(why.to_owned()))?;
            let Head::Command { size } = self.part(&hasty)? else {
                return Err(Cut::nonsense());
            };
            match zmtp::command(&self.bytes(size, &hasty)?) {
                Some(Command::Ready) => Ok(()),
                _ => Err(Cut::nonsense()),
            }
        };
        heard().map_err(|cut| match cut {
            Cut::Lost => Cut::Useless("it refused the handshake, as it does when it wants CURVE".to_owned()),
            Cut::Late if Instant::now() < patience.deadline => Cut::Useless("no answer to the handshake".to_owned()),
            other => other,
        })
    }

    /// Waits until the socket is ready; whether it is.
    fn wait(&self, flags: PollFlags, time: Duration) -> std::result::Result<bool, Cut> {
        let time = Timespec::try_from(time).map_err(|_| Cut::Late)?;
        match poll(&mut [PollFd::new(&self.socket, flags)], Some(&time)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(broken(error)),
        }
    }

    /// Sends all of a few bytes, or none is sent any more.
    fn send(&mut self, bytes: &[u8]) -> std::result::Result<(), Cut> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            _ => {
                self.state = State::Broken;
                Err(Cut::Lost)
            }
        }
    }

    /// Waits for bytes, for all of `place` if the system can; how many came.
    fn receive(
        &mut self,
        place: &mut [MaybeUninit<u8>],
        all: bool,
        patience: &Patience<'_>,
    ) -> std::result::Result<usize, Cut> {
        loop {
            let time = patience.look()?;
            let flags = if all && time == LOOK {
                RecvFlags::WAITALL
            } else if self.wait(PollFlags::IN, time)? {
                RecvFlags::DONTWAIT
            } else {
                self.ask_for_life()?;
                continue;
            };
            match recv(&self.socket, &mut *place, flags) {
                Ok((_, 0)) | Err(Errno::CONNRESET | Errno::PIPE) => {
                    self.state = State::Broken;
                    return Err(Cut::Lost);
                }
                Ok((_, count)) => {
                    (self.heard, self.asked) = (Instant::now(), None);
                    return Ok(count);
                }
                Err(Errno::AGAIN) => self.ask_for_life()?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// Asks an owner for a sign of life that has been silent for long, and gives it up that gave none.
    fn ask_for_life(&mut self) -> std::result::Result<(), Cut> {
        match self.asked {
            None if self.heard.elapsed() >= HEARTBEAT && self.state == State::Ready => {
                self.asked = Some(Instant::now());
                self.send(&zmtp::PING)
            }
            Some(asked) if asked.elapsed() >= HEARTBEAT_TIMEOUT => {
                self.state = State::Broken;
                Err(Cut::Lost)
            }
            _ => Ok(()),
        }
    }

    /// Has at least so many bytes ahead, few enough that they are no part of a chunk.
    fn fill(&mut self, count: usize, patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        while self.ahead.len() < count {
            let mut place = [const { MaybeUninit::uninit() }; HEADS];
            let room = HEADS.max(count) - self.ahead.len();
            let room = room.min(HEADS);
            let received = self.receive(&mut place[..room], false, patience)?;
            // SAFETY: so many bytes were just written.
            #[allow(unsafe_code)]
            let received = place[..received].iter().map(|byte| unsafe { byte.assume_init() });
            self.ahead.extend(received);
        }
        Ok(())
    }

    fn bytes(&mut self, count: usize, patience: &Patience<'_>) -> std::result::Result<Vec<u8>, Cut> {
        self.fill(count, patience)?;
        Ok(self.ahead.drain(..count).collect())
    }

    /// How the next part begins.
    fn part(&mut self, patience: &Patience<'_>) -> std::result::Result<Head, Cut> {
        self.fill(zmtp::SHORT_BYTES, patience)?;
        let size = zmtp::head_bytes(self.ahead[0]);
        let bytes = self.bytes(size, patience)?;
        zmtp::head(&bytes, CHUNK_BYTES).ok_or_else(Cut::nonsense)
    }

    /// How the next part of a message begins; what is said between messages is answered.
    fn message(&mut self, patience: &Patience<'_>) -> std::result::Result<(usize, bool), Cut> {
        loop {
            match self.part(patience)? {
                Head::Message { size, more } => return Ok((size, more)),
                Head::Command { size } => {
                    let bytes = self.bytes(size, patience)?;
                    match zmtp::command(&bytes) {
                        Some(Command::Ping { context }) => self.send(&zmtp::pong(context))?,
                        Some(Command::Other) => {}
                        Some(Command::Ready) | None => return Err(Cut::nonsense()),
                    }
                }
            }
        }
    }
}

impl Line for PlainLine {
    fn prepare(&mut self, patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        if self.state != State::Ready {
            self.connect(patience)?;
            self.greet(patience)?;
            self.state = State::Ready;
        }
        Ok(())
    }

    fn say(&mut self, request: &[u8]) -> std::result::Result<(), Cut> {
        self.send(&zmtp::message(request))
    }

    fn head(&mut self, patience: &Patience<'_>) -> std::result::Result<Answer, Cut> {
        let (size, true) = self.message(patience)? else {
            return Err(Cut::nonsense());
        };
        if size > LONGEST_ANSWER {
            return Err(Cut::nonsense());
        }
        let answer = Answer::decode(&self.bytes(size, patience)?).ok_or_else(Cut::nonsense)?;
        let Head::Message { size, more: false } = self.part(patience)? else {
            return Err(Cut::nonsense());
        };
        self.body = size;
        Ok(answer)
    }

    fn chunk(&mut self, incoming: &mut Incoming, patience: &Patience<'_>) -> std::result::Result<(), Cut> {
        if !incoming.expects(self.body) {
            return Err(Cut::nonsense());
        }
        let early = self.body.min(self.ahead.len());
        incoming.put(&self.ahead[..early]);
        self.ahead.drain(..early);
        self.body -= early;
        while self.body > 0 {
            let received = self.receive(&mut incoming.room()[..self.body], true, patience)?;
            // SAFETY: so many bytes of the room were just written.
            #[allow(unsafe_code)]
            unsafe {
                incoming.filled(received);
            }
            self.body -= received;
        }
        Ok(())
    }

    fn text(&mut self, patience: &Patience<'_>) -> std::result::Result<String, Cut> {
        let size = std::mem::take(&mut self.body);
        let shown = self.bytes(size.min(TEXT_BYTES), patience)?;
        let mut left = size - shown.len();
        while left > 0 {
            // Of a transfer that nobody waits for any more.
            let part = left.min(HEADS);
            self.bytes(part, patience)?;
            left -= part;
        }
        Ok(String::from_utf8_lossy(&shown).into_owned())
    }

    fn is_open(&self) -> bool {
        let mut place = [MaybeUninit::uninit(); 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.socket, &mut place, flags) {
            Ok((_, count)) => self.state == State::Ready && count > 0,
            Err(error) => self.state == State::Ready && error == Errno::AGAIN,
        }
    }
}

fn broken(error: Errno) -> Cut {
    Cut::Useless(error.to_string())
}
