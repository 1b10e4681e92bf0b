//! Whom we trust, and who we are, on an encrypted connection.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::options::Options;

/// Builds the configuration when files are named for it, or says which of them cannot be used and why.
pub(crate) fn of_files(options: &Options) -> Result<Option<Arc<ClientConfig>>, String> {
    let named = [&options.tls_ca, &options.tls_certificate, &options.tls_key];
    if named.iter().all(|path| path.is_none()) {
        return Ok(None);
    }
    configure(options).map(Some)
}

/// Trusts whom the system trusts.
pub(crate) fn of_system() -> Result<Arc<ClientConfig>, String> {
    configure(&Options::default())
}

fn configure(options: &Options) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.tls_ca {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| unusable(path, &error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    // Named, because a process may hold several providers and then there is no default.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let configuration = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| unusable(certificate, &error))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("tls_certificate and tls_key need each other".into()),
    };
    Ok(Arc::new(configuration))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|error| unusable(path, &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, &"it holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("cannot use {}: {why}", path.display())
}
