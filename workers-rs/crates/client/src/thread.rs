//! The body of the connection's thread: open the connection, let the driver work, end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use npufleet_link::{Link, Options};
use npufleet_wire::{Error, ErrorKind, Result};

use crate::driver::{Driver, Opened};
use crate::shared::Shared;

/// What the handle keeps of the connection.
pub(crate) struct Connected {
    pub(crate) link: Link,
}

/// Reports once how connecting went, then works until the connection is closed.
pub(crate) fn run(options: &Options, shared: &Arc<Shared>, ready: &SyncSender<Result<Connected>>) {
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
            link: opened.link.clone(),
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
    let (link, mut connection) = npufleet_link::open(options.access()?);
    connection.connect().await?;
    let id = nuid::next();
    let inbox_prefix = format!("{}.{}.", options.inbox(), id.as_str());
    link.subscribe(&format!("{inbox_prefix}*"), None)?;
    Ok(Opened {
        link,
        connection,
        id: id.as_str().into(),
        inbox_prefix,
    })
}
