//! The body of the connection's thread: open the connection, let the driver work, end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use npufleet_link::{Connection, Options};
use npufleet_wire::{Error, ErrorKind, Result};

use crate::desk::Desk;
use crate::driver::Driver;
use crate::shared::{Shared, Wake};
use crate::writer::Writer;

/// Threads for what blocks: looking up host names, and what is finished later.
const BLOCKING: usize = 64;

/// Reports once how connecting went, then works until the connection is closed.
pub(crate) fn run(options: &Options, wake: Wake, ready: &SyncSender<Result<Arc<Shared>>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("cannot start the event loop: {error}");
            // The receiver waits for exactly this message.
            let _ = ready.send(Err(Error::new(ErrorKind::Internal, message)));
            return;
        }
    };
    runtime.block_on(async {
        let (shared, connection) = match open(options, wake).await {
            Ok(opened) => opened,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(Arc::clone(&shared)));
        let mut driver = Driver::new(shared, connection);
        // A budget would cut large batches into pieces, each with a wake-up of its own.
        tokio::task::unconstrained(poll_fn(|cx| driver.poll(cx))).await;
        driver.finish().await;
    });
    // Looking up a host name may take longer than anybody wants to wait for the end.
    runtime.shutdown_background();
}

async fn open(options: &Options, wake: Wake) -> Result<(Arc<Shared>, Connection)> {
    let (link, mut connection) = npufleet_link::open(options.access()?);
    connection.connect().await?;
    let id = nuid::next();
    let inbox_prefix = format!("{}.{}.", options.inbox(), id.as_str());
    link.subscribe(&format!("{inbox_prefix}*"), None)?;
    let writer = Writer::new(options.fleet_prefix(), id.as_str(), inbox_prefix);
    let desk = Desk::new(link.clone(), writer);
    Ok((Arc::new(Shared::new(link, desk, wake)), connection))
}
