//! Which certificates are believed, and which is shown.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::settings::{BadSettings, Callback, SettingFault, read_file};

const CA: &str = "callback.ca_file";
const CERT: &str = "callback.client_cert";
const KEY: &str = "callback.client_key";

/// TLS 1.2 and 1.3 by ring.
fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, BadSettings> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    builder.with_safe_default_protocol_versions().map_err(|error| without_file("callback", error))
}

/// For plain HTTP, which asks for no certificate: a system without any is then good enough.
pub(super) fn trusting_nobody() -> Result<ClientConfig, BadSettings> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The roots of `ca_file`, else the system's; the client certificate, if one is set.
pub(super) fn client_config(settings: &Callback) -> Result<ClientConfig, BadSettings> {
    let mut faults = Vec::new();
    let roots = BadSettings::gather(roots(settings), &mut faults);
    let shown = match (&settings.client_cert, &settings.client_key) {
        (Some(cert), Some(key)) => {
            let chain = BadSettings::gather(certificates(CERT, cert), &mut faults);
            let secret = BadSettings::gather(private_key(key), &mut faults);
            chain.zip(secret).map(|pair| (cert, pair))
        }
        _ => None,
    };
    let Some(builder) = BadSettings::gather(builder(), &mut faults) else {
        return Err(BadSettings::new(faults));
    };
    let builder = builder.with_root_certificates(roots.unwrap_or_else(RootCertStore::empty));
    let config = match shown {
        // Also finds out whether the two belong together.
        Some((cert, (chain, key))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| SettingFault::in_file(CERT, cert, error).into()),
        None => Ok(builder.with_no_client_auth()),
    };
    match BadSettings::gather(config, &mut faults) {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(BadSettings::new(faults)),
    }
}

fn roots(settings: &Callback) -> Result<RootCertStore, BadSettings> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        for certificate in certificates(CA, path)? {
            roots.add(certificate).map_err(|error| SettingFault::in_file(CA, path, error))?;
        }
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    // A store may hold certificates that rustls does not take; the others still count.
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        let told = "not set, and the system has no root certificates: install ca-certificates";
        return Err(without_file(CA, told));
    }
    Ok(roots)
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, BadSettings> {
    let pem = read_file(path).map_err(|error| SettingFault::unreadable(key, path, &error))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| SettingFault::in_file(key, path, error))?;
    if all.is_empty() {
        return Err(SettingFault::in_file(key, path, "it holds no certificate").into());
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadSettings> {
    let pem = read_file(path).map_err(|error| SettingFault::unreadable(KEY, path, &error))?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| SettingFault::in_file(KEY, path, error).into())
}

fn without_file(key: &str, what: impl std::fmt::Display) -> BadSettings {
    let key = key.to_owned();
    SettingFault { key, value: None, what: what.to_string(), allowed: None, origin: None }.into()
}
