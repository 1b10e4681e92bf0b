//! The connections to the broker: the link for requests and answers, and the general client for everything else.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{AuthError, Client, ConnectOptions, Event};
use npufleet_link::{Access, Connection, Link, Login};
use tokio::sync::Notify;

use crate::core::ENGINE;
use crate::{Config, Error};

/// Silence after which the broker is asked whether it is still there; two unanswered questions mean it is not.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Both connections, which live on whatever happens to the broker.
pub(crate) struct Connections {
    pub(crate) link: Link,
    pub(crate) connection: Connection,
    /// For `JetStream`.
    pub(crate) control: Client,
    /// Rung when the control connection was lost and found.
    pub(crate) reconnected: Arc<Notify>,
    /// The first token of this worker's own reply subjects.
    pub(crate) inbox: String,
}

/// Prepares both connections; neither waits for the broker.
///
/// # Errors
/// `Configuration` when an option cannot work, whatever the broker says.
pub(crate) async fn open(config: &Config, id: &str) -> Result<Connections, Error> {
    let access = |name| {
        let options = config.connection(name);
        options.access().map_err(|error| Error::Configuration(error.message))
    };
    let hot = access(format!("npufleet-{ENGINE}-{id}"))?;
    let inbox = inbox_prefix(config, hot.login());
    let (control, reconnected) = control(&hot, format!("npufleet-{ENGINE}-{id}-control"), &inbox).await?;
    let (link, connection) = npufleet_link::open(hot);
    Ok(Connections {
        link,
        connection,
        control,
        reconnected,
        inbox,
    })
}

async fn control(access: &Access, name: String, inbox: &str) -> Result<(Client, Arc<Notify>), Error> {
    let (bell, was_there) = (Arc::new(Notify::new()), AtomicBool::new(false));
    let reconnected = Arc::clone(&bell);
    let options = ConnectOptions::new()
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .custom_inbox_prefix(inbox)
        .reconnect_delay_callback(|attempt| LONGEST_DELAY.min(Duration::from_millis(50 << attempt.min(6))))
        .event_callback(move |event| {
            // The link says what there is to say; it loses the same broker.
            if event == Event::Connected && was_there.swap(true, Ordering::Relaxed) {
                bell.notify_one();
            }
            ready(())
        });
    let options = match access.login().clone() {
        Login::Nobody => options,
        Login::User { user, password } => options.user_and_password(user, password),
        Login::Token(token) => options.token(token),
        Login::Jwt { jwt, keys } => options.jwt(jwt, move |nonce| {
            let signed = keys.sign(&nonce).map_err(AuthError::new);
            async move { signed }
        }),
    };
    let options = match access.tls() {
        Some(trust) => options.tls_client_config((**trust).clone()).require_tls(true),
        None => options,
    };
    let addresses = access.addresses();
    let client = options.connect(&addresses).await.map_err(|error| Error::Connect {
        url: addresses.join(","),
        reason: error.to_string(),
    })?;
    Ok((client, reconnected))
}

/// Whether the control connection stands now.
pub(crate) fn is_connected(control: &Client) -> bool {
    control.connection_state() == State::Connected
}

/// The one that is configured, or `_INBOX_<user>`: permissions keep the inboxes of users apart by their first token.
fn inbox_prefix(config: &Config, login: &Login) -> String {
    let is_token = |user: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=64).contains(&user.len()) && user.bytes().all(plain)
    };
    match (&config.inbox_prefix, login) {
        (Some(prefix), _) => prefix.clone(),
        (None, Login::User { user, .. }) if is_token(user) => format!("_INBOX_{user}"),
        _ => "_INBOX".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inbox_is_the_user_s_own() {
        let prefix = |url: &str, user: Option<&str>, inbox: Option<&str>| {
            let config = Config {
                url: url.to_owned(),
                user: user.map(str::to_owned),
                inbox_prefix: inbox.map(str::to_owned),
                ..Config::default()
            };
            let access = config.connection(String::new()).access().unwrap();
            inbox_prefix(&config, access.login())
        };
        assert_eq!(prefix("nats://h:1", Some("worker"), None), "_INBOX_worker");
        assert_eq!(prefix("nats://ann:p@h:1", None, None), "_INBOX_ann");
        assert_eq!(prefix("nats://secret@h:1", None, None), "_INBOX");
        assert_eq!(prefix("nats://h:1", Some("a.b*"), None), "_INBOX");
        assert_eq!(prefix("nats://h:1", Some("worker"), Some("_R")), "_R");
    }

    #[tokio::test]
    async fn half_a_pair_of_options_is_refused() {
        let config = Config {
            password: Some("x".to_owned()),
            ..Config::default()
        };
        assert!(matches!(open(&config, "id").await, Err(Error::Configuration(_))));
        let config = Config {
            tls_key: Some("k.pem".into()),
            ..Config::default()
        };
        assert!(matches!(open(&config, "id").await, Err(Error::Configuration(_))));
    }
}
