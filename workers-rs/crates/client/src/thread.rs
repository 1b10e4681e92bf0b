//! The body of the connection's thread.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use npufleet_link::Options;
use npufleet_wire::{Error, ErrorKind, Result};

use crate::driver::Driver;
use crate::shared::Shared;

/// How long closing waits for the last messages to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports once how connecting went, then works until it is closed.
pub(crate) fn run<T>(
    options: Arc<Options>,
    shared: &Arc<Shared<T>>,
    ready: &SyncSender<Result<()>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
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
        let mut driver = match Driver::connect(options, Arc::clone(shared)).await {
            Ok(driver) => driver,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        // A budget would cut large batches into pieces, each with a wake-up of its own.
        tokio::task::unconstrained(poll_fn(|cx| driver.poll(cx))).await;
        // Nothing depends on it: calls carry deadlines.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, driver.finish()).await;
    });
    // Looking up a host name may take longer than anybody wants to wait for the end.
    runtime.shutdown_background();
}
