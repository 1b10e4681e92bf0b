//! What jobs send leaves together: everything of one turn of the event loop in one piece.

use std::sync::Arc;

use npufleet_link::Pieces;

use crate::core::Core;

/// Bytes that may wait to leave with others.
const ROOM: usize = 1 << 20;

impl Core {
    /// Sends whatever `write` adds, soon; without a connection it waits for one. False when too much waits already.
    pub(super) fn post(&self, write: impl Fn(&mut Pieces)) -> bool {
        if self.link.add(ROOM, &write) {
            self.jobs.posted.notify_one();
            return true;
        }
        self.link.send(&write)
    }

    /// Lets what is posted leave, after everybody who can go on now has had a turn.
    pub(super) async fn send_posts(self: Arc<Self>) {
        loop {
            self.jobs.posted.notified().await;
            tokio::task::yield_now().await;
            self.link.flush();
        }
    }
}
