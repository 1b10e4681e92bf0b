//! The side of a connection that any thread may use: subscribe and send.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use npufleet_wire::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::options::Access;
use crate::outbox::Outbox;
use crate::pieces::Pieces;

/// The protocol's and the usual limit of what a broker takes, until it says what it does, in bytes.
const USUAL_PAYLOAD: usize = 1 << 20;

/// What the two sides of a connection share.
pub(crate) struct Shared {
    pub(crate) outbox: Outbox,
    subscriptions: Mutex<Subscriptions>,
    pub(crate) max_payload: AtomicUsize,
}

#[derive(Default)]
struct Subscriptions {
    last: u64,
    /// What follows `SUB`, by number.
    open: BTreeMap<u64, String>,
}

/// The side of a connection that any thread may use. Cloning it is cheap.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

/// Makes the two sides of a connection; it is made once [`Connection`] is polled.
pub fn open(access: Access) -> (Link, Connection) {
    let shared = Arc::new(Shared {
        outbox: Outbox::default(),
        subscriptions: Mutex::default(),
        max_payload: AtomicUsize::new(USUAL_PAYLOAD),
    });
    (Link(Arc::clone(&shared)), Connection::new(access, shared))
}

impl Link {
    /// Returns the largest message that the broker takes, headers included, in bytes.
    pub fn max_payload(&self) -> usize {
        self.0.max_payload.load(Ordering::Relaxed)
    }

    /// Listens to a subject, now and after every reconnection, alone or as one of the group `queue`; messages carry the
    /// number returned.
    ///
    /// # Errors
    /// `invalid_parameter` for what is no subject.
    pub fn subscribe(&self, subject: &str, queue: Option<&str>) -> Result<u64> {
        let is_word = |word: &str| !word.is_empty() && !word.contains(|letter: char| letter <= ' ' || letter == '\x7f');
        if !subject.split('.').all(is_word) || !queue.is_none_or(is_word) {
            let message = format!(
                "cannot listen to {subject:?} in the group {queue:?}; allowed: tokens without white space between dots"
            );
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let mut subscriptions = self.0.subscriptions.lock();
        subscriptions.last += 1;
        let number = subscriptions.last;
        let words = match queue {
            Some(queue) => format!("{subject} {queue} {number}"),
            None => format!("{subject} {number}"),
        };
        // A connection that is not there is told with all others once it is.
        self.0
            .outbox
            .if_connected(|pieces| pieces.line(&format!("SUB {words}")));
        subscriptions.open.insert(number, words);
        Ok(number)
    }

    /// Asks the broker to send no more. What it had sent before still arrives: all of it before [`Link::confirm`] says so.
    pub fn unsubscribe(&self, numbers: &[u64]) {
        let mut subscriptions = self.0.subscriptions.lock();
        self.0.outbox.if_connected(|pieces| {
            for number in numbers {
                if subscriptions.open.remove(number).is_some() {
                    pieces.line(&format!("UNSUB {number}"));
                }
            }
        });
        // Without a connection there is nobody to tell, and the next one is not told of them.
        subscriptions.open.retain(|number, _| !numbers.contains(number));
    }

    /// Waits until the broker has read everything sent so far, and whoever polls the connection has had everything that
    /// the broker sent before saying so. Returns false when there is no connection or it is lost meanwhile.
    pub async fn confirm(&self) -> bool {
        let (sender, answered) = oneshot::channel();
        self.0.outbox.ping(Some(sender));
        answered.await.is_ok()
    }

    /// Sends whatever `write` adds, in one go; without a connection it waits for one. Never blocks: returns false,
    /// without having called `write`, when too much waits already or nobody will connect again.
    pub fn send(&self, write: impl FnOnce(&mut Pieces)) -> bool {
        self.0.outbox.send(false, write)
    }

    /// As [`Link::send`], but while much waits for a connection that stands, so does the calling thread.
    pub fn send_patiently(&self, write: impl FnOnce(&mut Pieces)) -> bool {
        self.0.outbox.send(true, write)
    }

    /// Returns the bytes that wait because the broker does not take them.
    pub fn waiting(&self) -> usize {
        self.0.outbox.waiting()
    }

    /// Adds whatever `write` adds to what leaves at the next [`Link::flush`]. Returns false, without having called
    /// `write`, when there is no connection or more than `room` bytes wait.
    pub fn add(&self, room: usize, write: impl FnOnce(&mut Pieces)) -> bool {
        self.0.outbox.add(room, write)
    }

    /// Sends what was added, from this thread as far as the socket takes it. Never blocks.
    pub fn flush(&self) {
        self.0.outbox.flush();
    }
}

impl Shared {
    /// Adds the lines that subscribe everything.
    pub(crate) fn subscribe_all(&self, connect: impl FnOnce(&dyn Fn(&mut Pieces))) {
        let subscriptions = self.subscriptions.lock();
        connect(&|pieces| {
            for words in subscriptions.open.values() {
                pieces.line(&format!("SUB {words}"));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn link() -> (Link, Connection) {
        let options = Options {
            url: "host".into(),
            ..Options::default()
        };
        open(options.access().unwrap())
    }

    #[test]
    fn subscriptions_cannot_smuggle_protocol() {
        let (link, _connection) = link();
        assert_eq!(link.subscribe("a.*", None).unwrap(), 1);
        assert_eq!(link.subscribe("b.>", Some("group")).unwrap(), 2);
        for subject in ["", "a..b", "a b", "a\r\nPUB x 0", ".a"] {
            assert!(link.subscribe(subject, None).is_err(), "{subject:?}");
        }
        for queue in ["", "a b", "a\r\n"] {
            assert!(link.subscribe("a", Some(queue)).is_err(), "{queue:?}");
        }
    }

    #[test]
    fn what_waits_for_a_connection_is_bounded() {
        let (link, connection) = link();
        let payload = bytes::Bytes::from(vec![0; 1 << 20]);
        let taken = (0..1000)
            .take_while(|_| link.send(|pieces| pieces.publish("a", None, b"", &payload)))
            .count();
        assert!((60..80).contains(&taken), "{taken} MiB");
        assert!(link.waiting() < 80 << 20);
        assert!(!link.add(usize::MAX, |_| unreachable!("there is no connection")));
        // Nobody waits for a connection that may never come.
        assert!(!link.send_patiently(|_| unreachable!("too much waits")));
        drop(connection);
        assert!(!link.send(|_| unreachable!("nobody will connect again")));
    }
}
