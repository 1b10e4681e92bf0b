//! The life of a connection: reading, keeping alive, reconnecting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::dial::{BUFFER, Connected};
use super::parse::{Info, Operation, next};
use super::stream::{Reader, Writer};
use super::{Link, Receiver, other};
use crate::events::log;

/// Silence after which the broker is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// More unanswered questions mean that it is not.
const UNANSWERED: usize = 2;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

impl<T> Link<T> {
    /// Connects, receives, and connects again whenever the connection is lost, until [`Link::end`].
    pub(crate) async fn run<R: Receiver<Tag = T>>(self: Arc<Self>, mut receiver: R) {
        tokio::select! {
            () = self.live(&mut receiver) => {}
            () = self.ended.notified() => self.outbox.disconnect(),
        }
    }

    async fn live<R: Receiver<Tag = T>>(&self, receiver: &mut R) {
        let mut attempt = 0;
        loop {
            match self.dialer.dial(attempt).await {
                Ok(connected) => {
                    attempt = 0;
                    self.complaint.lock().clear();
                    let error = self.connection(connected, receiver).await;
                    self.outbox.disconnect();
                    log(format_args!("the broker connection is lost: {error}"));
                    self.tell(false);
                }
                Err(error) => self.complain(&error),
            }
            tokio::time::sleep(delay(attempt)).await;
            attempt += 1;
        }
    }

    /// Serves one connection until it is lost; gives the reason.
    async fn connection<R: Receiver<Tag = T>>(
        &self,
        connected: Connected,
        receiver: &mut R,
    ) -> io::Error {
        let Connected {
            reader,
            writer,
            info,
            buffer,
        } = connected;
        self.heard(&info);
        self.greet(writer.socket());
        tokio::select! {
            error = self.read(reader, buffer, receiver) => error,
            error = self.write(writer) => error,
            error = self.keep_alive() => error,
        }
    }

    /// Subscribes everything and lets replies out.
    fn greet(&self, socket: Option<Arc<TcpStream>>) {
        let subscriptions = self.subscriptions.lock();
        self.outbox.connect(socket, |pieces| {
            for (number, subscription) in &subscriptions.open {
                subscription.write(*number, pieces);
            }
        });
        self.tell(true);
    }

    async fn read<R: Receiver<Tag = T>>(
        &self,
        mut stream: Reader,
        mut buffer: BytesMut,
        receiver: &mut R,
    ) -> io::Error {
        loop {
            if let Err(error) = self.receive(&mut buffer, receiver) {
                return error;
            }
            // Messages share the buffer; what they left of it is used up before another one is made.
            if buffer.capacity() - buffer.len() < BUFFER / 8 {
                buffer.reserve(BUFFER);
            }
            match stream.read(&mut buffer).await {
                Ok(0) => return other("the broker closed it"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Hands on everything that is complete.
    fn receive<R: Receiver<Tag = T>>(
        &self,
        buffer: &mut BytesMut,
        receiver: &mut R,
    ) -> io::Result<()> {
        let subscriptions = self.subscriptions.lock();
        let (mut asked, mut answered, mut admitted) = (0, 0, false);
        let result = loop {
            match next(buffer) {
                Ok(Some(Operation::Message { number, message })) => {
                    if let Some(subscription) = subscriptions.open.get(&number) {
                        receiver.receive(&subscription.tag, message);
                        admitted = true;
                    }
                }
                Ok(Some(Operation::Ping)) => asked += 1,
                Ok(Some(Operation::Pong)) => answered += 1,
                Ok(Some(Operation::Info(info))) => self.heard(&info),
                Ok(Some(Operation::Error(text))) => log(format_args!("the broker says: {text}")),
                Ok(Some(Operation::Nothing)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(subscriptions);
        if admitted {
            receiver.pause();
        }
        // Whoever waits for a pong may rely on everything before it having been received.
        for _ in 0..answered {
            self.outbox.pong();
        }
        for _ in 0..asked {
            self.outbox.if_connected(|pieces| pieces.line("PONG"));
        }
        result
    }

    /// Goes on with what others could not send.
    async fn write(&self, mut writer: Writer) -> io::Error {
        loop {
            self.outbox.work.notified().await;
            while let Some(pieces) = self.outbox.take() {
                if let Err(error) = writer.write_all(pieces).await {
                    return error;
                }
            }
            if let Err(error) = writer.flush().await {
                return error;
            }
        }
    }

    async fn keep_alive(&self) -> io::Error {
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            if self.outbox.unanswered() >= UNANSWERED {
                return other("the broker does not answer");
            }
            self.outbox.ping(None);
        }
    }

    fn heard(&self, info: &Info) {
        if info.max_payload > 0 {
            self.max_payload.store(info.max_payload, Ordering::Relaxed);
        }
        if info.lame_duck {
            log(format_args!("the broker is about to shut down"));
        }
    }

    fn tell(&self, connected: bool) {
        // Nobody listens once the worker ends.
        let _ = self.states.send(connected);
    }

    /// Says why there is no connection; once, not at every attempt.
    fn complain(&self, error: &io::Error) {
        let (mut said, text) = (self.complaint.lock(), error.to_string());
        if *said != text {
            log(format_args!(
                "cannot connect to the broker, will try again: {text}"
            ));
            *said = text;
        }
    }
}

/// Doubles from 50 ms, plus up to as much again, so that a fleet does not return in step.
fn delay(attempt: usize) -> Duration {
    let base = FIRST_DELAY
        .saturating_mul(1 << attempt.min(6))
        .min(LONGEST_DELAY);
    base + base.mul_f64(jitter())
}

/// A number in 0..1 that differs between processes and moments; nothing secret depends on it.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_bounded() {
        for attempt in 0..100 {
            let delay = delay(attempt);
            assert!(
                delay >= FIRST_DELAY && delay <= 2 * LONGEST_DELAY,
                "{attempt}: {delay:?}"
            );
        }
    }
}
