//! Who is asking: from the options to what the `CONNECT` operation says.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use npufleet_wire::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

use crate::options::Options;
use crate::server::unusable;

/// Who is asking.
#[derive(Clone)]
pub enum Login {
    /// Nobody in particular.
    Nobody,
    /// A user with a password.
    User {
        /// Name.
        user: String,
        /// Password, in clear.
        password: String,
    },
    /// Whoever knows this.
    Token(String),
    /// Whoever holds the keys that a JWT names.
    Jwt {
        /// The JWT as it was issued.
        jwt: String,
        /// The keys that prove that it is ours.
        keys: Arc<KeyPair>,
    },
}

impl Login {
    /// Reads the credentials file, the options or the first address that holds `user:password@` or `token@`.
    pub(crate) fn new(options: &Options, urls: &[Url]) -> Result<Self> {
        if let Some(path) = &options.credentials {
            let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error.to_string()))?;
            return Self::from_credentials(&text).map_err(|why| unreadable(path, &why));
        }
        if let Some(token) = &options.token {
            return Ok(Self::Token(token.clone()));
        }
        if let Some(user) = &options.user {
            let password = options.password.clone().unwrap_or_default();
            return Ok(Self::User {
                user: user.clone(),
                password,
            });
        }
        if options.password.is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "password is set without user"));
        }
        let Some(url) = urls.iter().find(|url| !url.username().is_empty()) else {
            return Ok(Self::Nobody);
        };
        let user = decode(url.username())?;
        Ok(match url.password() {
            Some(password) => Self::User {
                user,
                password: decode(password)?,
            },
            None => Self::Token(user),
        })
    }

    /// Takes the JWT and the seed from between their dashed lines, in that order.
    fn from_credentials(text: &str) -> std::result::Result<Self, String> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let begins = |line: &str| line.starts_with("---") && line.contains("BEGIN");
        let mut enclosed = lines
            .windows(3)
            .filter(|near| begins(near[0]) && near[2].starts_with("---"));
        let jwt = enclosed.next().ok_or("it holds no JWT")?[1].to_owned();
        let seed = enclosed.next().ok_or("it holds no seed")?[1];
        let keys = KeyPair::from_seed(seed).map_err(|error| format!("its seed is wrong: {error}"))?;
        Ok(Self::Jwt {
            jwt,
            keys: Arc::new(keys),
        })
    }

    /// Adds who is asking to a `CONNECT`, with the server's `nonce` signed when keys are used.
    pub(crate) fn prove(&self, nonce: &str, hello: &mut Value) -> std::result::Result<(), String> {
        match self {
            Self::Nobody => {}
            Self::User { user, password } => {
                hello["user"] = user.as_str().into();
                hello["pass"] = password.as_str().into();
            }
            Self::Token(token) => hello["auth_token"] = token.as_str().into(),
            Self::Jwt { jwt, keys } => {
                let signature = keys
                    .sign(nonce.as_bytes())
                    .map_err(|error| format!("cannot sign: {error}"))?;
                hello["jwt"] = jwt.as_str().into();
                hello["sig"] = URL_SAFE_NO_PAD.encode(signature).into();
            }
        }
        Ok(())
    }
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot use the credentials file {}: {why}", path.display()),
    )
}

fn decode(part: &str) -> Result<String> {
    let decoded = percent_decode_str(part).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| unusable("its credentials are not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(options: &Options, url: &str) -> Value {
        let mut hello = serde_json::json!({});
        let login = Login::new(options, &[Url::parse(url).unwrap()]).unwrap();
        login.prove("nonce", &mut hello).unwrap();
        hello
    }

    #[test]
    fn the_options_win_over_the_address() {
        let user = Options {
            user: Some("u".into()),
            ..Options::default()
        };
        let token = Options {
            token: Some("t".into()),
            user: Some("u".into()),
            ..Options::default()
        };
        let none = Options::default();
        for (options, url, expected) in [
            (&none, "nats://host", serde_json::json!({})),
            (
                &none,
                "nats://a:p%40ss@host",
                serde_json::json!({"user": "a", "pass": "p@ss"}),
            ),
            (
                &none,
                "nats://tok%2Fen@host",
                serde_json::json!({"auth_token": "tok/en"}),
            ),
            (&user, "nats://a:b@host", serde_json::json!({"user": "u", "pass": ""})),
            (&token, "nats://a:b@host", serde_json::json!({"auth_token": "t"})),
        ] {
            assert_eq!(proof(options, url), expected);
        }
    }

    #[test]
    fn credentials_sign_the_nonce() {
        let keys = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\nthe.jwt\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            keys.seed().unwrap()
        );
        let Ok(Login::Jwt { jwt, keys: read }) = Login::from_credentials(&text) else {
            panic!("not read")
        };
        assert_eq!((jwt.as_str(), read.public_key()), ("the.jwt", keys.public_key()));
        let mut hello = serde_json::json!({});
        Login::Jwt { jwt, keys: read }.prove("nonce", &mut hello).unwrap();
        assert_eq!(hello["jwt"], "the.jwt");
        let signature = URL_SAFE_NO_PAD.decode(hello["sig"].as_str().unwrap()).unwrap();
        keys.verify(b"nonce", &signature).unwrap();
    }

    #[test]
    fn unusable_credentials_say_why() {
        for text in ["", "---BEGIN\njwt\n---\n", "---BEGIN\njwt\n---\n---BEGIN\nseed\n---\n"] {
            assert!(Login::from_credentials(text).is_err(), "{text:?}");
        }
    }
}
