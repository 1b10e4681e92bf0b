//! One asker's connection, at the owner's end.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use bytes::Bytes;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg, sockopt};

use super::zmtp::{self, Command, Head};
use crate::channel::message::{HEARTBEAT, HEARTBEAT_TIMEOUT};

/// Largest message that an asker may send, in bytes.
const LARGEST_REQUEST: usize = 1024;
/// Bytes that are read at a time: a few requests.
const READ: usize = 4096;
/// To another host a chunk leaves with one call of the system, as far as that allows it.
const SEND_BUFFER: usize = 2 << 20;
/// On this host what waits in the system only drives out of the caches what is to be read next.
const SEND_BUFFER_HERE: usize = 384 << 10;
/// Signs of life that wait behind a chunk; more are not given.
const BEHIND: usize = 8;
/// How often the system asks the other host for a sign of life before a connection is over.
const PROBES: u32 = 4;

/// The connection is over, or what came over it is none of the protocol.
pub(super) struct Over;

pub(super) struct Guest {
    stream: TcpStream,
    pub(super) since: Instant,
    state: State,
    /// What it began to say.
    begun: Vec<u8>,
    /// Whether the next part belongs to the message of the one before.
    continued: bool,
    mail: VecDeque<Parcel>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Arrived,
    Greeted,
    Ready,
}

/// What is being sent.
struct Parcel {
    head: Vec<u8>,
    /// Shared until the system has it.
    second: Bytes,
    sent: usize,
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Guest {
    /// Has the system send what there is at once, and find out when the other host is gone.
    pub(super) fn new(stream: TcpStream) -> rustix::io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        sockopt::set_tcp_nodelay(&stream, true)?;
        sockopt::set_socket_send_buffer_size(&stream, send_buffer(&stream))?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, HEARTBEAT)?;
        sockopt::set_tcp_keepintvl(&stream, HEARTBEAT)?;
        sockopt::set_tcp_keepcnt(&stream, PROBES)?;
        let limit = u32::try_from(HEARTBEAT_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(&stream, limit)?;
        Ok(Self {
            stream,
            since: Instant::now(),
            state: State::Arrived,
            begun: Vec::new(),
            continued: false,
            mail: VecDeque::new(),
        })
    }

    /// Whether the handshake is over.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether something waits to be sent.
    pub(super) fn has_mail(&self) -> bool {
        !self.mail.is_empty()
    }

    /// Greets first: who wants CURVE goes when it has read that there is none.
    pub(super) fn greet(&mut self) -> Result<(), Over> {
        self.post(zmtp::greeting().to_vec(), Bytes::new())
    }

    /// Sends what waits, and adds what it asks for to `requests`: a message's only part, or none for one of several.
    pub(super) fn attend(&mut self, flags: EventFlags, requests: &mut Vec<Option<Vec<u8>>>) -> Result<(), Over> {
        if flags.intersects(EventFlags::OUT) {
            self.flush()?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(());
        }
        let mut place = [0; READ];
        let mut said = std::mem::take(&mut self.begun);
        match self.stream.read(&mut place) {
            Ok(0) => return Err(Over),
            Ok(count) => said.extend_from_slice(&place[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(Over),
        }
        let mut rest = &said[..];
        while self.understand(&mut rest, requests)? {}
        self.begun = rest.to_vec();
        Ok(())
    }

    /// Takes one thing that it said; false when the next one is not here whole.
    fn understand(&mut self, rest: &mut &[u8], requests: &mut Vec<Option<Vec<u8>>>) -> Result<bool, Over> {
        if self.state == State::Arrived {
            let Some((greeting, after)) = rest.split_at_checked(zmtp::GREETING_BYTES) else {
                return Ok(false);
            };
            zmtp::check(greeting).map_err(|_| Over)?;
            self.post(zmtp::ready("ROUTER"), Bytes::new())?;
            (*rest, self.state) = (after, State::Greeted);
            return Ok(true);
        }
        let begin = rest.first().map_or(zmtp::SHORT_BYTES, |&flags| zmtp::head_bytes(flags));
        let Some((begin, after)) = rest.split_at_checked(begin) else {
            return Ok(false);
        };
        let head = zmtp::head(begin, LARGEST_REQUEST).ok_or(Over)?;
        let (Head::Message { size, .. } | Head::Command { size }) = head;
        let Some((part, after)) = after.split_at_checked(size) else {
            return Ok(false);
        };
        *rest = after;
        match (head, self.state) {
            (Head::Message { more, .. }, State::Ready) => {
                if !more {
                    requests.push((!self.continued).then(|| part.to_vec()));
                }
                self.continued = more;
            }
            (Head::Command { .. }, state) => match (zmtp::command(part).ok_or(Over)?, state) {
                (Command::Ready, State::Greeted) => self.state = State::Ready,
                (Command::Ping { context }, State::Ready) if self.mail.len() < BEHIND => {
                    self.post(zmtp::pong(context), Bytes::new())?;
                }
                (Command::Ping { .. } | Command::Other, State::Ready) => {}
                _ => return Err(Over),
            },
            _ => return Err(Over),
        }
        Ok(true)
    }

    /// Sends something, now or when there is room.
    pub(super) fn post(&mut self, head: Vec<u8>, second: Bytes) -> Result<(), Over> {
        self.mail.push_back(Parcel { head, second, sent: 0 });
        if self.mail.len() == 1 { self.flush() } else { Ok(()) }
    }

    /// Sends what waits, as far as there is room.
    fn flush(&mut self) -> Result<(), Over> {
        while let Some(parcel) = self.mail.front_mut() {
            let head = parcel.head.get(parcel.sent..).unwrap_or_default();
            let second = &parcel.second[parcel.sent.saturating_sub(parcel.head.len())..];
            let parts = [IoSlice::new(head), IoSlice::new(second)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.stream, &parts, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => parcel.sent += count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Over),
            }
            if parcel.sent == parcel.head.len() + parcel.second.len() {
                self.mail.pop_front();
            }
        }
        Ok(())
    }
}

fn send_buffer(stream: &TcpStream) -> usize {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(here), Ok(there)) if here.ip() == there.ip() => SEND_BUFFER_HERE,
        _ => SEND_BUFFER,
    }
}
