//! The connection as it stands: open, being opened again, or given up.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use npufleet_link::{Connector, Link};

type Reconnecting = Pin<Box<dyn Future<Output = (Box<Link>, Box<Connector>)>>>;

/// Open, being opened again, or given up.
pub(crate) enum Connection {
    Up {
        link: Box<Link>,
        connector: Box<Connector>,
    },
    Down(Reconnecting),
    Closed,
}

impl Connection {
    /// Starts to connect again.
    pub(crate) fn lose(&mut self) {
        if let Self::Up { mut connector, .. } = std::mem::replace(self, Self::Closed) {
            *self = Self::Down(Box::pin(async {
                let link = Box::new(connector.reconnect().await);
                (link, connector)
            }));
        }
    }

    /// Goes on with connecting again; gives the broker's `max_payload` when it is done.
    pub(crate) fn poll_reconnect(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        let Self::Down(opening) = self else {
            return None;
        };
        let Poll::Ready((link, connector)) = opening.as_mut().poll(cx) else {
            return None;
        };
        let limit = link.max_payload();
        *self = Self::Up { link, connector };
        Some(limit)
    }
}
