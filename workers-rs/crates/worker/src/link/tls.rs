//! Certificates: whom we believe, and who we are.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{Config, Error};

/// How to speak TLS. Files are read at every connection, so that renewed certificates are used.
pub(crate) struct Tls {
    /// Authorities to believe instead of the system's.
    authorities: Option<PathBuf>,
    /// Our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// TLS as configured.
    ///
    /// # Errors
    /// `Configuration` when a file is missing or cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let own = match (&config.tls_certificate, &config.tls_key) {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            _ => {
                return Err(Error::Configuration(
                    "tls_certificate and tls_key go together".to_owned(),
                ));
            }
        };
        let tls = Self {
            authorities: config.tls_ca.clone(),
            own,
        };
        if tls.is_required() {
            tls.connector().map_err(Error::Configuration)?;
        }
        Ok(tls)
    }

    /// The configuration names certificates: a broker without TLS is refused.
    pub(crate) fn is_required(&self) -> bool {
        self.authorities.is_some() || self.own.is_some()
    }

    /// Reads the certificates.
    ///
    /// # Errors
    /// The text of what is wrong, with the name of the option.
    pub(super) fn connector(&self) -> Result<TlsConnector, String> {
        let wrong = |field: &str, reason: &dyn std::fmt::Display| format!("{field}: {reason}");
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.authorities {
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| wrong("tls_ca", &error))?
            {
                let certificate = certificate.map_err(|error| wrong("tls_ca", &error))?;
                roots
                    .add(certificate)
                    .map_err(|error| wrong("tls_ca", &error))?;
            }
        } else {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
        if roots.is_empty() {
            return Err(wrong("tls_ca", &"no authority is known"));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("tls", &error))?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.own else {
            return Ok(TlsConnector::from(Arc::new(builder.with_no_client_auth())));
        };
        let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|error| wrong("tls_certificate", &error))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("tls_key", &error))?;
        let config = builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| wrong("tls_certificate", &error))?;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_cannot_be_used_are_named() {
        let key_alone = Config {
            tls_key: Some("/nowhere.pem".into()),
            ..Config::default()
        };
        let no_file = Config {
            tls_ca: Some("/nowhere.pem".into()),
            ..Config::default()
        };
        for (name, config) in [("tls_key", key_alone), ("tls_ca", no_file)] {
            let error = Tls::new(&config).err().unwrap();
            assert!(
                matches!(&error, Error::Configuration(text) if text.contains(name)),
                "{error}"
            );
        }
        assert!(!Tls::new(&Config::default()).unwrap().is_required());
    }
}
