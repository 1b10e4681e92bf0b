//! The body of the connection's thread: open the connection, let the driver work, end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use async_nats::ServerAddr;
use npufleet_wire::{Error, ErrorKind, Result};
use tokio::sync::mpsc::unbounded_channel;

use crate::driver::{Driver, Opened};
use crate::options::Options;
use crate::shared::Shared;

/// What the handle keeps of the connection.
pub(crate) struct Connected {
    pub(crate) nats: async_nats::Client,
}

/// Reports once how connecting went, then works until the connection is closed.
pub(crate) fn run<T: Clone>(options: &Options, shared: &Arc<Shared<T>>, ready: &SyncSender<Result<Connected>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("cannot start the event loop: {error}");
            // The receiver waits for exactly this message.
            let _ = ready.send(Err(Error::new(ErrorKind::Internal, message)));
            return;
        }
    };
    runtime.block_on(async {
        let opened = match open(options).await {
            Ok(opened) => opened,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(Connected {
            nats: opened.nats.clone(),
        }));
        let mut driver = Driver::new(Arc::clone(shared), opened, options.fleet_prefix());
        // A budget would cut large batches into pieces, each with a wake-up of its own.
        tokio::task::unconstrained(poll_fn(|cx| driver.poll(cx))).await;
        driver.finish().await;
    });
    // Looking up a host name may take longer than anybody wants to wait for the end.
    runtime.shutdown_background();
}

async fn open(options: &Options) -> Result<Opened> {
    let (sender, events) = unbounded_channel();
    let addresses = options.addresses()?;
    let shown = addresses
        .iter()
        .map(ServerAddr::as_url_str)
        .collect::<Vec<_>>()
        .join(", ");
    let nats = options.to_nats().await?.event_callback(move |event| {
        // Nobody listens any more once the driver has ended.
        let _ = sender.send(event);
        async {}
    });
    let unavailable = |error: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::Unavailable,
            format!("cannot connect to the broker at {shown}: {error}"),
        )
    };
    let nats = nats
        .connect(addresses.as_slice())
        .await
        .map_err(|error| unavailable(&error))?;
    let id: Arc<str> = nuid::next().as_str().into();
    let inbox_prefix = format!("{}.{id}.", options.inbox());
    let inbox = nats
        .subscribe(format!("{inbox_prefix}*"))
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(Opened {
        nats,
        id,
        inbox,
        inbox_prefix,
        events,
    })
}
