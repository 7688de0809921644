//! Which certificates are believed, and which is shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::settings::Callback;

/// The TLS settings of the callback cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A PEM file cannot be read or holds nothing of use.
    #[error("{key} = {path}: {what}", path = .path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Certificate and key do not fit, or the system has no root certificates.
    #[error("{0}")]
    Tls(String),
}

/// TLS 1.2 and 1.3 by ring.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(tls)
}

fn tls(error: rustls::Error) -> TrustError {
    TrustError::Tls(error.to_string())
}

/// For plain HTTP, which asks for no certificate: a system without any is then good enough.
pub(super) fn trusting_nobody() -> Result<ClientConfig, TrustError> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The roots of `ca_file`, else the system's; the client certificate, if one is set.
pub(super) fn client_config(settings: &Callback) -> Result<ClientConfig, TrustError> {
    let builder = builder()?.with_root_certificates(roots(settings)?);
    match (&settings.client_cert, &settings.client_key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("callback.client_cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| file("callback.client_key", key, error))?;
            builder.with_client_auth_cert(chain, key).map_err(tls)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn roots(settings: &Callback) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        for certificate in certificates("callback.ca_file", path)? {
            roots.add(certificate).map_err(|error| file("callback.ca_file", path, error))?;
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    // A store may hold certificates that rustls does not take; the others still count.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let told =
            "the system has no root certificates: install ca-certificates or set callback.ca_file";
        return Err(TrustError::Tls(told.to_owned()));
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file(key, path, error))?;
    let all = read.collect::<Result<Vec<_>, _>>().map_err(|error| file(key, path, error))?;
    if all.is_empty() { Err(file(key, path, "it holds no certificate")) } else { Ok(all) }
}

fn file(key: &'static str, path: &Path, what: impl std::fmt::Display) -> TrustError {
    TrustError::File { key, path: path.to_owned(), what: what.to_string() }
}
