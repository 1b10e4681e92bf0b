//! The handle on a connection that lives on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};

use npufleet_link::Options;
use npufleet_wire::{Error, ErrorKind, Result, header};
use parking_lot::Mutex;

use crate::outcome::{Outcome, Refusal, Request};
use crate::shared::{Shared, State};
use crate::thread;

/// Sends calls and collects what came of them, each by its sequence number.
pub struct Client {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Connects; blocks until the broker has answered or refused.
    ///
    /// `wake` is called when [`Client::drain`] has something again, mostly from the connection's thread. It must not
    /// block.
    ///
    /// # Errors
    /// `unavailable` when the options cannot be used or the broker cannot be reached or refuses us.
    pub fn connect(options: Options, wake: impl Fn() + Send + Sync + 'static) -> Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let thread = Builder::new()
            .name("npufleet-client".into())
            .spawn(move || thread::run(&options, Box::new(wake), &sender))
            .map_err(|error| Error::new(ErrorKind::Internal, format!("cannot start a thread: {error}")))?;
        let shared = receiver
            .recv()
            .map_err(|_| Error::new(ErrorKind::Internal, "the connection's thread ended before it connected"))??;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Returns the largest message that the broker takes now, in bytes, headers included.
    pub fn max_payload(&self) -> usize {
        self.shared.link().max_payload()
    }

    /// Takes a call to send, at [`Client::flush`] at the latest, and returns its sequence number; never blocks.
    ///
    /// Whatever becomes of it comes back through [`Client::drain`], unless it is cancelled before.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`]; `invalid_parameter` for a subject that would break the protocol;
    /// `unavailable` after [`Client::close`].
    pub fn submit(&self, request: Request) -> std::result::Result<u64, Refusal> {
        check_subject(&request.subject)?;
        let headers = match &request.store {
            Some(store) => store.headers.as_bytes().len(),
            None => header_size(&request),
        };
        let size = request.payload.len() + headers;
        let limit = self.max_payload();
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        self.shared.submit(request)
    }

    /// Forgets a call, and tells the workers if it was sent. Unknown numbers are no error:
    /// the answer may have been faster.
    pub fn cancel(&self, sequence: u64) {
        self.shared.cancel(sequence);
    }

    /// Has `work` say what became of a call whose answer was drained, on a thread where it may block; that comes through
    /// [`Client::drain`] too, unless the call is cancelled before, which `work` can ask. Closing ends the call without
    /// waiting for `work`; once the connection is closed nothing is done, and this is false.
    pub fn finish(&self, sequence: u64, work: impl FnOnce(&dyn Fn() -> bool) -> Outcome + Send + 'static) -> bool {
        self.shared.finish(sequence, work)
    }

    /// Sends what was submitted. Calls are held back for a moment, so that those of one burst leave together: call this
    /// once after each burst.
    pub fn flush(&self) {
        self.shared.flush();
    }

    /// Takes the outcomes that arrived since the last time, with the sequence numbers of their calls.
    pub fn drain(&self) -> Vec<(u64, Outcome)> {
        self.shared.take_completions()
    }

    /// Whether [`Client::drain`] has something.
    pub fn has_outcomes(&self) -> bool {
        self.shared.has_completions()
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared.state() == State::Connected
    }

    /// Returns `connected`, `reconnecting` or `closed`.
    pub fn state(&self) -> &'static str {
        self.shared.state().as_str()
    }

    /// Ends the connection; calls in flight end `unavailable`. Blocks until the thread has ended.
    pub fn close(&self) {
        self.shared.close();
        if let Some(thread) = self.thread.lock().take() {
            // It has nothing to report but a panic, which the default hook has printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// A space or a line end inside a subject would be read as protocol by the broker.
fn check_subject(subject: &str) -> std::result::Result<(), Refusal> {
    if subject.is_empty() || subject.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        let message = format!("subject is {subject:?}; allowed: tokens without white space");
        return Err(Refusal::new(ErrorKind::InvalidParameter, message));
    }
    Ok(())
}

/// Returns the bytes that the headers take in the message.
fn header_size(request: &Request) -> usize {
    const FRAMING: usize = "NATS/1.0\r\n\r\n".len();
    const LINE: usize = ": \r\n".len();
    let digits = request.deadline_us.checked_ilog10().unwrap_or(0) as usize + 1;
    header::DEADLINE.len() + digits + LINE + request.headers.as_bytes().len().max(FRAMING)
}
