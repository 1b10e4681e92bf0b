//! The broker connection that requests come in on and answers go out on: a small NATS client of our own.
//!
//! The general client library is used for everything that is not on this path (`JetStream`, the service protocol). Here
//! it would cost several times what the work itself does: it makes a hash map of every message's headers and passes
//! each message and each reply through channels and tasks. And it forgets a subscription when it unsubscribes, with
//! whatever the broker was still sending, where a worker must not lose a request.
//!
//! - `address`: where the broker is, and who we are there;
//! - `dial`: connecting, TLS and signing in;
//! - `tls`: certificates;
//! - `parse`: what the broker sends, as [`Message`]s that share the buffer they were read into;
//! - `outbox`: what is sent, by whichever thread has something to send;
//! - `stream`: the two ends, plain or with TLS;
//! - `life`: reading, keeping alive, reconnecting.

mod address;
mod dial;
mod life;
mod outbox;
mod parse;
mod stream;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

pub(crate) use address::{Address, Identity, without_credentials};
use dial::Dialer;
use outbox::Outbox;
pub(crate) use outbox::{From, Pieces, push_decimal};
pub(crate) use parse::Message;
pub(crate) use tls::Tls;

/// Takes what a subscription receives; called on the event loop.
pub(crate) trait Receiver {
    /// What tells subscriptions apart.
    type Tag;

    /// A message came; more may follow at once.
    fn receive(&mut self, tag: &Self::Tag, message: Message);

    /// Everything that was there has been received.
    fn pause(&mut self);
}

/// The connection; requests it receives carry the tag `T` of their subscription.
pub(crate) struct Link<T> {
    dialer: Dialer,
    outbox: Outbox,
    subscriptions: Mutex<Subscriptions<T>>,
    max_payload: AtomicUsize,
    /// The reason of the last failure to connect, to say it once.
    complaint: Mutex<String>,
    states: mpsc::UnboundedSender<bool>,
    ended: Notify,
}

struct Subscriptions<T> {
    next: u64,
    open: BTreeMap<u64, Subscription<T>>,
}

struct Subscription<T> {
    subject: String,
    queue: Option<&'static str>,
    tag: T,
}

impl<T> Subscription<T> {
    fn write(&self, number: u64, pieces: &mut Pieces) {
        let queue = self
            .queue
            .map_or(String::new(), |queue| format!(" {queue}"));
        pieces.line(&format!("SUB {}{queue} {number}", self.subject));
    }
}

impl<T> Link<T> {
    /// A connection that is made once [`Link::run`] is polled; `states` tells when it stands and when it is lost.
    pub(crate) fn new(
        addresses: Vec<Address>,
        identity: Identity,
        tls: Tls,
        name: String,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<bool>) {
        let (states, receiver) = mpsc::unbounded_channel();
        let link = Self {
            dialer: Dialer::new(addresses, identity, tls, name),
            outbox: Outbox::default(),
            subscriptions: Mutex::new(Subscriptions {
                next: 1,
                open: BTreeMap::new(),
            }),
            max_payload: AtomicUsize::new(1 << 20),
            complaint: Mutex::default(),
            states,
            ended: Notify::new(),
        };
        (Arc::new(link), receiver)
    }

    /// The largest message that the broker takes, headers included, in bytes.
    pub(crate) fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// Subscribes now, and again after every reconnection; gives the number to unsubscribe.
    pub(crate) fn subscribe(&self, subject: String, queue: Option<&'static str>, tag: T) -> u64 {
        let subscription = Subscription {
            subject,
            queue,
            tag,
        };
        let mut subscriptions = self.subscriptions.lock();
        let number = subscriptions.next;
        subscriptions.next += 1;
        // A connection that is not there is told with all others once it is.
        self.outbox
            .if_connected(|pieces| subscription.write(number, pieces));
        subscriptions.open.insert(number, subscription);
        number
    }

    /// Asks the broker to send no more, and waits until everything it had sent was received; false when the broker is
    /// not there, and so sends nothing either.
    pub(crate) async fn unsubscribe(&self, numbers: &[u64], patience: Duration) -> bool {
        self.outbox.if_connected(|pieces| {
            for number in numbers {
                pieces.line(&format!("UNSUB {number}"));
            }
        });
        let confirmed = self.confirm(patience).await;
        let mut subscriptions = self.subscriptions.lock();
        for number in numbers {
            subscriptions.open.remove(number);
        }
        confirmed
    }

    /// Whether the broker has read everything sent so far, and everything it sent before saying so was received.
    pub(crate) async fn confirm(&self, patience: Duration) -> bool {
        let (sender, receiver) = oneshot::channel();
        self.outbox.ping(Some(sender));
        matches!(tokio::time::timeout(patience, receiver).await, Ok(Ok(())))
    }

    /// Sends whatever `write` adds, in one go.
    pub(crate) fn send(&self, from: From, write: impl FnOnce(&mut Pieces)) {
        self.outbox.send(from, write);
    }

    /// Ends [`Link::run`].
    pub(crate) fn end(&self) {
        self.ended.notify_one();
    }
}

fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}
