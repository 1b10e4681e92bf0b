//! The two connections to the broker: the link for requests, and the general client for everything else.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event as Heard};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::core::ENGINE;
use crate::endpoint::Target;
use crate::link::{Address, Identity, Link, Tls, without_credentials};
use crate::{Config, Error};

/// Silence after which the broker is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Both connections, which live on whatever happens to the broker.
pub(crate) struct Connections {
    pub(crate) link: Arc<Link<Target>>,
    /// Tells when the link stands and when it is lost.
    pub(crate) states: UnboundedReceiver<bool>,
    pub(crate) control: Client,
    /// Rung when the control connection was lost and found.
    pub(crate) reconnected: Arc<Notify>,
}

/// Prepares both connections; neither waits for the broker.
///
/// # Errors
/// `Configuration` or `Connect` when an option cannot work, whatever the broker says.
pub(crate) async fn open(config: &Config, id: &str) -> Result<Connections, Error> {
    let tls = Tls::new(config)?;
    let identity = Identity::new(config)?;
    let reconnected = Arc::new(Notify::new());
    let bell = Arc::clone(&reconnected);
    let mut options = ConnectOptions::new()
        .name(format!("npufleet-{ENGINE}-{id}-control"))
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .reconnect_delay_callback(|attempt| {
            LONGEST_DELAY.min(Duration::from_millis(50 << attempt.min(6)))
        })
        .event_callback(move |event| {
            // The link says what there is to say; it loses the same broker.
            if event == Heard::Connected {
                bell.notify_one();
            }
            std::future::ready(())
        });
    if let (Some(user), password) = (&identity.user, &identity.password) {
        options = options.user_and_password(user.clone(), password.clone().unwrap_or_default());
    }
    if let Some(token) = &identity.token {
        options = options.token(token.clone());
    }
    let refused = |reason: &dyn std::fmt::Display| Error::Connect {
        url: without_credentials(&config.url),
        reason: reason.to_string(),
    };
    if let Some(path) = &config.credentials {
        options = options
            .credentials_file(path)
            .await
            .map_err(|error| refused(&error))?;
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone());
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options = options.require_tls(tls.is_required());
    let addresses: Vec<&str> = config.url.split(',').map(str::trim).collect();
    let control = options
        .connect(&addresses[..])
        .await
        .map_err(|error| refused(&error))?;
    let (link, states) = Link::new(
        Address::list(&config.url)?,
        identity,
        tls,
        format!("npufleet-{ENGINE}-{id}"),
    );
    Ok(Connections {
        link,
        states,
        control,
        reconnected,
    })
}
