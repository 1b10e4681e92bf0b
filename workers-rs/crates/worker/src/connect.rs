//! The broker connection: options, certificates, and what is heard about its state.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event as Heard};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::events::log;
use crate::{Config, Error};

/// Silence after which the broker is asked whether it is still there; two unanswered questions mean it is not.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(4);
/// Messages that a subscription buffers. Admission answers faster than messages arrive, so this only has to cover the
/// time until the event loop gets its turn; what exceeds it is lost and logged.
const SUBSCRIPTION_CAPACITY: usize = 1 << 17;
/// Replies that wait for the connection before an executor has to.
const REPLY_CAPACITY: usize = 1 << 14;

/// Opens the connection and waits until it stands; lost later, it is opened again for ever.
///
/// # Errors
/// `Configuration` or `Connect` when an option cannot work, whatever the broker says.
pub(crate) async fn connect(config: &Config, name: String) -> Result<(Client, mpsc::UnboundedReceiver<bool>), Error> {
    let (states, receiver) = mpsc::unbounded_channel();
    let said = Arc::new(Mutex::new(String::new()));
    let options = options(config).await?.name(name).event_callback(move |event| {
        let (states, said) = (states.clone(), Arc::clone(&said));
        async move {
            match event {
                Heard::Connected => {
                    said.lock().clear();
                    // The receiver goes away with the worker, after which nobody needs to know.
                    let _ = states.send(true);
                }
                Heard::Disconnected => {
                    let _ = states.send(false);
                }
                Heard::SlowConsumer(subscription) => {
                    log(format_args!(
                        "slow consumer: subscription {subscription} is full, a request was lost"
                    ));
                }
                Heard::ServerError(error) => once(&said, format!("the broker says: {error}")),
                Heard::ClientError(error) => once(&said, format!("broker connection: {error}")),
                Heard::LameDuckMode => log(format_args!("the broker is about to shut down")),
                Heard::Draining | Heard::Closed => {}
            }
        }
    });
    let addresses: Vec<&str> = config.url.split(',').map(str::trim).collect();
    let client = options
        .connect(&addresses[..])
        .await
        .map_err(|error| connect_error(config, &error))?;
    Ok((client, receiver))
}

/// Says a thing once, not at every attempt to connect.
fn once(said: &Mutex<String>, text: String) {
    let mut said = said.lock();
    if *said != text {
        log(format_args!("{text}"));
        *said = text;
    }
}

/// Whether the connection stands now.
pub(crate) fn is_connected(client: &Client) -> bool {
    client.connection_state() == State::Connected
}

async fn options(config: &Config) -> Result<ConnectOptions, Error> {
    let mut options = ConnectOptions::new()
        .retry_on_initial_connect()
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(REPLY_CAPACITY)
        // Subjects are made of checked names, or come from the broker.
        .skip_subject_validation(true)
        .reconnect_delay_callback(reconnect_delay);
    let in_url = user_of_url(&config.url);
    match (&config.user, &config.password, in_url) {
        (Some(user), password, _) => {
            options = options.user_and_password(user.clone(), password.clone().unwrap_or_default());
        }
        (None, Some(_), _) => {
            return Err(Error::Configuration("password is set without user".to_owned()));
        }
        (None, None, Some((user, Some(password)))) => {
            options = options.user_and_password(user, password);
        }
        (None, None, Some((token, None))) => options = options.token(token),
        (None, None, None) => {}
    }
    if let Some(token) = &config.token {
        options = options.token(token.clone());
    }
    if let Some(path) = &config.credentials {
        options = options
            .credentials_file(path)
            .await
            .map_err(|error| connect_error(config, &format!("credentials {}: {error}", path.display())))?;
    }
    if let Some(path) = &config.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    match (&config.tls_certificate, &config.tls_key) {
        (Some(certificate), Some(key)) => {
            options = options
                .add_client_certificate(certificate.clone(), key.clone())
                .require_tls(true);
        }
        (None, None) => {}
        _ => {
            return Err(Error::Configuration(
                "tls_certificate and tls_key go together".to_owned(),
            ));
        }
    }
    if let Some(prefix) = inbox_prefix(config) {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options)
}

/// The one that is configured, or `_INBOX_<user>`: permissions keep the inboxes of users apart by their first token.
fn inbox_prefix(config: &Config) -> Option<String> {
    let in_url = || user_of_url(&config.url).and_then(|(user, password)| password.map(|_| user));
    let user = || config.user.clone().or_else(in_url);
    let is_token = |user: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        (1..=64).contains(&user.len()) && user.bytes().all(plain)
    };
    let of_user = || Some(format!("_INBOX_{}", user().filter(is_token)?));
    config.inbox_prefix.clone().or_else(of_user)
}

/// The user and password of `scheme://user:password@host`, which the client library leaves to its caller; a user
/// without a password is a token.
fn user_of_url(url: &str) -> Option<(String, Option<String>)> {
    let first = url.split(',').next()?.trim();
    let address = first.split_once("://").map_or(first, |(_, address)| address);
    let (who, _) = address.rsplit_once('@')?;
    Some(match who.split_once(':') {
        Some((user, password)) => (percent_decoded(user), Some(percent_decoded(password))),
        None => (percent_decoded(who), None),
    })
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = (byte == b'%').then(|| after.get(..2)).flatten();
        let code = code
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Doubles from 50 ms, plus up to as much again, so that a fleet does not return in step.
fn reconnect_delay(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let base = Duration::from_millis(50 << (attempt - 2).min(6)).min(LONGEST_RECONNECT_DELAY / 2);
    base + base.mul_f64(jitter())
}

/// A number in 0..1 that differs between processes and moments; nothing secret depends on it.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}

fn connect_error(config: &Config, reason: &impl ToString) -> Error {
    Error::Connect {
        url: without_credentials(&config.url),
        reason: reason.to_string(),
    }
}

/// The address as it may be shown.
pub(crate) fn without_credentials(url: &str) -> String {
    let hide = |address: &str| match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => address.to_owned(),
    };
    url.split(',').map(hide).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_bounded() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        for attempt in 2..100 {
            let delay = reconnect_delay(attempt);
            assert!(
                delay >= Duration::from_millis(50) && delay <= LONGEST_RECONNECT_DELAY,
                "{attempt}: {delay:?}"
            );
        }
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        assert_eq!(without_credentials("nats://u:p@h:1,tls://h:2"), "nats://h:1,tls://h:2");
        assert_eq!(without_credentials("token@h:1"), "h:1");
    }

    #[test]
    fn credentials_may_be_in_the_address() {
        let pair = |user: &str, password: Option<&str>| Some((user.to_owned(), password.map(str::to_owned)));
        assert_eq!(user_of_url("nats://u:p%40ss@h:1"), pair("u", Some("p@ss")));
        assert_eq!(user_of_url("nats://secret@h:1"), pair("secret", None));
        assert_eq!(user_of_url("nats://h:1"), None);
        assert_eq!(percent_decoded("100%"), "100%");
    }

    #[test]
    fn the_inbox_is_the_user_s_own() {
        let prefix = |url: &str, user: Option<&str>, inbox: Option<&str>| {
            inbox_prefix(&Config {
                url: url.to_owned(),
                user: user.map(str::to_owned),
                inbox_prefix: inbox.map(str::to_owned),
                ..Config::default()
            })
        };
        let own = |name: &str| Some(format!("_INBOX_{name}"));
        assert_eq!(prefix("nats://h:1", Some("worker"), None), own("worker"));
        assert_eq!(prefix("nats://ann:p@h:1", None, None), own("ann"));
        assert_eq!(prefix("nats://secret@h:1", None, None), None);
        assert_eq!(prefix("nats://h:1", Some("a.b*"), None), None);
        assert_eq!(prefix("nats://h:1", Some("worker"), Some("_R")), Some("_R".to_owned()));
    }

    #[tokio::test]
    async fn half_a_pair_of_options_is_refused() {
        let config = Config {
            password: Some("x".to_owned()),
            ..Config::default()
        };
        assert!(matches!(options(&config).await, Err(Error::Configuration(_))));
        let config = Config {
            tls_key: Some("k.pem".into()),
            ..Config::default()
        };
        assert!(matches!(options(&config).await, Err(Error::Configuration(_))));
    }
}
