//! Connections that wait for their next transfer, and how many there may be.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Address;
use super::connection::Connection;

/// Transfers at once; more wait.
const BUSY: usize = 64;
/// Connections that wait, in all and to one owner.
const IDLE: usize = 64;
const IDLE_EACH: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    process: u32,
    busy: usize,
    idle: Vec<(Instant, Address, Connection)>,
}

/// The right to one transfer, given back when dropped.
pub(super) struct Place<'a>(&'a Pool);

impl Pool {
    /// Waits for a place; none when the deadline comes first.
    pub(super) fn place(&self, deadline: Instant) -> Option<Place<'_>> {
        let mut state = self.state.lock();
        state.notice_fork();
        while state.busy >= BUSY {
            if self.freed.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
        state.busy += 1;
        Some(Place(self))
    }
}

impl Place<'_> {
    /// A connection that was used before, the latest that its owner has not ended.
    pub(super) fn take(&self, address: &Address) -> Option<Connection> {
        loop {
            let mut state = self.0.state.lock();
            let found = state.idle.iter().rposition(|(_, to, _)| to == address)?;
            let connection = state.idle.remove(found).2;
            drop(state);
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Drops the connections to an owner that one was just lost to: the others are as old.
    pub(super) fn forget(&self, address: &Address) {
        let mut state = self.0.state.lock();
        let (lost, kept) = std::mem::take(&mut state.idle)
            .into_iter()
            .partition(|(_, to, _)| to == address);
        state.idle = kept;
        drop(state);
        let lost: Vec<_> = lost;
        drop(lost);
    }

    /// Keeps a connection for the next transfer.
    pub(super) fn keep(&self, address: &Address, connection: Connection) {
        let now = Instant::now();
        let mut dropped = Vec::new();
        let mut state = self.0.state.lock();
        state.idle.push((now, address.clone(), connection));
        let same = state.idle.iter().filter(|(_, to, _)| to == address).count();
        let mut surplus = same.saturating_sub(IDLE_EACH);
        let mut excess = state.idle.len().saturating_sub(IDLE);
        // Oldest first.
        let waiting = std::mem::take(&mut state.idle);
        for (since, to, each) in waiting {
            let is_old = now.duration_since(since) > IDLE_TIME;
            let is_surplus = surplus > 0 && to == *address;
            if is_old || is_surplus || excess > 0 {
                surplus -= usize::from(is_surplus);
                excess = excess.saturating_sub(1);
                dropped.push(each);
            } else {
                state.idle.push((since, to, each));
            }
        }
        // Closing sockets takes system calls: not under the lock.
        drop(state);
        drop(dropped);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state.lock().busy -= 1;
        self.0.freed.notify_one();
    }
}

impl State {
    /// In a forked child the parent's connections are dead, and closing them would wait for a thread that is not there.
    fn notice_fork(&mut self) {
        let process = std::process::id();
        if self.process != process {
            std::mem::forget(std::mem::take(&mut self.idle));
            (self.process, self.busy) = (process, 0);
        }
    }
}
