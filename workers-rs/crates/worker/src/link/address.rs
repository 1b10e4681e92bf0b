//! Where the broker is, and who we are there.

use std::path::Path;

use nkeys::KeyPair;

use crate::{Config, Error};

const DEFAULT_PORT: u16 = 4222;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The address asks for TLS (`tls://`).
    pub(crate) tls: bool,
}

/// Who we are to the broker.
#[derive(Default)]
pub(crate) struct Identity {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) token: Option<String>,
    /// The contents of a credentials file: a JWT and the key that signs the broker's challenge.
    pub(crate) credentials: Option<(String, KeyPair)>,
}

impl Address {
    /// Reads `nats://host:port`, `tls://host:port`, `host:port` or `host`; credentials are skipped.
    ///
    /// # Errors
    /// The text of what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        if !["nats", "tls"].contains(&scheme) {
            return Err(format!("the scheme is '{scheme}'; allowed: nats, tls"));
        }
        let rest = rest
            .rsplit_once('@')
            .map_or(rest, |(_, rest)| rest)
            .trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => rest
                .split_once(':')
                .map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let port = port
            .map_or(Ok(DEFAULT_PORT), str::parse)
            .map_err(|_| format!("the port of '{rest}' is no number"))?;
        if host.is_empty() {
            return Err("there is no host".to_owned());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            tls: scheme == "tls",
        })
    }

    /// All addresses of a comma-separated list.
    ///
    /// # Errors
    /// `Connect` naming what is wrong with the first bad one.
    pub(crate) fn list(url: &str) -> Result<Vec<Self>, Error> {
        let parse = |text: &str| {
            Self::parse(text.trim()).map_err(|reason| Error::Connect {
                url: without_credentials(url),
                reason,
            })
        };
        url.split(',').map(parse).collect()
    }
}

impl Identity {
    /// Who the configuration, or else the address, says we are.
    ///
    /// # Errors
    /// `Configuration` when options contradict, `Connect` when the credentials file cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let mut identity = Self {
            user: config.user.clone(),
            password: config.password.clone(),
            token: config.token.clone(),
            credentials: None,
        };
        if identity.password.is_some() && identity.user.is_none() {
            return Err(Error::Configuration(
                "password is set without user".to_owned(),
            ));
        }
        if identity.user.is_none() && identity.token.is_none() {
            match user_of(&config.url) {
                Some((user, Some(password))) => {
                    (identity.user, identity.password) = (Some(user), Some(password));
                }
                // A user without a password is a token.
                Some((token, None)) => identity.token = Some(token),
                None => {}
            }
        }
        if let Some(path) = &config.credentials {
            let read = read_credentials(path).map_err(|reason| Error::Connect {
                url: without_credentials(&config.url),
                reason: format!("credentials {}: {reason}", path.display()),
            });
            identity.credentials = Some(read?);
        }
        Ok(identity)
    }
}

/// The JWT and the key in a credentials file: the first two blocks between dashed lines.
fn read_credentials(path: &Path) -> Result<(String, KeyPair), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut lines = text.lines().map(str::trim);
    let mut block = || {
        lines.find(|line| line.starts_with("---"))?;
        let content = lines.find(|line| !line.is_empty())?;
        lines.find(|line| line.starts_with("---"))?;
        Some(content)
    };
    let (Some(token), Some(seed)) = (block(), block()) else {
        return Err("no user JWT and seed in it".to_owned());
    };
    let key = KeyPair::from_seed(seed).map_err(|error| error.to_string())?;
    Ok((token.to_owned(), key))
}

fn user_of(url: &str) -> Option<(String, Option<String>)> {
    let first = url.split(',').next()?.trim();
    let address = first
        .split_once("://")
        .map_or(first, |(_, address)| address);
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
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.unwrap_or(byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The addresses as they may be shown.
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
    fn addresses_are_read() {
        let address = |host: &str, port, tls| {
            Ok(Address {
                host: host.to_owned(),
                port,
                tls,
            })
        };
        assert_eq!(Address::parse("nats://h:1"), address("h", 1, false));
        assert_eq!(Address::parse("tls://u:p@h/"), address("h", 4222, true));
        assert_eq!(Address::parse("h"), address("h", 4222, false));
        assert_eq!(Address::parse("nats://[::1]:5"), address("::1", 5, false));
        assert_eq!(Address::list("nats://a:1, b:2").unwrap().len(), 2);
        for bad in ["ws://h", "nats://", "h:port"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_shown_without_credentials() {
        assert_eq!(
            without_credentials("nats://u:p@h:1,tls://h:2"),
            "nats://h:1,tls://h:2"
        );
        assert_eq!(without_credentials("token@h:1"), "h:1");
    }

    #[test]
    fn credentials_may_be_in_the_address() {
        let pair = |user: &str, password: Option<&str>| {
            Some((user.to_owned(), password.map(str::to_owned)))
        };
        assert_eq!(user_of("nats://u:p%40ss@h:1"), pair("u", Some("p@ss")));
        assert_eq!(user_of("nats://secret@h:1"), pair("secret", None));
        assert_eq!(user_of("nats://h:1"), None);
        assert_eq!(percent_decoded("100%"), "100%");
    }

    #[test]
    fn options_beat_the_address_and_must_agree() {
        let config = Config {
            url: "nats://a:b@h".to_owned(),
            user: Some("c".to_owned()),
            ..Config::default()
        };
        let identity = Identity::new(&config).unwrap();
        assert_eq!(
            (identity.user.as_deref(), identity.password),
            (Some("c"), None)
        );
        let config = Config {
            password: Some("x".to_owned()),
            ..Config::default()
        };
        assert!(matches!(
            Identity::new(&config),
            Err(Error::Configuration(_))
        ));
    }

    #[test]
    fn credentials_files_are_read() {
        let key = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\njwt.of.user\n------END NATS USER JWT------\n\n**** IMPORTANT ****\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            key.seed().unwrap()
        );
        let path = std::env::temp_dir().join(format!("npufleet-{}.creds", nuid::next()));
        std::fs::write(&path, text).unwrap();
        let (token, read) = read_credentials(&path).unwrap();
        assert_eq!(
            (token.as_str(), read.public_key()),
            ("jwt.of.user", key.public_key())
        );
        std::fs::write(&path, "nothing").unwrap();
        assert!(read_credentials(&path).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
