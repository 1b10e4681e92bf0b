//! The owner's end: a ROUTER that the owner's own thread reads from and writes to.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::guest::{Guest, Over};
use super::zmtp;
use crate::channel::door::{Closed, Door, Said, Sent};
use crate::channel::message::HANDSHAKE_TIMEOUT;
use crate::channel::{Endpoint, context};

/// Askers' connections at once; more are ended at the door.
const GUESTS: usize = 1024;
/// Events that are looked at before what was said is.
const EVENTS: usize = 64;
/// How long nobody is let in after the system could not.
const REST: Duration = Duration::from_millis(250);
const LISTENER: u64 = 0;
const STOP: u64 = 1;

pub(crate) struct PlainDoor {
    epoll: OwnedFd,
    listener: TcpListener,
    guests: HashMap<u64, Guest>,
    /// The number of the next guest.
    next: u64,
    said: VecDeque<Said>,
    rests_until: Option<Instant>,
    /// Watched as long as it is there.
    _stop: Arc<OwnedFd>,
}

impl PlainDoor {
    /// Opens it, and says at which port. The owner is to stop when `stop` can be read.
    pub(crate) fn open(endpoint: Endpoint, stop: Arc<OwnedFd>) -> npufleet_wire::Result<(Self, u16)> {
        let short = |error: Errno| context::short(&error);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(short)?;
        let bound = TcpListener::bind(endpoint.socket).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        });
        let (listener, port) = bound.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => context::short(&error),
            _ => endpoint.refused(&error),
        })?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).map_err(short)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN).map_err(short)?;
        let door = Self {
            epoll,
            listener,
            guests: HashMap::new(),
            next: STOP + 1,
            said: VecDeque::new(),
            rests_until: None,
            _stop: stop,
        };
        Ok((door, port))
    }

    /// Lets those in who are at the door.
    fn admit(&mut self) -> rustix::io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    // Without descriptors: they would be at the door again at once.
                    _ => return self.rest(Some(Instant::now() + REST)),
                },
            };
            if self.guests.len() >= GUESTS {
                continue;
            }
            let number = self.next;
            self.next += 1;
            if let Ok(guest) = Guest::new(stream) {
                epoll::add(&self.epoll, &guest, EventData::new_u64(number), EventFlags::IN)?;
                self.guests.insert(number, guest);
                self.with(number, Guest::greet);
            }
        }
    }

    /// Lets nobody in until then, or again.
    fn rest(&mut self, until: Option<Instant>) -> rustix::io::Result<()> {
        self.rests_until = until;
        let flags = if until.is_some() {
            EventFlags::empty()
        } else {
            EventFlags::IN
        };
        epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), flags)
    }

    /// Does something with a guest, and lets it go when that shows that it left.
    fn with(&mut self, number: u64, act: impl FnOnce(&mut Guest) -> Result<(), Over>) {
        let Some(guest) = self.guests.get_mut(&number) else {
            return;
        };
        let waited = guest.has_mail();
        let acted = act(guest);
        let waits = guest.has_mail();
        let watched = if waits == waited {
            Ok(())
        } else {
            let room = if waits { EventFlags::OUT } else { EventFlags::empty() };
            epoll::modify(&self.epoll, &*guest, EventData::new_u64(number), EventFlags::IN | room)
        };
        if acted.is_err() || watched.is_err() {
            self.guests.remove(&number);
        }
    }

    /// Looks after what time brings, and says how long it may take until the next look.
    fn tend(&mut self, time: Duration) -> rustix::io::Result<Duration> {
        if self.rests_until.is_some_and(|until| Instant::now() >= until) {
            self.rest(None)?;
        }
        self.guests
            .retain(|_, guest| guest.is_ready() || guest.since.elapsed() < HANDSHAKE_TIMEOUT);
        let in_handshake = self.guests.values().any(|guest| !guest.is_ready());
        let time = if in_handshake {
            time.min(HANDSHAKE_TIMEOUT)
        } else {
            time
        };
        Ok(self.rests_until.map_or(time, |_| time.min(REST)))
    }
}

impl Door for PlainDoor {
    fn wait(&mut self, time: Duration) -> Result<bool, Closed> {
        if !self.said.is_empty() {
            return Ok(true);
        }
        let time = self.tend(time).map_err(|_| Closed)?;
        let time = Timespec::try_from(time).map_err(|_| Closed)?;
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, Some(&time)) {
            Err(Errno::INTR) => return Ok(true),
            waited => waited.map_err(|_| Closed)?,
        };
        for event in &*events {
            match event.data.u64() {
                LISTENER => self.admit().map_err(|_| Closed)?,
                STOP => return Ok(false),
                number => {
                    let mut requests = Vec::new();
                    let flags = event.flags;
                    self.with(number, |guest| guest.attend(flags, &mut requests));
                    let peer = Bytes::copy_from_slice(&number.to_le_bytes());
                    self.said.extend(requests.into_iter().map(|request| Said {
                        peer: peer.clone(),
                        request,
                    }));
                }
            }
        }
        Ok(true)
    }

    fn hear(&mut self) -> Result<Option<Said>, Closed> {
        Ok(self.said.pop_front())
    }

    fn send(&mut self, peer: &[u8], head: &[u8], second: Bytes) -> Result<Sent, Closed> {
        let number = u64::from_le_bytes(peer.try_into().map_err(|_| Closed)?);
        if self.guests.get(&number).is_some_and(Guest::has_mail) {
            return Ok(Sent::Full);
        }
        self.with(number, |guest| guest.post(zmtp::answer(head, second.len()), second));
        Ok(if self.guests.contains_key(&number) {
            Sent::Yes
        } else {
            Sent::Gone
        })
    }
}
