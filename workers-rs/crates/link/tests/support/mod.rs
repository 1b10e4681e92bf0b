//! A link to a real broker, and what happens to it.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_imports,
    reason = "each test program uses its part"
)]

mod broker;

use std::time::Duration;

pub use broker::{Broker, Directory};
use npufleet_link::{Connection, Event, Link, Message, Options};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        ..Options::default()
    }
}

pub fn open(options: &Options) -> (Link, Connection) {
    npufleet_link::open(options.access().unwrap())
}

/// A link, and what happens to its connection, which a task polls.
pub struct Polled {
    pub link: Link,
    pub events: UnboundedReceiver<Event>,
}

impl Polled {
    pub async fn new(options: &Options) -> Self {
        let (link, mut connection) = open(options);
        connection.connect().await.unwrap();
        Self::poll(link, connection)
    }

    pub fn poll(link: Link, mut connection: Connection) -> Self {
        let (sender, events) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                match connection.next().await {
                    Event::Confirmed(confirmation) => confirmation.tell(),
                    event => {
                        if sender.send(event).is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Self { link, events }
    }

    pub async fn wait<T>(&mut self, wanted: impl Fn(Event) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = wanted(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("an event in time")
    }

    pub async fn message(&mut self) -> Message {
        self.wait(|event| match event {
            Event::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    pub async fn lost(&mut self) -> String {
        self.wait(|event| match event {
            Event::Lost(reason) => Some(reason),
            _ => None,
        })
        .await
    }

    pub async fn connected(&mut self) {
        self.wait(|event| matches!(event, Event::Connected).then_some(())).await;
    }
}
