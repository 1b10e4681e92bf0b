//! The side of a connection that one task polls: it receives, keeps alive and connects again.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use npufleet_wire::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

use crate::bundle;
use crate::dial::{Info, Opened, delay, dial};
use crate::link::Shared;
use crate::message::Message;
use crate::options::Access;
use crate::parse::{self, Front, Operation};
use crate::pieces::Pieces;
use crate::server::{Server, Servers};
use crate::stream::Stream;

/// How often a broker is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Intervals without an answer that mean that it is not.
const SILENT_INTERVALS: u32 = 2;

/// A broker that lets us in and soon out again is not asked at once for ever.
const SHORT_LIFE: Duration = Duration::from_secs(2);

/// What happens to a connection.
#[derive(Debug)]
pub enum Event {
    /// It stands, and everything was subscribed.
    Connected,
    /// A message for one of the subscriptions.
    Message(Message),
    /// Everything that came before the answer to a [`confirm`](crate::Link::confirm) has been handed out.
    Confirmed(Confirmation),
    /// The broker's words on something that we may not do or that went wrong. The connection stands.
    Complaint(String),
    /// The broker is about to shut down; the connection stands until it does.
    LameDuck,
    /// The connection was lost, for the reason in words. Polling makes it again.
    Lost(String),
    /// It could not be made, for the reason in words. Polling goes on trying.
    Failed(String),
}

/// Somebody waits to hear that everything up to here was received.
#[derive(Debug)]
pub struct Confirmation(oneshot::Sender<()>);

impl Confirmation {
    /// Tells them. Whoever gathers messages handles those that it has first.
    pub fn tell(self) {
        // They may have lost patience.
        let _ = self.0.send(());
    }
}

/// The side of a connection that one task polls. Dropping it ends the connection for good.
pub struct Connection {
    access: Arc<Access>,
    servers: Servers,
    shared: Arc<Shared>,
    phase: Phase,
    attempts: u32,
}

type Dialling = Pin<Box<dyn Future<Output = std::result::Result<Opened, String>> + Send>>;

enum Phase {
    Idle,
    Down(Dialling),
    Up(Box<Up>),
}

/// A connection that stands.
struct Up {
    stream: Stream,
    since: Instant,
    info: Info,
    server: Server,
    incoming: BytesMut,
    /// Bytes without which nothing whole is at the front of `incoming`.
    missing: usize,
    /// What is left of a bundle that was taken apart.
    parts: std::vec::IntoIter<Message>,
    /// What the other threads left to this task.
    sending: Pieces,
    next_ping: Pin<Box<Sleep>>,
    answered: u64,
    silent: u32,
    /// The last complaint, which may be why the connection ends.
    complaint: Option<String>,
}

impl Connection {
    pub(crate) fn new(access: Access, shared: Arc<Shared>) -> Self {
        Self {
            servers: Servers::new(access.servers.clone()),
            access: Arc::new(access),
            shared,
            phase: Phase::Idle,
            attempts: 0,
        }
    }

    /// Tries every known server once. Needs not be called: polling connects too, and does not give up.
    ///
    /// # Errors
    /// `unavailable` with the address and what the last of them said.
    pub async fn connect(&mut self) -> Result<()> {
        let mut last = String::new();
        for _ in 0..self.servers.count() {
            match self.dial(0).await {
                Ok(opened) => {
                    self.rise(opened);
                    return Ok(());
                }
                Err(reason) => last = reason,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, last))
    }

    /// Whether it stands.
    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// Gives what happens next, and sends what others left to send. Never ready when there is nothing left to do.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.shared.outbox.register(cx.waker());
        loop {
            match &mut self.phase {
                Phase::Idle => {
                    let round = self.attempts / self.servers.count().max(1) as u32;
                    self.attempts = self.attempts.saturating_add(1);
                    self.phase = Phase::Down(self.dial(round));
                }
                Phase::Down(dialling) => match ready!(dialling.as_mut().poll(cx)) {
                    Ok(opened) => {
                        self.rise(opened);
                        return Poll::Ready(Event::Connected);
                    }
                    Err(reason) => {
                        self.phase = Phase::Idle;
                        return Poll::Ready(Event::Failed(reason));
                    }
                },
                Phase::Up(up) => match ready!(up.poll_next(cx, &self.shared)) {
                    Ok(event) => return Poll::Ready(event),
                    Err(reason) => {
                        let reason = match up.complaint.take() {
                            Some(complaint) => format!("{reason}; it said: {complaint}"),
                            None => reason,
                        };
                        self.servers.learn(&up.info.connect_urls, &up.server);
                        if up.since.elapsed() > SHORT_LIFE {
                            self.attempts = 0;
                        }
                        self.shared.outbox.disconnect();
                        self.phase = Phase::Idle;
                        return Poll::Ready(Event::Lost(reason));
                    }
                },
            }
        }
    }

    /// Gives what happens next.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends what waits and says goodbye; to be dropped afterwards.
    ///
    /// # Errors
    /// `unavailable` when something could not be sent.
    pub async fn finish(&mut self) -> Result<()> {
        let Phase::Up(up) = &mut self.phase else {
            return Ok(());
        };
        let flushed = poll_fn(|cx| {
            self.shared.outbox.register(cx.waker());
            up.poll_flush(cx, &self.shared)
        });
        let finished = match flushed.await {
            Ok(()) => up.stream.shutdown().await,
            Err(error) => Err(error),
        };
        finished.map_err(|error| Error::new(ErrorKind::Unavailable, error.to_string()))
    }

    fn dial(&mut self, round: u32) -> Dialling {
        let Some(server) = self.servers.next() else {
            return Box::pin(std::future::ready(Err("no server is known".to_owned())));
        };
        Box::pin(dial(Arc::clone(&self.access), server, delay(round)))
    }

    fn rise(&mut self, opened: Opened) {
        let Opened {
            stream,
            info,
            incoming,
            server,
        } = opened;
        self.shared.heard(&info);
        let socket = match &stream {
            Stream::Plain(socket) => Some(Arc::clone(socket)),
            Stream::Tls(_) => None,
        };
        self.shared
            .subscribe_all(|first| self.shared.outbox.connect(socket, first));
        self.phase = Phase::Up(Box::new(Up {
            stream,
            since: Instant::now(),
            info,
            server,
            incoming,
            missing: 0,
            parts: Vec::new().into_iter(),
            sending: Pieces::default(),
            next_ping: Box::pin(tokio::time::sleep(PING_INTERVAL)),
            answered: 0,
            silent: 0,
            complaint: None,
        }));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.outbox.close();
    }
}

impl Up {
    fn poll_next(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<std::result::Result<Event, String>> {
        loop {
            if let Some(part) = self.parts.next() {
                return Poll::Ready(Ok(Event::Message(part)));
            }
            if self.missing == 0 {
                match parse::next(&mut self.incoming) {
                    Ok(Front::Whole(operation)) => {
                        if let Some(event) = self.handle(operation, shared) {
                            return Poll::Ready(Ok(event));
                        }
                    }
                    Ok(Front::Missing(missing)) => self.missing = missing,
                    Err(what) => return Poll::Ready(Err(format!("the broker sent {what}"))),
                }
                continue;
            }
            match self.stream.poll_read(cx, &mut self.incoming, self.missing) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err("the broker closed it".to_owned())),
                Poll::Ready(Ok(size)) => self.missing = self.missing.saturating_sub(size),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Pending => break,
            }
        }
        if let Err(reason) = self.keep_alive(cx, shared) {
            return Poll::Ready(Err(reason));
        }
        if let Poll::Ready(Err(error)) = self.poll_flush(cx, shared) {
            return Poll::Ready(Err(error.to_string()));
        }
        Poll::Pending
    }

    fn handle(&mut self, operation: Operation, shared: &Shared) -> Option<Event> {
        match operation {
            Operation::Message(message) => {
                if message.is_bundle()
                    && let Some(parts) = bundle::open(&message)
                {
                    self.parts = parts.into_iter();
                    return None;
                }
                // What only says to be a bundle is told so by whoever it is for.
                Some(Event::Message(message))
            }
            Operation::Ping => {
                shared.outbox.if_connected(|pieces| pieces.line("PONG"));
                None
            }
            Operation::Pong => {
                // It still speaks with us: what it complained of was no reason to part.
                self.complaint = None;
                Some(Event::Confirmed(Confirmation(shared.outbox.pong()?)))
            }
            Operation::Error(text) => {
                self.complaint = Some(text.clone());
                Some(Event::Complaint(text))
            }
            // An introduction that cannot be read tells us nothing new.
            Operation::Info(json) => serde_json::from_str(&json).ok().and_then(|info| {
                self.info = info;
                shared.heard(&self.info);
                self.info.ldm.then_some(Event::LameDuck)
            }),
            Operation::Ok => None,
        }
    }

    /// Asks the broker whether it is there; the error says that it is not.
    fn keep_alive(&mut self, cx: &mut Context<'_>, shared: &Shared) -> std::result::Result<(), String> {
        while self.next_ping.as_mut().poll(cx).is_ready() {
            self.next_ping.as_mut().reset(Instant::now() + PING_INTERVAL);
            let (answered, waiting) = shared.outbox.pings();
            let is_silent = waiting > 0 && answered == self.answered;
            self.answered = answered;
            self.silent = if is_silent { self.silent + 1 } else { 0 };
            if self.silent >= SILENT_INTERVALS {
                return Err("the broker does not answer".to_owned());
            }
            shared.outbox.ping(None);
        }
        Ok(())
    }

    /// Writes what was left to this task. Pending means that some of it still waits.
    fn poll_flush(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<()>> {
        loop {
            while !self.sending.is_empty() {
                let mut pending = false;
                let written = self.sending.write(|slices| match self.stream.poll_write(cx, slices) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        pending = true;
                        Err(io::ErrorKind::WouldBlock.into())
                    }
                });
                if pending {
                    return Poll::Pending;
                }
                written?;
            }
            match shared.outbox.take() {
                Some(pieces) => self.sending = pieces,
                None => return self.stream.poll_flush(cx),
            }
        }
    }
}

impl Shared {
    fn heard(&self, info: &Info) {
        if info.max_payload > 0 {
            self.max_payload.store(info.max_payload, Ordering::Relaxed);
        }
    }
}
