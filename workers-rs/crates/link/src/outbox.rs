//! What is sent, and who sends it.
//!
//! Whoever has something to send adds it, and writes everything that waits to the socket unless somebody is at it. So
//! an answer leaves from the thread that has it, without waking another; and while one thread is in the system call,
//! what others add gathers and leaves with the next. When the socket takes no more, or is encrypted, the task that polls
//! the connection goes on with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::pieces::Pieces;

/// Who has time waits while more than this waits, in bytes.
const FULL: usize = 32 << 20;
/// Nothing is taken while more than this waits, in bytes.
const LIMIT: usize = 64 << 20;

#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Wakes the task that polls the connection.
    waker: AtomicWaker,
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Pieces,
    /// Used in turns with the memory of `waiting`.
    spare: Vec<u8>,
    writer: Writer,
    standing: Standing,
    /// The socket, when any thread may write to it.
    socket: Option<Arc<TcpStream>>,
    /// Counts connections: what belongs to an earlier one is not put back.
    connection: u64,
    pings: VecDeque<Option<oneshot::Sender<()>>>,
    /// Pings answered on this connection.
    answered: u64,
}

/// Who is writing: whoever adds something leaves it to them.
#[derive(Default, PartialEq)]
enum Writer {
    #[default]
    Nobody,
    /// A thread that had something to send.
    Thread,
    /// The task that polls the connection.
    Task,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Standing {
    #[default]
    Down,
    Up,
    /// Nobody will connect again.
    Closed,
}

impl Outbox {
    /// Sends whatever `write` adds; without a connection it waits for one. Returns false when too much waits already,
    /// after waiting for room if there is a `patient` connection.
    pub(crate) fn send(&self, patient: bool, write: impl FnOnce(&mut Pieces)) -> bool {
        let mut state = self.state.lock();
        while patient && state.standing == Standing::Up && state.waiting.size() > FULL {
            self.room.wait(&mut state);
        }
        if state.standing == Standing::Closed || state.waiting.size() > LIMIT {
            return false;
        }
        write(&mut state.waiting);
        self.write_out(state);
        true
    }

    /// Adds whatever `write` adds, to leave with the next flush, if there is a connection and at most `room` bytes wait.
    /// Returns whether it did.
    pub(crate) fn add(&self, room: usize, write: impl FnOnce(&mut Pieces)) -> bool {
        let mut state = self.state.lock();
        let open = state.standing == Standing::Up && state.waiting.size() <= room;
        if open {
            write(&mut state.waiting);
        }
        open
    }

    /// Sends what was added, unless somebody is at it.
    pub(crate) fn flush(&self) {
        self.write_out(self.state.lock());
    }

    /// Returns the bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.size()
    }

    /// Sends whatever `write` adds if there is a connection.
    pub(crate) fn if_connected(&self, write: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.lock();
        if state.standing == Standing::Up {
            write(&mut state.waiting);
            self.write_out(state);
        }
    }

    /// Asks the broker for a sign of life; `answered` hears of it, or is dropped with the connection.
    pub(crate) fn ping(&self, answered: Option<oneshot::Sender<()>>) {
        let mut state = self.state.lock();
        if state.standing == Standing::Up {
            state.pings.push_back(answered);
            state.waiting.line("PING");
            self.write_out(state);
        }
    }

    /// The broker answered the oldest ping; returns who waits for that.
    pub(crate) fn pong(&self) -> Option<oneshot::Sender<()>> {
        let mut state = self.state.lock();
        state.answered += 1;
        state.pings.pop_front().flatten()
    }

    /// Returns how many pings were answered and how many were not.
    pub(crate) fn pings(&self) -> (u64, usize) {
        let state = self.state.lock();
        (state.answered, state.pings.len())
    }

    /// A connection stands: `first` goes before everything that waits.
    pub(crate) fn connect(&self, socket: Option<Arc<TcpStream>>, first: impl FnOnce(&mut Pieces)) {
        let mut state = self.state.lock();
        let mut pieces = Pieces::default();
        first(&mut pieces);
        state.waiting.prepend(pieces);
        (state.socket, state.standing, state.writer) = (socket, Standing::Up, Writer::Nobody);
        state.connection += 1;
        state.answered = 0;
        self.write_out(state);
    }

    /// The connection is lost, with what waited: nobody knows how much of it arrived.
    pub(crate) fn disconnect(&self) {
        self.end(Standing::Down);
    }

    /// Nothing will be sent any more.
    pub(crate) fn close(&self) {
        self.end(Standing::Closed);
    }

    fn end(&self, standing: Standing) {
        let mut state = self.state.lock();
        state.waiting = Pieces::default();
        state.pings.clear();
        (state.socket, state.standing, state.writer) = (None, standing, Writer::Nobody);
        state.connection += 1;
        self.room.notify_all();
    }

    /// Registers the task that polls the connection.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// What the polling task is to write now; it asks again until nothing is left.
    pub(crate) fn take(&self) -> Option<Pieces> {
        let mut state = self.state.lock();
        if state.writer != Writer::Task {
            return None;
        }
        if state.waiting.is_empty() {
            state.writer = Writer::Nobody;
            return None;
        }
        self.room.notify_all();
        Some(std::mem::take(&mut state.waiting))
    }

    fn write_out<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        if state.writer != Writer::Nobody || state.standing != Standing::Up || state.waiting.is_empty() {
            return;
        }
        let Some(socket) = state.socket.clone() else {
            return self.leave_to_task(state);
        };
        state.writer = Writer::Thread;
        let connection = state.connection;
        while !state.waiting.is_empty() {
            let mut pieces = std::mem::take(&mut state.waiting);
            let spare = std::mem::take(&mut state.spare);
            state.waiting.reuse(spare);
            let written = MutexGuard::unlocked(&mut state, || drain(&mut pieces, &socket));
            if state.connection != connection {
                return;
            }
            if written.is_err() {
                // Full, or broken: then the task, which knows what to do about it, sees the same error.
                state.waiting.prepend(pieces);
                return self.leave_to_task(state);
            }
            state.spare = pieces.into_spare();
            self.room.notify_all();
        }
        state.writer = Writer::Nobody;
    }

    fn leave_to_task(&self, mut state: MutexGuard<'_, State>) {
        state.writer = Writer::Task;
        drop(state);
        self.waker.wake();
    }
}

fn drain(pieces: &mut Pieces, socket: &TcpStream) -> io::Result<()> {
    while !pieces.is_empty() {
        match pieces.write(|slices| socket.try_write_vectored(slices)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
